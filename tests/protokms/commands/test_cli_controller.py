"""`protokms controller` as people type it: exit statuses, what is said, examples."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from protokms.commands import controller
from protokms.commands.controller import app
from protokms.lab import lab, topology

COMMANDS = ["discover", "plan", "apply", "watch"]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.parse("chain:2"), bare=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    said = run(command, "--help")

    assert said.exit_code == 0
    assert "Example: `protokms controller" in said.output


@pytest.mark.parametrize(
    "args",
    [
        ("plan",),
        ("plan", "chain:2"),
        ("apply", "chain:2", "--ca", "ca.crt", "--cert", "c.crt"),
        ("discover",),
        ("discover", "https://127.0.0.1:1"),
        ("watch",),
        ("apply", "chain:2", "--timeout", "no"),
    ],
)
def test_misuse_is_2(args: tuple[str, ...]) -> None:
    said = run(*args)

    assert said.exit_code == 2, said.output


def test_a_state_that_cannot_be_and_what_is_no_url_are_misuse(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text('[[link]]\na = "kms-1"\nb = "kms-9"\n')

    wrong = run("plan", file, "--lab", made)
    absent = run("apply", tmp_path / "nothing.toml", "--lab", made)
    plain = run("discover", "http://127.0.0.1:1", "--lab", made)

    assert (wrong.exit_code, absent.exit_code, plain.exit_code) == (2, 2, 2)
    assert "there is no node kms-9" in wrong.stderr
    assert "cannot be read" in absent.stderr
    assert "is no https URL" in plain.stderr


def test_a_lab_without_a_controller_is_told_what_to_do(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:1"))

    said = run("discover", "--lab", tmp_path / "lab")

    assert said.exit_code == 1
    assert "--controller" in said.stderr
    assert run("discover", "--lab", tmp_path).exit_code == 1


def test_a_certificate_that_cannot_be_read_is_refused(made: Path, tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    own = ("--ca", str(made / "ca/ca.crt"), "--cert", none, "--key", none)

    said = run("discover", "https://127.0.0.1:1", *own)

    assert said.exit_code == 1
    assert "cannot be used" in said.stderr


def test_who_does_not_answer_in_time_is_named_and_the_exit_status_is_3(made: Path) -> None:
    with socket.socket() as nobody:  # bound, and nobody listens
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        said = run("discover", url, "--lab", made, "--timeout", "0.1")

    assert said.exit_code == 3
    assert f"no answer from {url}" in said.stderr


def test_a_name_that_no_host_can_have_is_said(made: Path) -> None:
    said = run("discover", "https://a..b:1", "--lab", made, "--timeout", "5")

    assert said.exit_code == 1
    assert "https://a..b:1 cannot be asked" in said.stderr


def test_what_a_node_has_in_the_place_of_a_leaf_is_no_trouble() -> None:
    link = {"qkdl_local": "x", "qkdl_remote": {"qkdn_id": []}, "qkdl_performance": [1]}

    assert controller._of_link("kms-1", link, {}) == ("kms-1", "", "", "[]", "", "", None)
