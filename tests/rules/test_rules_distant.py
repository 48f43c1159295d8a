"""Stores of distant peers: filled between two marks, woken when idle; what the router hears."""

import pytest

from actors.ledger.batches import BATCH_MAX
from actors.protocol import blocks, grants, keys, links, routes
from actors.protocol.common import Failed
from actors.protocol.peers import PeerDown, PeerSpeaks
from actors.sync.fill_level import LEVEL_EVERY_S
from actors.sync.intake import BATCHES_LEAST, LEAST
from actors.sync.peering import ASK_EVERY_S
from protokms.testing.probe import Probe
from tests.kit.ledger_check import check_counters
from tests.kit.pair import Pair
from transport.message import Message

STATUS = keys.GetStatus(master="alice", slave="bob", size=32)
LINK_A, LINK_B = "virtual_link/b@a", "virtual_link/a@b"


def distant(**options: object) -> tuple[Pair, Probe]:
    pair = Pair(virtual=True, **options)  # type: ignore[arg-type]
    link = pair.cluster.probe(LINK_A)
    for node, at in (("a", LINK_A), ("b", LINK_B)):
        pair.cluster.tell(pair.at(node), links.AskLink(), sender=at)
    pair.cluster.settle()
    return pair, link


def credit(link: Probe) -> int:
    """The last credit that a link was given."""
    for body in reversed(link.received):
        if isinstance(body, links.LinkOpened):
            return body.credit
        if isinstance(body, links.Credit):
            return body.octets
        if isinstance(body, links.LinkClosed):
            return 0
    return 0


def fill(pair: Pair, link: Probe) -> int:
    """Draw as long as there is credit; return the octets."""
    total = 0
    for _ in range(200):
        octets = min(4000, credit(link))
        if octets < 1100:
            break
        pair.feed(octets)
        total += octets
        pair.cluster.advance(0.2)
    return total


def idle(pair: Pair) -> None:
    """Connections are closed, as nobody has said anything for a while."""
    for node in ("a", "b"):
        pair.cluster.tell(pair.at(node), PeerDown(peer=pair.made(node).peer))
    pair.cluster.settle()
    pair.wire.clear()


def code(answer: Message) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


def idle_s(pair: Pair, at: str) -> float:
    answer = pair.cluster.ask(pair.at(at), links.AskUse())
    assert isinstance(answer, links.Used)
    return answer.idle_s


def test_a_status_names_a_pair_too() -> None:
    pair, link = distant()
    fill(pair, link)

    pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))
    pair.cluster.advance(100.0)

    assert 90 < idle_s(pair, "a") < 101


@pytest.mark.parametrize("at", ["a", "b"])
def test_both_ends_know_when_keys_were_wanted_at_either(at: str) -> None:
    pair, link = distant()
    fill(pair, link)
    assert min(idle_s(pair, "a"), idle_s(pair, "b")) > 1e6  # never

    pair.key(1, 32, at=at)
    pair.cluster.advance(1000.0)

    assert 500.0 < idle_s(pair, "a") <= 1000.0
    assert 500.0 < idle_s(pair, "b") <= 1000.0


def test_who_waits_for_loads_wakes_a_peer_that_has_gone_idle_meanwhile() -> None:
    pair, link = distant(mode="local")
    fill(pair, link)
    pair.cluster.restart("a")
    pair.cluster.advance(3.0)
    fill(pair, link)
    pair.lost = {grants.LoadQuery}
    probe = pair.cluster.probe("front@a")
    probe.question(pair.at("a"), keys.GetKey(master="alice", slaves=("bob",), number=1, size=32))
    pair.cluster.settle()
    pair.lost = set()
    idle(pair)

    pair.cluster.advance(3.0)

    assert probe.of(keys.Keys)


# R14: what lies in store

ONE, OTHER = (("a", "m", "b"),), (("a", "n", "b"),)
TWO = (*ONE, *OTHER)


@pytest.mark.parametrize("at", ["a", "b"])
def test_r14_what_came_over_one_path_is_of_no_use_once_two_are_asked_for(at: str) -> None:
    pair, _ = distant()
    pair.fill(8, via=ONE)
    pair.key(2, at=at)

    pair.cluster.tell(pair.at(at), links.LeastPaths(n=2))

    assert pair.store(at).stream.stock == 0
    assert code(pair.enc(at=at)) == "no_keys"
    pair.cluster.restart(at)
    pair.cluster.advance(3.0)
    assert pair.store(at).stream.stock == 0
    check_counters(pair.store(at))


