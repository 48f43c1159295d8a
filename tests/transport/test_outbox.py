import dataclasses

import pytest

from transport.curve import CurveKey
from transport.outbox import Outbox, Peer, destination

PEER = Peer("kms-2", "core", "tcp://127.0.0.1:17002", CurveKey.draw().public)


def outbox(frames: int = 3, octets: int = 100) -> Outbox:
    made = Outbox(PEER, 1.0, frames, octets)
    made.open()
    return made


def test_frames_are_taken_up_to_their_number() -> None:
    box = outbox(frames=3)

    assert [box.put(b"frame") for _ in range(4)] == ["", "", "", "full"]


def test_frames_are_taken_up_to_their_octets() -> None:
    box = outbox(octets=10)

    assert [box.put(b"123456"), box.put(b"12345"), box.put(b"1234")] == ["", "full", ""]


def test_a_process_that_is_down_gets_nothing_and_what_waited_is_forgotten() -> None:
    box = outbox(frames=2)
    box.put(b"one")
    box.put(b"two")

    assert box.shut() == 2
    assert not box.pending
    assert box.put(b"three") == "down"
    box.open()
    assert [box.put(b"a"), box.put(b"b"), box.put(b"c")] == ["", "", "full"]


def test_a_destination_is_the_node_or_a_process_of_it() -> None:
    assert PEER.name == destination("kms-2") == "kms-2"
    assert dataclasses.replace(PEER, process="front").name == "kms-2/front"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:1",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://*:17001",
        "tcp://a b:1",
        "ipc:///tmp/a",
        "tcp://a:1\n",
        "tcp://a;b:1",
    ],
)
def test_an_address_that_cannot_be_connected_to_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not tcp://HOST:PORT"):
        dataclasses.replace(PEER, address=address)


@pytest.mark.parametrize("field", ["node", "process"])
@pytest.mark.parametrize("name", ["", "KMS", "a/b", "a@b", "-a"])
def test_a_process_has_a_proper_name(field: str, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a process"):
        dataclasses.replace(PEER, **{field: name})  # type: ignore[arg-type]


def test_a_peer_has_a_curve_key() -> None:
    with pytest.raises(ValueError, match="Z85"):
        dataclasses.replace(PEER, curve="a" * 40 + "b")


LAZY = dataclasses.replace(PEER, lazy=True)


def test_the_first_frame_for_a_lazy_peer_asks_for_a_connection() -> None:
    box = Outbox(LAZY, 1.0, 10, 1000)

    refusals = [box.put(b"one"), box.put(b"two")]

    assert refusals == ["opening", "down"]
    assert box.wanted


def test_a_connection_idles_when_no_frame_went_either_way() -> None:
    box = Outbox(LAZY, 1.0, 10, 1000)
    box.begin(100.0, 5.0)

    assert not box.idles(399.9, 300.0)
    assert box.idles(400.0, 300.0)
    for counter in ("sent", "received"):
        box.begin(100.0, 5.0)
        setattr(box, counter, 1)
        assert not box.idles(400.0, 300.0)
        box.counted()
        assert not box.idles(699.0, 300.0)
        assert box.idles(700.0, 300.0)


def test_a_frame_that_waits_keeps_a_connection_open() -> None:
    box = Outbox(LAZY, 1.0, 10, 1000)
    box.begin(100.0, 5.0)
    box.open()
    box.put(b"frame")

    assert not box.idles(1000.0, 300.0)


def test_a_peer_that_is_always_connected_never_idles() -> None:
    box = Outbox(PEER, 1.0, 10, 1000)
    box.begin(100.0, 5.0)

    assert box.wanted
    assert not box.idles(1e9, 300.0)


def test_a_lazy_peer_that_does_not_come_is_missed_once() -> None:
    box = Outbox(LAZY, 1.0, 10, 1000)
    box.begin(100.0, 5.0)

    missed = [box.is_missed(now) for now in (104.0, 106.0, 107.0)]

    assert missed == [False, True, False]


def test_a_lazy_peer_that_comes_in_time_is_not_missed() -> None:
    box = Outbox(LAZY, 1.0, 10, 1000)
    box.begin(100.0, 5.0)
    box.open()

    assert [box.is_missed(now) for now in (101.0, 200.0)] == [False, False]
    box.shut()
    assert not box.is_missed(300.0)
