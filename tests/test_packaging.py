"""The import names are the folder names, so they must be ours alone; the README is what is so."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["actors", "transport", "etsi", "protokms"])
def test_no_other_distribution_brings_our_names(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"protokms"}


def test_the_example_of_the_readme_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}

    exec(compile(example, "README.md", "exec"), names)  # the file is ours

    test = names["test_a_key_survives_the_crash_of_both_nodes"]
    assert callable(test)
    test()


def test_every_file_that_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]

    assert missing == []
