"""R11, R15, R16 and R17: delivery, what lies on disk, bounds at the doors."""

from pathlib import Path

import pytest

from actors.base import Drop, Range, Row
from actors.keystore import allocation
from actors.keystore.delivery import QUERIES_MAX
from actors.keystore.key_store import KeyStore
from actors.keystore.options import StoreOptions, StorePlan
from actors.keystore.own_store import OwnStore
from actors.ledger.held import WRITING_S
from actors.protocol import keys, links
from actors.protocol.common import Failed
from actors.storage.errors import StoreCorrupt
from actors.storage.file import StoreFile
from protokms.testing.cluster import Cluster
from protokms.testing.disk import FileDisk
from tests.kit.pair import Pair
from transport.message import Message, Secret

ROOT = Path(__file__).parents[2]


def ready(**options: object) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill()
    return pair


def code(answer: Message) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


def written(pair: Pair, receipt: int) -> None:
    pair.cluster.tell(pair.at("b"), keys.Written(receipt=receipt))


def broken(pair: Pair, receipt: int) -> None:
    pair.cluster.tell(pair.at("b"), keys.Broken(receipt=receipt))


# R11


def test_r11_a_key_is_not_given_again_after_a_written_response() -> None:
    pair = ready()
    key = pair.key()

    pair.deliver(key.grant)

    assert code(pair.dec(key.grant)) == "no_such_key"


def test_r11_nor_while_the_response_is_under_way() -> None:
    pair = ready()
    key = pair.key()

    _, receipt = pair.fetch(key.grant)

    assert code(pair.dec(key.grant)) == "in_delivery"  # and not "no": it may break yet
    written(pair, receipt)
    assert code(pair.dec(key.grant)) == "no_such_key"


def test_r11_an_sae_whose_front_end_died_is_never_told_no() -> None:
    """Of its answer nobody reports; another front end asks for the SAE at once, and again."""
    pair = ready()
    key = pair.key()
    pair.fetch(key.grant)

    said = set()
    for _ in range(int(WRITING_S) - 2):
        said.add(code(pair.dec(key.grant)))
        pair.cluster.advance(1.0)
    pair.cluster.advance(3.0)

    assert said == {"in_delivery"}
    assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_r11_a_broken_response_may_be_asked_for_again_by_the_same_sae_for_a_while() -> None:
    pair = ready()
    key = pair.key()
    first, receipt = pair.fetch(key.grant)
    broken(pair, receipt)
    pair.cluster.advance(29.0)

    assert code(pair.dec(key.grant, slave="bert")) == "not_named"
    again, receipt = pair.fetch(key.grant)
    broken(pair, receipt)
    pair.cluster.advance(31.0)

    assert first == again == key.octets.reveal()
    assert code(pair.dec(key.grant)) == "no_such_key"
    assert all(first not in secret for secret in pair.secrets("b"))


def test_r11_a_response_nobody_reports_on_counts_as_broken() -> None:
    pair = ready()
    key = pair.key()
    pair.fetch(key.grant)

    pair.cluster.advance(WRITING_S + 1)

    assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_r11_a_report_that_comes_late_still_counts() -> None:
    pair = ready()
    key = pair.key()
    _, receipt = pair.fetch(key.grant)
    pair.cluster.advance(WRITING_S + 1)

    written(pair, receipt)

    assert code(pair.dec(key.grant)) == "no_such_key"


def fetched_twice(pair: Pair) -> tuple[bytes, int, int]:
    """A grant whose first response nobody has reported on in time, and the receipts of both."""
    key = pair.key()
    _, first = pair.fetch(key.grant)
    pair.cluster.advance(WRITING_S + 1)
    _, second = pair.fetch(key.grant)
    return key.grant, first, second


def test_r11_a_report_that_comes_later_than_another_fetch_still_counts() -> None:
    pair = ready()
    grant, first, second = fetched_twice(pair)
    broken(pair, second)

    written(pair, first)

    assert code(pair.dec(grant)) == "no_such_key"


def test_r11_a_late_report_counts_though_another_response_is_under_way() -> None:
    pair = ready()
    grant, first, second = fetched_twice(pair)

    written(pair, first)
    broken(pair, second)

    assert code(pair.dec(grant)) == "no_such_key"


