"""What is asked of a device next, and what becomes of its answers: by hand, on no clock."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from actors.modules.devices.device import DeviceError, DeviceKey, Fetched
from actors.modules.devices.seen import Seen
from actors.modules.etsi014 import desk as desks
from actors.modules.etsi014.desk import Desk
from actors.modules.etsi014.talk import (
    Container,
    DecKeys,
    EncKeys,
    GetStatus,
    Request,
    Status,
)
from actors.modules.module import Role
from transport.message import Secret

STATUS = Status(key_size=256, stored=1000, per_request=100, max_size=256, min_size=64)
PLENTY = 1 << 20


def status(**said: int) -> Status:
    return replace(STATUS, **said)


def made(role: Role = "sender", said: Status = STATUS, *, size: int = 0, per_dec: int = 0) -> Desk:
    """A desk whose device has said how it is."""
    found = Desk(role, Seen(bytes(32)), size=size, per_dec=per_dec)
    found.open(0.0)
    assert found.next(0.0, 0) == GetStatus()
    found.got_status(said, 0.0)
    return found


def container(ids: Sequence[str | int], size: int = 32) -> Container:
    return Container(tuple(DeviceKey(str(n), Secret(str(n).encode().ljust(size))) for n in ids))


def seconds(found: Request | float) -> float:
    assert isinstance(found, float)
    return found


def test_status_comes_first() -> None:
    found = Desk("sender", Seen(bytes(32)))
    found.open(7.0)

    assert found.next(7.0, PLENTY) == GetStatus()


@pytest.mark.parametrize(
    ("said", "credit", "asked"),
    [
        ({}, PLENTY, EncKeys(100, 256)),  # as many as it allows
        ({}, 10 * 32, EncKeys(10, 256)),  # as many as there is credit for
        ({"stored": 3}, PLENTY, EncKeys(3, 256)),  # as many as there are
        ({"max_size": 4096, "stored": 1000}, PLENTY, EncKeys(100, 2560)),  # larger ones
        ({"max_size": 4096, "stored": 10**5}, PLENTY, EncKeys(100, 4096)),
        ({"max_size": 1000, "stored": 10**5}, PLENTY, EncKeys(100, 768)),  # whole keys
        ({"max_size": 4096, "stored": 150}, PLENTY, EncKeys(75, 512)),
        ({"per_request": 1, "max_size": 10**6, "stored": 10**5}, PLENTY, EncKeys(1, 512_000)),
        ({"per_request": 10**6, "stored": 10**6}, PLENTY, EncKeys(1024, 256)),
        ({"key_size": 10**6, "max_size": 10**6}, PLENTY, EncKeys(16, 512_000)),
    ],
)
def test_one_request_is_for_as_many_bits_as_may_be_had(
    said: dict[str, int], credit: int, asked: EncKeys
) -> None:
    assert made(said=status(**said)).next(0.0, credit) == asked


def test_the_size_of_a_configuration_is_asked_for() -> None:
    assert made(size=128).next(0.0, 160) == EncKeys(10, 128)


def test_where_both_ends_begin_each_takes_its_half() -> None:
    assert made("both", status(stored=7)).next(0.0, PLENTY) == EncKeys(4, 256)


def test_nothing_is_asked_for_without_credit_for_a_key_but_a_status_now_and_then() -> None:
    found = made()

    assert found.next(1.0, 31) == pytest.approx(desks.WATCH_S - 1)
    assert found.next(desks.WATCH_S, 0) == GetStatus()


def test_a_device_with_few_keys_is_asked_now_and_then_one_with_many_at_once() -> None:
    for said, when in ((status(stored=10), desks.POLL_S), (status(stored=100), 0.0)):
        found = made(said=said)
        asked = found.next(0.0, PLENTY)
        assert isinstance(asked, EncKeys)
        found.got_new(asked, container(range(asked.number)), 0.0)

        if when:
            assert found.next(0.0, PLENTY) == when
        assert found.next(when, PLENTY) == GetStatus()


def test_what_was_taken_is_not_counted_again_before_the_next_status() -> None:
    found = made(said=status(stored=150))
    found.got_new(EncKeys(100, 256), container(range(100)), 0.0)

    assert found.next(0.0, PLENTY) == EncKeys(50, 256)


def test_a_device_without_keys_is_quiet_after_a_while_and_not_any_more_with_the_first() -> None:
    found = made(said=status(stored=0))
    said = [found.quiet]

    found.got_status(status(stored=0), desks.QUIET_S)
    said.append(found.quiet)
    found.got_status(STATUS, 20.0)
    found.got_new(EncKeys(1, 256), container([1]), 20.0)
    said.append(found.quiet)

    assert said == ["", "the device has no keys", ""]


def test_fewer_keys_than_asked_for_are_taken_counted_and_the_device_is_left_in_peace() -> None:
    found = made()

    assert len(found.got_new(EncKeys(100, 256), container(range(40)), 0.0)) == 40

    assert found.told.short == 60
    assert found.next(0.0, PLENTY) == desks.POLL_S


def test_a_status_that_lies_is_backed_off_from_and_told_after_a_while() -> None:
    found = made()
    asked = EncKeys(100, 256)
    now, waits = 0.0, []
    while now < 60:
        with pytest.raises(DeviceError) as why:
            found.got_new(asked, container([]), now)
        found.failed(asked, why.value, now)
        waits.append(seconds(found.next(now, PLENTY)))
        now += waits[-1]
        found.got_status(STATUS, now)

    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert found.quiet == "the device has keys, it says, and gives none"


@pytest.mark.parametrize("again", ["key", "key_id"])
def test_what_a_device_gives_twice_is_not_taken_the_second_time(again: str) -> None:
    found = made()
    first = DeviceKey("k-1", Secret(b"a" * 32))
    found.got_new(EncKeys(1, 256), Container((first,)), 0.0)
    name, octets = ("k-2", b"a" * 32) if again == "key" else ("K-1", b"b" * 32)

    with pytest.raises(DeviceError, match="second time") as why:
        found.got_new(EncKeys(1, 256), Container((DeviceKey(name, Secret(octets)),)), 1.0)

    found.failed(EncKeys(1, 256), why.value, 1.0)
    assert (why.value.kind, found.quiet) == ("repeated", str(why.value))
    assert found.next(1.0, PLENTY) == desks.BACK_OFF_S


def test_the_same_key_twice_in_one_answer_costs_the_answer() -> None:
    found = made()
    twice = tuple(DeviceKey(name, Secret(b"a" * 32)) for name in ("k", "l"))

    with pytest.raises(DeviceError, match="second time"):
        found.got_new(EncKeys(2, 256), Container(twice), 0.0)


def test_keys_are_remembered_over_lives_of_the_link_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.modules.devices.seen.KEPT", 10)
    seen = Seen(bytes(32))
    first = container(range(8)).keys

    assert not seen.repeated(first)
    assert seen.repeated(first[:1])
    assert not seen.repeated(container(range(100, 110)).keys)
    assert not seen.repeated(first[:1])


def test_named_keys_are_fetched_in_one_go_and_come_under_their_seqs() -> None:
    found = made("receiver")
    found.want((9, 7), ("A", "b"), 0.0)

    assert found.next(0.0, 0) == DecKeys(("A", "b"))
    got = found.got_named(Container(container(["b", "a"]).keys), 0.0)

    assert [(it.seq, it.octets.reveal()[:1]) for it in got] == [(7, b"b"), (9, b"a")]
    assert seconds(found.next(0.0, 0)) > 1


def test_no_more_keys_are_fetched_in_one_go_than_the_device_gives() -> None:
    for per_dec, most in ((0, 100), (1, 1)):
        found = made("receiver", per_dec=per_dec)
        found.want(range(150), [str(n) for n in range(150)], 0.0)

        asked = [found.next(0.0, 0) for _ in range(2)]
        assert [len(it.key_ids) for it in asked if isinstance(it, DecKeys)] == [
            most,
            min(most, 50),
        ]


def test_one_key_that_the_device_does_not_know_costs_no_other() -> None:
    found = made("receiver")
    found.want(range(8), "abcdefgh", 0.0)
    got: list[Fetched] = []
    now = 0.0
    while now < desks.FETCH_S + 1:
        asked = found.next(now, 0)
        if not isinstance(asked, DecKeys):
            now += max(0.01, asked) if isinstance(asked, float) else 0.0
            if asked == GetStatus():
                found.got_status(STATUS, now)
        elif "c" in asked.key_ids:
            found.failed(asked, DeviceError("refused", "it answers 400"), now)
        else:
            got += found.got_named(container(asked.key_ids), now)

    assert sorted(it.seq for it in got) == [0, 1, 3, 4, 5, 6, 7]
    assert found.told.lost == 1
    assert not found.quiet


def test_a_device_that_knows_no_key_of_the_other_end_is_told_until_one_comes() -> None:
    found = made("receiver")
    found.want((1,), ("a",), 0.0)
    now, said = 0.0, []
    while now < desks.FETCH_S:
        asked = found.next(now, 0)
        if isinstance(asked, DecKeys):
            found.failed(asked, DeviceError("refused", "it answers 400"), now)
        now += 0.25
        said.append(found.quiet)
    assert set(said) == {""}

    found.next(now, 0)
    assert found.quiet == "the device has none of the keys that the other end got"

    found.want((2,), ("b",), now)
    assert found.next(now, 0) == DecKeys(("b",))
    found.got_named(container(["b"]), now)
    assert not found.quiet


def test_a_key_that_comes_late_to_the_other_device_is_asked_for_again() -> None:
    found = made("receiver")
    found.want((1,), ("a",), 0.0)
    asked = found.next(0.0, 0)
    assert isinstance(asked, DecKeys)

    found.failed(asked, DeviceError("refused", ""), 0.0)

    assert found.next(0.0, 0) == desks.RETRY_S
    assert found.next(desks.RETRY_S, 0) == asked
    found.failed(asked, DeviceError("refused", ""), desks.RETRY_S)
    assert found.next(desks.RETRY_S, 0) == 2 * desks.RETRY_S


def test_keys_wait_while_the_device_does_not_answer_until_their_time_is_over() -> None:
    found = made("receiver")
    found.want((1, 2), ("a", "b"), 0.0)
    asked = found.next(0.0, 0)
    assert isinstance(asked, DecKeys)
    found.failed(asked, DeviceError("no_answer", "Connection refused"), 0.0)
    assert found.quiet == "Connection refused"

    assert found.next(0.0, 0) == desks.BACK_OFF_S
    assert found.next(desks.BACK_OFF_S, 0) == asked
    found.failed(asked, DeviceError("no_answer", "Connection refused"), desks.BACK_OFF_S)
    found.next(desks.FETCH_S, 0)

    assert found.told.lost == 2


@pytest.mark.parametrize("kind", ["malformed", "repeated"])
def test_keys_that_were_given_in_vain_are_not_asked_for_again(kind: str) -> None:
    found = made("receiver")
    found.want((1, 2), ("a", "b"), 0.0)
    asked = found.next(0.0, 0)
    assert isinstance(asked, DecKeys)

    found.failed(asked, DeviceError(kind, "no base64"), 0.0)

    assert found.told.lost == 2
    assert (found.quiet, found.next(60.0, 0)) == ("no base64", GetStatus())


def test_what_was_named_in_an_epoch_before_is_forgotten() -> None:
    found = made("receiver")
    found.want((1,), ("a",), 0.0)
    found.open(1.0)
    assert found.next(1.0, 0) == GetStatus()
    found.got_status(STATUS, 1.0)

    assert not isinstance(found.next(1.0, 0), DecKeys)


def test_too_many_named_keys_are_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "WANTED_MAX", 3)
    found = made("receiver")

    found.want(range(5), "abcde", 0.0)

    assert (found.next(0.0, 0), found.told.lost) == (DecKeys(("a", "b", "c")), 2)


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(0.0, 0.5), (7.0, 7.0), (1e6, desks.RETRY_AFTER_MAX_S)]
)
def test_after_503_the_device_has_the_time_it_asks_for_within_bounds(
    retry_after: float, wait: float
) -> None:
    found = made()

    found.failed(EncKeys(1, 256), DeviceError("unavailable", "it answers 503", retry_after), 0.0)

    assert found.next(0.0, PLENTY) == wait
    assert not found.quiet  # no news before it has lasted


def test_the_pause_after_errors_grows_up_to_a_limit_and_is_forgotten_with_the_first_keys() -> None:
    found = made()
    waits = []
    now = 0.0
    for _ in range(9):
        found.failed(GetStatus(), DeviceError("timeout", "no answer within 5 s"), now)
        waits.append(seconds(found.next(now, PLENTY)))
        now += waits[-1]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]

    found.got_status(STATUS, now)
    assert not found.quiet
    found.got_new(EncKeys(1, 256), container([1]), now)
    found.failed(EncKeys(1, 256), DeviceError("unauthorized", "it answers 401"), now)

    assert (found.quiet, found.next(now, PLENTY)) == ("it answers 401", 0.5)


def test_where_both_ends_begin_named_keys_go_before_new_ones() -> None:
    found = made("both")
    found.want((1,), ("a",), 0.0)

    assert found.next(0.0, PLENTY) == DecKeys(("a",))
    assert isinstance(found.next(0.0, PLENTY), EncKeys)


def test_the_qber_is_kept_until_the_device_names_another() -> None:
    found = made(said=Status(256, 10, 100, 256, 64, qber=0.02))
    assert found.qber == 0.02

    found.got_new(EncKeys(1, 256), Container(container([1]).keys, 0.03), 0.0)
    found.got_status(STATUS, 1.0)

    assert found.qber == 0.03
