"""Handshakes under way: who waits, and who makes room."""

from etsi.http.servers.handshakes import Handshakes


def made(*addresses: str, most: int = 3) -> Handshakes[int]:
    """Begin one a second, numbered from 0."""
    handshakes: Handshakes[int] = Handshakes(most, patience_s=10.0)
    for number, address in enumerate(addresses):
        handshakes.begin(number, address, float(number))
    return handshakes


def test_the_next_waits_only_when_all_places_are_taken() -> None:
    handshakes = made("a", "a")
    assert not handshakes.full

    handshakes.begin(2, "a", 2.0)
    assert handshakes.full

    assert handshakes.end(1) == "a"
    assert not handshakes.full


def test_one_that_was_ended_is_ended_once() -> None:
    handshakes = made("a", "b")

    assert (handshakes.end(0), handshakes.end(0)) == ("a", None)
    assert list(handshakes) == [1]


def test_nobody_makes_room_before_its_patience_is_over() -> None:
    handshakes = made("a", "a", "a")

    assert handshakes.slowest(9.9) is None
    assert handshakes.waits(9.0) == 1.0


def test_the_oldest_of_an_address_makes_room() -> None:
    assert made("a", "a", "a").slowest(11.0) == 0
    assert made("a").waits(11.0) == 0.0


def test_the_address_with_most_makes_room_first() -> None:
    assert made("b", "a", "a").slowest(12.0) == 1


def test_of_the_address_with_most_only_the_slow_make_room() -> None:
    assert made("b", "a", "a").slowest(10.5) == 0


def test_addresses_with_as_many_make_room_in_order() -> None:
    assert made("b", "a").slowest(99.0) == 0


def test_an_address_counts_what_it_has_open_now() -> None:
    handshakes = made("a", "a", "b")
    handshakes.end(0)
    handshakes.begin(3, "b", 3.0)

    assert handshakes.slowest(99.0) == 2
