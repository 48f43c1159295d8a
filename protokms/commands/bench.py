"""`protokms bench`: figures of this machine, as a table or as JSON."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from protokms.commands.terminal import cell, say_lines

_HOPS_MAX = 20
_RELAYED = 2
"""Hops of the shortest chain whose ends are no neighbours."""

_CLIENTS_MAX = 1_000
_SAES_MAX = 1_048_576
_SHAPE_MIN, _SHAPE_MAX = 2, 1_000
_UNDELIVERED_MAX = 1 << 20
_RATE_MIN, _RATE_MAX = 100.0, 1e6
"""Bit/s; asking key by key is the limit where links are faster."""

_DEVICE_MIN, _DEVICE_MAX = 1e3, 1e8
"""Bit/s of a QKD device, or of what is to come."""

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seconds = Annotated[float, typer.Option(help="Seconds each measurement takes.", min=0.5, max=600)]


@app.command(epilog="Example: protokms bench delivery --seconds 3 --against ../old/.venv --json")
def delivery(
    seconds: Seconds = 5.0,
    rounds: Annotated[
        int, typer.Option(help="Rounds, of which medians are told.", min=1, max=99)
    ] = 5,
    against: Annotated[
        Path | None,
        typer.Option(help="Virtual environment with another build, to be measured in turns."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure ETSI 014 delivery of two nodes, in both modes, beside the bare server, in turns."""
    from protokms.bench import rounds as bench_rounds  # noqa: PLC0415 -- heavy, and only this command needs it

    try:
        python = bench_rounds.python_of(against) if against else None
    except ValueError as why:
        raise typer.BadParameter(str(why)) from None
    _show(bench_rounds.delivery(seconds, _say, against=python, rounds=rounds), as_json)


@app.command(epilog="Example: protokms bench ingest --max-bytes 8192 --rate 160e6")
def ingest(
    seconds: Seconds = 10.0,
    max_bytes: Annotated[int, typer.Option(help="Octets of the largest datagram.")] = 8192,
    rate: Annotated[float, typer.Option(help="Rate asked of the module, bit/s.")] = 200e6,
    as_json: Json = False,
) -> None:
    """Measure how fast an emulated link fills both stores, durably."""
    from protokms.bench import delivery as bench_delivery  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench_delivery.ingest(seconds, max_bytes, rate), as_json)


@app.command(epilog="Example: protokms bench relay --hops 1,2,3 --json")
def relay(
    *,
    hops: Annotated[
        str, typer.Option(help="Numbers of hops, with commas. [default: 1,2,3,5,10; --netns: 2]")
    ] = "",
    seconds: Seconds = 5.0,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Bit/s of each link, from dry; else links fill first, and relay is the limit.",
            min=_RATE_MIN,
            max=_RATE_MAX,
        ),
    ] = None,
    netns: Annotated[
        bool,
        typer.Option("--netns", help="Nodes in network namespaces, beside loopback; needs root."),
    ] = False,
    delay: Annotated[
        str, typer.Option(help="With --netns: delays each way, with commas.")
    ] = "0ms,10ms,50ms,150ms",
    loss: Annotated[str, typer.Option(help="With --netns: losses, with commas.")] = "0%,1%,5%",
    as_json: Json = False,
) -> None:
    """Measure keys end to end over chains of nodes, each node a process of its own."""
    if netns:
        if rate is not None:
            raise typer.BadParameter("--netns and --rate do not go together")
        _show(_over_distances(hops or "2", delay, loss, seconds), as_json)
        return
    from protokms.bench import relay as bench_relay  # noqa: PLC0415 -- heavy, and only this command needs it
    from protokms.bench import slow_relay  # noqa: PLC0415 -- the same

    numbers = _numbers(hops or "1,2,3,5,10", _HOPS_MAX, "hops")
    if rate is None:
        figures = bench_relay.relay(numbers, seconds, _say)
    else:
        figures = slow_relay.relay(numbers, rate, seconds, _say)
    _show(figures, as_json)


