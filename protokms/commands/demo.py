"""What `protokms demo` prints."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protokms.commands.terminal import cell

if TYPE_CHECKING:  # it loads a whole node
    from protokms.lab.demo import DemoResult


def show(result: "DemoResult") -> None:
    """Print the keys, the way they came, and what that took."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"{len(result.rows)} keys, fetched by both applications")
    for name in ("key_ID", "pair", "bits", "fingerprint", "equal"):
        table.add_column(name, no_wrap=True)
    for row in result.rows:
        cells = row.key_id, row.pair, str(row.bits), row.fingerprint
        equal = cell("equal") if row.equal else Text("DIFFERENT", style="bold red")
        table.add_row(*map(cell, cells), equal)
    console.print(table)
    if result.hops:
        hops = ", ".join(f"{hop.sender} to {hop.receiver} {hop.pad_bits:,}" for hop in result.hops)
        way = " - ".join(result.path)
        console.print(cell(f"Relayed over {len(result.hops)} hops: {way}"))
        console.print(cell(f"Bits of each quantum link used as one-time pads: {hops}"))
    elif result.path:
        console.print(cell(f"Over one quantum link: {' - '.join(result.path)}"))
    seconds = f"{result.seconds:.1f} s from nothing to equal keys; all of it is gone now."
    console.print(cell(seconds))
