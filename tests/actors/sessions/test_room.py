"""Places for shares: taken when asked for, given back at every end, never more than fit."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol.relay import SessionId
from actors.sessions.options import SessionOptions
from actors.sessions.room import Places, Room

OPTIONS = SessionOptions(max_crossing=6, max_lanes=3, max_lanes_per_origin=2)
NAMES = st.sampled_from(["", "a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9), st.builds(Places, NAMES, NAMES, NAMES)),
    max_size=60,
)


def key(number: int) -> tuple[SessionId, int]:
    return SessionId("o", number), 0


def used(room: Room) -> list[int]:
    return [use.used for use in room.uses()]


@pytest.mark.parametrize(
    ("held", "asked", "code"),
    [
        (
            [Places("a", "", "o")] * 3 + [Places("b", "", "o")] * 3,
            Places("c", "d", "o"),
            "node_full",
        ),
        ([Places("a", "", "o")] * 3, Places("a", "b", "p"), "entry_full"),
        ([Places("", "b", "o")] * 3, Places("a", "b", "p"), "link_full"),
        ([Places("a", "b", "o"), Places("c", "b", "o")], Places("d", "b", "o"), "share_full"),
    ],
)
def test_what_is_full_is_named_and_one_place_given_back_is_enough(
    held: list[Places], asked: Places, code: str
) -> None:
    room = Room(OPTIONS)
    for number, places in enumerate(held):
        assert not room.take(key(number), places)

    assert room.take(key(99), asked) == code
    assert key(99) not in room
    room.free(key(0))
    assert not room.take(key(99), asked)


def test_what_begins_here_keeps_to_the_room_of_its_link_alone() -> None:
    room = Room(SessionOptions(max_crossing=0, max_lanes=3, max_lanes_per_origin=1))

    codes = [room.take(key(n), Places("", "b", "me")) for n in range(4)]

    assert codes == ["", "", "", "link_full"]


@given(STEPS)
def test_counters_are_those_of_what_holds_places(steps: list[tuple[bool, int, Places]]) -> None:
    room, held = Room(OPTIONS), dict[int, Places]()
    for take, number, places in steps:
        if not take:
            room.free(key(number))
            held.pop(number, None)
        elif number not in held and not room.take(key(number), places):
            held[number] = places
        come = Counter(it.before for it in held.values() if it.before)
        go = Counter(it.after for it in held.values() if it.after)
        of = Counter((it.origin, it.after) for it in held.values() if it.before and it.after)
        most = [max(count.values(), default=0) for count in (come, go, of)]
        assert used(room) == [len(held), max(most[:2]), most[2]]
        assert max(most[:2]) <= OPTIONS.max_lanes
        assert most[2] <= OPTIONS.max_lanes_per_origin

    for number in list(held):
        room.free(key(number))
        room.free(key(number))
    assert used(room) == [0, 0, 0]
    assert (room._from, room._to, room._of) == ({}, {}, {})
