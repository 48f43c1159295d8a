"""`protokms bench`: figures of this machine, as a table or as JSON."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_HOPS_MAX = 20

app = typer.Typer(no_args_is_help=True, help="Measure this machine; a benchmark is never a test.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seconds = Annotated[float, typer.Option(help="Seconds each measurement takes.", min=0.5, max=600)]


@app.command(epilog="Example: protokms bench delivery --seconds 5 --json")
def delivery(seconds: Seconds = 5.0, as_json: Json = False) -> None:
    """Measure ETSI 014 delivery of two nodes, in both modes, beside the bare server."""
    from protokms import bench  # noqa: PLC0415 -- heavy, and only this command needs it

    console = Console(stderr=True)
    figures = bench.delivery(seconds, lambda text: console.print(f"… {text}", style="dim"))
    _show(figures, as_json)


@app.command(epilog="Example: protokms bench ingest --max-bytes 8192 --rate 160e6")
def ingest(
    seconds: Seconds = 10.0,
    max_bytes: Annotated[int, typer.Option(help="Octets of the largest datagram.")] = 8192,
    rate: Annotated[float, typer.Option(help="Rate asked of the module, bit/s.")] = 200e6,
    as_json: Json = False,
) -> None:
    """Measure how fast an emulated link fills both stores, durably."""
    from protokms import bench  # noqa: PLC0415 -- heavy, and only this command needs it

    _show(bench.ingest(seconds, max_bytes, rate), as_json)


@app.command(epilog="Example: protokms bench relay --hops 1,2,3 --json")
def relay(
    hops: Annotated[str, typer.Option(help="Numbers of hops, with commas.")] = "1,2,3,5,10",
    seconds: Seconds = 5.0,
    as_json: Json = False,
) -> None:
    """Measure keys end to end over chains of nodes, each node a process of its own."""
    from protokms import bench_relay  # noqa: PLC0415 -- heavy, and only this command needs it

    try:
        numbers = sorted({int(text) for text in hops.split(",")})
    except ValueError:
        raise typer.BadParameter("write numbers with commas, like 1,2,3") from None
    if not numbers or not 1 <= numbers[0] <= numbers[-1] <= _HOPS_MAX:
        raise typer.BadParameter(f"hops are 1 to {_HOPS_MAX}")
    console = Console(stderr=True)
    figures = bench_relay.relay(numbers, seconds, lambda it: console.print(f"… {it}", style="dim"))
    _show(figures, as_json)


@app.command(epilog="Example: protokms bench network --nodes 100 --json")
def network(
    nodes: Annotated[int, typer.Option(help="Nodes of the largest network.", min=2)] = 1000,
    pairs: Annotated[int, typer.Option(help="Random pairs in each network.", min=1)] = 1000,
    as_json: Json = False,
) -> None:
    """Simulate networks of growing size: do routes form, do random pairs get keys, at what cost?"""
    from protokms import bench_network  # noqa: PLC0415 -- heavy, and only this command needs it

    console = Console(stderr=True)
    _show(bench_network.network(nodes, pairs, lambda it: console.print(f"… {it}")), as_json)


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table("what", "figure")
    for name, value in figures.items():
        if isinstance(value, dict):
            for inner, row in value.items():
                table.add_row(f"{name} {inner}", _text(row))
        else:
            table.add_row(name, _text(value))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        inner = ((name, _text(one)) for name, one in value.items())
        return ", ".join(f"{name} {text}" for name, text in inner)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
