"""The network in one thread: what a story on it may rely on."""

from pathlib import Path

import pytest

from actors.base import Actor, Later, Row, System, handles
from actors.protocol.common import Failed, Ping, Refused
from actors.protocol.peers import PeerDown, PeerUp
from protokms.testing.agenda import Agenda
from protokms.testing.cluster import ActorCrashed, Cluster, NoAnswer, parse
from protokms.testing.disk import FileDisk
from protokms.testing.steps import StepSystem
from transport.envelope import Address, Envelope
from transport.message import Message, local, wire
from transport.session import Doors


@wire("test.note/1")
class Note(Message):
    """Remember this."""

    text: str


@wire("test.noted/1")
class Noted(Message):
    """It is durable."""

    text: str


@local
class Read(Message):
    """What is there?"""


@local
class Content(Message):
    """All notes, in order of their text."""

    texts: tuple[str, ...]


@local
class Break(Message):
    """Crash."""


@local
class SendNote(Message):
    """Note this at the other node, and answer when it is done there."""

    to: str
    text: str


class Notebook(Actor):
    """Keeps notes; answers once they are durable."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.texts: list[str] = []

    def started(self) -> None:
        self.texts = [row.id.decode() for row in self.system.load("notes")]

    @handles(Note)
    def note(self, note: Note) -> Later:
        if not note.text:
            raise Refused("empty")
        answer = self.later()

        def durable() -> None:
            self.texts.append(note.text)
            answer(Noted(text=note.text))

        self.commit([Row("notes", "note", note.text.encode())], durable)
        return answer

    @handles(Read)
    def read(self, _: Read) -> Content:
        return Content(texts=tuple(self.texts))

    @handles(SendNote)
    def send_note(self, ask: SendNote) -> Later:
        answer = self.later()
        self.ask(Address("notebook", ask.to), Note(text=ask.text), then=answer, timeout=1.0)
        return answer

    @handles(Break)
    def break_down(self, _: Break) -> None:
        raise ZeroDivisionError("on purpose")


def recipe(system: StepSystem) -> None:
    system.spawn("notebook", Notebook)


DOORS = Doors({"test.note/1": "notebook"}, {"test.noted/1", "common.failed/1"})


@pytest.fixture
def pair() -> Cluster:
    return Cluster("a-b", recipe, doors=DOORS)


def test_an_answer_waits_for_the_commit(pair: Cluster) -> None:
    assert pair.ask("notebook@a", Note(text="x")) == Noted(text="x")
    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_refusal_is_an_answer(pair: Cluster) -> None:
    assert pair.ask("notebook@a", Note(text="")) == Failed(code="empty", why="empty")


def test_words_cross_from_node_to_node(pair: Cluster) -> None:
    assert pair.ask("notebook@a", SendNote(to="b", text="x")) == Noted(text="x")
    assert pair.ask("notebook@b", Read()) == Content(texts=("x",))
    assert pair.now == 0.0


def test_a_cut_wire_ends_in_a_timeout(pair: Cluster) -> None:
    pair.cut("a", "b")

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"), wait=5.0)

    assert answer == Failed(code="timeout", why="no answer")
    assert pair.now == 1.0


def test_a_wire_cut_one_way_still_delivers_the_other_way(pair: Cluster) -> None:
    pair.cut("b", "a", one_way=True)

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"), wait=5.0)

    assert answer == Failed(code="timeout", why="no answer")
    assert pair.ask("notebook@b", Read()) == Content(texts=("x",))


def test_what_was_durable_survives_a_crash_and_nothing_else_does(pair: Cluster) -> None:
    pair.ask("notebook@a", Note(text="x"))
    pair.crash_at_commit("a")
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="y"))

    pair.restart("a")

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_crash_just_after_the_commit_keeps_the_rows_and_loses_the_answer(pair: Cluster) -> None:
    pair.crash_at_commit("a", before=False)
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="x"))

    pair.restart("a")

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_the_nth_commit_can_be_the_last(pair: Cluster) -> None:
    pair.crash_at_commit("a", 2)

    pair.ask("notebook@a", Note(text="x"))
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="y"))


def test_what_is_sent_to_a_node_known_to_be_down_is_undeliverable(pair: Cluster) -> None:
    pair.crash("b")
    pair.advance(3.0)

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"))

    assert answer == Failed(code="undeliverable", why="notebook@b")


def test_a_restore_brings_back_the_past(pair: Cluster) -> None:
    pair.ask("notebook@a", Note(text="x"))
    copy = pair.backup("a")
    pair.ask("notebook@a", Note(text="y"))

    pair.restore("a", copy)

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_crash_of_an_actor_is_an_error_unless_the_cluster_is_tolerant(pair: Cluster) -> None:
    with pytest.raises(ActorCrashed, match="notebook@a in Break, seed 0"):
        pair.ask("notebook@a", Break())


def test_a_real_file_serves_as_a_disk_too(tmp_path: Path) -> None:
    cluster = Cluster(
        "a-b", recipe, disk=lambda node: FileDisk(tmp_path / f"{node}.db", node), doors=DOORS
    )
    cluster.ask("notebook@a", Note(text="x"))
    copy = cluster.backup("a")
    cluster.ask("notebook@a", Note(text="y"))
    cluster.restart("a")
    after_a_crash = cluster.ask("notebook@a", Read())

    cluster.restore("a", copy)

    assert after_a_crash == Content(texts=("x", "y"))
    assert cluster.ask("notebook@a", Read()) == Content(texts=("x",))
    cluster.close()


def test_a_full_disk_holds_answers_back_until_there_is_room(pair: Cluster) -> None:
    pair.fill_disk("a")
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="x"))

    pair.free_disk("a")

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_an_actor_that_starts_on_a_full_disk_waits_for_the_commits_before_it() -> None:
    cluster = Cluster("a", recipe, tolerant=True, doors=DOORS)
    cluster.fill_disk("a")
    cluster.tell("notebook@a", Note(text="x"))
    cluster.crash_actor("notebook@a")
    cluster.settle()
    cluster.spawn("notebook@a", Notebook)
    asker = cluster.probe("asker@a")
    asker.question("notebook@a", Read())
    cluster.settle()
    early = list(asker.received)

    cluster.free_disk("a")

    assert early == []
    assert asker.received == [Content(texts=("x",))]


def test_commits_of_one_moment_are_one_commit(pair: Cluster) -> None:
    pair.crash_at_commit("a", 2)
    asker = pair.probe("asker@a")

    for n in range(5):
        asker.question("notebook@a", Note(text=str(n)))
    pair.settle()

    assert [noted.text for noted in asker.of(Noted)] == list("01234")


@pytest.mark.parametrize(("durable", "kept"), [(0.0, ""), (0.4, "01"), (1.0, "01234")])
def test_a_crash_loses_the_tail_of_commits_that_had_not_returned(
    pair: Cluster, durable: float, kept: str
) -> None:
    pair.slow_disk("a", 1.0)
    asker = pair.probe("asker@a")
    for n in range(5):
        asker.question("notebook@a", Note(text=str(n)))
    pair.settle()

    pair.crash("a", durable=durable)
    pair.restart("a")

    assert asker.of(Noted) == []
    assert pair.ask("notebook@a", Read()) == Content(texts=tuple(kept))


def test_a_peer_may_say_only_what_the_doors_let_in(pair: Cluster) -> None:
    peer = pair.probe("notebook@b")

    peer.say("notebook@a", Note(text="x"))
    peer.say("other@a", Note(text="y"))
    peer.say("notebook@a", Noted(text="z"))
    pair.settle()

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))
    assert pair.count("a", "protokms_frames_refused", peer="b", reason="other_actor") == 1
    assert pair.count("a", "protokms_frames_refused", peer="b", reason="shut_word") == 1


def test_a_word_that_must_not_leave_is_an_error_of_its_sender(pair: Cluster) -> None:
    pair.tolerant = True
    probe = pair.probe("probe@a")

    token = probe.question("notebook@b", Read())
    pair.settle()

    assert probe.received == [Failed(code="undeliverable", why="notebook@b")]
    assert probe.envelopes[0].token == token
    assert isinstance(pair.crashes[0].why, TypeError)


def test_a_node_that_is_lost_is_down_after_three_seconds_and_up_when_it_is_back() -> None:
    cluster = Cluster("a-b", hear_peers=("ear",))
    ear = cluster.probe("ear@a")

    cluster.crash("b")
    cluster.advance(2.9)
    early = list(ear.received)
    cluster.advance(0.2)
    down = list(ear.received)
    cluster.restart("b")

    assert early == []
    assert down == [PeerDown(peer="b")]
    assert ear.received == [PeerDown(peer="b"), PeerUp(peer="b")]


def test_a_restart_within_a_heartbeat_is_noticed_as_well() -> None:
    cluster = Cluster("a-b", hear_peers=("ear",))
    ear = cluster.probe("ear@a")

    cluster.restart("b")

    assert ear.received == [PeerDown(peer="b"), PeerUp(peer="b")]


def test_a_wire_cut_one_way_is_down_at_both_ends() -> None:
    cluster = Cluster("a-b", hear_peers=("ear",))
    ears = [cluster.probe("ear@a"), cluster.probe("ear@b")]

    cluster.cut("a", "b", one_way=True)
    cluster.advance(3.0)
    cluster.mend("a", "b")
    cluster.settle()

    assert [ear.received for ear in ears] == [
        [PeerDown(peer="b"), PeerUp(peer="b")],
        [PeerDown(peer="a"), PeerUp(peer="a")],
    ]


def test_neighbours_are_connected_from_the_start_and_others_on_demand() -> None:
    cluster = Cluster("a-b b-c", recipe, doors=DOORS, hear_peers=("ear",))
    ears = {node: cluster.probe(f"ear@{node}") for node in "abc"}
    before = [cluster.presence.peers(node) for node in "abc"]

    noted = cluster.ask("notebook@a", SendNote(to="c", text="x"))

    assert before == [("b",), ("a", "c"), ("b",)]
    assert noted == Noted(text="x")
    assert [ears[node].received for node in "abc"] == [[PeerUp(peer="c")], [], [PeerUp(peer="a")]]


def test_a_connection_wanted_while_the_wire_is_cut_is_up_when_it_is_mended() -> None:
    cluster = Cluster("a c", recipe, doors=DOORS, hear_peers=("ear",))
    ear = cluster.probe("ear@a")
    cluster.cut("a", "c")

    answer = cluster.ask("notebook@a", SendNote(to="c", text="x"))
    cluster.mend("a", "c")
    cluster.settle()

    assert answer == Failed(code="undeliverable", why="notebook@c")
    assert ear.received == [PeerUp(peer="c")]


def test_a_ring_of_many_nodes_has_as_many_connections_as_links() -> None:
    names = [f"n{number}" for number in range(300)]
    ring = zip(names, [*names[1:], names[0]], strict=True)

    cluster = Cluster(" ".join(f"{one}-{other}" for one, other in ring))

    assert sum(len(cluster.presence.peers(name)) for name in names) == 2 * 300
    assert cluster.presence.up("n0", "n299")


def test_at_a_paused_node_nothing_happens_until_it_goes_on(pair: Cluster) -> None:
    asker = pair.probe("asker@a")
    pair.pause("a", 2.0)

    for text in "xyz":
        asker.question("notebook@a", Note(text=text))
    pair.advance(1.9)
    early = list(asker.received)
    pair.advance(0.2)

    assert early == []
    assert asker.received == [Noted(text=text) for text in "xyz"]


def test_a_node_paused_for_long_is_down_until_it_goes_on() -> None:
    cluster = Cluster("a-b", hear_peers=("ear",))
    ear = cluster.probe("ear@a")

    cluster.pause("b", 4.0)
    cluster.advance(5.0)

    assert ear.received == [PeerDown(peer="b"), PeerUp(peer="b")]


def test_clocks_drift_and_jump_apart(pair: Cluster) -> None:
    ear = pair.probe("ear@a")
    pair.drift("a", 2.0)
    pair.nodes["a"].after(3.0, Envelope(ear.address, ear.address, Read()))

    pair.advance(1.4)
    early = list(ear.received)
    pair.advance(0.2)
    pair.jump("a", 10.0)

    assert (early, ear.received) == ([], [Read()])
    assert pair.nodes["a"].now() == pytest.approx(13.2)
    assert pair.nodes["b"].now() == pytest.approx(1.6)


def test_a_slow_disk_takes_its_time_and_a_crash_meanwhile_loses_the_commit(pair: Cluster) -> None:
    pair.slow_disk("a", 0.5)
    kept = pair.ask("notebook@a", Note(text="x"), wait=1.0)
    took = pair.now
    pair.tell("notebook@a", Note(text="y"))
    pair.advance(0.4)

    pair.restart("a")

    assert (kept, took) == (Noted(text="x"), 0.5)
    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_an_actor_can_be_killed_in_a_turn_of_its_own() -> None:
    cluster = Cluster("a", recipe, tolerant=True, doors=DOORS)

    killed = cluster.crash_actor("notebook@a"), cluster.crash_actor("nobody@a")
    cluster.settle()

    assert killed == (True, False)
    assert [str(crash.address) for crash in cluster.crashes] == ["notebook@a"]


def test_watchers_hear_what_befalls_a_frame(pair: Cluster) -> None:
    seen: list[str] = []
    pair.net.watchers.append(lambda what, *_: seen.append(what))
    peer = pair.probe("notebook@b")

    for traits in ({"loss": 1.0}, {"loss": 0.0, "duplicate": 1.0}, {"up": False}):
        pair.net.change("b", "a", **traits)
        peer.say("notebook@a", Note(text="x"))

    assert seen == ["posted", "loss", "posted", "duplicate", "posted", "cut"]


def story(seed: int, *, shuffle: bool = True) -> tuple[list[str], float]:
    """Send notes over a bad wire; return those that came, in their order."""
    cluster = Cluster("a-b", recipe, seed=seed, shuffle=shuffle, doors=DOORS)
    cluster.worsen("a", "b", loss=0.2, duplicate=0.2, reorder=0.3, delay=0.01, jitter=0.02)
    peer = cluster.probe("notebook@a")
    for n in range(30):
        peer.say("notebook@b", Note(text=str(n)))
        cluster.advance(0.001)
    cluster.advance(1.0)
    book = cluster.actor("notebook@b")
    assert isinstance(book, Notebook)
    return book.texts, cluster.now


def test_one_seed_is_one_run_and_another_seed_is_another() -> None:
    assert story(1) == story(1)
    assert story(1) != story(2)


def test_a_bad_wire_loses_doubles_and_reorders() -> None:
    texts, _ = story(3)

    assert set(texts) < set(map(str, range(30)))
    assert len(texts) > len(set(texts))
    assert texts != sorted(texts, key=int)


def test_a_shuffle_changes_who_is_first_and_never_the_order_of_one_sender() -> None:
    def order(seed: int) -> list[str]:
        cluster = Cluster("a b c", recipe, seed=seed, shuffle=True, doors=DOORS)
        senders = [cluster.probe("notebook@b"), cluster.probe("notebook@c")]
        for n in range(5):
            for sender in senders:
                sender.say("notebook@a", Note(text=f"{sender.address.node}{n}"))
        cluster.settle()
        book = cluster.actor("notebook@a")
        assert isinstance(book, Notebook)
        return book.texts

    runs = [order(seed) for seed in range(5)]

    assert len(set(map(tuple, runs))) > 1
    for run in runs:
        assert [text for text in run if text[0] == "b"] == [f"b{n}" for n in range(5)]


def test_a_reboot_starts_the_clock_anew_and_changes_the_boot_id(pair: Cluster) -> None:
    pair.advance(100.0)
    before = pair.nodes["a"]
    pair.restart("a")
    process = pair.nodes["a"].boot_id, pair.nodes["a"].now()

    pair.restart("a", reboot=True)

    host = pair.nodes["a"]
    assert process == (before.boot_id, 100.0)
    assert host.boot_id != before.boot_id
    assert host.now() == 0.0


def test_random_octets_differ_from_life_to_life_and_repeat_with_the_seed() -> None:
    def draws(seed: int) -> list[bytes]:
        cluster = Cluster("a b", seed=seed)
        first = [cluster.nodes[name].random(8) for name in ("a", "b")]
        cluster.restart("a")
        return [*first, cluster.nodes["a"].random(8)]

    assert draws(1) == draws(1)
    assert len({*draws(1), *draws(2)}) == 6


def test_nothing_of_a_dead_life_goes_on(pair: Cluster) -> None:
    pair.cut("a", "b")
    pair.tell("notebook@a", SendNote(to="b", text="x"))
    old = pair.nodes["a"]

    pair.restart("a")
    pair.advance(5.0)

    assert not old.alive
    assert pair.count("a", "protokms_undeliverable") == 0


def test_a_probe_outlives_its_node_and_answers_as_told(pair: Cluster) -> None:
    probe = pair.probe("friend@a")
    probe.on(Read, lambda _: Content(texts=("mine",)))
    pair.restart("a")

    answer = pair.ask("friend@a", Read())

    assert answer == Content(texts=("mine",))
    assert probe.of(Read) == [Read()]


def test_a_question_that_nobody_answers_fails_the_test(pair: Cluster) -> None:
    pair.probe("silent@a")

    with pytest.raises(NoAnswer, match=r"silent@a: Ping, 2\.0 s, seed 0"):
        pair.ask("silent@a", Ping(), wait=2.0)


@pytest.mark.parametrize(
    ("text", "names", "links"),
    [
        ("a-b b-c", ["a", "b", "c"], [("a", "b"), ("b", "c")]),
        ("kms-1--kms-2 kms-3", ["kms-1", "kms-2", "kms-3"], [("kms-1", "kms-2")]),
        ("a", ["a"], []),
        (["kms-2", "kms-1"], ["kms-1", "kms-2"], []),
    ],
)
def test_networks_are_written_in_a_line(
    text: str | list[str], names: list[str], links: list[tuple[str, str]]
) -> None:
    assert parse(text) == (names, links)


def test_nonsense_is_no_network() -> None:
    with pytest.raises(ValueError, match="a-b-c"):
        parse("a-b-c")


def test_a_clock_that_stands_still_is_told_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protokms.testing.agenda.STEPS", 100)
    agenda = Agenda()

    def again() -> None:
        agenda.later(0.0, again)

    again()

    with pytest.raises(RuntimeError, match="100 timers in a row at 0"):
        agenda.advance(1.0)