def speak(pair: Pair, *nodes: str) -> None:
    """Let stores know that their peer understands what is said of paths."""
    words = (blocks.PathsNeeded.word, blocks.PathsNeededHeld.word)
    for node in nodes or ("a", "b"):
        spoken = PeerSpeaks(peer=pair.made(node).peer, words=words)
        pair.cluster.tell(pair.at(node), spoken)


def test_r14_the_other_end_burns_what_it_owns_too() -> None:
    pair, _ = distant()
    speak(pair)
    pair.fill(8, via=ONE)

    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))

    assert pair.store("a").stream.stock == pair.store("b").stream.stock == 0
    assert code(pair.enc(at="b")) == "no_keys"
    pair.cluster.advance(10.0)
    assert len(pair.said(blocks.PathsNeeded, "a")) == 2  # at the start, over one path
    for node in ("a", "b"):
        check_counters(pair.store(node))
    pair.lost = {blocks.PathsNeeded}
    for node in ("a", "b"):
        pair.cluster.restart(node)
        assert pair.store(node).stream.paths == 2


@pytest.mark.parametrize("lost", [blocks.PathsNeeded, blocks.PathsNeededHeld])
def test_r14_what_is_said_of_paths_is_repeated_until_acknowledged(lost: type[Message]) -> None:
    pair, _ = distant()
    speak(pair)
    pair.fill(8, via=ONE)
    pair.lost = {lost}
    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    pair.cluster.advance(5.0)
    pair.lost = set()

    pair.cluster.advance(2.0)

    said = len(pair.said(blocks.PathsNeeded, "a"))
    assert pair.store("b").stream.stock == 0
    pair.cluster.advance(10.0)
    assert len(pair.said(blocks.PathsNeeded, "a")) == said


def test_r14_an_end_that_has_lost_its_disk_hears_it_again() -> None:
    pair, _ = distant()
    speak(pair)
    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    pair.cluster.advance(2.0)

    pair.cluster.crash("b")
    pair.cluster.restore("b", {})
    pair.cluster.advance(3.0)

    assert pair.store("b").stream.paths == 2


def test_r14_an_older_peer_is_told_nothing_and_its_grants_are_refused() -> None:
    pair, _ = distant()
    pair.fill(8, via=ONE)

    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))

    assert code(pair.enc(at="b")) == "not_ready"
    assert pair.cluster.count("b", "protokms_grants_refused") == 1
    assert not pair.said(blocks.PathsNeeded)
    assert pair.alarms() == 0


def test_r14_an_older_peer_in_local_mode_is_refused_with_an_alarm() -> None:
    pair, _ = distant(mode="local")
    pair.fill(8, via=ONE)

    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    pair.enc(at="b")
    pair.cluster.advance(3.0)

    assert pair.cluster.count("b", "protokms_alarms", kind="local_grant_refused") == 1


def test_r14_what_was_answered_before_the_owner_heard_of_it_is_kept() -> None:
    pair, _ = distant(mode="local")
    speak(pair)
    pair.fill(8, via=ONE)
    pair.lost = {grants.GrantsAnnounced}
    made = pair.enc(at="b")
    assert isinstance(made, keys.Keys)

    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    pair.cluster.advance(2.0)
    pair.lost = set()
    pair.cluster.advance(3.0)

    assert isinstance(pair.dec(made.grant, at="a"), keys.KeysWithIds)
    assert pair.alarms() == 0


@pytest.mark.parametrize("n", [0, -1, 99])
def test_r14_no_such_number_of_paths_is_heard(n: int) -> None:
    pair, _ = distant()
    pair.fill(8, via=ONE)
    stock = pair.store("b").stream.stock

    pair.say("b", blocks.PathsNeeded(head=pair.store("a").state.head(), n=n))

    assert pair.store("b").stream.stock == stock
    assert not pair.said(blocks.PathsNeededHeld)