def test_r11_a_late_report_is_durable_though_another_response_is_under_way() -> None:
    pair = ready()
    grant, first, _ = fetched_twice(pair)

    written(pair, first)
    pair.cluster.advance(1.0)
    pair.cluster.crash("b")
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    assert code(pair.dec(grant)) == "no_such_key"


def test_r11_delivering_is_durable_and_its_window_begins_anew_with_each_start() -> None:
    pair = ready()
    key = pair.key()
    pair.fetch(key.grant)
    pair.cluster.crash("b")
    pair.cluster.advance(1000.0)
    pair.cluster.restart("b")
    pair.cluster.advance(20.0)

    again, receipt = pair.fetch(key.grant)
    pair.cluster.restart("b")
    pair.cluster.advance(20.0)
    third, _ = pair.fetch(key.grant)
    pair.cluster.restart("b")
    pair.cluster.advance(31.0)

    assert again == third == key.octets.reveal()
    assert receipt
    assert code(pair.dec(key.grant)) == "no_such_key"


def test_r11_delivered_is_durable() -> None:
    pair = ready()
    key = pair.key(2)
    pair.deliver(key.grant, 0)

    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    assert code(pair.dec(key.grant, 0)) == "no_such_key"
    assert pair.fetch(key.grant, 1)[0] == key.octets.reveal()[32:]


def test_r11_an_orderly_stop_keeps_what_a_commit_under_way_has_left_waiting() -> None:
    pair = ready()
    first, second = pair.key(), pair.key()
    receipts = [pair.fetch(key.grant)[1] for key in (first, second)]
    pair.cluster.fill_disk("b")
    for receipt in receipts:
        written(pair, receipt)
        pair.cluster.settle()

    pair.cluster.nodes["b"].stop("key_store/a")
    pair.cluster.settle()
    pair.cluster.free_disk("b")
    pair.cluster.settle()
    pair.revive("b")
    pair.cluster.advance(3.0)

    assert code(pair.dec(first.grant)) == "no_such_key"
    assert code(pair.dec(second.grant)) == "no_such_key"


def test_r11_without_a_redelivery_window_a_broken_response_is_the_end() -> None:
    pair = ready(redelivery_s=0.0)
    key = pair.key()
    _, receipt = pair.fetch(key.grant)

    broken(pair, receipt)

    assert code(pair.dec(key.grant)) == "no_such_key"
    assert not pair.store("b").held.holdings


def test_r11_without_a_redelivery_window_a_start_is_the_end_of_what_was_in_delivery() -> None:
    """P3 is given up then, and only then: for as long as nobody knows, nobody is told no."""
    pair = ready(redelivery_s=0.0)
    one, other = pair.key(), pair.key()
    pair.fetch(one.grant)

    assert code(pair.dec(one.grant)) == "in_delivery"
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    assert code(pair.dec(one.grant)) == "no_such_key"
    assert pair.fetch(other.grant)[0] == other.octets.reveal()


def test_r11_with_a_repeat_window_a_written_response_may_be_repeated_to_the_same_sae() -> None:
    pair = ready(repeat_window_s=5.0)
    key = pair.key()
    _, receipt = pair.fetch(key.grant)
    written(pair, receipt)

    again, receipt = pair.fetch(key.grant)
    written(pair, receipt)
    pair.cluster.advance(6.0)

    assert again == key.octets.reveal()
    assert code(pair.dec(key.grant)) == "no_such_key"


def test_r11_each_slave_gets_its_own_copy_once() -> None:
    pair = ready()
    key = pair.key(slaves=("bob", "bert"))

    one = pair.deliver(key.grant, slave="bob")
    two = pair.deliver(key.grant, slave="bert")

    assert isinstance(one, keys.KeysWithIds)
    assert isinstance(two, keys.KeysWithIds)
    assert one.octets == two.octets == (key.octets,)
    assert not pair.store("b").held.holdings