def _over_distances(hops: str, delay: str, loss: str, seconds: float) -> dict[str, Any]:
    from protokms.bench import distance  # noqa: PLC0415 -- heavy, and only this command needs it
    from protokms.config.tables import ConfigError  # noqa: PLC0415 -- the same
    from protokms.lab.lab import LabError  # noqa: PLC0415 -- the same
    from protokms.lab.wire import conditions  # noqa: PLC0415 -- the same

    numbers = _numbers(hops, _HOPS_MAX, "hops")
    if len(numbers) > 1 or numbers[0] < _RELAYED:
        raise typer.BadParameter("--netns takes one number of hops, 2 or more")
    try:
        ways = [conditions(one, share, "") for one in delay.split(",") for share in loss.split(",")]
        return distance.distances(numbers[0], ways, seconds, _say)
    except (ConfigError, LabError) as why:
        say_lines(f"error: {why}", err=True)
        raise typer.Exit(1) from why


@app.command(epilog="Example: protokms bench network --nodes 100 --json")
def network(
    nodes: Annotated[int, typer.Option(help="Nodes of the largest network.", min=2)] = 1000,
    pairs: Annotated[int, typer.Option(help="Random pairs in each network.", min=1)] = 1000,
    any_to_any: Annotated[
        bool, typer.Option("--any-to-any", help="Sessions between all pairs, in these shapes.")
    ] = False,
    shapes: Annotated[
        str,
        typer.Option(help="mesh, dumbbell, slow (a dumbbell) or spur, and a size, with commas."),
    ] = "mesh:40,dumbbell:20,slow:20,spur:100",
    as_json: Json = False,
) -> None:
    """Simulate networks of growing size: do routes form, do random pairs get keys, at what cost?"""
    from protokms.bench import any_to_any as bench_any  # noqa: PLC0415 -- heavy, and only this command needs it
    from protokms.bench import network as bench_network  # noqa: PLC0415 -- heavy, and only this command needs it

    if any_to_any:
        made = bench_any.any_to_any(_shapes(shapes, bench_any.KINDS), _say)
        _show(made, as_json)
        return
    _show(bench_network.network(nodes, pairs, _say), as_json)


@app.command(epilog="Example: protokms bench clients --at-once 100,500 --json")
def clients(
    at_once: Annotated[str, typer.Option(help="Numbers of clients, with commas.")] = "100,500",
    as_json: Json = False,
) -> None:
    """Measure how long it takes until clients that connect at once are all let in and answered."""
    from protokms.bench import clients as bench_clients  # noqa: PLC0415 -- heavy, and only this command needs it

    numbers = _numbers(at_once, _CLIENTS_MAX, "clients")
    _show(bench_clients.at_once(numbers, _say), as_json)


