"""Help texts of metrics, from docs/metrics.md; `python -m tests.kit.help_texts` writes them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "protokms/node/metric_help.py"
HEAD = '"""What each metric says, for `# HELP` in `/metrics`: the words of docs/metrics.md."""'
FOOT = '"""Metric, without `_total`, to its text."""'


def texts() -> dict[str, str]:
    """Return what the page says of each metric, without its marks and its advice in bold."""
    told: dict[str, str] = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("| `protokms_"):
            *names, text = line.strip("|").split("|")
            what = re.sub(r"\*\*.*?\*\*|`", "", text).strip().rstrip(".")
            for name in re.findall(r"`(protokms_[a-z0-9_]+)`", names[0]):
                told[name.removesuffix("_total")] = what[0].upper() + what[1:] + "."
    return dict(sorted(told.items()))


if __name__ == "__main__":
    rows = "".join(f'    "{name}": "{text}",\n' for name, text in texts().items())
    FILE.write_text(f"{HEAD}\n\nHELP = {{\n{rows}}}\n{FOOT}\n")
