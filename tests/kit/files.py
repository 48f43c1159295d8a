"""What tests write into the files of nodes."""

import re
from pathlib import Path


def calm(file: Path) -> None:
    """Let processes of a node wait for one another as long as nodes do: no test is fast."""
    text = file.read_text()
    for section in ("transport", "process"):
        if f"\n[{section}]\n" in text:
            text = with_key(text, section, "sibling_heartbeat_s", "1.0")
    file.write_text(text)


def with_key(text: str, section: str, name: str, value: str) -> str:
    """Write a key of a section, in place of what it had."""
    head = re.compile(rf"^\[{re.escape(section)}\].*$", re.MULTILINE)
    start = head.search(text)
    assert start, f"there is no [{section}]"
    end = re.compile(r"^\[", re.MULTILINE).search(text, start.end())
    body = text[start.end() : end.start() if end else len(text)]
    body = re.sub(rf"^{name}\s*=.*\n", "", body, flags=re.MULTILINE)
    rest = text[end.start() :] if end else ""
    return f"{text[: start.end()]}\n{name} = {value}{body}{rest}"
