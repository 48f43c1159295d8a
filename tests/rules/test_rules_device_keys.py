"""Keys of a pair of QKD devices: their key_IDs told, fetched once, or discarded (R2, R3)."""

from dataclasses import replace

import pytest

from actors.protocol import blocks, links
from actors.protocol.peers import PeerSpeaks
from tests.kit.pair import Pair
from transport.message import Secret

SIZE = 256


class Devices:
    """Two stores whose links have devices; probes stand in the places of the links."""

    def __init__(self, *, speaks: bool = True) -> None:
        self.pair = Pair()
        self.links = {
            "a": self.pair.cluster.probe("quantum_link/b@a"),
            "b": self.pair.cluster.probe("quantum_link/a@b"),
        }
        self.keys: dict[str, bytes] = {}
        if speaks:
            self.speak()

    def speak(self) -> None:
        for node, peer in ("ab", "ba"):
            words = (blocks.KeyIds.wire, blocks.BlocksHeldJudged.wire)
            self.pair.cluster.tell(self.pair.at(node), PeerSpeaks(peer=peer, words=words))

    @property
    def epoch(self) -> bytes:
        return self.pair.store("a").state.datagram_epoch

    def give(self, n: int = 8, first: int = 0) -> None:
        """Let the device at a give so many keys."""
        made = {f"key-{seq}": self.pair.dice.randbytes(SIZE) for seq in range(first, first + n)}
        self.keys |= made
        emitted = links.EmittedKeys(
            epoch=self.epoch,
            first=first,
            payloads=tuple(map(Secret, made.values())),
            key_ids=tuple(made),
        )
        self.links["a"].say(self.pair.at("a"), emitted)
        self.pair.cluster.settle()

    def fetch(self, asked: links.FetchKeys) -> None:
        """Let the device at b give what its link was asked for."""
        payloads = tuple(Secret(self.keys[key_id]) for key_id in asked.key_ids)
        got = links.Received(epoch=asked.epoch, seqs=asked.seqs, payloads=payloads)
        self.links["b"].say(self.pair.at("b"), got)
        self.pair.cluster.advance(1.0)

    @property
    def asked(self) -> list[links.FetchKeys]:
        return self.links["b"].of(links.FetchKeys)

    @property
    def stored(self) -> tuple[int, int]:
        return (self.pair.store("a").stream.octets, self.pair.store("b").stream.octets)


def test_r2_what_a_device_gave_at_one_end_is_fetched_at_the_other_and_becomes_stock() -> None:
    devices = Devices()

    devices.give()
    assert [it.key_ids for it in devices.asked] == [tuple(devices.keys)]
    assert [it.seqs for it in devices.asked] == [tuple(range(8))]
    devices.fetch(devices.asked[0])

    assert devices.stored == (8 * SIZE - 32, 8 * SIZE - 32)  # the key of the tag is burnt
    assert devices.pair.key().octets


def test_r2_a_key_id_that_was_lost_is_told_again() -> None:
    devices = Devices()
    devices.pair.lost = {blocks.KeyIds}
    devices.give()
    assert devices.asked == []

    devices.pair.lost = set()
    devices.pair.cluster.advance(3.0)

    assert len(devices.asked) == 1


def test_r2_a_key_id_is_told_less_and_less_often_and_fetched_once() -> None:
    devices = Devices()

    devices.give()
    devices.pair.cluster.advance(15.0)

    assert 4 <= len(devices.pair.said(blocks.KeyIds, "a")) <= 6
    assert len(devices.asked) == 1


def test_r2_a_key_id_is_not_told_any_more_once_a_batch_has_named_it() -> None:
    devices = Devices()
    devices.give()
    devices.fetch(devices.asked[0])
    said = len(devices.pair.said(blocks.KeyIds))

    devices.pair.cluster.advance(15.0)

    assert len(devices.pair.said(blocks.KeyIds)) == said


def test_r2_what_is_not_fetched_in_time_is_discarded_and_told_no_more() -> None:
    devices = Devices()
    devices.give()
    devices.pair.cluster.advance(2000.0)
    said = len(devices.pair.said(blocks.KeyIds))

    devices.fetch(devices.asked[0])
    devices.pair.cluster.advance(100.0)

    assert devices.stored == (0, 0)
    assert devices.pair.cluster.count("a", "protokms_octets_lost") == 8 * SIZE
    assert len(devices.pair.said(blocks.KeyIds)) == said


