"""`protokms lab`: make a network of nodes in a folder, and run it on this machine."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from protokms.commands.terminal import cell, say, say_lines
from protokms.config.sections import FRONTS_MAX
from protokms.lab import bundle, change, lab, topology
from protokms.lab import netns as lab_netns
from protokms.lab import processes as lab_processes
from protokms.lab import run as lab_run
from protokms.lab.run import NODE_S, READY_S, NodeState
from protokms.lab.wire import conditions
from transport.explained import Explained

app = typer.Typer()
add = typer.Typer(no_args_is_help=True)
app.add_typer(add, name="add", help="Add a node, an SAE or a link to a lab, also while it runs.")


_FOLLOW_S = 0.2
_HOW = "lab init --hosts, then lab netns"


class Wire(StrEnum):
    """What joins the hosts of a lab."""

    tap = "tap"
    netem = "netem"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the lab.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="Name of a node, like kms-1.")]
End = Annotated[str, typer.Argument(metavar="NODE", help="kms-1, or kms-1/front of it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=3_600,
        help=f"Seconds to wait; default {READY_S:g} and {NODE_S:g} for each node.",
    ),
]


StopTimeout = Annotated[float, typer.Option(min=0.1, max=3_600, help="Seconds to wait at most.")]


@app.command()
def init(  # noqa: PLR0917 -- typer gives them by name
    folder: Folder,
    shape: Annotated[
        str, typer.Option("--topology", help="chain:N, ring:N, star:N, mesh:N or a TOML file.")
    ] = "chain:2",
    spread: Annotated[
        bool, typer.Option("--spread", help="Front end and links in processes of their own.")
    ] = False,
    bare: Annotated[
        bool, typer.Option("--bare", help="Interfaces and keys of links, but no link yet.")
    ] = False,
    controller: Annotated[
        bool,
        typer.Option(
            "--controller", help="A front end and a certificate for a controller; --bare has both."
        ),
    ] = False,
    fronts: Annotated[
        int,
        typer.Option(
            "--fronts", min=1, max=FRONTS_MAX, help="With --spread: front ends of each node."
        ),
    ] = 1,
    fibre: Annotated[
        str, typer.Option(help="Links with the pace of so much fibre, like 25km.")
    ] = "",
    hosts: Annotated[
        str,
        typer.Option("--hosts", help="Each node on a host of its own, like 198.18.0.0/24."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Make certificates, keys, directory and configurations of a lab in an empty folder.

    Example: `protokms lab init lab --topology chain:3`

    A TOML file names hosts, ports and SAEs; links between hosts carry key bits in clear:

    ```toml
    [[node]]
    name = "kms-1"
    host = "192.0.2.1"   # where others reach it
    bind = "0.0.0.0"     # what it listens on
    port = 17000         # this and the next ones
    saes = ["sae-1"]
    [[node]]
    name = "kms-2"
    host = "192.0.2.2"
    saes = ["sae-2"]
    [[link]]
    a = "kms-1"          # sends; b receives
    b = "kms-2"
    allow_insecure_emulation = true
    ```
    """
    if fronts > 1 and not spread:
        raise typer.BadParameter("several front ends need --spread", param_hint="--fronts")
    with _told():
        plan = topology.parse(shape, topology.kilometres(fibre))
        plan = topology.spread(plan, fronts) if spread else plan
        if hosts and not topology.is_shape(shape):
            raise typer.BadParameter("a file names its hosts", param_hint="--hosts")
        plan = topology.on_hosts(plan, hosts) if hosts else plan
        made = lab.init(folder, plan, bare=bare, controller=controller)
    if as_json:
        _print_json(msgspec.to_builtins(made))
        return
    names = ", ".join(node.name for node in made.nodes)
    say(f"{folder}: {names}; next: protokms lab up {folder}")


