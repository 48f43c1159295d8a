"""The virtual link between its store, its sessions and the first and last relays."""

import dataclasses

import pytest

from actors.links.chunk_source import CHUNK_FIRST, IN_FLIGHT_MAX, WANTS_EVERY_S
from actors.links.share_assembler import INCOMPLETE_MAX, INCOMPLETE_S, xor_all
from actors.links.virtual_link import VirtualLink
from actors.protocol import links, relay
from actors.protocol.common import Drain, Drained, Failed, Health, Healthy
from actors.protocol.relay import (
    CHUNK_MAX,
    CHUNK_MIN,
    HOLD_S,
    ChunkId,
    LaneClosed,
    LaneOpened,
    SessionId,
)
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from transport.message import Message, Secret

EPOCH, NEXT = bytes(16), b"\1" + bytes(15)
THEIRS = SessionId("d", 9)
FIRST, SECOND = SessionId("a", 1), SessionId("a", 2)
PATHS = (("a", "b", "d"), ("a", "c", "d"))
ROOM = 1 << 21


class End:
    """A virtual link of node `a` with the distant `d`; everything around it is a probe."""

    def __init__(self, *, tolerant: bool = False, answer: bool = True) -> None:
        self.room = ROOM
        self.cluster = Cluster("a d", tolerant=tolerant, hear_peers=())
        self.store = self.cluster.probe("key_store/d@a")
        self.sessions = self.cluster.probe("sessions@a")
        self.relays = [self.cluster.probe(f"relay/{name}@a") for name in "bc"]
        if answer:
            for probe in self.relays:
                probe.on(relay.Pass, relay.Passed())
        self.cluster.advance(5.0)
        self.start()

    def start(self) -> None:
        self.cluster.spawn("virtual_link/d@a", VirtualLink, "d")

    def say(self, who: Probe, *words: Message) -> None:
        for word in words:
            who.say("virtual_link/d@a", word)
            if isinstance(word, LaneOpened) and word.hop == 0 and who is self.sessions:
                self.tell_room(word, self.room)
        self.cluster.settle()

    def tell_room(self, terms: LaneOpened, octets: int, after: int = -1) -> None:
        """Have the first relay of a share say what its path has room for."""
        session, share = terms.session, terms.share
        news = relay.LaneRoom(
            session=session, share=share, after=after, octets=octets, hold_s=HOLD_S
        )
        self.relays[share].say("virtual_link/d@a", news)

    def open(self, credit: int = ROOM, epoch: bytes = EPOCH) -> None:
        self.say(self.store, links.LinkOpened(epoch=epoch, credit=credit))

    def terms(
        self, session: SessionId = FIRST, shares: int = 1, *, away: bool = True
    ) -> list[LaneOpened]:
        ends = ["virtual_link/d", "relay/{}"]
        made = []
        for share, path in enumerate(PATHS[:shares]):
            source, target = (end.format(path[1]) for end in (ends if away else ends[::-1]))
            hop = 0 if away else 2
            made.append(
                LaneOpened(
                    session=session,
                    share=share,
                    shares=shares,
                    source=source,
                    target=target,
                    hop=hop,
                    path=path if away else path[::-1],
                    weight=1,
                )
            )
        return made

    def passed(self, share: int = 0, session: SessionId | None = None) -> dict[int, bytes]:
        """What the first relay of a share was given, by seq."""
        words = [
            word
            for word in self.relays[share].of(relay.Pass)
            if session in (None, word.chunk.session)
        ]
        assert all(word.chunk.share == share for word in words)
        return {word.chunk.seq: word.payload.reveal() for word in words}

    def emitted(self) -> dict[int, bytes]:
        words = self.store.of(links.Emitted)
        made = {w.first + n: p.reveal() for w in words for n, p in enumerate(w.payloads)}
        assert len(made) == len(words)
        return made

    def give(self, chunk: ChunkId, payload: bytes, relay_: int = 0) -> None:
        """Have a share come in by a last relay."""
        ask = relay.Pass(chunk=chunk, payload=Secret(payload))
        self.relays[relay_].question("virtual_link/d@a", ask)
        self.cluster.settle()

    def received(self) -> dict[int, bytes]:
        words = self.store.of(links.Received)
        return {word.seqs[0]: word.payloads[0].reveal() for word in words}

    def answers(self, relay_: int = 0) -> list[str]:
        bodies = [e.body for e in self.relays[relay_].envelopes if e.answer]
        return [body.code if isinstance(body, Failed) else "passed" for body in bodies]


