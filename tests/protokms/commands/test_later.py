"""What a command that does no work loads: its own words, and no network of nodes."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from protokms.commands.main import app

# What costs most of a start, and what only a command at work needs.
HEAVY = (
    "actors",
    "aiohttp",
    "cryptography",
    "etsi",
    "msgspec",
    "networkx",
    "pykka",
    "structlog",
    "transport",
    "zmq",
    "protokms.bench",
    "protokms.config",
    "protokms.controller",
    "protokms.lab",
    "protokms.node",
    *(f"protokms.commands.{name}" for name in ("bench", "controller", "lab", "manage", "sae")),
)
GROUPS = ("lab", "bench", "sae", "controller", "session", "route", "peer", "link", "alarm")
ASKED = """
import sys
from protokms.cli import main

sys.argv = ["protokms", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def loaded(*args: str, **settings: str) -> set[str]:
    done = subprocess.run(  # fresh: here everything is loaded already
        [sys.executable, "-c", ASKED, *args],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | settings,
    )
    assert done.stdout
    return set(done.stderr.split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in HEAVY if name in modules}


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("store", "--help")])
def test_a_command_without_work_loads_nothing_heavy(args: tuple[str, ...]) -> None:
    assert heavy(loaded(*args)) == set()


def test_completion_of_the_first_word_loads_nothing_heavy() -> None:
    settings = {
        "_PROTOKMS_COMPLETE": "complete_bash",
        "COMP_WORDS": "protokms l",
        "COMP_CWORD": "1",
    }
    assert heavy(loaded(**settings)) == set()


def test_completion_knows_the_commands_of_a_group() -> None:
    settings = {
        "_PROTOKMS_COMPLETE": "complete_bash",
        "COMP_WORDS": "protokms lab st",
        "COMP_CWORD": "2",
    }
    told = CliRunner().invoke(app, [], env=settings, prog_name="protokms").output.split()
    assert {"status", "start"} <= set(told)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for_each_shell(shell: str) -> None:
    settings = {"_PROTOKMS_COMPLETE": f"source_{shell}"}
    told = CliRunner().invoke(app, [], env=settings, prog_name="protokms").output
    assert "_PROTOKMS_COMPLETE" in told


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_has_its_help_and_that_of_its_commands(name: str) -> None:
    told = CliRunner().invoke(app, [name, "--help"])
    assert told.exit_code == 0
    assert "Commands" in told.output


def test_an_unknown_command_of_a_group_is_misuse() -> None:
    told = CliRunner().invoke(app, ["lab", "nonsense"])
    assert told.exit_code == 2
    assert "No such command 'nonsense'" in told.output
