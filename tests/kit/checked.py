"""What `protokms node --check` says of a configuration, beside addresses and the store."""

from pathlib import Path

from protokms.config.load import examine
from protokms.config.tables import Problem


def find_problems(file: Path) -> list[Problem]:
    """Return all that is wrong with a file and those that it names."""
    report, _ = examine(file)
    return [*report.problems, *report.closed]