def coming(seq: int, share: int = 0, session: SessionId = THEIRS) -> ChunkId:
    return ChunkId(session, share, EPOCH, seq)


def test_it_asks_for_shares_and_for_its_epoch() -> None:
    end = End()

    assert len(end.sessions.of(relay.AskLanes)) == 1
    end.cluster.advance(2.5)
    assert len(end.store.of(links.AskLink)) == 3
    end.say(end.store, links.LinkClosed())
    end.cluster.advance(11.0)
    assert len(end.store.of(links.AskLink)) == 5


def test_it_draws_as_much_as_the_credit_allows_and_the_store_hears_first() -> None:
    end = End()
    end.say(end.sessions, *end.terms())

    end.open(credit=20_000)

    sent = end.passed()
    assert sent == end.emitted()
    assert 20_000 - CHUNK_MIN < sum(map(len, sent.values())) <= 20_000
    assert all(word.via == PATHS[:1] for word in end.store.of(links.Emitted))
    end.say(end.store, links.Credit(epoch=EPOCH, octets=CHUNK_MIN))
    assert len(end.passed()) == len(sent) + 1
    end.say(end.store, links.Credit(epoch=NEXT, octets=CHUNK_MIN))
    assert len(end.passed()) == len(sent) + 1


def test_nothing_is_passed_on_before_the_store_was_told() -> None:
    end = End(answer=False)
    order: list[str] = []
    tell = end.store.tell

    def noting(envelope: object) -> None:
        order.append("store")
        tell(envelope)  # type: ignore[arg-type]

    end.store.tell = noting  # type: ignore[method-assign]
    end.relays[0].on(relay.Pass, lambda _: order.append("relay"))
    end.say(end.sessions, *end.terms())
    order.clear()

    end.open(credit=CHUNK_MIN)

    assert order == ["store", "store", "relay"]  # Withdrawn, Emitted, Pass


def test_chunks_grow_while_they_are_taken_over_quickly_up_to_the_largest() -> None:
    end = End()
    end.say(end.sessions, *end.terms())

    end.open(credit=8 * CHUNK_MAX)

    sizes = [len(octets) for octets in end.passed().values()]
    assert sizes[0] == CHUNK_FIRST
    assert max(sizes) == CHUNK_MAX


def test_chunks_shrink_when_they_are_taken_over_slowly() -> None:
    end = End(answer=False)
    end.say(end.sessions, *end.terms())
    end.open()
    assert len(end.passed()) == IN_FLIGHT_MAX

    for _ in range(4):
        end.cluster.advance(1.0)
        for envelope in list(end.relays[0].envelopes)[-IN_FLIGHT_MAX:]:
            system = end.cluster.nodes["a"]
            system.send(
                envelope._replace(
                    sender=envelope.to, to=envelope.sender, body=relay.Passed(), answer=True
                )
            )
        end.cluster.settle()

    assert len(list(end.passed().values())[-1]) == CHUNK_MIN


def test_a_chunk_that_is_not_taken_over_is_lost_and_the_next_ones_wait_a_while() -> None:
    end = End()
    end.relays[0].on(relay.Pass, Failed(code="no_session", why=""))
    end.say(end.sessions, *end.terms())
    end.open()
    first = end.passed()
    end.relays[0].on(relay.Pass, relay.Passed())

    end.cluster.advance(0.4)
    assert end.passed() == first
    end.cluster.advance(0.2)

    assert len(end.passed()) > len(first)
    assert not set(first.values()) & (set(end.passed().values()) - set(first.values()))


def test_seqs_never_come_twice_not_even_after_a_crash() -> None:
    end = End(tolerant=True)
    end.say(end.sessions, *end.terms())
    end.open()
    before = end.emitted()

    end.cluster.crash_actor("virtual_link/d@a")
    end.cluster.advance(0.01)
    end.start()
    end.say(end.sessions, *end.terms())
    end.open()

    assert len(end.emitted()) == 2 * len(before)
    assert max(before) < max(end.emitted())