@app.command(epilog="Example: protokms bench directory --saes 100000 --json")
def directory(
    saes: Annotated[
        int, typer.Option(help="SAEs in the directory.", min=2, max=_SAES_MAX)
    ] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Measure start and memory of two nodes whose directory names very many SAEs."""
    from protokms.bench import directory as bench_directory  # noqa: PLC0415 -- heavy, and only this command needs it

    figures = bench_directory.directories(saes, _say)
    _show(figures, as_json)


@app.command(epilog="Example: protokms bench store --undelivered 100000 --json")
def store(
    undelivered: Annotated[
        int, typer.Option(help="Keys that are not fetched.", min=2, max=_UNDELIVERED_MAX)
    ] = 524_288,
    as_json: Json = False,
) -> None:
    """Measure a start on a store with very many undelivered keys: first key, all loaded, memory."""
    from protokms.bench import store as bench_store  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench_store.store(undelivered, _say), as_json)


@app.command(epilog="Example: protokms bench beside --seconds 10 --json")
def beside(
    seconds: Seconds = 10.0,
    rate: Annotated[float, typer.Option(help="Bit/s of the link.", min=1e6, max=1e9)] = 160e6,
    as_json: Json = False,
) -> None:
    """Measure how long SAEs that ask for little wait beside one that asks for all it can get."""
    from protokms.bench import beside as bench_beside  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench_beside.beside(seconds, rate, _say), as_json)


@app.command(epilog="Example: protokms bench troubled --seconds 5 --json")
def troubled(seconds: Seconds = 5.0, as_json: Json = False) -> None:
    """Measure delivery alone, and beside racing controllers, bad readers, stolen certificates."""
    from protokms.bench import troubled as bench_troubled  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench_troubled.troubled(seconds, _say), as_json)


@app.command(epilog="Example: protokms bench spread --seconds 3 --json")
def spread(seconds: Seconds = 3.0, as_json: Json = False) -> None:
    """Measure a node as one process, with its front end apart, and with two front ends."""
    from protokms.bench import spread as bench_spread  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench_spread.spread(seconds, _say), as_json)


File = Annotated[Path | None, typer.Option(exists=True, dir_okay=False)]


@app.command(epilog="Example: protokms bench module --rate 1e5,1e6 --seconds 20 --json")
def module(
    *,
    url: Annotated[str, typer.Option(help="A device; else two of our nodes are the pair.")] = "",
    far_url: Annotated[str, typer.Option(help="The device of the other end.")] = "",
    sae: Annotated[str, typer.Option(help="The SAE that asks the device.")] = "",
    far_sae: Annotated[str, typer.Option(help="The SAE of the other end.")] = "",
    certificate: File = None,
    key: File = None,
    far_certificate: File = None,
    far_key: File = None,
    ca: File = None,
    rate: Annotated[
        str, typer.Option(help="Bit/s that the pair is held to, with commas.")
    ] = "1e4,1e5,1e6,1e7",
    seconds: Seconds = 20.0,
    as_json: Json = False,
) -> None:
    """Measure what a device behind ETSI 014 gives, and what becomes key over a link beside that.

    Keys that a device gives here are lost. With --url, what both ends show is needed; without
    --far-url the device alone is measured.
    """
    from protokms.bench import module as bench_module  # noqa: PLC0415 -- heavy, and only this command needs it

    near = far = None
    if url:
        if not (far_sae and certificate and key and ca):
            raise typer.BadParameter("--url needs --far-sae, --certificate, --key and --ca")
        near = bench_module.Side(url, far_sae, certificate, key, ca)
    if far_url:
        if not (near and sae and far_certificate and far_key and ca):
            raise typer.BadParameter(
                "--far-url needs --url, --sae, --far-certificate, --far-key and --ca"
            )
        far = bench_module.Side(far_url, sae, far_certificate, far_key, ca)
    _show(bench_module.module(near, far, _rates(rate), seconds, _say), as_json)


def _rates(text: str) -> list[float]:
    try:
        rates = [float(each) for each in text.split(",")]
    except ValueError:
        raise typer.BadParameter("write bit/s with commas, like 1e4,1e6") from None
    if not all(_DEVICE_MIN <= each <= _DEVICE_MAX for each in rates):
        raise typer.BadParameter(f"rates are {_DEVICE_MIN:g} to {_DEVICE_MAX:g} bit/s")
    return rates


def _numbers(text: str, most: int, what: str) -> list[int]:
    try:
        numbers = sorted({int(each) for each in text.split(",")})
    except ValueError:
        raise typer.BadParameter("write numbers with commas, like 1,2,3") from None
    if not 1 <= numbers[0] <= numbers[-1] <= most:
        raise typer.BadParameter(f"{what} are 1 to {most:,}")
    return numbers


def _shapes(text: str, kinds: Collection[str]) -> list[tuple[str, int]]:
    found = []
    for one in text.split(","):
        kind, _, size = one.strip().partition(":")
        if kind not in kinds or not size.isdecimal() or not _SHAPE_MIN <= int(size) <= _SHAPE_MAX:
            most = f"{_SHAPE_MIN} to {_SHAPE_MAX:,}"
            raise typer.BadParameter(f"write {' or '.join(kinds)}, a colon, and {most}")
        found.append((kind, int(size)))
    return found


def _say(text: str) -> None:
    """Show how far a measurement is, beside the figures that may go to a file."""
    Console(stderr=True).print(cell(f"… {text}"), style="dim")


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table("what", "figure")
    for name, value in figures.items():
        if isinstance(value, dict):
            for inner, row in value.items():
                table.add_row(cell(f"{name} {inner}"), cell(_text(row)))
        else:
            table.add_row(cell(name), cell(_text(value)))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        inner = ((name, _text(one)) for name, one in value.items())
        return ", ".join(f"{name} {text}" for name, text in inner)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
