"""What the other end names is kept within limits, whatever it names."""

from uuid import UUID

from actors.modules.devices.seen import Seen
from actors.modules.etsi004.desk import FETCH_S, GROUPS_MAX, Desk
from actors.modules.etsi004.talk import name


def test_streams_without_number_are_not_kept_without_number() -> None:
    desk = Desk("receiver", Seen(bytes(32)), bytes)
    named = [name(UUID(int=number), None) for number in range(1, GROUPS_MAX + 101)]

    desk.want(range(len(named)), named, 0.0)
    desk.want(range(len(named)), named, 0.0)

    assert len(desk._wanted) == GROUPS_MAX
    assert desk.told.lost == 2 * len(named) - GROUPS_MAX
    desk.next(FETCH_S, 0)
    assert not desk._wanted
