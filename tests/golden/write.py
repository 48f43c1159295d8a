"""Adds vectors that are missing: `python -m tests.golden.write`. It never changes one."""

import sys

from tests.golden import (
    test_golden_intent,
    test_golden_local,
    test_golden_rows,
    test_golden_texts,
    test_golden_wire,
    vectors,
)


def main() -> None:
    """Add to each file what its test makes and the file lacks, and name it."""
    for test in (
        test_golden_wire,
        test_golden_local,
        test_golden_intent,
        test_golden_rows,
        test_golden_texts,
    ):
        for name in vectors.add(test.FILE, test.made()):
            sys.stdout.write(f"{test.FILE}: {name}\n")


if __name__ == "__main__":
    main()