def test_r14_what_comes_over_too_few_paths_afterwards_is_burnt_and_the_rest_is_used() -> None:
    pair, _ = distant()
    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    for via in (ONE, ONE, TWO, TWO):
        pair.feed(via=via)
        pair.cluster.advance(0.2)
    for _ in range(4):
        for via in (ONE, OTHER):  # in one batch: each octet is known to one node alone
            pair.feed(800, via=via)
        pair.cluster.advance(0.2)
    stock = pair.store("a").stream.stock

    told = pair.cluster.ask(
        pair.at("a"),
        keys.GetKey(master="alice", slaves=("bob",), number=4, size=32, provenance=True),
    )

    assert isinstance(told, keys.Keys)
    assert {it.paths for it in told.provenance} == {TWO}
    assert stock < 4000
    pair.cluster.advance(10.0)
    check_counters(pair.store("a"))
    check_counters(pair.store("b"))


def test_r14_a_segment_of_too_few_paths_that_the_peer_gives_is_burnt() -> None:
    pair, _ = distant()
    pair.fill(16, via=ONE)
    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    pair.cluster.advance(5.0)
    head = pair.store("a").state.head()

    pair.say("b", blocks.Wanted(head=head, octets=8000))
    pair.cluster.advance(3.0)

    assert pair.said(blocks.Transfer, "b")
    assert pair.store("a").stream.stock == 0
    check_counters(pair.store("a"))
    check_counters(pair.store("b"))


def test_r14_what_was_burnt_stays_so_though_the_node_dies_right_after_it_has_said_so() -> None:
    pair, _ = distant()
    for _ in range(100):
        pair.feed(via=ONE)
        pair.cluster.advance(0.02)
    pair.cluster.advance(3.6)
    pair.lost = {blocks.SegmentClosedHeld}
    pair.cluster.tell(pair.at("a"), links.LeastPaths(n=2))
    while not pair.said(blocks.SegmentClosed, "a"):
        pair.cluster.advance(0.05)
    pair.cluster.advance(0.05)
    pair.cluster.restart("a")
    pair.lost = set()
    pair.cluster.advance(3.0)
    for _ in range(60):
        pair.feed(via=TWO)
        pair.cluster.advance(0.02)
    pair.cluster.advance(30.0)

    pair.key(8)
    pair.cluster.advance(10.0)
    check_counters(pair.store("a"))
    check_counters(pair.store("b"))


def test_r14_a_store_that_starts_asks_which_bits_it_may_use() -> None:
    pair, _ = distant()
    probe = pair.cluster.probe("sessions@a")

    pair.cluster.restart("a")
    pair.cluster.advance(1.0)

    assert probe.of(links.AskLeastPaths) == [links.AskLeastPaths(peer="b")]


# Marks


def test_a_store_is_filled_up_to_its_mark_and_no_further() -> None:
    pair, link = distant()

    total = fill(pair, link)

    assert LEAST - LEAST // 16 <= pair.store("a").intake.held <= LEAST <= total + 4000
    pair.cluster.advance(60.0)
    assert credit(link) == 0


def test_it_is_filled_again_once_the_lower_mark_is_passed_not_before() -> None:
    pair, link = distant()
    pair.cluster.tell(pair.at("a"), links.Marks(low_bits=4 * LEAST, high_bits=8 * LEAST))
    pair.cluster.settle()
    fill(pair, link)
    store = pair.store("a")
    given = []
    while store.intake.held >= store.intake.marks.low:
        given.append(credit(link))
        pair.key(16, 32, at="a" if store.stream.stock > 4000 else "b")

    assert set(given) == {0}
    assert credit(link) >= store.intake.marks.high - store.intake.marks.low


def test_both_ends_own_some_of_a_small_store() -> None:
    pair, link = distant()

    fill(pair, link)

    assert len(pair.store("a").stream.segments) >= BATCHES_LEAST - 2
    for node in ("a", "b"):
        assert pair.store(node).stream.stock >= LEAST // 4
        pair.key(8, 32, at=node)


