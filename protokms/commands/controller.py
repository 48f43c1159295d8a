"""`protokms controller`: brings a network to a desired state, over ETSI GS QKD 015."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from protokms.commands.terminal import cell, say, say_lines
from protokms.config.tables import ConfigError
from protokms.controller import desired, run
from protokms.controller.diff import Request
from protokms.controller.restconf import Identity, RestconfError, Unanswered
from protokms.controller.rows import APPLICATIONS, ID, KEYS, LINKS
from protokms.lab import lab

app = typer.Typer()

REFUSED, MISUSED, NOT_IN_STEP = 1, 2, 3
"""Exit statuses; 0: all is as it is to be."""

_ALL = "all is configured as it is to be"

File = Annotated[str, typer.Argument(help="Desired state, TOML; or chain:5 and the like.")]
Urls = Annotated[
    list[str] | None, typer.Argument(help="Where nodes serve controllers: https URLs.")
]
Lab = Annotated[
    Path | None, typer.Option("--lab", help="Folder of a lab: its nodes, as its controller.")
]
Ca = Annotated[Path | None, typer.Option(help="CA that signed the nodes' certificates, PEM.")]
Cert = Annotated[Path | None, typer.Option(help="Certificate of this controller, PEM.")]
Key = Annotated[Path | None, typer.Option(help="Private key of this controller, PEM.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[float, typer.Option(min=0.1, max=3_600, help="Seconds to wait at most.")]


@app.command()
def discover(
    urls: Urls = None,
    *,
    the_lab: Lab = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """Tell what nodes say of themselves: their interfaces, links and applications.

    Example: `protokms controller discover --lab lab`
    """
    nodes, identity = _at(urls or (), the_lab, ca, cert, key)
    with _told(), run.Network(nodes, identity) as network:
        read = network.ask(lambda agent: agent.node("all"), time.monotonic() + timeout)
    if as_json:
        typer.echo(json.dumps(read, indent=2))
        return
    names = {str(node.get(ID)): name for name, node in read.items()}
    _print(("node", ID, "interfaces", "applications"), [_of_node(*it) for it in read.items()])
    links = [(name, it) for name, node in read.items() for it in _listed(node, LINKS)]
    columns = ("node", "type", "local", "remote", "status", "skr (bit/s)", "qkdl_id")
    _print(columns, [_of_link(name, it, names) for name, it in links])


@app.command()
def plan(
    file: File,
    *,
    the_lab: Lab = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """Tell what `apply` would write; nothing is changed. The exit status is 3 if there is anything.

    Example: `protokms controller plan net.toml --lab lab`
    """
    with _opened(file, the_lab, ca, cert, key) as (network, wanted):
        made = network.plan(wanted, time.monotonic() + timeout)
    if as_json:
        typer.echo(json.dumps({"requests": [_as_json(it) for it in made.requests]}, indent=2))
    else:
        say_lines("\n".join(made.lines()) or _ALL)
    if made.requests:
        raise typer.Exit(NOT_IN_STEP)


@app.command()
def apply(
    file: File,
    *,
    the_lab: Lab = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Write what differs from a desired state, and wait until all of it runs.

    Entries that an earlier file has made and this one does not have are removed; those of others
    are left alone. Each write holds only if nobody else has written at that node meanwhile. Again
    with the same file it changes nothing.

    A link that is written has to bring keys (ACTIVE) until it counts as running. One that was as it
    is to be may be PASSIVE, which is said: keys of it are left and none come, as of a full store.

    Exit codes: 0 all is as it is to be; 1 a node has refused; 2 misused; 3 not so in time.

    ```toml
    [[node]]
    name = "kms-1"                   # with --lab: of that lab, and no url is needed
    url = "https://192.0.2.1:18002"
    saes = ["sae-1"]
    [[link]]
    a = "kms-1"                      # a_interface, b_interface; default: any that is free
    b = "kms-2"
    [[session]]
    from = "kms-1"
    to = "kms-3"
    via = ["kms-2"]                  # all nodes between; default: the node finds a path
    [[application]]
    master = "sae-1"
    slaves = ["sae-3"]               # priority, max_bandwidth, min_bandwidth, ttl, expires
    ```

    Example: `protokms controller apply net.toml --lab lab`
    """
    deadline = time.monotonic() + timeout

    def planned(it: run.Plan) -> None:
        if not as_json:
            say_lines("\n".join(it.lines()) or _ALL)

    with _opened(file, the_lab, ca, cert, key) as (network, wanted):
        made = network.bring(wanted, deadline, planned)
        step = network.await_step(made.wanted, deadline)
    if as_json:
        told = {"lags": step.lags, "idle": step.idle}
        report = {"requests": [_as_json(it) for it in made.requests], **told}
        typer.echo(json.dumps(report, indent=2))
    for text in (*step.lags, *step.idle):
        say(text, err=True)
    if step.lags:
        say(f"not in step within {timeout:g} s", err=True)
        raise typer.Exit(NOT_IN_STEP)
    if not as_json:
        say("the rest runs as it is to be" if step.idle else "all runs as it is to be")


