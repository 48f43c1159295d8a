"""Runs a node as if the machine had been booted under another id: `other_boot.py FILE node CONFIG`.

FILE holds that id. Deadlines in the store are of that boot then, and begin anew with what was
left of them at the next start, whenever that is and on whatever machine (R12).
"""

import sys
from pathlib import Path

from actors.runtime import system
from protokms import cli


def main() -> None:
    """Put the id in the place of the kernel's, and run the command."""
    system._BOOT_ID = Path(sys.argv.pop(1))
    cli.main()


if __name__ == "__main__":
    main()