def test_r11_the_same_holds_for_two_saes_of_one_kms() -> None:
    cluster = Cluster(["a"])
    cluster.spawn("key_store/a@a", OwnStore, StorePlan(peer="a", options=StoreOptions()))
    ask = keys.GetKey(master="alice", slaves=("carol",), number=2, size=32)
    key = cluster.ask("key_store/a@a", ask)
    assert isinstance(key, keys.Keys)
    names = (keys.KeyName(key.grant, 1),)
    fetch = keys.GetKeyWithIds(master="alice", slave="carol", names=names)
    got = cluster.ask("key_store/a@a", fetch)
    assert isinstance(got, keys.KeysWithIds)
    cluster.tell("key_store/a@a", keys.Written(receipt=got.receipt))

    assert got.octets[0].reveal() == key.octets.reveal()[32:]
    assert code(cluster.ask("key_store/a@a", fetch)) == "no_such_key"
    for wrong in ({"slaves": ()}, {"slaves": ("alice",)}, {"number": 0}, {"size": 1 << 20}):
        fields = {"master": "alice", "slaves": ("carol",), "number": 1, "size": 32} | wrong
        code(cluster.ask("key_store/a@a", keys.GetKey(**fields)))  # type: ignore[arg-type]


# R15, R16 (what the ledger hands to the store; the file itself: tests/actors/storage/test_file.py)


def test_r15_key_octets_are_only_in_values_that_are_sealed() -> None:
    pair = ready()
    key = pair.key(4)
    pair.fetch(key.grant, 1)
    pair.cluster.advance(5.0)

    rows = [row for n in "ab" for row in pair.cluster.backup(n).values()]  # type: ignore[attr-defined]

    octets = key.octets.reveal()
    parts = [octets[i : i + 8] for i in range(0, len(octets), 8)]
    assert rows
    assert not any(part in row.clear + row.id for row in rows for part in parts)


def test_r15_a_row_moved_to_another_place_is_not_opened(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "a.db", "a")
    cluster = Cluster(["a"], disk=lambda _: disk)
    cluster.spawn("key_store/a@a", OwnStore, StorePlan(peer="a", options=StoreOptions()))
    cluster.ask("key_store/a@a", keys.GetKey(master="x", slaves=("y",), number=1, size=32))
    file = disk._file

    file._db.execute("UPDATE holding SET number = number + 1")

    with pytest.raises(StoreCorrupt):
        file.numbered(Range("a", "holding"))
    cluster.close()


def test_p4_a_key_delivered_to_everybody_is_in_no_row() -> None:
    pair = ready()
    key = pair.key(slaves=("bob", "bert"))
    octets = key.octets.reveal()
    pair.deliver(key.grant)
    pair.cluster.advance(10.0)
    after_one = [secret for secret in pair.secrets("b") if octets in secret]

    pair.deliver(key.grant, slave="bert")
    pair.cluster.settle()

    assert len(after_one) == 1
    assert all(octets not in secret for node in "ab" for secret in pair.secrets(node))


def test_r16_delivered_keys_are_in_no_row_after_erase_s() -> None:
    pair = ready()
    key = pair.key(4)
    pair.deliver(key.grant, 0, 1)

    pair.cluster.advance(10.0)

    octets = key.octets.reveal()
    for node in "ab":
        for part in (octets[:32], octets[32:64]):
            assert all(part not in secret for secret in pair.secrets(node))
    assert pair.fetch(key.grant, 2)[0] == octets[64:96]