def test_without_all_shares_nothing_is_drawn() -> None:
    end = End()
    end.open()

    end.say(end.sessions, end.terms(shares=2)[0])
    assert end.emitted() == {}
    end.say(end.sessions, end.terms(shares=2)[1])
    assert end.emitted() != {}


def test_shares_are_told_by_sessions_and_epochs_by_the_store_alone() -> None:
    end = End()

    end.say(end.store, *end.terms())
    end.say(end.sessions, links.LinkOpened(epoch=EPOCH, credit=ROOM))
    end.say(end.store, links.LinkOpened(epoch=EPOCH, credit=ROOM))
    assert end.emitted() == {}
    end.say(end.sessions, *end.terms())
    end.say(end.sessions, links.LinkClosed(), links.Credit(epoch=EPOCH, octets=0))
    end.say(end.store, LaneClosed(session=FIRST, share=0))

    assert end.store.of(links.Withdrawn) == [links.Withdrawn(epoch=EPOCH)]
    end.say(end.store, links.Credit(epoch=EPOCH, octets=CHUNK_MIN))
    assert len(list(end.emitted().values())[-1]) == CHUNK_MIN


# R13: room


def test_r13_a_chunk_is_as_large_as_its_path_has_pads_for() -> None:
    end = End()
    end.room = 3 * CHUNK_MIN
    end.say(end.sessions, *end.terms())

    end.open()

    sizes = [len(octets) for octets in end.passed().values()]
    assert sizes == [3 * CHUNK_MIN]
    last = max(end.passed())
    end.tell_room(end.terms()[0], CHUNK_MIN, after=last)
    end.cluster.settle()
    assert [len(octets) for octets in end.passed().values()] == [*sizes, CHUNK_MIN]


def test_r13_without_room_nothing_is_sent_and_the_path_hears_so_now_and_then() -> None:
    end = End()
    end.room = CHUNK_MIN - 1
    end.say(end.sessions, *end.terms(shares=2))
    end.open()
    wanted = [len(probe.of(relay.LaneWants)) for probe in end.relays]
    end.cluster.advance(2 * WANTS_EVERY_S + 0.1)

    assert not end.emitted()
    assert wanted == [1, 1]
    assert [len(probe.of(relay.LaneWants)) for probe in end.relays] == [3, 3]


def test_r13_news_of_too_little_room_does_not_make_the_path_hear_more_often() -> None:
    end = End()
    end.room = 0
    end.say(end.sessions, *end.terms())
    end.open()
    for _ in range(10):
        end.tell_room(end.terms()[0], CHUNK_MIN - 1)
        end.cluster.settle()

    assert len(end.relays[0].of(relay.LaneWants)) == 1


def test_r13_the_share_with_the_least_room_decides() -> None:
    end = End()
    end.say(end.sessions, *end.terms(shares=2))
    end.tell_room(end.terms(shares=2)[1], CHUNK_MIN)
    end.cluster.settle()

    end.open()

    assert [len(octets) for octets in end.emitted().values()] == [CHUNK_MIN]


def test_r13_without_credit_nothing_is_wanted() -> None:
    end = End()
    end.room = 0
    end.say(end.sessions, *end.terms())
    end.open(credit=CHUNK_MIN - 1)
    end.cluster.advance(30.0)

    assert not end.relays[0].of(relay.LaneWants)


def test_r13_room_is_told_by_the_relay_of_the_share_alone() -> None:
    end = End()
    end.room = 0
    terms = end.terms()[0]
    end.say(end.sessions, terms)
    end.open()
    news = relay.LaneRoom(session=terms.session, share=0, after=-1, octets=ROOM, hold_s=HOLD_S)
    end.say(end.relays[1], news)
    end.say(end.store, news)

    assert not end.emitted()


# R14


def test_r14_shares_go_over_their_own_paths_and_only_all_of_them_tell_anything() -> None:
    end = End()
    end.say(end.sessions, *end.terms(shares=2))
    end.open(credit=100_000)

    whole, one, other = end.emitted(), end.passed(0), end.passed(1)

    assert set(whole) == set(one) == set(other)
    for seq, octets in whole.items():
        assert xor_all([one[seq], other[seq]]) == octets
        assert octets not in (one[seq], other[seq])
        assert len({whole[seq], one[seq], other[seq]}) == 3
    assert all(word.via == PATHS for word in end.store.of(links.Emitted))


