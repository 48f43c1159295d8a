"""`protokms session`, `route`, `peer`, `link`, `policy`, `alarm`: asks a node on its socket."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.protocol.alarms import SUBJECT_MAX
from actors.protocol.limits import SHARES_MAX, WEIGHT_MAX
from protokms.commands.terminal import cell, say, say_lines
from protokms.config.load import manage_socket
from protokms.config.tables import ConfigError
from protokms.lab import lab
from protokms.manage import client as manage_client
from protokms.manage import words
from protokms.manage.client import ManageFailed
from protokms.manage.wanted import KEPT

session = typer.Typer()
route = typer.Typer()
peer = typer.Typer()
link = typer.Typer()
policy = typer.Typer()
alarm = typer.Typer()

Config = Annotated[
    Path | None, typer.Option("--config", help="Configuration of the node to ask, TOML.")
]
Lab = Annotated[Path | None, typer.Option("--lab", help="Folder of a lab; name a node, too.")]
Node = Annotated[str | None, typer.Option("--node", help="Node of that lab to ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _named(name: str) -> str:
    """Check the name of a node, as far as that is possible without one."""
    if not 1 <= len(name) <= words.NODE_NAME_LIMIT:
        raise typer.BadParameter(f"the name of a node has 1 to {words.NODE_NAME_LIMIT} characters")
    return name


def _are_paths(given: list[str] | None) -> list[str] | None:
    """Check what is given with --path: nodes with a comma between them."""
    for path in given or ():
        nodes = path.split(",")
        if not (2 <= len(nodes) <= words.PATH_NODES_LIMIT and all(nodes)):  # noqa: PLR2004
            most = words.PATH_NODES_LIMIT
            raise typer.BadParameter(
                f"{path!r} is no path: the names of 2 to {most} nodes, from the node that is asked "
                "to the destination, with one comma between two of them"
            )
        for node in nodes:
            _named(node)
    if given and len(given) > SHARES_MAX:
        raise typer.BadParameter(f"at most {SHARES_MAX} paths")
    return given


_PATHS = (
    "Disjoint paths: each bit is split over all of them. Default: one for each --path, or else "
    "`[relay] paths` of the node."
)
Destination = Annotated[str, typer.Argument(help="Name of the distant KMS.", callback=_named)]


@session.command("add")
def session_add(
    destination: Destination,
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            help="A path, NODE,NODE,...; once for each path. Default: found by the node.",
            callback=_are_paths,
        ),
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(min=1, max=SHARES_MAX, help=_PATHS),
    ] = None,
    low: Annotated[
        int, typer.Option(min=0, help="Fill below so many bits in store; 0: as demand asks.")
    ] = 0,
    high: Annotated[
        int, typer.Option(min=0, help="Fill up to so many; 0: twice the low mark.")
    ] = 0,
    weight: Annotated[
        int, typer.Option(min=1, max=WEIGHT_MAX, help="Its share of the links on the way.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Keep bits in store with a distant KMS; the same again is harmless, other terms replace.

    Example: `protokms session add kms-3 --lab lab --node kms-1 --paths 2`
    """
    given = tuple(tuple(each.split(",")) for each in path or ())
    n, high = max(paths or 0, len(given)), high or 2 * low
    word = words.AddSession(
        destination=destination, paths=given, n=n, low_bits=low, high_bits=high, weight=weight
    )
    found = _ask(word, config, the_lab, node, as_json)
    if not as_json:
        _table(_SESSION, [found["session"]])