@app.command()
def up(folder: Folder, timeout: Timeout = None, as_json: Json = False) -> None:
    """Start every node, and wait until all are ready and their links deliver bits.

    When some do not get there, what runs is left running, and the exit status is 1.

    Example: `protokms lab up lab --timeout 60`
    """
    with _told():
        states = lab_run.up(folder, timeout)
    _show(states, as_json)
    _end(states)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Tell which nodes run, which are ready, what their links hold, which sessions begin there.

    Example: `protokms lab status lab --json`
    """
    with _told():
        states = lab_run.status(folder)
    _show(states, as_json)
    _complain(states)


@app.command()
def down(folder: Folder, timeout: StopTimeout = lab_run.STOP_S, as_json: Json = False) -> None:
    """End every node in order; kill those that do not end in time. Harmless when none runs.

    What `lab netns` has made goes as well.

    Example: `protokms lab down lab`
    """
    with _told():
        killed = lab_run.down(folder, timeout)
    if as_json:
        _print_json({"killed": killed})
    else:
        say(f"down; had to be killed: {', '.join(killed)}" if killed else "down")


@app.command()
def kill(folder: Folder, node: Node, as_json: Json = False) -> None:
    """Kill one node with SIGKILL, as a power cut would; 1 if it did not run.

    Example: `protokms lab kill lab kms-1`
    """
    with _told():
        ran = lab_run.kill(folder, node)
    if as_json:
        _print_json({"node": node, "killed": ran})
    else:
        say(f"{node} is killed" if ran else f"{node} did not run")
    if not ran:
        raise typer.Exit(1)


@app.command()
def start(folder: Folder, node: Node, timeout: Timeout = None, as_json: Json = False) -> None:
    """Start one node again, and wait until it is ready.

    Example: `protokms lab start lab kms-1`
    """
    with _told():
        state = lab_run.start(folder, node, timeout)
    _show([state], as_json)
    _end([state])


@app.command()
def restart(folder: Folder, node: Node, timeout: Timeout = None, as_json: Json = False) -> None:
    """End one node in order, start it again, and wait until it is ready.

    Example: `protokms lab restart lab kms-1`
    """
    with _told():
        state = lab_run.restart(folder, node, timeout)
    _show([state], as_json)
    _end([state])


@app.command()
def logs(
    folder: Folder,
    node: Annotated[
        str, typer.Argument(metavar="[NODE]", help="Of this node alone, like kms-1.")
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")
    ] = False,
    lines: Annotated[
        int, typer.Option(min=0, max=100, help="The last lines of each, 16 KiB at most.")
    ] = 20,
) -> None:
    """Print what nodes log; with several nodes each line begins with its node.

    Example: `protokms lab logs lab kms-1 --follow`
    """
    with _told():
        files = lab_run.logs(folder, node)
    width = max(map(len, files)) if len(files) > 1 else 0
    for name, line in lab_processes.follow(files, lines):
        if name:
            say(f"{name:{width}} {line}" if width else line)
        elif follow:
            time.sleep(_FOLLOW_S)
        else:
            break


@app.command()
def netns(  # noqa: PLR0917 -- typer gives them by name
    folder: Folder,
    delay: Annotated[str, typer.Option(help="Of each way between two hosts, like 50ms.")] = "",
    loss: Annotated[str, typer.Option(help="Share that is lost each way, like 2%.")] = "",
    rate: Annotated[str, typer.Option(help="Of each way between two hosts, like 10mbit.")] = "",
    wire: Annotated[
        Wire, typer.Option(help="tap: a process joins the hosts; netem: the kernel does.")
    ] = Wire.tap,
    as_json: Json = False,
) -> None:
    """Give each host of a lab a network namespace on this machine, and join them by a wire.

    `lab up` starts each process on its host then; `lab down` takes all away again. This machine
    reaches the nodes as well, with `tap` without delay and loss. Needs root and `ip` (iproute2).
    The lab has a host for each node: `lab init --hosts 198.18.0.0/24`, or a topology that says so.

    Example: `protokms lab netns lab --delay 50ms --loss 2% --rate 10mbit`
    """
    with _told():
        way = conditions(delay, loss, rate)
        made = lab_netns.make(folder, way, wire.value)
    if as_json:
        _print_json(msgspec.to_builtins(made))
        return
    for place, address in made.hosts.places.items():
        say(f"{place}: {address}, namespace {made.name_of(address)}")
    say(f"{made.way}; next: protokms lab up {folder}")


@app.command()
def cut(folder: Folder, one: End, other: End, as_json: Json = False) -> None:
    """Let nothing pass between two nodes, or processes of nodes (`kms-1/front`): it gets lost.

    In a lab without `lab netns` the link between both is paused instead.

    Example: `protokms lab cut lab kms-1 kms-2`
    """
    with _told():
        whole = lab_run.cut(folder, one, other)
    _tell_way(folder, "cut" if whole else "paused", one, other, as_json)


@app.command()
def mend(folder: Folder, one: End, other: End, as_json: Json = False) -> None:
    """Undo `lab cut`.

    Example: `protokms lab mend lab kms-1 kms-2`
    """
    with _told():
        whole = lab_run.mend(folder, one, other)
    _tell_way(folder, "mended" if whole else "resumed", one, other, as_json)


@app.command(hidden=True)
def wire(folder: Folder) -> None:
    """Be the wire between the hosts of a lab: `lab netns` starts it.

    Example: `protokms lab wire lab`
    """
    with _told():
        lab_netns.serve(folder)


@app.command()
def export(
    folder: Folder,
    node: Node,
    out: Annotated[
        Path | None, typer.Option("--out", help="Tar file; NODE.tar by default.")
    ] = None,
    process: Annotated[
        str, typer.Option("--process", help="Only what this process of the node needs.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Bundle what one node needs on another host: its own secrets, and nobody else's.

    With `--process NAME` these are the secrets of that process alone: `core`, or one beside it,
    which `protokms node NODE/NAME.toml` runs there.

    `protokms lab join` unpacks it there: that is a lab of one node, which `lab up` starts. The
    bundle holds secrets in clear: carry it with care, and delete it.

    Example: `protokms lab export lab kms-2 --out kms-2.tar`
    """
    with _told():
        made = bundle.export(folder, node, out, process)
    if as_json:
        _print_json({"node": node, "file": str(made)} | ({"process": process} if process else {}))
    else:
        whose = f"{node}/{process}" if process else node
        say(f"{made}: the secrets of {whose} in clear; there: protokms lab join {made.name} DIR")


