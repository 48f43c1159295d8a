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
    changed = {"node": "kms-2", "process": "core", field: name}

    with pytest.raises(ValueError, match="not the name of a process"):
        Peer(**changed, address=PEER.address, curve=PEER.curve)


def test_a_peer_has_a_curve_key() -> None:
    with pytest.raises(ValueError, match="Z85"):
        dataclasses.replace(PEER, curve="a" * 40 + "b")
