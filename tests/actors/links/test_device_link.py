"""A quantum link whose module has a device that names its keys."""

from collections.abc import Iterable, Sequence

from actors.links.quantum_link import QuantumLink
from actors.modules.memory import Pipe
from actors.modules.module import Bits, Host, Role
from actors.protocol import links
from protokms.testing.cluster import Cluster
from transport.message import Secret

EPOCH, NEXT = bytes(16), b"\1" + bytes(15)
OPENED = links.LinkOpened(epoch=EPOCH, credit=1000)
FETCH = links.FetchKeys(epoch=EPOCH, seqs=(7, 8), key_ids=("k", "l"))


class Keys:
    """A module that gives what a test puts in, and notes what it is to fetch."""

    tick_s = None

    def __init__(self, role: Role) -> None:
        self.role = role
        self.fetched: list[tuple[tuple[int, ...], tuple[str, ...]]] = []
        self.given: list[Bits] = []

    def start(self, host: Host) -> None:
        self.host = host

    def open(self, epoch: bytes) -> None:
        pass

    def tick(self, octets: int) -> Iterable[Bits]:
        return ()

    def release(self, bits: Bits) -> None:
        pass

    def take(self, datagrams: tuple[Secret, ...]) -> Iterable[Bits]:
        given, self.given = self.given, []
        return given

    def fetch(self, seqs: Sequence[int], key_ids: Sequence[str]) -> None:
        self.fetched.append((tuple(seqs), tuple(key_ids)))

    def close(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Line:
    """One link with such a module, and a probe in the place of its store."""

    def __init__(self, role: Role = "both") -> None:
        self.cluster = Cluster("a-b")
        self.store = self.cluster.probe("key_store/b@a")
        self.module = Keys(role)
        self.cluster.spawn("quantum_link/b@a", QuantumLink, "b", lambda: self.module)
        self.store.say("quantum_link/b@a", OPENED)
        self.cluster.settle()

    def give(self, *bits: Bits) -> None:
        self.module.given += bits
        self.module.host.arrived(())
        self.cluster.settle()

    def say(self, word: links.FetchKeys, sender: str | None = None) -> None:
        self.cluster.tell("quantum_link/b@a", word, sender=sender)

    def refused(self, reason: str) -> float:
        return self.cluster.count("a", "protokms_link_refused", reason=reason)


def test_keys_with_ids_are_told_to_the_store_as_emitted() -> None:
    line = Line()

    line.give(Bits(range(5, 7), (Secret(b"x"), Secret(b"yz")), ("k", "l")))

    assert line.store.of(links.EmittedKeys) == [
        links.EmittedKeys(
            epoch=EPOCH, first=5, payloads=(Secret(b"x"), Secret(b"yz")), key_ids=("k", "l")
        )
    ]


def test_a_link_at_which_both_ends_begin_tells_what_it_fetched_as_received() -> None:
    line = Line("both")

    line.give(Bits((7,), (Secret(b"x"),)), Bits((9,), (Secret(b"y"),), ("m",)))

    assert [it.seqs for it in line.store.of(links.Received)] == [(7,)]
    assert [it.first for it in line.store.of(links.EmittedKeys)] == [9]


def test_the_module_fetches_what_the_store_says() -> None:
    line = Line("receiver")

    line.say(FETCH, "key_store/b@a")

    assert line.module.fetched == [((7, 8), ("k", "l"))]


def test_nothing_is_fetched_of_another_epoch_nor_for_anybody_but_the_store() -> None:
    line = Line("receiver")

    line.say(links.FetchKeys(epoch=NEXT, seqs=(7,), key_ids=("k",)), "key_store/b@a")
    line.say(FETCH, "key_store/c@a")

    assert line.module.fetched == []
    assert line.refused("not_the_store") == 1


def test_a_link_without_a_device_refuses_to_fetch_and_counts_it() -> None:
    line = Line()
    line.cluster.probe("key_store/c@a")
    line.cluster.spawn("quantum_link/c@a", QuantumLink, "c", Pipe().receiver)

    line.cluster.tell("quantum_link/c@a", FETCH, sender="key_store/c@a")

    assert line.refused("no_device") == 1


def test_an_end_that_alone_begins_fetches_nothing() -> None:
    line = Line("sender")

    line.say(FETCH, "key_store/b@a")

    assert line.module.fetched == []
    assert line.refused("no_device") == 1


def test_a_link_at_which_both_ends_begin_asks_again_while_it_has_no_credit() -> None:
    line = Line("both")
    line.store.say("quantum_link/b@a", links.Credit(epoch=EPOCH, octets=0))
    line.cluster.settle()
    line.store.clear()

    line.cluster.advance(25.0)

    assert len(line.store.of(links.AskLink)) >= 2