@session.command("remove")
def session_remove(
    destination: Destination,
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Fill the store with a distant KMS no more; what is in it stays. Harmless when there is none.

    Example: `protokms session remove kms-3 --lab lab --node kms-1`
    """
    word = words.RemoveSession(destination=destination)
    _ask(word, config, the_lab, node, as_json)
    if not as_json:
        say(f"no session to {destination} any more")


@session.command("list")
def session_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell which sessions begin at a node, and how many of others cross it.

    Example: `protokms session list --config lab/kms-1/node.toml --json`
    """
    table = "sessions", _SESSION
    found = _ask(words.ListSessions(), config, the_lab, node, as_json, table=table)
    if not as_json:
        say(f"sessions of other nodes that cross this one: {found['crossing']}")


@route.command("show")
def route_show(
    start: Annotated[str, typer.Argument(metavar="FROM", help="Name of a node.", callback=_named)],
    end: Annotated[str, typer.Argument(metavar="TO", help="Name of a node.", callback=_named)],
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Tell the path from one node to another; in a lab FROM is asked unless --node is given.

    Example: `protokms route show kms-1 kms-3 --lab lab`
    """
    asked = node or (start if the_lab else None)
    found = _ask(words.ShowRoute(start=start, end=end), config, the_lab, asked, as_json)
    if not as_json:
        say(f"{' - '.join(found['path'])}   cost {found['cost']:g}")
        _table(_LOAD, found["links"])


@peer.command("list")
def peer_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell which other KMSs there are, which are heard, and what is wrong with them.

    Example: `protokms peer list --lab lab --node kms-1`
    """
    _ask(words.ListPeers(), config, the_lab, node, as_json, table=("peers", _PEER))


@link.command("list")
def link_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell what each store of a node holds, and whether a quantum link or relay fills it.

    Example: `protokms link list --lab lab --node kms-1`
    """
    _ask(words.ListLinks(), config, the_lab, node, as_json, table=("links", _LINK))


@link.command("clear")
def link_clear(
    peer: Annotated[str, typer.Argument(help="Name of the neighbour.", callback=_named)],
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """End the quarantine of a quantum link at this node: its bits count again from now on.

    A link is in quarantine when bits failed a health test at this end; see why first. The other
    end has a quarantine of its own. Harmless when there is none.

    Example: `protokms link clear kms-2 --lab lab --node kms-1`
    """
    found = _ask(words.ClearLink(peer=peer), config, the_lab, node, as_json)
    if not as_json:
        was = f"is over; it began with {found['test']}" if found["test"] else "is not in force"
        say(f"the quarantine of the link to {peer} {was}")


Neighbour = Annotated[str, typer.Argument(help="Name of the neighbour.", callback=_named)]
OfPeer = Annotated[str, typer.Argument(help="Name of the other KMS.", callback=_named)]


@link.command("add")
def link_add(
    peer: Neighbour,
    *,
    interface: Annotated[
        int, typer.Option(min=0, max=(1 << 32) - 1, help="Its number here; 0: any that is free.")
    ] = 0,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Bind an interface to a neighbour; to be said at both ends. It is kept over restarts.

    Example: `protokms link add kms-2 --interface 1 --lab lab --node kms-1`
    """
    _ask(words.AddLink(peer=peer, interface=interface), config, the_lab, node, as_json)
    if not as_json:
        say(f"a link to {peer} is wanted; `protokms link list` tells how it is")


@link.command("remove")
def link_remove(
    peer: Neighbour,
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Run the link to a neighbour no more; what is in store stays. A `[[link]]` ends in its file.

    Example: `protokms link remove kms-2 --lab lab --node kms-1`
    """
    _ask(words.RemoveLink(peer=peer), config, the_lab, node, as_json)
    if not as_json:
        say(f"no link to {peer} is wanted any more")


@link.command("pause")
def link_pause(
    peer: OfPeer,
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Let the store of a peer take no bits in, until `resume`; what is in store stays of use.

    Example: `protokms link pause kms-2 --lab lab --node kms-1`
    """
    _ask(words.SwitchLink(peer=peer, enabled=False), config, the_lab, node, as_json)
    if not as_json:
        say(f"the store of {peer} takes no bits in")


@link.command("resume")
def link_resume(
    peer: OfPeer,
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Let the store of a peer take bits in again; a quarantine ends with `protokms link clear`.

    Example: `protokms link resume kms-2 --lab lab --node kms-1`
    """
    _ask(words.SwitchLink(peer=peer, enabled=True), config, the_lab, node, as_json)
    if not as_json:
        say(f"the store of {peer} takes bits in")


_PARTY = "an SAE, node:NAME for all of a KMS, or '*'; once for each."


@policy.command("add")
def policy_add(
    name: Annotated[str, typer.Argument(help="Name of the rule.", callback=_named)],
    *,
    order: Annotated[
        int, typer.Option(min=0, max=(1 << 32) - 1, help="Lower ones are asked first.")
    ],
    master: Annotated[list[str], typer.Option(help=f"Who asks: {_PARTY}")],
    slave: Annotated[list[str], typer.Option(help=f"Who fetches: {_PARTY}")],
    deny: Annotated[bool, typer.Option("--deny", help="No keys for these pairs.")] = False,
    max_bandwidth: Annotated[
        int | None, typer.Option(min=0, max=(1 << 32) - 1, help="bit/s of each pair.")
    ] = None,
    per_sae: Annotated[
        bool,
        typer.Option("--per-sae", help="The rate is of each master: of all its pairs together."),
    ] = False,
    stock_bits: Annotated[
        int | None,
        typer.Option(min=0, max=1 << 40, help="Bits of a pair that may lie unfetched."),
    ] = None,
    ttl: Annotated[
        int | None, typer.Option(min=1, max=31_536_000, help="Seconds that new keys live at most.")
    ] = None,
    priority: Annotated[
        int, typer.Option(min=0, max=(1 << 32) - 1, help="Larger: more turns while requests wait.")
    ] = 0,
    paths: Annotated[
        int,
        typer.Option(
            min=0, max=SHARES_MAX, help="Disjoint paths over which bits of a pair have to come."
        ),
    ] = 0,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Have a rule for SAEs of this node that ask for keys; another one of this name is replaced.

    Of all rules that name a pair the one with the lowest order decides. It counts at once, and is
    kept over restarts. Keys that were made before can be fetched all the same.

    Example: `protokms policy add guests --order 5 --master sae-1 --slave '*' --deny --config
    node.toml`
    """
    word = words.AddPolicy(
        name=name,
        order=order,
        masters=tuple(master),
        slaves=tuple(slave),
        allow=not deny,
        max_bandwidth=max_bandwidth,
        rate_of="sae" if per_sae else "pair",
        stock_bits=stock_bits,
        ttl_s=ttl,
        priority=priority,
        paths=paths,
    )
    _ask(word, config, the_lab, node, as_json)
    if not as_json:
        say(f"policy {name} counts from now on")


@policy.command("remove")
def policy_remove(
    name: Annotated[str, typer.Argument(help="Name of the rule.", callback=_named)],
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """Have a rule no more. A `[[policy]]` ends in its file.

    Example: `protokms policy remove guests --lab lab --node kms-1`
    """
    _ask(words.RemovePolicy(name=name), config, the_lab, node, as_json)
    if not as_json:
        say(f"there is no policy {name} any more")


@policy.command("list")
def policy_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell the rules of a node in the order in which they are asked, and whose they are.

    Example: `protokms policy list --lab lab --node kms-1`
    """
    table = "policies", _POLICY
    _ask(words.ListPolicies(), config, the_lab, node, as_json, table=table)


@alarm.command("list")
def alarm_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell what is wrong at a node, since when, what to do, and how each alarm ends.

    Example: `protokms alarm list --lab lab --node kms-1`
    """
    found = _ask(words.ListAlarms(), config, the_lab, node, as_json)
    if as_json:
        return
    if found["alarms"]:
        _table(_ALARM, found["alarms"])
    else:
        say("no alarms")
    if found["dropped"]:
        say(f"older ones that had to make room: {found['dropped']}")


@alarm.command("clear")
def alarm_clear(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of the alarm.", callback=_named)],
    subject: Annotated[str, typer.Argument(help="Its subject. Default: all of this id.")] = "",
    *,
    config: Config = None,
    the_lab: Lab = None,
    node: Node = None,
    as_json: Json = False,
) -> None:
    """End an alarm that does not end by itself; look at its cause first.

    Of `bad_bits` it ends the quarantine of the link, as `protokms link clear` does.

    Example: `protokms alarm clear forged kms-2 --lab lab --node kms-1`
    """
    if len(subject) > SUBJECT_MAX:
        raise typer.BadParameter(f"a subject has at most {SUBJECT_MAX} characters")
    found = _ask(words.ClearAlarm(id=id_, subject=subject), config, the_lab, node, as_json)
    if not as_json:
        say(f"alarms ended: {found['n']}")


_SESSION = {
    "destination": "destination",
    "state": "state",
    "why": "why",
    "paths": "paths",
    "n": "n",
    "low_bits": "low bits",
    "high_bits": "high bits",
    "weight": "weight",
}
_PEER = {"name": "peer", "up": "heard", "version": "version", "trouble": "trouble"}
_LINK = {
    "peer": "peer",
    "kind": "filled by",
    "ready": "ready",
    "stored_bits": "stored bits",
    "own_bits": "own bits",
    "qber": "QBER",
    "reasons": "why not ready",
}
_POLICY = {
    "order": "order",
    "name": "policy",
    "owner": "of",
    "masters": "masters",
    "slaves": "slaves",
    "allow": "allows",
    "max_bandwidth": "bit/s",
    "rate_of": "of each",
    "stock_bits": "unfetched bits",
    "ttl_s": "seconds to live",
    "priority": "priority",
    "paths": "paths",
}
_ALARM = {
    "id": "id",
    "subject": "subject",
    "since": "since",
    "text": "what",
    "remedy": "what to do",
    "clears": "ends by",
}
_LOAD = {"peer": "link to", "stock": "step of stock", "rate": "step of rate"}


def _ask(
    word: words.Word,
    config: Path | None,
    the_lab: Path | None,
    node: str | None,
    as_json: bool,
    *,
    table: tuple[str, dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Ask the node that was named. Exits 1 on a refusal.

    Prints the answer if it is to be JSON, and else a `table`: a list in the answer, its columns.
    """
    socket = _socket(config, the_lab, node)
    try:
        found = manage_client.ask(socket, word)
    except ManageFailed as no:
        kept = isinstance(word, words.AddSession) and no.why.startswith(KEPT)
        if as_json:
            failed = {"code": no.code, "why": no.why} | ({"kept": True} if kept else {})
            typer.echo(json.dumps({"failed": failed}))
        else:
            say(str(no), err=True)
            if kept:
                say("the session is kept, and tried again by itself", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif table:
        rows, columns = table
        _table(columns, found[rows])
    return found


def _socket(config: Path | None, the_lab: Path | None, node: str | None) -> Path:
    """Find the socket of a node by its configuration, or by its lab and its name."""
    if (config is None) == (the_lab is None) or (the_lab is None) != (node is None):
        raise typer.BadParameter("give --config FILE, or --lab DIR and --node NAME")
    try:
        if the_lab:
            assert node, "checked above"
            config = the_lab / lab.read(the_lab).node(node).config
        assert config, "checked above"
        return manage_socket(config)
    except (lab.LabError, ConfigError, OSError) as why:
        say_lines(str(why), err=True)
        raise typer.Exit(1) from None


def _table(columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*columns.values())
    for row in rows:
        table.add_row(*(cell(_text(row.get(name))) for name in columns))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "; ".join("-".join(map(str, e)) if isinstance(e, list) else str(e) for e in value)
    return "" if value is None else str(value)