def test_the_marks_follow_what_is_asked_at_both_ends() -> None:
    pair, link = distant()
    for _ in range(60):
        fill(pair, link)
        for node in ("a", "b"):
            pair.enc(32, 64, at=node)
        pair.cluster.advance(0.3)

    here, there = pair.store("a"), pair.store("b")
    assert pair.said(blocks.Demand, "a")
    assert pair.said(blocks.Demand, "b")
    assert here.intake.marks.high > 1.2 * LEAST
    assert here.intake.marks.high == pytest.approx(there.intake.marks.high, rel=0.4)
    assert here.intake.held > LEAST


def test_a_request_larger_than_all_that_is_held_raises_the_marks() -> None:
    pair, link = distant()
    fill(pair, link)

    assert code(pair.enc(1000, 100)) == "no_keys"
    for _ in range(4):
        pair.cluster.advance(1.0)
        fill(pair, link)

    assert isinstance(pair.enc(1000, 100), keys.Keys)


def test_what_the_other_end_cannot_serve_is_filled_in_from_here() -> None:
    pair, link = distant()
    fill(pair, link)

    assert code(pair.enc(1000, 100, at="b")) == "no_keys"
    for _ in range(4):
        pair.cluster.advance(1.0)
        fill(pair, link)

    assert isinstance(pair.enc(1000, 100, at="b"), keys.Keys)


def test_marks_set_by_hand_hold() -> None:
    pair, link = distant()
    pair.cluster.tell(pair.at("a"), links.Marks(low_bits=8 * 50_000, high_bits=8 * 80_000))
    pair.cluster.settle()

    fill(pair, link)

    assert 75_000 <= pair.store("a").intake.held <= 80_000
    assert pair.store("a").intake.marks.low == 50_000
    assert pair.store("a").batches.most <= BATCH_MAX


def test_a_quantum_link_fills_a_store_up_to_its_limit() -> None:
    pair = Pair()
    link = pair.cluster.probe("quantum_link/b@a")
    pair.fill(12, 8000)

    pair.cluster.tell(pair.at("a"), links.AskLink(), sender="quantum_link/b@a")
    pair.cluster.settle()

    assert credit(link) == 2 << 20


def test_a_peer_says_any_demand_and_the_limit_holds() -> None:
    pair, _ = distant(max_bits=1 << 20)

    for rate, most in ((-5, -5), (1 << 62, 1 << 62)):
        head = pair.store("b").state.head()
        pair.say("a", blocks.Demand(head=head, rate=rate, most=most))
        pair.cluster.settle()

        assert 0 < pair.store("a").intake.marks.high <= 1 << 17


# R14: withdrawn


def test_r14_what_was_withdrawn_is_discarded_though_it_arrives() -> None:
    pair, link = distant()
    epoch = pair.store("a").state.datagram_epoch
    payload = pair.feed(4000, lose=True)
    before = pair.store("a").batches.emitted

    pair.cluster.tell(pair.at("a"), links.Withdrawn(epoch=epoch), sender=LINK_A)
    pair.arrive("b", epoch, pair.seq - 1, payload)
    pair.cluster.advance(2.0)

    assert before == 4000
    assert pair.store("a").batches.emitted == 0
    assert pair.said(blocks.BlocksDiscarded, "a")
    assert not pair.store("b").stream.segments
    assert credit(link) == LEAST


def test_r14_a_withdrawal_of_another_epoch_withdraws_nothing() -> None:
    pair, _ = distant()
    pair.feed(4000, lose=True)

    pair.cluster.tell(pair.at("a"), links.Withdrawn(epoch=bytes(16)), sender=LINK_A)
    pair.cluster.settle()

    assert pair.store("a").batches.emitted == 4000


# Idle peers


def test_an_idle_pair_says_nothing() -> None:
    pair, link = distant()
    fill(pair, link)
    pair.cluster.advance(5.0)
    idle(pair)

    pair.cluster.advance(120.0)

    assert pair.wire == []


def test_a_request_wakes_an_idle_peer() -> None:
    pair, link = distant()
    fill(pair, link)
    pair.cluster.advance(5.0)
    idle(pair)

    key = pair.key(2, 32)

    assert pair.fetch(key.grant, 0, 1)[0] == key.octets.reveal()


