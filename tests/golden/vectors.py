"""The files of golden vectors: the tests read them, `python -m tests.golden.write` adds to them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

FOLDER = Path(__file__).parent

Made = TypeVar("Made", str, Mapping[str, str | None])


def read(name: str) -> dict[str, object]:
    """Return what a file holds, by name; nothing if there is no such file yet."""
    file = FOLDER / name
    found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return found


def differing(name: str, made: Mapping[str, Made]) -> list[str]:
    """Return the names in a file under which something else is made now, or nothing."""
    return [key for key, kept in read(name).items() if made.get(key) != kept]


def add(name: str, made: Mapping[str, Made]) -> list[str]:
    """Append vectors that a file lacks and return their names; `ValueError` rather than change one.

    A vector that nothing makes any more stays: what was written once is read for ever.
    """
    known = read(name)
    changed = [key for key in differing(name, made) if key in made]
    if changed:
        raise ValueError(f"{name}: golden vectors are never rewritten: {', '.join(changed)}")
    fresh = {key: value for key, value in made.items() if key not in known}
    if fresh:
        text = json.dumps({**known, **fresh}, indent=1)
        (FOLDER / name).write_text(text + "\n")
    return list(fresh)