def test_r14_a_closed_share_withdraws_what_is_undecided_before_others_are_used() -> None:
    end = End()
    end.say(end.sessions, *end.terms(shares=2))
    end.open(credit=100_000)
    old = end.emitted()
    end.store.clear()

    end.say(end.sessions, LaneClosed(session=FIRST, share=1))
    end.say(end.store, links.Credit(epoch=EPOCH, octets=100_000))
    assert end.store.received == [links.Withdrawn(epoch=EPOCH)]
    end.say(end.sessions, *end.terms(SECOND, shares=2))

    assert len(end.store.of(links.Withdrawn)) == 1
    assert end.passed(0, SECOND).keys() == end.passed(1, SECOND).keys() == end.emitted().keys()
    assert not set(old) & set(end.emitted())
    assert not set(old.values()) & set(end.emitted().values())


def test_r14_a_newer_session_takes_over_and_the_older_does_not_come_back() -> None:
    end = End()
    end.say(end.sessions, *end.terms())
    end.open(credit=2 * CHUNK_MIN)
    end.store.clear()

    end.say(end.sessions, *end.terms(SECOND))
    end.say(end.sessions, *end.terms(FIRST))
    end.say(end.store, links.Credit(epoch=EPOCH, octets=20_000))

    assert end.store.received[0] == links.Withdrawn(epoch=EPOCH)
    assert end.passed(0, SECOND).keys() == end.emitted().keys()


def test_r14_the_session_before_is_used_again_when_the_newer_one_closes() -> None:
    end = End()
    end.say(end.sessions, *end.terms(), *end.terms(SECOND))
    end.open(credit=0)
    end.say(end.sessions, LaneClosed(session=SECOND, share=0))

    end.say(end.store, links.Credit(epoch=EPOCH, octets=20_000))

    assert end.passed(0, FIRST).keys() == end.emitted().keys() != set()


def test_r14_a_life_begins_by_withdrawing_what_the_one_before_sent() -> None:
    end = End()

    end.open()

    assert end.store.of(links.Withdrawn) == [links.Withdrawn(epoch=EPOCH)]
    end.open()
    assert len(end.store.of(links.Withdrawn)) == 1


def test_answers_about_chunks_of_an_earlier_session_change_nothing() -> None:
    end = End(answer=False)
    end.say(end.sessions, *end.terms())
    end.open()
    end.say(end.sessions, *end.terms(SECOND))
    n = len(end.passed())

    end.cluster.advance(8.5)
    assert len(end.passed()) == n
    end.cluster.advance(2.0)

    assert len(end.passed()) > n  # those of the present one timed out


# The far end


def test_a_datagram_of_one_share_goes_to_the_store() -> None:
    end = End()
    end.say(end.sessions, *end.terms(THEIRS, away=False))
    end.open(credit=0)

    end.give(coming(3), b"x" * 2000)

    assert end.received() == {3: b"x" * 2000}
    assert end.answers() == ["passed"]
    assert end.store.of(links.Received)[0].via == (("d", "b", "a"),)


def test_shares_meet_in_whatever_order_they_come() -> None:
    end = End()
    end.say(end.sessions, *end.terms(THEIRS, shares=2, away=False))
    end.open(credit=0)

    end.give(coming(1, 0), b"\x0f" * 2000, 0)
    end.give(coming(2, 0), b"\x01" * 2000, 0)
    end.give(coming(2, 1), b"\x02" * 2000, 1)
    assert end.received() == {2: b"\x03" * 2000}
    end.give(coming(1, 1), b"\xf0" * 2000, 1)

    assert end.received()[1] == b"\xff" * 2000
    assert end.store.of(links.Received)[0].via == (("d", "b", "a"), ("d", "c", "a"))
    assert end.answers(0) == end.answers(1) == ["passed"] * 2


