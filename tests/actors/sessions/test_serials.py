"""The one counter of what an origin signs."""

from actors.sessions.serials import SERIAL_MAX, Serials


def begun(*before: Serials) -> Serials:
    made = Serials()
    for each in before:
        made.loaded(each.begin())
    assert not made.live
    made.begin()
    made.begun()
    return made


def test_serials_grow_in_a_life_and_over_all_of_them() -> None:
    first = begun()
    second = begun(first)

    drawn = [first.next(), first.next(), second.next(), second.next()]

    assert drawn == sorted(set(drawn))
    assert drawn[0] == (1 << 32) + 1
    assert second.next() < SERIAL_MAX


def test_an_origin_restored_from_a_backup_goes_on_after_what_was_heard_of_it() -> None:
    lost = begun(begun(begun()))
    heard = lost.next() + 70
    restored = begun()

    row = restored.outdo(heard)

    assert row is not None
    assert restored.next() == heard + 1
    after = Serials()
    after.loaded(row)
    after.begun()
    assert after.next() > heard + (1 << 31)


def test_what_is_not_newer_changes_nothing() -> None:
    serials = begun()
    last = serials.next()

    assert serials.outdo(last) is None
    assert serials.outdo(SERIAL_MAX + 1) is None
    assert serials.next() == last + 1
