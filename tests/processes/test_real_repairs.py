"""What operators meet: a store that must not be used, a wrong configuration, and the repairs."""

import base64
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from protokms.client import SaeError
from protokms.node.ports import free
from tests.processes.real_ears import windows
from tests.processes.real_lab import RealLab, drawn, eventually, exchange, exit_code, pair, protokms

pytestmark = pytest.mark.slow

Harm = Callable[[RealLab], None]


def config_of(bench: RealLab, node: str) -> str:
    return str(bench.folder / node / "node.toml")


# A store that must not be used


def newer(bench: RealLab) -> None:
    with closing(sqlite3.connect(bench.store("kms-1"))) as db:
        db.execute("PRAGMA user_version = 99")


def wrong_key(bench: RealLab) -> None:
    write_key(bench.folder / "kms-1/node.key")


def write_key(file: Path) -> None:
    file.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")


def corrupt_row(bench: RealLab) -> None:
    """Turn one bit in the middle of the sealed value that lies furthest back in the file."""
    store = bench.store("kms-1")
    octets = bytearray(store.read_bytes())
    with closing(sqlite3.connect(store)) as db:
        sealed = [value for (value,) in db.execute("SELECT sealed FROM row")]
    at = max(octets.find(value[4:20]) for value in sealed) + 8
    octets[at] ^= 1
    store.write_bytes(octets)


def corrupt_grant(bench: RealLab) -> None:
    """Change a row that no start reads before it serves, or one of the newest."""
    with closing(sqlite3.connect(bench.store("kms-1"))) as db, db:
        assert db.execute("UPDATE holding SET ends = x'00'").rowcount


def corrupt_page(bench: RealLab) -> None:
    """Overwrite the head of every page but the first."""
    store = bench.store("kms-1")
    octets = bytearray(store.read_bytes())
    for at in range(8192, len(octets), 8192):
        octets[at : at + 12] = b"\xff" * 12
    store.write_bytes(octets)


