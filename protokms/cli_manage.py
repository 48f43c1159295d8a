"""`protokms session`, `route`, `peer`, `link`: asks a running node on its management socket."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.protocol.relay import SHARES_MAX, WEIGHT_MAX
from protokms import config as configs
from protokms import lab, manage_client
from protokms import manage_words as words
from protokms.manage_client import ManageFailed
from protokms.tables import ConfigError

session = typer.Typer(no_args_is_help=True, help="Sessions: bits kept in store with distant KMSs.")
route = typer.Typer(no_args_is_help=True, help="Paths over trusted nodes, as a node sees them.")
peer = typer.Typer(no_args_is_help=True, help="The other KMSs of the network.")
link = typer.Typer(no_args_is_help=True, help="The stores of a node, and what fills them.")

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
        typer.echo(f"no session to {destination} any more")


@session.command("list")
def session_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell which sessions begin at a node, and how many of others cross it.

    Example: `protokms session list --config lab/kms-1/node.toml --json`
    """
    found = _ask(words.ListSessions(), config, the_lab, node, as_json)
    if not as_json:
        _table(_SESSION, found["sessions"])
        typer.echo(f"sessions of other nodes that cross this one: {found['crossing']}")


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
        typer.echo(f"{' - '.join(found['path'])}   cost {found['cost']:g}")
        _table(_LOAD, found["links"])


@peer.command("list")
def peer_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell which other KMSs there are, which are heard, and what is wrong with them.

    Example: `protokms peer list --lab lab --node kms-1`
    """
    found = _ask(words.ListPeers(), config, the_lab, node, as_json)
    if not as_json:
        _table(_PEER, found["peers"])


@link.command("list")
def link_list(
    config: Config = None, the_lab: Lab = None, node: Node = None, as_json: Json = False
) -> None:
    """Tell what each store of a node holds, and whether a quantum link or relay fills it.

    Example: `protokms link list --lab lab --node kms-1`
    """
    found = _ask(words.ListLinks(), config, the_lab, node, as_json)
    if not as_json:
        _table(_LINK, found["links"])


_KEPT = "refused by "
"""So begins why a session is not set up yet; its node goes on trying. Bad terms it drops."""

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
    "reasons": "why not ready",
}
_LOAD = {"peer": "link to", "stock": "step of stock", "rate": "step of rate"}


def _ask(
    word: words.Word, config: Path | None, the_lab: Path | None, node: str | None, as_json: bool
) -> dict[str, Any]:
    """Ask the node that was named; print the answer if it is to be JSON. Exits 1 on a refusal."""
    socket = _socket(config, the_lab, node)
    try:
        found = manage_client.ask(socket, word)
    except ManageFailed as no:
        kept = isinstance(word, words.AddSession) and no.why.startswith(_KEPT)
        if as_json:
            failed = {"code": no.code, "why": no.why} | ({"kept": True} if kept else {})
            typer.echo(json.dumps({"failed": failed}))
        else:
            typer.echo(str(no), err=True)
            if kept:
                typer.echo("the session is kept, and tried again by itself", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
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
        made = configs.load(config, files=False)
    except (lab.LabError, ConfigError, OSError) as why:
        typer.echo(str(why), err=True)
        raise typer.Exit(1) from None
    if made.manage is None:
        typer.echo(f"{config}: there is no [manage] socket; add it, and restart the node", err=True)
        raise typer.Exit(1)
    return made.manage.socket


def _table(columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*columns.values())
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "; ".join("-".join(map(str, e)) if isinstance(e, list) else str(e) for e in value)
    return "" if value is None else str(value)
