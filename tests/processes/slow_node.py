"""Runs a node whose disk is slow: whatever kills it mostly strikes before or after a commit.

`slow_node.py SECONDS node CONFIG`: each commit takes up to so many seconds longer.
"""

import random
import sys
import time
from collections.abc import Iterable

from actors.base import Change
from actors.storage.file import StoreFile
from protokms import cli

apply = StoreFile.apply


def main() -> None:
    longest = float(sys.argv.pop(1)) / 2

    def slowly(store: StoreFile, changes: Iterable[Change]) -> None:
        time.sleep(random.uniform(0, longest))
        apply(store, changes)
        time.sleep(random.uniform(0, longest))

    StoreFile.apply = slowly  # type: ignore[method-assign,assignment]
    cli.main()


if __name__ == "__main__":
    main()
