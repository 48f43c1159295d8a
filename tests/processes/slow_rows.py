"""Runs a node that reads rows of undelivered keys late, and two at a time.

`slow_rows.py SECONDS node CONFIG`: each such reading takes up to so many seconds longer.
"""

import random
import sys
import time

from actors.base import Numbered, Range
from actors.keystore import loading
from actors.storage.file import StoreFile
from protokms import cli

numbered = StoreFile.numbered


def main() -> None:
    longest = float(sys.argv.pop(1))

    def slowly(store: StoreFile, rows: Range, most: int = -1) -> list[Numbered]:
        time.sleep(random.uniform(0, longest))
        return numbered(store, rows, most)

    StoreFile.numbered = slowly  # type: ignore[method-assign,assignment]
    loading.SLICE = loading.PORTION = 2
    cli.main()


if __name__ == "__main__":
    main()
