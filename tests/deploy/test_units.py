"""The unit files say what is so, and systemd has nothing to say about them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from protokms.commands import node as cli_node
from tests.deploy import units

SYSTEM = Path("/usr/lib/systemd/system")
PATIENCE_S = 60.0
EXPOSURE = 1.5
UNITS = [units.NODE, units.PROCESS]
INSTANCES = {units.NODE: "protokms@kms-1.service", units.PROCESS: "protokms-front@kms-1.service"}
KEY = 0o400


def run(*command: str) -> tuple[int, str]:
    """Run a tool; return its status and everything it says."""
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the units in it, what they lean on of systemd, and stubs for what they run."""
    made = tmp_path / "root"
    (made / "etc/systemd/system").mkdir(parents=True)
    lean_on = made / SYSTEM.relative_to("/")
    lean_on.mkdir(parents=True)
    for file in (*SYSTEM.glob("*.target"), *SYSTEM.glob("*.slice")):
        shutil.copy2(file, lean_on)
    for program in ("opt/protokms/bin/protokms", "bin/kill"):
        stub = made / program
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    for unit in UNITS:
        install(made, unit, unit.read_text())
    return made


def install(root: Path, unit: Path, text: str) -> None:
    template = re.sub("@.*", "@.service", INSTANCES[unit])
    (root / "etc/systemd/system" / template).write_text(text)


def verify(root: Path, unit: Path) -> str:
    """Return all that `verify` says: its status is 0 for a key that systemd does not know."""
    return run("systemd-analyze", f"--root={root}", "--man=no", "verify", INSTANCES[unit])[1]


@units.needs_systemd
@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_say_about_a_unit(root: Path, unit: Path) -> None:
    assert verify(root, unit) == ""


@units.needs_systemd
@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("NoNewPrivileges=yes", "NoNewPrivilege=yes", "NoNewPrivilege"),
        ("WatchdogSec=30", "WatchdogSec=soon", "ignoring: soon"),
        ("/opt/protokms/bin/protokms", "/opt/protokms/bin/protkms", "not executable"),
        ("network-online.target", "network-online.traget", "network-online.traget"),
    ],
)
def test_a_unit_with_a_mistake_is_told(root: Path, old: str, new: str, said: str) -> None:
    text = units.NODE.read_text()
    assert old in text
    install(root, units.NODE, text.replace(old, new))

    assert said in verify(root, units.NODE)


@units.needs_systemd
@pytest.mark.slow
def test_the_name_of_a_unit_says_which_process_it_runs(root: Path) -> None:
    asks = "ExecStart=/opt/protokms/bin/%J-%i\n"
    install(root, units.PROCESS, re.sub("ExecStart=.*\n", asks, units.PROCESS.read_text()))

    assert "/opt/protokms/bin/front-kms-1 is not executable" in verify(root, units.PROCESS)
    assert units.values(units.PROCESS, "ExecStart")[-1] == "/etc/protokms/%i/%J.toml"


@units.needs_systemd
@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_gives_a_node_no_more_than_it_needs(root: Path, unit: Path) -> None:
    scale = f"--threshold={EXPOSURE * 10:.0f}"
    command = ["systemd-analyze", f"--root={root}", "--man=no", "security", "--offline=true", scale]

    well, said = run(*command, INSTANCES[unit])
    install(root, unit, unit.read_text().replace("PrivateUsers=yes", "PrivateUsers=no"))
    install(root, unit, unit.read_text().replace("SystemCallFilter", "# SystemCallFilter"))
    worse, _ = run(*command, INSTANCES[unit])

    assert well == 0, said
    assert worse != 0


@units.needs_systemd
@pytest.mark.slow
def test_the_user_is_made_and_the_secrets_are_the_users_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    keys = [root / "etc/protokms/kms-1" / name for name in ("curve.key", "links/kms-2.key")]
    for key in keys:
        key.parent.mkdir(parents=True, exist_ok=True)
        key.touch(0o644)
    sysusers, tmpfiles = (
        units.FOLDER / f"protokms.{tool}.conf" for tool in ("sysusers", "tmpfiles")
    )

    users = run("systemd-sysusers", f"--root={root}", str(sysusers))
    assert (users[0], (root / "etc/passwd").read_text().partition(":")[0]) == (0, "protokms")
    if os.geteuid() == 0:  # only root gives files away
        files = run("systemd-tmpfiles", "--create", f"--root={root}", str(tmpfiles))

        uid = int((root / "etc/passwd").read_text().split(":")[2])
        assert files == (0, "")
        assert [(key.stat().st_mode & 0o777, key.stat().st_uid) for key in keys] == [(KEY, uid)] * 2


# What needs no systemd


def test_both_units_differ_in_the_command_and_the_node_key_alone() -> None:
    one, other = (units.settings(unit, "Service") for unit in UNITS)
    shared = [row for row in one if row[0] != "LoadCredential"]

    different = [(a, b) for a, b in zip(shared, other, strict=True) if a != b]

    ((command, apart),) = different
    node = command[1].removesuffix(" $PROTOKMS_NEW")  # the store is made by the core
    assert apart == (command[0], node.replace("node.toml", "%J.toml"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_node_again_unless_no_restart_helps(unit: Path) -> None:
    never = [int(code) for code in units.values(unit, "RestartPreventExitStatus")]

    assert never == [cli_node.MISUSED, cli_node.UNFIT]
    assert units.values(unit, "Restart") == ["on-failure"]
    assert ("StartLimitIntervalSec", "0") in units.settings(unit, "Unit")
