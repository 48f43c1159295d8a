"""The import names are the folder names, so they must be ours alone; the README is what is so."""

import configparser
import re
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

from protokms.config import brainpool
from protokms.release import VERSION

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


def test_what_is_to_be_cited_is_this_version_under_its_licence() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    cited = dict(
        re.findall(r"^([a-z-]+): \"?([^\"\n]+)", (ROOT / "CITATION.cff").read_text(), re.M)
    )

    assert (cited["version"], cited["license"]) == (VERSION, setup["metadata"]["license"])
    assert f"## [{VERSION}] - {cited['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_what_an_upgrade_meets_is_said_first_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    (section,) = re.findall(rf"^## \[{VERSION}\].*\n\n(.+)", text, re.M)

    assert section.startswith("### What an upgrade from ")


def test_whose_it_is_travels_with_it() -> None:
    files = {path.name for path in distribution("protokms").files or ()}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    named = setup["metadata"]["license_files"].split()

    assert "Copyright 2026 The Proto KMS authors" in (ROOT / "NOTICE").read_text()
    assert {"LICENSE", "NOTICE", "AUTHORS"} == set(named) <= files


def test_every_file_that_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]

    assert missing == []


def test_the_groups_of_brainpool_travel_with_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    assert brainpool.FILE.is_file()
    assert setup["options.package_data"]["protokms.config"] == brainpool.FILE.name