def test_r2_what_one_end_could_not_fetch_costs_no_other_key() -> None:
    devices = Devices()
    devices.give(16)
    asked = devices.asked[0]

    devices.fetch(replace(asked, seqs=asked.seqs[2:], key_ids=asked.key_ids[2:]))

    assert devices.stored == (14 * SIZE - 32, 14 * SIZE - 32)


def test_r3_another_key_under_the_same_id_at_the_other_end_costs_its_batch_alone() -> None:
    devices = Devices()
    devices.give()
    devices.keys["key-3"] = bytes(reversed(devices.keys["key-3"]))
    devices.fetch(devices.asked[0])
    assert devices.stored == (0, 0)
    assert devices.pair.said(blocks.BlocksDiscarded, "a")

    devices.give(first=100)
    devices.fetch(devices.asked[1])

    assert devices.stored == (8 * SIZE - 32, 8 * SIZE - 32)


def test_a_key_id_is_told_only_to_a_peer_that_speaks_the_word() -> None:
    devices = Devices(speaks=False)
    devices.give()
    devices.pair.cluster.advance(3.0)
    assert not devices.pair.said(blocks.KeyIds)

    devices.speak()
    devices.pair.cluster.advance(3.0)

    assert len(devices.asked) == 1


def test_a_key_id_of_another_datagram_epoch_is_dropped_and_counted() -> None:
    devices = Devices()
    devices.give()
    (said, *_) = devices.pair.said(blocks.KeyIds)

    devices.pair.say("b", replace(said, epoch=bytes(16), key_ids=("other",)))

    assert len(devices.asked) == 1
    count = devices.pair.cluster.count("b", "protokms_key_ids_dropped", reason="epoch")
    assert count == 1


def test_r7_after_a_start_of_an_end_nothing_of_the_epoch_before_is_told_or_fetched() -> None:
    devices = Devices()
    devices.pair.lost = {blocks.KeyIds}
    devices.give()
    devices.pair.cluster.restart("a")
    devices.pair.lost = set()
    devices.pair.wire.clear()

    devices.speak()
    devices.pair.cluster.advance(10.0)
    devices.give()  # the same ids: the device is as new

    assert [it.key_ids for it in devices.asked] == [tuple(devices.keys)]
    assert {it.epoch for it in devices.pair.said(blocks.KeyIds)} == {devices.epoch}


@pytest.mark.parametrize(
    ("first", "key_ids"),
    [
        (0, ()),
        (0, ("",)),
        (0, ("x" * 65,)),
        (0, ("k\u00e9y",)),
        (0, ("k\ny",)),
        (0, tuple(map(str, range(1025)))),
        (-1, ("k",)),
        (links.SEQ_LIMIT, ("k",)),
    ],
)
def test_what_no_link_would_name_is_refused_at_both_ends(
    first: int, key_ids: tuple[str, ...]
) -> None:
    devices = Devices()
    head = devices.pair.store("a").state.head()
    payloads = (Secret(bytes(32)),) * len(key_ids)
    news = links.EmittedKeys(epoch=devices.epoch, first=first, payloads=payloads, key_ids=key_ids)

    word = blocks.KeyIds(head=head, epoch=devices.epoch, first=first, key_ids=key_ids)
    devices.pair.say("b", word)
    devices.pair.wire.clear()
    devices.links["a"].say(devices.pair.at("a"), news)
    devices.pair.cluster.settle()

    assert devices.asked == []
    assert not devices.pair.store("a").batches.emitted
    assert not devices.pair.said(blocks.KeyIds, "a")


def test_the_same_key_id_twice_in_one_word_is_fetched_once() -> None:
    devices = Devices()
    head = devices.pair.store("a").state.head()
    word = blocks.KeyIds(head=head, epoch=devices.epoch, first=0, key_ids=("k", "l", "k"))

    devices.pair.say("b", word)

    assert [(it.seqs, it.key_ids) for it in devices.asked] == [((0, 1), ("k", "l"))]


def test_key_ids_of_an_epoch_are_known_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sync.device_keys.KNOWN_MAX", 10)
    devices = Devices()

    devices.give(8)
    devices.give(8, first=100)

    assert len(devices.pair.store("b").device_keys._known) == 10
