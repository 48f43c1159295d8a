"""The alarms of a node: raised, listed, ended by themselves or by hand, within bounds."""

import pytest

from actors.protocol import alarms, links
from actors.protocol.alarms import ALARMS_MAX, APART_MAX, HAND, HOUR_S, ITSELF, KINDS, TEXT_MAX
from actors.protocol.common import Failed
from actors.runtime.alarms import Alarms, Board
from protokms.testing.cluster import Cluster
from transport.message import Message

AT = f"{alarms.NAME}@a"


class Bench:
    def __init__(self) -> None:
        self.board = Board()
        self.cluster = Cluster("a")
        self.cluster.spawn(AT, Alarms, self.board)
        self.cluster.settle()

    def raise_(self, id_: str, subject: str = "", text: str = "") -> None:
        self.cluster.tell(AT, alarms.Raised(id=id_, subject=subject, text=text))

    def end(self, id_: str, subject: str = "") -> None:
        self.cluster.tell(AT, alarms.Ended(id=id_, subject=subject))

    def ask(self, body: Message) -> Message:
        return self.cluster.ask(AT, body, 10.0)

    def listed(self) -> alarms.AlarmList:
        found = self.ask(alarms.ListAlarms())
        assert isinstance(found, alarms.AlarmList)
        return found

    def names(self) -> list[tuple[str, str]]:
        return [(each.id, each.subject) for each in self.listed().alarms]

    def gauge(self, id_: str) -> float:
        return self.cluster.count("a", "protokms_alarms_standing", id=id_)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_was_raised_is_listed_with_its_age_and_remedy(bench: Bench) -> None:
    bench.raise_("bad_bits", "kms-2", "the test repeated_bits failed")
    bench.cluster.advance(5.0)
    bench.raise_("disk_full")

    first, second = bench.listed().alarms

    assert (first.id, first.subject, first.clears) == ("bad_bits", "kms-2", HAND)
    assert first.since_s == pytest.approx(5.0)
    assert first.text == "the test repeated_bits failed"
    assert "`protokms link clear kms-2`" in first.remedy
    assert (second.text, second.clears) == (KINDS["disk_full"].meaning, ITSELF)


def test_the_same_again_is_the_same_alarm_with_the_last_text(bench: Bench) -> None:
    bench.raise_("other_mode", "kms-2", "one")
    bench.cluster.advance(5.0)
    bench.raise_("other_mode", "kms-2", "two")

    (only,) = bench.listed().alarms

    assert only.text == "two"
    assert only.since_s == pytest.approx(5.0)
    assert bench.gauge("other_mode") == 1


def test_one_that_ends_is_gone_and_another_subject_stays(bench: Bench) -> None:
    bench.raise_("key_refused", "kms-2")
    bench.raise_("key_refused", "kms-3")
    assert bench.gauge("key_refused") == 2

    bench.end("key_refused", "kms-2")
    bench.end("key_refused", "kms-4")

    assert bench.names() == [("key_refused", "kms-3")]
    assert bench.gauge("key_refused") == 1


def test_each_id_has_its_gauge_from_the_start(bench: Bench) -> None:
    assert [bench.gauge(id_) for id_ in KINDS] == [0] * len(KINDS)


def test_one_that_nobody_knows_is_not_kept(bench: Bench) -> None:
    bench.raise_("made_up")

    assert bench.names() == []


def test_by_hand_ends_what_an_operator_may_end(bench: Bench) -> None:
    bench.raise_("forged", "kms-2")
    bench.raise_("forged", "kms-3")

    one = bench.ask(alarms.ClearAlarm(id="forged", subject="kms-2"))

    assert one == alarms.AlarmsCleared(n=1)
    assert bench.names() == [("forged", "kms-3")]
    bench.raise_("forged", "kms-4")
    assert bench.ask(alarms.ClearAlarm(id="forged")) == alarms.AlarmsCleared(n=2)
    assert bench.gauge("forged") == 0


def test_by_hand_does_not_end_what_ends_by_itself(bench: Bench) -> None:
    bench.raise_("disk_full")

    answer = bench.ask(alarms.ClearAlarm(id="disk_full"))

    assert isinstance(answer, Failed)
    assert answer.code == "not_allowed"
    assert bench.names() == [("disk_full", "")]


def test_by_hand_refuses_what_is_not_there(bench: Bench) -> None:
    answer = bench.ask(alarms.ClearAlarm(id="forged", subject="kms-2"))

    assert answer == Failed(code="no_such_alarm", why="forged kms-2")


def test_a_quarantine_is_ended_by_the_store_that_is_asked(bench: Bench) -> None:
    store = bench.cluster.probe("key_store/kms-2@a")
    store.on(links.ClearQuarantine, links.QuarantineCleared(test="repeated_bits"))
    bench.raise_("bad_bits", "kms-2")

    answer = bench.ask(alarms.ClearAlarm(id="bad_bits"))

    assert answer == alarms.AlarmsCleared(n=1)
    assert store.of(links.ClearQuarantine)
    assert bench.names() == []