@pytest.mark.parametrize(
    ("chunk", "by", "code"),
    [
        (coming(1, 1), 0, "no_session"),  # a share by the relay of another
        (coming(1, 2), 0, "no_session"),
        (coming(1, session=SECOND), 0, "no_session"),
        (dataclasses.replace(coming(1), epoch=NEXT), 0, "stale"),
    ],
)
def test_what_does_not_belong_is_refused(chunk: ChunkId, by: int, code: str) -> None:
    end = End()
    end.say(end.sessions, *end.terms(THEIRS, shares=2, away=False))
    end.open(credit=0)

    end.give(chunk, b"x" * 2000, by)

    assert end.answers(by) == [code]
    assert end.received() == {}


def test_nothing_is_taken_while_the_store_is_closed() -> None:
    end = End()
    end.say(end.sessions, *end.terms(THEIRS, away=False))
    end.open(credit=0)
    end.say(end.store, links.LinkClosed())

    end.give(coming(1), b"x" * 2000)

    assert end.answers() == ["stale"]


def test_shares_of_two_sessions_do_not_meet_nor_those_of_unequal_length() -> None:
    end = End()
    for session in (THEIRS, SessionId("d", 10)):
        end.say(end.sessions, *end.terms(session, shares=2, away=False))
    end.open(credit=0)

    end.give(coming(1, 0), b"x" * 2000, 0)
    end.give(coming(1, 1, SessionId("d", 10)), b"x" * 2000, 1)
    end.give(coming(2, 0), b"x" * 2000, 0)
    end.give(coming(2, 1), b"x" * 1999, 1)

    assert end.received() == {}
    assert end.cluster.count("a", "protokms_virtual_dropped", reason="unequal") == 1


def test_incomplete_datagrams_are_bounded_and_do_not_stay() -> None:
    end = End()
    end.say(end.sessions, *end.terms(THEIRS, shares=2, away=False))
    end.open(credit=0)
    for seq in range(INCOMPLETE_MAX + 1):
        end.give(coming(seq, 0), b"x" * 2000, 0)

    end.give(coming(1, 1), b"y" * 2000, 1)
    end.give(coming(0, 1), b"y" * 2000, 1)
    assert list(end.received()) == [1]
    end.cluster.advance(INCOMPLETE_S + 10.0)
    end.give(coming(2, 1), b"y" * 2000, 1)

    assert list(end.received()) == [1]


def test_a_closed_share_takes_nothing_and_forgets_the_others() -> None:
    end = End()
    terms = end.terms(THEIRS, shares=2, away=False)
    end.say(end.sessions, *terms)
    end.open(credit=0)
    end.give(coming(1, 0), b"x" * 2000, 0)

    end.say(end.sessions, LaneClosed(session=THEIRS, share=0))
    end.say(end.sessions, terms[0])
    end.give(coming(1, 1), b"y" * 2000, 1)

    assert end.received() == {}


def test_a_drained_link_draws_and_takes_nothing() -> None:
    end = End()
    end.say(end.sessions, *end.terms(), *end.terms(THEIRS, away=False))
    end.open(credit=CHUNK_MIN)

    assert end.cluster.ask("virtual_link/d@a", Drain()) == Drained()

    end.open()
    end.say(end.store, links.Credit(epoch=EPOCH, octets=ROOM))
    end.give(coming(1), b"x" * 2000)
    assert len(end.emitted()) == 1
    assert end.answers()[-1] == "stale"


def test_it_is_well_with_and_without_a_session() -> None:
    end = End()
    closed = end.cluster.ask("virtual_link/d@a", Health())
    end.say(end.sessions, *end.terms())
    end.open(credit=7)
    open_ = end.cluster.ask("virtual_link/d@a", Health())

    facts = (("session", "closed"), ("credit_octets", "0"))
    assert closed == Healthy(ready=True, reasons=(), facts=facts)
    assert open_ == Healthy(
        ready=True, reasons=(), facts=(("session", "open"), ("credit_octets", "7"))
    )


def test_shares_of_sessions_that_differ_in_their_number_never_meet() -> None:
    end = End()
    end.open()
    first, second = end.terms(THEIRS, 2, away=False)
    second = dataclasses.replace(second, share=2, shares=3)
    end.say(end.sessions, first, second)

    for probe, share in ((end.relays[1], 2), (end.relays[0], 0)):
        chunk = ChunkId(THEIRS, share, EPOCH, 5)
        end.say(probe, relay.Pass(chunk=chunk, payload=Secret(bytes(2000))))

    assert end.store.of(links.Received) == []
