"""The demo: the main job, for real, in a second or two."""

import tempfile
import threading
from pathlib import Path

import pytest

from protokms.demo import DemoFailed, DemoResult, DemoRow, fingerprint, run_demo
from protokms.sae import SaeClient, SaeKey
from transport.message import Secret

ROW = DemoRow("id", "a b", 256, "00", equal=True)


def test_nothing_at_all_is_not_equal() -> None:
    assert not DemoResult((), 1.0).equal
    assert DemoResult((ROW,), 1.0).equal


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
@pytest.mark.parametrize("nodes", [2, 3])
def test_every_pair_of_neighbours_gets_equal_keys_and_nothing_is_left(
    nodes: int, here: Path
) -> None:
    before = set(threading.enumerate())

    result = run_demo(nodes, 4)

    assert result.equal
    assert len(result.rows) == len({row.key_id for row in result.rows}) == 4 * (nodes - 1)
    assert len({row.fingerprint for row in result.rows}) == len(result.rows)
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
def test_a_demo_without_bits_fails_in_time(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaeClient, "status", lambda *_: {"stored_key_count": 0})

    with pytest.raises(DemoFailed, match="not ready within"):
        run_demo(2, 1, ready_s=0.3)

    assert list(here.iterdir()) == []