@app.command()
def join(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `lab export` made.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder, absent or empty.")],
    node: Annotated[str, typer.Option("--node", help="Refuse it unless it is of this node.")] = "",
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca", help="Refuse it unless this key, ca/signing.pub, signed its directory."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Unpack a bundle on the host it was made for, and say how to start what is in it.

    All of it is checked first: its owner and mode, that nothing is damaged, each file that its
    configuration names, and the signature of the directory. What is refused leaves nothing behind.

    Example: `protokms lab join kms-2.tar lab`
    """
    with _told():
        made = bundle.join(file, folder, node=node, ca=ca)
    if as_json:
        told = {"node": made.node, "process": made.process, "config": str(made.config)}
        _print_json(told | {"start": made.start})
    else:
        whose = f"{made.node}/{made.process}" if made.process else made.node
        say(f"{folder}: {whose}; delete {file}, then start it: {made.start}")


@app.command()
def env(
    sae: Annotated[str, typer.Option("--as", help="Id of an SAE of the lab.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the lab.")] = Path("lab"),
) -> None:
    """Print for a shell where the KME of an SAE is, and its files: SAE_URL, _CA, _CERT and _KEY.

    `protokms sae` takes them from there, and curl as
    `curl --cacert $SAE_CA --cert $SAE_CERT --key $SAE_KEY $SAE_URL/api/v1/keys/sae-2/status`.

    Example: `protokms lab env lab --as sae-1`; a shell takes it with `eval $(…)`
    """
    with _told():
        found = lab.access(folder.absolute(), sae)
    for name, value in zip(("URL", "CA", "CERT", "KEY"), found, strict=True):
        say(f"export SAE_{name}={shlex.quote(str(value))};")


@add.command("sae")
def add_sae(
    folder: Folder,
    sae: Annotated[str, typer.Argument(metavar="SAE", help="Its id, which nobody has.")],
    node: Annotated[str, typer.Option("--at", help="Name of the node that serves it.")],
    as_json: Json = False,
) -> None:
    """Enrol an SAE: key, certificate, a new directory; nodes that run take it at once.

    Example: `protokms lab add sae lab sae-9 --at kms-2`
    """
    with _told():
        told = change.add_sae(folder, sae, node)
    _tell_change(f"{sae} is at home at {node}", told, folder, as_json)


@add.command("node")
def add_node(
    folder: Folder,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its name, which nobody has.")],
    links: Annotated[
        list[str] | None, typer.Option("--link", help="A node that a link leads to.")
    ] = None,
    saes: Annotated[list[str] | None, typer.Option("--sae", help="An SAE that it serves.")] = None,
    as_json: Json = False,
) -> None:
    """Enrol a node; its neighbours take the new link at a restart, which this does not do.

    Example: `protokms lab add node lab kms-3 --link kms-2 --sae sae-3`
    """
    with _told():
        told = change.add_node(folder, node, links or (), saes or ())
    text = f"{node} is added; next: protokms lab start {folder} {node}"
    _tell_change(text, told, folder, as_json)


@add.command("link")
def add_link(folder: Folder, one: Node, other: Node, as_json: Json = False) -> None:
    """Join two nodes by an emulated quantum link; both take it at a restart.

    Example: `protokms lab add link lab kms-1 kms-3`
    """
    with _told():
        told = change.add_link(folder, one, other)
    _tell_change(f"a link joins {one} and {other}", told, folder, as_json)


@app.command()
def renew(
    folder: Folder,
    who: Annotated[
        str, typer.Argument(metavar="[WHO]", help="An SAE, a node or the controller; or all.")
    ] = "",
    rekey: Annotated[bool, typer.Option("--rekey", help="Draw other keys as well.")] = False,
    as_json: Json = False,
) -> None:
    """Renew certificates, which nodes that run take at once; the keys stay.

    Whoever is revoked gets another key and certificate, if it is named.

    Example: `protokms lab renew lab sae-1`
    """
    with _told():
        told = change.renew(folder, who, rekey=rekey)
    _tell_change(f"renewed: {who or 'all'}", told, folder, as_json)


@app.command()
def revoke(
    folder: Folder,
    who: Annotated[str, typer.Argument(metavar="WHO", help="An SAE, or the controller.")],
    as_json: Json = False,
) -> None:
    """Let somebody in no more, at any node; connections that are open end.

    Example: `protokms lab revoke lab sae-1`
    """
    with _told():
        told = change.revoke(folder, who)
    _tell_change(f"{who} is revoked", told, folder, as_json)


@app.command()
def remove(
    folder: Folder,
    sae: Annotated[str, typer.Argument(metavar="SAE", help="Id of the SAE.")],
    as_json: Json = False,
) -> None:
    """Revoke an SAE, name it in the directory no more, and delete its key and certificate.

    Example: `protokms lab remove lab sae-1`
    """
    with _told():
        told = change.remove_sae(folder, sae)
    _tell_change(f"{sae} is removed", told, folder, as_json)


def _tell_change(text: str, told: change.Told, folder: Path, as_json: bool) -> None:
    if as_json:
        _print_json(msgspec.to_builtins(told))
    else:
        say(text)
        if told.reloaded:
            say(f"read at once by {', '.join(told.reloaded)}")
        if told.away:
            say(f"files only, read at the next start: {', '.join(told.away)} (not running here)")
        for name in told.restart:
            say(f"needs a restart: protokms lab restart {folder} {name}")
    for name, reasons in told.trouble.items():
        say(f"{name}: {'; '.join(reasons)}", err=True)
    if told.trouble:
        raise typer.Exit(1)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (lab.LabError, Explained, OSError) as why:
        say_lines(str(why), err=True)
        raise typer.Exit(1) from None


def _tell_way(folder: Path, done: str, one: str, other: str, as_json: bool) -> None:
    if as_json:
        _print_json({"done": done, "between": [one, other]})
        return
    say(f"{one} and {other}: {done}")
    if done == "paused":
        say(
            f"their link is paused; the network between two nodes on loopback cannot be cut: {_HOW}"
        )


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))


def _show(states: Sequence[NodeState], as_json: bool) -> None:
    if as_json:
        _print_json({"nodes": [state.as_dict() for state in states]})
        return
    table = Table()
    for name in ("node", "running", "ready", "pid", "bits shared with", "sessions to"):
        table.add_column(name)
    for state in states:
        cells = (
            state.name,
            "yes" if state.running else "no",
            "yes" if state.ready else "no",
            " ".join(str(pid) for pid in state.pids.values()),
            ", ".join(f"{peer}: {bits:,}" for peer, bits in state.links.items()),
            ", ".join(f"{row.get('destination')}: {row.get('state')}" for row in state.sessions),
        )
        table.add_row(*map(cell, cells))
    Console().print(table)


def _complain(states: Sequence[NodeState]) -> bool:
    """Say who is not well and why, on standard error; tell whether anybody is."""
    failed = [state for state in states if state.reasons]
    for state in failed:
        say(f"{state.name}: {'; '.join(state.reasons)}", err=True)
        for line in state.log:
            say(f"  {line}", err=True)
    return bool(failed)


def _end(states: Sequence[NodeState]) -> None:
    if _complain(states):
        still = [state.name for state in states if state.pids]
        say(f"still running: {', '.join(still) or 'none'}", err=True)
        raise typer.Exit(1)
