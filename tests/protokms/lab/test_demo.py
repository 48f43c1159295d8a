"""The demo: the main job, for real, in a second or two."""

import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.lab import topology
from protokms.lab.demo import (
    DemoFailed,
    DemoHop,
    DemoResult,
    DemoRow,
    farthest,
    fingerprint,
    run_demo,
)
from transport.message import Secret

ROW = DemoRow("id", "a b", 256, "00", equal=True)


def test_nothing_at_all_is_not_equal() -> None:
    assert not DemoResult((), 1.0).equal
    assert DemoResult((ROW,), 1.0).equal


def test_json_tells_the_way() -> None:
    hops = (DemoHop("a", "b", 512), DemoHop("b", "c", 768))

    told = DemoResult((ROW,), 1.0, ("a", "b", "c"), hops).as_json()

    assert told["path"] == ["a", "b", "c"]
    assert told["hops"][1] == {"from": "b", "to": "c", "pad_bits": 768}


@pytest.mark.parametrize(
    ("shape", "ends"),
    [
        ("chain:2", ("kms-1", "kms-2")),
        ("chain:3", ("kms-1", "kms-3")),
        ("ring:6", ("kms-1", "kms-4")),
        ("star:4", ("kms-2", "kms-3")),
        ("mesh:4", ("kms-1", "kms-2")),
    ],
)
def test_the_two_nodes_farthest_apart_are_found(shape: str, ends: tuple[str, str]) -> None:
    assert farthest(topology.parse(shape)) == ends


def test_a_fingerprint_tells_keys_apart_only_within_a_run() -> None:
    one, other = Secret(bytes(32)), Secret(bytes(31) + b"\x01")

    assert fingerprint(one, b"x") == fingerprint(one, b"x")
    assert fingerprint(one, b"x") != fingerprint(other, b"x")
    assert fingerprint(one, b"x") != fingerprint(one, b"y")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "shape", "path"),
    [
        (2, "chain", ("kms-1", "kms-2")),
        (3, "chain", ("kms-1", "kms-2", "kms-3")),
        (4, "star", ("kms-2", "kms-1", "kms-3")),
        (3, "mesh", ("kms-1", "kms-2")),
    ],
)
def test_the_farthest_saes_get_equal_keys_and_nothing_is_left(
    nodes: int, shape: str, path: tuple[str, ...], here: Path
) -> None:
    before = set(threading.enumerate())

    result = run_demo(nodes, 4, shape=shape)

    assert result.equal
    assert len(result.rows) == len({row.key_id for row in result.rows}) == 4
    assert len({row.fingerprint for row in result.rows}) == len(result.rows)
    assert result.path == path
    assert len(result.hops) == (len(path) - 1 if len(path) > 2 else 0)
    assert all(hop.pad_bits > 4 * 256 for hop in result.hops)
    assert list(here.iterdir()) == []
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_a_key_that_differs_is_noticed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SaeClient.dec_keys

    def crooked(self: SaeClient, master: str, key_ids: list[str]) -> list[SaeKey]:
        first, *rest = honest(self, master, key_ids)
        return [SaeKey(first.key_id, Secret(bytes(len(first.key)))), *rest]

    monkeypatch.setattr(SaeClient, "dec_keys", crooked)

    result = run_demo(2, 2)

    assert [row.equal for row in result.rows] == [False, True]
    assert not result.equal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "why"), [(503, "not ready within 0.3 s: no bits"), (400, "no bits")]
)
def test_a_demo_without_bits_fails_in_time(
    here: Path, monkeypatch: pytest.MonkeyPatch, status: int, why: str
) -> None:
    def refuse(*_: Any, **__: Any) -> list[SaeKey]:
        raise SaeError(status, "no bits")

    monkeypatch.setattr(SaeClient, "enc_keys", refuse)

    with pytest.raises(DemoFailed, match=f"^{why}"):
        run_demo(2, 1, ready_s=0.3)

    assert list(here.iterdir()) == []
