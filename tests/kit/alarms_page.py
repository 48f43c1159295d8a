"""The table of alarms in docs/operate.md; `python -m tests.kit.alarms_page` writes it."""

from pathlib import Path

from actors.protocol.alarms import HAND, KINDS, Kind

PAGE = Path(__file__).parents[2] / "docs/operate.md"
BEGIN, END = "## Alarms\n", "\n## "
HEAD = "| id | meaning | what to do | ends |\n|---|---|---|---|\n"
HOUR_S = 3_600


def table() -> str:
    """Return the table that `KINDS` asks for."""
    return HEAD + "".join(_row(id_, kind) for id_, kind in sorted(KINDS.items()))


def parts_of(page: str) -> tuple[str, str, str]:
    """Return what stands before the table, the table, and what stands after it."""
    start = page.index(HEAD, page.index(BEGIN))
    rest = page[start:].splitlines(keepends=True)
    lines = next((n for n, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return page[:start], "".join(rest[:lines]), "".join(rest[lines:])


def _row(id_: str, kind: Kind) -> str:
    ends = "by hand" if kind.clears == HAND else "by itself"
    if kind.fades_s:
        ends += f", {kind.fades_s / HOUR_S:g} h after the last time"
    return f"| `{id_}` | {kind.meaning} | {kind.remedy.format(subject='SUBJECT')} | {ends} |\n"


if __name__ == "__main__":
    before, _, after = parts_of(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(before + table() + after, encoding="utf-8")
