"""A node put back to a copy of its database after more keys were used (R7, P2, P3)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.protocol import grants, keys
from actors.protocol.common import Failed
from protokms.testing.cluster import Cluster
from protokms.testing.disk import FileDisk
from tests.kit.ledger_check import check_counters, check_rest
from tests.kit.pair import Pair

Act = Callable[[Pair, str], None]


def other(node: str) -> str:
    return "b" if node == "a" else "a"


def units(key: keys.Keys) -> set[bytes]:
    octets = key.octets.reveal()
    return {octets[i : i + 8] for i in range(0, len(octets), 8)}


def use_keys(pair: Pair, node: str) -> None:
    pair.key(10, at=node)


def form_batches(pair: Pair, node: str) -> None:
    pair.fill(2, sender=node)


def hold_keys(pair: Pair, node: str) -> None:
    pair.key(3, at=other(node))


def void_keys(pair: Pair, node: str) -> None:
    pair.lost = {grants.GrantsHeld}
    assert isinstance(pair.enc(at=node), Failed)
    pair.lost = set()


CASES = [
    (mode, act)
    for mode in ("confirmed", "local")
    for act in (use_keys, form_batches, hold_keys, void_keys)
    if (mode, act) != ("local", void_keys)  # a local grant is never voided
]


@pytest.mark.parametrize(("mode", "act"), CASES)
@pytest.mark.parametrize("node", ["a", "b"])
def test_nothing_is_issued_twice_after_a_restore(node: str, mode: str, act: Act) -> None:
    pair = Pair(mode=mode)
    pair.fill(4)
    pair.fill(4, sender="b")
    copy = pair.cluster.backup(node)
    act(pair, node)
    issued = [pair.key(5, at=each) for each in ("a", "b")]

    pair.cluster.restore(node, copy)
    pair.cluster.advance(5.0)
    pair.fill(4)
    pair.fill(4, sender="b")
    issued += [pair.key(5, at=each) for each in ("a", "b")]

    everything = [unit for key in issued for unit in units(key)]
    assert len(set(everything)) == len(everything)
    kept = issued[0 if node == "a" else 1]
    where = {"at": other(node)}
    assert pair.fetch(kept.grant, *range(5), **where)[0] == kept.octets.reveal()
    late = issued[2 if node == "a" else 3]
    assert pair.fetch(late.grant, *range(5), **where)[0] == late.octets.reveal()
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))
    for each in ("a", "b"):
        check_counters(pair.store(each))


def test_a_restore_to_the_present_state_alarms_nobody() -> None:
    pair = Pair()
    pair.fill(4)
    pair.key()
    copy = pair.cluster.backup("a")

    pair.cluster.restore("a", copy)
    pair.cluster.advance(5.0)

    assert pair.alarms() == 0
    assert pair.store("a").state.epoch[0] == 1


def test_the_alarm_of_a_rollback_is_raised_and_the_epoch_is_a_new_one() -> None:
    pair = Pair()
    pair.fill(2)
    copy = pair.cluster.backup("b")
    pair.fill(4)

    pair.cluster.restore("b", copy)
    pair.cluster.advance(5.0)

    assert pair.alarms() >= 1
    assert pair.store("a").state.epoch == pair.store("b").state.epoch
    assert pair.store("a").state.epoch[0] == 2
    assert pair.store("a").stream.octets == pair.store("b").stream.octets == 0


def test_a_slave_put_back_forgets_what_it_came_to_hold_and_says_so() -> None:
    pair = Pair()
    pair.fill(4)
    copy = pair.cluster.backup("b")
    key = pair.key()

    pair.cluster.restore("b", copy)
    pair.cluster.advance(5.0)

    answer = pair.dec(key.grant)
    assert isinstance(answer, Failed)
    assert answer.code == "no_such_key"


def test_a_wiped_node_begins_a_new_epoch_with_its_peer() -> None:
    pair = Pair()
    empty = pair.cluster.backup("a")
    assert isinstance(empty, dict)
    pair.fill(4)
    first = pair.key()

    pair.cluster.restore("a", {})
    pair.cluster.advance(5.0)
    pair.fill(4)
    second = pair.key()

    assert pair.store("b").state.epoch[0] == 2
    assert not units(first) & units(second)
    assert pair.fetch(first.grant)[0] == first.octets.reveal()


@pytest.mark.slow
def test_the_same_with_real_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Cluster.__init__

    def with_files(self: Cluster, *args: object, **options: object) -> None:
        made(self, *args, disk=lambda node: FileDisk(tmp_path / f"{node}.db", node), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Cluster, "__init__", with_files)
    pair = Pair()
    pair.fill(4)
    copy = pair.cluster.backup("a")
    first = pair.key(5)

    pair.cluster.restore("a", copy)
    pair.cluster.advance(5.0)
    pair.fill(6)
    second = pair.key(5)

    assert not units(first) & units(second)
    assert pair.fetch(first.grant, *range(5))[0] == first.octets.reveal()
    pair.cluster.close()
