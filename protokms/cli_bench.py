"""`protokms bench`: figures of this machine, as a table or as JSON."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

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
        return ", ".join(f"{name} {inner:,}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int | float) else str(value)