def test_a_request_to_a_peer_that_does_not_wake_is_refused_in_time() -> None:
    pair, link = distant()
    fill(pair, link)
    idle(pair)
    honest = pair.cluster.ask(pair.at("a"), STATUS)
    pair.cluster.crash("b")
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), keys.GetKey(master="alice", slaves=("bob",), number=1, size=32))

    pair.cluster.advance(2.9)
    early = list(front.received)
    pair.cluster.advance(0.8)

    assert isinstance(honest, keys.Stock)
    assert honest.stored > 100
    assert not early
    assert code(front.received[0]) == "peer_down"
    assert pair.cluster.ask(pair.at("a"), STATUS) == keys.Stock(stored=0, capacity=262_144)


def test_after_a_restart_of_the_peer_an_idle_store_serves_again() -> None:
    pair, link = distant()
    fill(pair, link)
    pair.cluster.advance(5.0)
    idle(pair)
    pair.lost = {blocks.ResumeAsk, blocks.Resume}
    pair.cluster.restart("b")
    pair.cluster.advance(20.0)
    pair.lost = set()

    answer = pair.enc(1, 32)

    assert isinstance(answer, keys.Keys)


def test_a_peer_without_a_connection_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, _ = distant()
    pair.cluster.crash("b")
    pair.cluster.tell(pair.at("a"), PeerDown(peer="b"))
    store, asked = pair.store("a"), []
    store.peer.ask()
    pair.cluster.settle()
    monkeypatch.setattr(store.peer, "ask", lambda: asked.append(pair.cluster.now))

    pair.cluster.advance(10 * ASK_EVERY_S)

    assert 8 <= len(asked) <= 10


def test_a_store_below_its_mark_is_worth_a_connection_while_somebody_fills_it() -> None:
    pair, _ = distant()
    idle(pair)
    pair.cluster.advance(30.0)
    before = pair.said(blocks.ResumeAsk, "a")

    pair.cluster.tell(pair.at("a"), links.Marks(low_bits=0, high_bits=0))
    pair.cluster.advance(2 * ASK_EVERY_S)

    assert not before
    assert pair.said(blocks.ResumeAsk, "a")
    assert pair.store("a").peer.in_touch


def test_requests_that_wait_for_a_peer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sync.peering.PENDING_MAX", 2)
    pair, link = distant()
    fill(pair, link)
    idle(pair)
    pair.cluster.crash("b")
    front = pair.cluster.probe("front@a")
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)

    for _ in range(3):
        front.question(pair.at("a"), ask)
    pair.cluster.settle()

    assert [code(body) for body in front.received] == ["busy"]


def test_a_neighbour_that_is_away_is_not_waited_for() -> None:
    pair = Pair()
    pair.fill()
    idle(pair)

    assert code(pair.enc(wait=0.1)) == "peer_down"


def test_r9_local_a_fetch_wakes_an_idle_owner() -> None:
    pair, link = distant(mode="local")
    fill(pair, link)
    pair.lost = {grants.GrantsAnnounced}
    key = pair.key(1, 32)
    idle(pair)
    pair.lost = {blocks.ResumeAsk}
    asleep = pair.dec(key.grant)
    pair.lost = set()

    assert code(asleep) == "peer_down"
    assert pair.fetch(key.grant)[0] == key.octets.reveal()


# What the router hears


def test_the_router_hears_how_a_quantum_link_stands() -> None:
    pair = Pair()
    router = pair.cluster.probe("router@a")
    pair.fill(8)
    busy = router.of(routes.LinkLevel)[-1]
    router.clear()

    pair.cluster.advance(4 * LEVEL_EVERY_S)
    levels = router.of(routes.LinkLevel)

    assert busy.peer == "b"
    assert busy.ready
    assert busy.stock == pair.store("a").stream.stock
    assert busy.rate > 0
    assert levels[-1].rate < busy.rate
    assert 4 <= len(levels) <= 8


def test_the_router_hears_when_a_link_is_out_of_step() -> None:
    pair = Pair()
    router = pair.cluster.probe("router@a")
    pair.fill()

    pair.cluster.crash("b")
    pair.cluster.tell(pair.at("a"), PeerDown(peer="b"))
    pair.cluster.advance(1.0)

    assert not router.of(routes.LinkLevel)[-1].ready


def test_the_router_hears_nothing_of_distant_stores() -> None:
    pair, link = distant()
    router = pair.cluster.probe("router@a")

    fill(pair, link)
    pair.cluster.advance(10.0)

    assert not router.received
