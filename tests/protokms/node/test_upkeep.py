"""Upkeep of the store of a stopped node."""

import os
import shutil
from pathlib import Path

import pytest

from actors.base import NUMBER_OCTETS, Row
from actors.storage.errors import WrongKey
from actors.storage.file import StoreFile
from protokms.config.keyfiles import read_key
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.node.upkeep import UpkeepFailed, check_store, reset_store, rotate_key
from transport.message import Secret

BITS = bytes(range(200)) * 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    home = tmp_path / "lab/kms-1"
    store = StoreFile.create(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))
    rows = [Row("kms-2", "bits", bytes([n]), b"", Secret(BITS)) for n in range(3)]
    store.apply([*rows, Row("kms-2", "standing", b""), Row("kms-1", "held", b"x")])
    store.close()
    return home


def test_a_check_counts_what_is_shared_with_a_peer(home: Path) -> None:
    assert check_store(home / "node.toml", "kms-2") == {"bits": 3, "standing": 1}
    reset_store(home / "node.toml", "kms-2")
    assert check_store(home / "node.toml", "kms-2") == {}


def test_a_check_of_a_peer_that_was_never_there_is_no_success(home: Path) -> None:
    with pytest.raises(UpkeepFailed, match="nothing is shared with kms-9; there are stores of"):
        check_store(home / "node.toml", "kms-9")


def test_a_damaged_store_does_not_pass_the_check(home: Path) -> None:
    octets = bytearray((home / "store.db").read_bytes())
    place = len(octets) - 3000
    octets[place : place + 200] = bytes(200)
    (home / "store.db").write_bytes(octets)

    with pytest.raises(UpkeepFailed, match=r"store\.db"):
        check_store(home / "node.toml", "kms-2")


def test_a_reset_destroys_one_store_and_leaves_the_others(home: Path) -> None:
    gone = reset_store(home / "node.toml", "kms-2")

    assert gone == 4
    assert check_store(home / "node.toml", "kms-2") == {}
    assert check_store(home / "node.toml", "kms-1") == {"held": 1}
    assert not (home / "store.db-wal").exists() or not (home / "store.db-wal").stat().st_size


def test_a_reset_destroys_undelivered_keys_too(home: Path) -> None:
    store = StoreFile.open(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))
    number = (7).to_bytes(NUMBER_OCTETS, "big")
    held = [Row(peer, "holding", number, b"", Secret(BITS), b"ends") for peer in ("kms-2", "kms-3")]
    store.apply([*held, Row("kms-2", "tombstone", number, b"")])
    store.close()

    gone = reset_store(home / "node.toml", "kms-2")

    assert gone == 4 + 2
    assert check_store(home / "node.toml", "kms-2") == {}
    store = StoreFile.open(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))
    assert store.report().rows == {("kms-1", "held"): 1, ("kms-3", "holding"): 1}
    store.close()


def test_a_reset_whose_rows_stay_in_the_log_is_no_success(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreFile, "checkpoint", lambda _: False)

    with pytest.raises(UpkeepFailed, match="the log still holds them"):
        reset_store(home / "node.toml", "kms-2")


def test_a_reset_of_what_is_not_there_names_what_is(home: Path) -> None:
    with pytest.raises(UpkeepFailed, match="there are stores of kms-1, kms-2"):
        reset_store(home / "node.toml", "kms-7")


def test_a_running_node_is_left_alone(home: Path) -> None:
    running = StoreFile.open(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))

    with pytest.raises(UpkeepFailed, match="is open in process"):
        reset_store(home / "node.toml", "kms-2")

    running.close()


def test_after_a_rotation_only_the_new_key_opens_the_store(home: Path) -> None:
    new = home / "new.key"

    rows = rotate_key(home / "node.toml", new)

    fresh = StoreFile.open(home / "store.db", "kms-1", Secret(read_key(new)))
    assert [row.secret for row in fresh.load("kms-2") if row.secret] == 3 * [Secret(BITS)]
    fresh.close()
    assert rows == 5
    assert new.stat().st_mode & 0o777 == 0o600
    with pytest.raises(WrongKey):
        StoreFile.open(home / "store.db", "kms-1", Secret(read_key(home / "node.key")))


def test_the_new_key_is_on_the_disk_before_anything_is_sealed_under_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, synced, order = home / "new.key", set[int](), list[bool]()
    fsync, rotate = os.fsync, StoreFile.rotate

    def note(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def rotated(self: StoreFile, key: Secret) -> None:
        order.append({new.stat().st_ino, home.stat().st_ino} <= synced)
        rotate(self, key)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(StoreFile, "rotate", rotated)
    rotate_key(home / "node.toml", new)

    assert order == [True]


def test_a_rotation_takes_a_key_that_is_there(home: Path) -> None:
    shutil.copy(home / "signing.key", home / "new.key")
    before = (home / "new.key").read_bytes()

    rotate_key(home / "node.toml", home / "new.key")

    assert (home / "new.key").read_bytes() == before


def test_a_bad_new_key_changes_nothing(home: Path) -> None:
    (home / "new.key").write_text("nonsense")
    (home / "new.key").chmod(0o600)

    with pytest.raises(UpkeepFailed, match="base64"):
        rotate_key(home / "node.toml", home / "new.key")

    assert check_store(home / "node.toml", "kms-2")["bits"] == 3


def test_a_bad_configuration_is_told(home: Path) -> None:
    made = load(home / "node.toml")
    made.path.write_text(made.path.read_text().replace("max_bits", "max_bitz"))

    with pytest.raises(UpkeepFailed, match="max_bitz"):
        check_store(made.path, "kms-2")