@pytest.mark.parametrize("erase_s", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("late", [0.0, 0.3, 0.7])
def test_r16_rows_are_wiped_early_for_the_log_needs_half_of_the_time(
    erase_s: float, late: float
) -> None:
    pair = ready(erase_s=erase_s)
    pair.cluster.advance(late * erase_s)
    key = pair.key()
    pair.deliver(key.grant)

    pair.cluster.advance(0.4 * erase_s)

    for node in "ab":
        assert all(key.octets.reveal() not in secret for secret in pair.secrets(node))


@pytest.mark.parametrize("node", ["a", "b"])
def test_r16_nor_after_a_crash_before_the_wipe(node: str) -> None:
    pair = ready()
    key = pair.key()
    pair.deliver(key.grant)

    pair.cluster.restart(node)
    pair.cluster.advance(10.0)

    assert all(key.octets.reveal() not in secret for secret in pair.secrets(node))


@pytest.mark.parametrize("node", ["a", "b"])
def test_r16_nor_after_an_orderly_stop(node: str) -> None:
    pair = ready()
    key = pair.key()
    pair.deliver(key.grant)

    pair.cluster.nodes[node].stop(pair.at(node).partition("@")[0])
    pair.cluster.settle()

    assert not any(key.octets.reveal() in octets for octets in pair.secrets(node))


def test_r16_a_dropped_row_is_neither_in_the_database_nor_in_the_log(tmp_path: Path) -> None:
    file = StoreFile.create(tmp_path / "a.db", "a", Secret(bytes(32)))
    file.apply([Row("a", "grant", b"1", b"", Secret(bytes(range(64))))])
    (sealed,) = file._db.execute("SELECT sealed FROM row").fetchone()
    file.apply([Drop("a", "grant", b"1")])

    assert file.checkpoint()

    on_disk = b"".join(each.read_bytes() for each in tmp_path.glob("a.db*"))
    assert sealed[16:] not in on_disk
    file.close()


# R17


@pytest.mark.parametrize(
    ("saes", "number", "octets"), [(1 + 16, 1, 32), (1, 1024, 32), (1, 1, 65_536)]
)
def test_p9_the_most_that_a_configuration_may_offer_is_served(
    saes: int, number: int, octets: int
) -> None:
    slaves = tuple(f"sae-{n}" for n in range(saes))
    cluster = Cluster("a", lambda _: None)
    cluster.spawn("key_store/a@a", OwnStore, StorePlan(peer="a", options=StoreOptions()))

    made = cluster.ask(
        "key_store/a@a", keys.GetKey(master="x", slaves=slaves, number=number, size=octets)
    )

    assert isinstance(made, keys.Keys)
    cluster.close()


def test_r17_nobody_stops_all_actors_of_the_process() -> None:
    rooms = ("actors", "transport", "etsi", "protokms", "tests")
    calls = "Registry.stop_" + "all("
    found = [
        path for room in rooms for path in (ROOT / room).rglob("*.py") if calls in path.read_text()
    ]

    assert found == []


def test_r17_requests_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "ASKED_MAX", 3)
    monkeypatch.setattr(allocation.Allocation, "serve", lambda _: None)
    pair = ready()
    front = pair.cluster.probe("front@a")
    for _ in range(5):
        ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
        front.question(pair.at("a"), ask)
    pair.cluster.settle()

    assert [code(body) for body in front.received] == ["busy", "busy"]
    pair.cluster.advance(5.0)
    assert [code(body) for body in front.received[2:]] == ["timeout"] * 3


def test_r17_fetches_that_wait_for_the_owner_are_bounded() -> None:
    pair = ready()
    front = pair.cluster.probe("front@b")
    pair.cluster.cut("b", "a", one_way=True)
    for n in range(QUERIES_MAX + 5):
        names = (keys.KeyName(n.to_bytes(12, "big"), 0),)
        front.question(pair.at("b"), keys.GetKeyWithIds(master="alice", slave="bob", names=names))
    pair.cluster.settle()

    assert len(front.received) == 5
    pair.cluster.advance(1.1)
    assert len(front.received) == QUERIES_MAX + 5


def test_r17_octets_that_wait_are_bounded() -> None:
    pair = Pair()
    epoch = pair.store("a").state.datagram_epoch
    big = Secret(bytes(60_000))
    for n in range(100):
        emitted = links.Emitted(epoch=epoch, first=n, payloads=(big,))
        pair.cluster.tell(pair.at("a"), emitted)

    assert pair.store("a").batches.emitted <= 4 << 20


def test_r17_memory_does_not_grow_with_keys_delivered() -> None:
    pair = ready()
    store: KeyStore = pair.store("b")
    for _ in range(60):
        key = pair.key(1, 8)
        pair.deliver(key.grant)

    held = store.held
    assert not any((held.holdings, held._open, held._receipts, held._loads.pairs))
    assert held._dues <= 1100


def test_r17_a_store_that_crashed_ticks_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []
    monkeypatch.setattr(KeyStore, "_gauge", lambda self: ticks.append(self.clock.now))
    pair = Pair(tolerant=True)
    for _ in range(3):
        pair.cluster.nodes["a"].failed("key_store/b", None, None)
        pair.revive("a")
        pair.cluster.advance(1.0)
    ticks.clear()

    pair.cluster.advance(5.0)

    assert 18 <= len(ticks) <= 22  # two stores, two a second