def test_a_quarantine_that_the_store_does_not_end_stays(bench: Bench) -> None:
    bench.raise_("bad_bits", "kms-2")  # and there is no such store

    answer = bench.ask(alarms.ClearAlarm(id="bad_bits", subject="kms-2"))

    assert isinstance(answer, Failed)
    assert answer.code == "undeliverable"
    assert bench.names() == [("bad_bits", "kms-2")]


def test_one_that_fades_ends_an_hour_after_it_was_last_raised(bench: Bench) -> None:
    bench.raise_("frames_refused", "kms-2")
    bench.cluster.advance(HOUR_S - 10)
    bench.raise_("frames_refused", "kms-2")
    bench.cluster.advance(HOUR_S - 10)
    assert bench.names() == [("frames_refused", "kms-2")]

    bench.cluster.advance(20.0)

    assert bench.names() == []
    assert bench.gauge("frames_refused") == 0


def test_past_the_limit_the_oldest_makes_room_and_is_counted(bench: Bench) -> None:
    for n in range(ALARMS_MAX + 3):
        bench.raise_("peer_conflict", f"kms-{n}")

    found = bench.listed()

    assert len(found.alarms) == ALARMS_MAX
    assert found.alarms[0].subject == "kms-3"
    assert found.dropped == 3
    assert bench.cluster.count("a", "protokms_alarms_dropped") == 3
    assert bench.gauge("peer_conflict") == ALARMS_MAX


def test_texts_are_cut(bench: Bench) -> None:
    bench.raise_("peer_conflict", "kms-2", "x" * 10_000)

    assert len(bench.listed().alarms[0].text) == TEXT_MAX


def test_what_stands_outlives_a_crash_of_who_keeps_it(bench: Bench) -> None:
    bench.raise_("frames_refused", "kms-2")
    bench.cluster.settle()

    bench.cluster.nodes["a"].stop(alarms.NAME)
    bench.cluster.settle()
    bench.cluster.spawn(AT, Alarms, bench.board)
    bench.cluster.settle()

    assert bench.names() == [("frames_refused", "kms-2")]
    bench.cluster.advance(HOUR_S + 1)
    assert bench.names() == []


@pytest.mark.parametrize(
    ("sender", "id_"),
    [("etsi014", "out_of_date"), ("quantum_link/b", "link_not_ready"), ("node", "disk_full")],
)
def test_an_actor_that_may_live_apart_has_its_own_trouble(
    bench: Bench, sender: str, id_: str
) -> None:
    for body in (alarms.Raised(id=id_), alarms.Raised(id="rolled_back", subject="b")):
        bench.cluster.tell(AT, body, f"{sender}@a")

    may_all = sender == "node"
    assert bench.names() == [(id_, ""), *([("rolled_back", "b")] if may_all else [])]


@pytest.mark.parametrize("sender", ["etsi014", "etsi014/http", "quantum_link/b", "node/front"])
def test_an_actor_that_may_live_apart_ends_no_alarm_of_others(bench: Bench, sender: str) -> None:
    bench.raise_("bad_bits", "b")

    bench.cluster.tell(AT, alarms.Ended(id="bad_bits", subject="b"), f"{sender}@a")

    assert bench.names() == [("bad_bits", "b")]


def test_an_actor_that_may_live_apart_changes_no_alarm_that_another_raised(bench: Bench) -> None:
    bench.cluster.tell(AT, alarms.Raised(id="process_refused", subject="front"), "node@a")
    news = (
        alarms.Ended(id="process_refused", subject="front"),
        alarms.Raised(id="process_refused", subject="front", text="all is well"),
    )
    for body in news:
        bench.cluster.tell(AT, body, "node/front@a")

    (only,) = bench.listed().alarms
    assert only.text == KINDS["process_refused"].meaning

    bench.cluster.tell(AT, news[0], "node@a")
    assert bench.names() == []


def test_who_is_gone_takes_along_what_it_alone_would_have_ended(bench: Bench) -> None:
    for id_ in ("key_refused", "forged", "link_state_forged"):
        bench.cluster.tell(AT, alarms.Raised(id=id_, subject="b"), "peer_manager@a")
    bench.cluster.tell(AT, alarms.Raised(id="out_of_step", subject="b"), "key_store/b@a")
    assert (KINDS["forged"].clears, KINDS["link_state_forged"].fades_s) == (HAND, HOUR_S)

    bench.cluster.tell(AT, alarms.Ended(id=""), "peer_manager@a")

    left = [("forged", "b"), ("link_state_forged", "b"), ("out_of_step", "b")]
    assert bench.names() == left


def test_actors_that_may_live_apart_push_no_alarm_of_others_out(bench: Bench) -> None:
    bench.raise_("bad_bits", "b")

    for number in range(ALARMS_MAX + 10):
        raised = alarms.Raised(id="out_of_date", subject=f"{number}")
        bench.cluster.tell(AT, raised, f"etsi014/x{number}@a")

    assert bench.names()[0] == ("bad_bits", "b")
    assert len(bench.names()) == APART_MAX + 1
    assert bench.names()[-1] == ("out_of_date", str(ALARMS_MAX + 9))