@app.command()
def watch(
    urls: Urls = None,
    *,
    the_lab: Lab = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds after which to end; default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what nodes tell as it happens, a line each, until it is interrupted.

    A stream that ends is opened again, and said to have ended: something may have been missed.

    Example: `protokms controller watch --lab lab`
    """
    nodes, identity = _at(urls or (), the_lab, ca, cert, key)
    with _told(), run.Network(nodes, identity) as network:
        for it in run.watch(network, timeout):
            if as_json:
                typer.echo(json.dumps({"node": it.node, "notification": it.body, "ended": it.text}))
            elif it.text:
                say(it.text if it.text.startswith(it.node) else f"{it.node}: {it.text}", err=True)
            else:
                say(_line(it))


@contextmanager
def _opened(
    file: str, the_lab: Path | None, ca: Path | None, cert: Path | None, key: Path | None
) -> Iterator[tuple[run.Network, desired.Desired]]:
    """Read a desired state and open its nodes; what goes wrong ends the command, and is said."""
    known, identity = _who(the_lab, ca, cert, key)
    with _told():
        wanted = desired.read(file, known)
        with run.Network(wanted.nodes, identity) as network:
            yield network, wanted


def _who(
    the_lab: Path | None, ca: Path | None, cert: Path | None, key: Path | None
) -> tuple[desired.Known, Identity]:
    """Return what the lab tells, if there is one, and as whom to ask."""
    with _told():
        known, identity = run.of_lab(the_lab) if the_lab else (desired.Known(), None)
    if ca and cert and key:
        identity = Identity(ca, cert, key)
    if identity is None:
        raise typer.BadParameter("give --lab DIR, or --ca, --cert and --key")
    return known, identity


def _at(
    urls: Sequence[str],
    the_lab: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
) -> tuple[Sequence[desired.Node], Identity]:
    """Return the nodes at these URLs, or without any those of the lab, and as whom to ask."""
    known, identity = _who(the_lab, ca, cert, key)
    with _told():
        desired.check_urls(urls)
    named = {node.url: node for node in known.nodes}
    bare = [url.rstrip("/") for url in dict.fromkeys(urls)]
    nodes = [named.get(url) or desired.Node(name=_name(url), url=url) for url in bare]
    if not (nodes or known.nodes):
        raise typer.BadParameter("give the URL of a node, or --lab DIR")
    return nodes or known.nodes, identity


def _name(url: str) -> str:
    return url.removeprefix("https://")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConfigError as why:
        say_lines(str(why), err=True)
        raise typer.Exit(MISUSED) from None
    except Unanswered as why:
        say_lines(str(why), err=True)
        raise typer.Exit(NOT_IN_STEP) from None
    except (RestconfError, lab.LabError, OSError) as why:
        say_lines(str(why), err=True)
        raise typer.Exit(REFUSED) from None


def _as_json(request: Request) -> dict[str, Any]:
    changes = [
        {"verb": it.verb, "id": it.id, "before": it.before, "after": it.after}
        for it in request.changes
    ]
    return {"node": request.node, "container": request.container, "changes": changes}


def _listed(node: dict[str, Any], container: str) -> list[dict[str, Any]]:
    list_ = KEYS[container][0] if container in KEYS else "qkd_interface"
    found = node.get(container)
    rows = found.get(list_) if isinstance(found, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _of_node(name: str, node: dict[str, Any]) -> tuple[Any, ...]:
    interfaces = [str(it.get("qkdi_id")) for it in _listed(node, "qkd_interfaces")]
    return name, node.get(ID), ", ".join(interfaces), len(_listed(node, APPLICATIONS))


def _of_link(node: str, link: dict[str, Any], names: dict[str, str]) -> tuple[Any, ...]:
    ends = [str(_in(link, f"qkdl_{end}", ID)) for end in ("local", "remote")]
    kind, status = (str(link.get(leaf, "")).rpartition(":")[2] for leaf in _KINDS)
    rate = _in(link, "qkdl_performance", "skr")
    return node, kind, *(names.get(it, it) for it in ends), status, rate, link.get("qkdl_id")


def _in(entry: dict[str, Any], container: str, leaf: str) -> Any:
    """Return a leaf, or nothing of a node that has something else in its place."""
    inside = entry.get(container)
    return inside.get(leaf, "") if isinstance(inside, dict) else ""


_KINDS = ("qkdl_type", "qkdl_status")


def _print(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(cell, row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _line(it: run.Happened) -> str:
    """Write a notification in one line: when, what, and the leaves of it."""
    time_ = it.body.get("eventTime", "")
    found = [(name, body) for name, body in it.body.items() if name != "eventTime"]
    told = [f"{name.rpartition(':')[2]} {json.dumps(body)}" for name, body in found]
    return f"{it.node} {time_} {' '.join(told)}"