def cut_off(bench: RealLab) -> None:
    store = bench.store("kms-1")
    os.truncate(store, store.stat().st_size // 2)


def other_salt(bench: RealLab) -> None:
    with closing(sqlite3.connect(bench.store("kms-1"))) as db, db:
        db.execute("UPDATE salt SET salt = zeroblob(16)")


def of_another_node(bench: RealLab) -> None:
    shutil.copy2(bench.store("kms-2"), bench.store("kms-1"))


def exposed(bench: RealLab) -> None:
    bench.store("kms-1").chmod(0o644)


def no_database(bench: RealLab) -> None:
    bench.store("kms-1").write_bytes(b"")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that has run, with keys that wait at kms-1."""
    made = RealLab(tmp_path_factory.mktemp("stopped") / "lab", pair(rate_bit_s=2e6))
    try:
        made.up()
        made.await_keys()
        with made.client("sae-2") as far:
            drawn(far, "sae-1", 2)
    finally:
        made.down()
    return made.folder


@pytest.mark.parametrize(
    ("harm", "said", "remedy"),
    [
        (newer, "has version 99", "run the program that wrote it"),
        (wrong_key, "sealed under another node key", "correct [node] node_key"),
        (corrupt_row, "is not as written", "restore the file from a backup"),
        (corrupt_grant, "is not as written", "restore the file from a backup"),
        (corrupt_page, "", "restore the file from a backup"),
        (cut_off, "", "restore the file from a backup"),
        (other_salt, "another node key", "correct [node] node_key"),
        (of_another_node, "belongs to node kms-2", "correct [node] data"),
        (exposed, "can be opened by others", "chmod 600"),
        (no_database, "", "restore the file from a backup"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_store_that_must_not_be_used_stops_the_node_which_says_what_to_do(
    stopped: Path, tmp_path: Path, harm: Harm, said: str, remedy: str
) -> None:
    bench = RealLab(shutil.copytree(stopped, tmp_path / "copy"))
    harm(bench)
    harmed, waiting = bench.store("kms-1").read_bytes(), keys_in(bench, harm)

    check = protokms("node", config_of(bench, "kms-1"), "--check")
    run = protokms("node", config_of(bench, "kms-1"))

    for done, code in ((check, 1), (run, 78)):
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == code, text
        assert said in text
        assert remedy in text
        assert "kms-1/" in text
        assert "Traceback" not in text
    if waiting:  # rows are proved when they are read: until then it may have begun to write
        assert keys_in(bench, harm) == waiting
    else:
        assert bench.store("kms-1").read_bytes() == harmed  # it never starts empty instead


def keys_in(bench: RealLab, harm: Harm) -> list[tuple[int, bytes, bytes]]:
    """Read which undelivered keys lie in a file of which single rows were harmed."""
    if harm not in {corrupt_row, corrupt_grant}:
        return []
    with closing(sqlite3.connect(bench.store("kms-1"))) as db:
        return db.execute("SELECT number, clear, sealed FROM holding").fetchall()


def test_a_store_that_is_put_right_again_has_all_its_keys(bench: RealLab) -> None:
    with bench.client("sae-2") as far:
        waiting = drawn(far, "sae-1", 2)
    assert bench.terminate("kms-1") == 0
    good = bench.store("kms-1").read_bytes()
    corrupt_row(bench)
    assert protokms("node", config_of(bench, "kms-1")).returncode == 78

    for beside in bench.store("kms-1").parent.glob("store.db-*"):
        beside.unlink()  # the log of what was harmed: it may have been written to before the end
    bench.store("kms-1").write_bytes(good)
    bench.start("kms-1")

    with bench.client("sae-1") as near:
        assert near.dec_keys("sae-2", [key.key_id for key in waiting]) == waiting


def test_a_second_process_on_the_same_store_is_refused_and_the_first_goes_on(
    bench: RealLab,
) -> None:
    text = (bench.folder / "kms-1/node.toml").read_text()
    twin = bench.folder / "kms-1/twin.toml"
    taken = [line.split('"')[1] for line in text.splitlines() if line.startswith("bind = ")]
    for bind, port in zip(taken, free("a twin", set()), strict=False):
        text = text.replace(bind, f"{bind.rpartition(':')[0]}:{port}")
    text = text.replace('"manage.sock"', '"twin.sock"')
    twin.write_text(text)  # only the store is in its way

    second = protokms("node", str(twin))

    assert second.returncode == 1
    assert "is open in process" in second.stderr.decode()
    for command in (("store", "check", "kms-2"), ("store", "reset", "kms-2", "--yes")):
        done = protokms(*command, "--config", config_of(bench, "kms-1"))
        assert done.returncode == 1
        assert "is open in process" in done.stderr.decode()
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        exchange(near, far, 2)


# A wrong configuration


def test_check_tells_every_problem_of_a_configuration_at_once(bench: RealLab) -> None:
    assert bench.terminate("kms-1") == 0
    home = bench.folder / "kms-1"
    bench.configure("store", "kms-1", mode="sometimes", max_bitz=5)
    bench.configure("transport", "kms-1", heartbeat_s="often")
    (home / "tls.key").unlink()
    (home / "links/kms-2.key").write_text("no key")
    (home / "signing.key").chmod(0o644)
    shutil.copy2(bench.folder / "kms-2/curve.key", home / "curve.key")

    shape = protokms("node", config_of(bench, "kms-1"), "--check")
    bench.configure("store", "kms-1", mode="local")
    bench.configure("transport", "kms-1", heartbeat_s=1)
    text = (home / "node.toml").read_text()
    (home / "node.toml").write_text(text.replace("max_bitz = 5\n", ""))
    files = protokms("node", config_of(bench, "kms-1"), "--check")
    run = protokms("node", config_of(bench, "kms-1"))

    assert (shape.returncode, files.returncode, run.returncode) == (1, 1, 78)
    for word in ("store.mode", "max_bitz", "transport.heartbeat_s"):
        assert word in shape.stderr.decode()
    for word in ("tls.key", "links/kms-2.key", "signing.key", "another CURVE key"):
        assert word in files.stderr.decode()
        assert word in run.stderr.decode()
    assert "no key" not in files.stderr.decode().replace("is no key", "")


# Repairs


def epoch(bench: RealLab, node: str, peer: str) -> int:
    return int(bench.facts(node, f"key_store/{peer}")["epoch"])


def test_a_store_is_checked_reset_and_filled_anew_in_a_new_epoch(bench: RealLab) -> None:
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        before = exchange(near, far, 32)
        there = drawn(near, "sae-2", 2)
        bench.await_keys(2)  # an end that nobody has asked yet may have given its bits away
        here = drawn(far, "sae-1", 2)
    old = epoch(bench, "kms-2", "kms-1")
    config = "--config", config_of(bench, "kms-1")
    assert bench.terminate("kms-1") == 0

    checked = protokms("store", "check", "kms-2", *config, "--json")
    unasked = protokms("store", "reset", "kms-2", *config)
    unknown = protokms("store", "reset", "kms-9", *config, "--yes")
    reset = protokms("store", "reset", "kms-2", *config, "--yes")
    bench.start("kms-1")
    bench.await_keys()

    assert json.loads(checked.stdout)["rows"]["holding"] == 1
    assert (unasked.returncode, unknown.returncode, reset.returncode) == (1, 1, 0)
    assert b"there are stores of" in unknown.stderr
    eventually(
        lambda: epoch(bench, "kms-1", "kms-2") == epoch(bench, "kms-2", "kms-1"), "one epoch"
    )
    assert epoch(bench, "kms-1", "kms-2") > old
    assert all(bench.ready(node) for node in bench.nodes)
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        assert far.dec_keys("sae-1", [key.key_id for key in there]) == there
        with pytest.raises(SaeError) as gone:
            near.dec_keys("sae-2", [key.key_id for key in here])
        after = exchange(near, far, 64)
    assert gone.value.status == 400
    used = {part for key in before + there for part in windows(key.key.reveal())}
    assert not any(part in used for key in after for part in windows(key.key.reveal()))


def test_a_node_key_is_rotated_the_old_one_is_refused_and_keys_are_kept(bench: RealLab) -> None:
    with bench.client("sae-2") as far:
        waiting = drawn(far, "sae-1", 3)
    assert bench.terminate("kms-1") == 0
    home = bench.folder / "kms-1"
    before = bench.store("kms-1").read_bytes()

    done = protokms(
        "keys", "rotate", "--config", config_of(bench, "kms-1"), "--new-key", str(home / "new.key")
    )
    process = bench.launch("kms-1")  # the configuration still names the old one
    refused = exit_code(process)
    said = bench.log("kms-1").splitlines()[-1]
    text = (home / "node.toml").read_text()
    (home / "node.toml").write_text(text.replace('file = "node.key"', 'file = "new.key"'))
    (home / "node.key").unlink()
    bench.start("kms-1")

    assert done.returncode == 0, done.stderr
    assert (home / "new.key").stat().st_mode & 0o777 == 0o600
    assert refused == 78
    assert "another node key" in said
    assert bench.store("kms-1").read_bytes() != before
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        assert near.dec_keys("sae-2", [key.key_id for key in waiting]) == waiting
        bench.await_keys()
        exchange(near, far, 8)
