"""The flow of proto-kms between bare nodes: its operations in turn, and the words they cause."""

from collections.abc import Callable

from actors.protocol import intent, keys, peers
from protokms.testing.kms import KmsNetwork
from transport.envelope import Envelope

FLOW = [
    "ListInterfaces",
    "Interfaces",
    "AddQuantumPeer",
    "Capabilities",
    "CapabilitiesReply",
    "AddSession",
    "KeyTransportSession2",
    "KeyTransportSessionReply2",
    "SessionAdded",
    "GetKey",
    "Keys",
]
"""The words of the chart in docs/controller.md, in its order."""


def listen(kms: KmsNetwork) -> list[tuple[str, str, str]]:
    """Write down each word that is said: sender, word, receiver; what is said again once."""
    heard: list[tuple[str, str, str]] = []

    def noting(send: Callable[[Envelope], None]) -> Callable[[Envelope], None]:
        def say(envelope: Envelope) -> None:
            row = (str(envelope.sender), type(envelope.body).__name__, str(envelope.to))
            if row not in heard:
                heard.append(row)
            send(envelope)

        return say

    for system in kms.cluster.nodes.values():
        setattr(system, "send", noting(system.send))  # noqa: B010 -- it says it still
    return heard


def test_bare_nodes_go_through_the_flow_in_its_order() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3", bare=True, link={"rate_bit_s": 40e3})
    kms.advance(1.0)
    heard = listen(kms)

    told = kms.cluster.ask("peer_manager@kms-1", peers.ListInterfaces())
    assert isinstance(told, peers.Interfaces)
    assert [(it.number, it.peer) for it in told.interfaces] == [(1, "")]
    for node, peer, number in (
        *(("kms-1", "kms-2", 1), ("kms-2", "kms-1", 1)),
        *(("kms-2", "kms-3", 2), ("kms-3", "kms-2", 1)),
    ):
        link = intent.Link(intent.PHYS, node, peer, interface=number)
        assert isinstance(kms.want(link), intent.Written)
    kms.advance(15.0)
    kms.want(intent.Link(intent.VIRT, "kms-1", "kms-3", hops=("kms-2", "kms-3")))
    kms.advance(15.0)
    made = kms.enc("sae-1", "sae-3")
    assert isinstance(made, keys.Keys)
    same = kms.dec("sae-3", "sae-1", made.grant)

    assert isinstance(same, keys.KeysWithIds)
    assert same.octets == (made.octets,)
    words = list(dict.fromkeys(word for _, word, _ in heard if word in FLOW))
    assert words == FLOW
    hops = [(a, b) for a, word, b in heard if word == "KeyTransportSession2"]
    assert hops == [
        ("sessions@kms-1", "sessions@kms-2"),
        ("sessions@kms-2", "sessions@kms-3"),
    ]
    replies = [(a, b) for a, word, b in heard if word == "KeyTransportSessionReply2"]
    assert replies == [(b, a) for a, b in reversed(hops)]
    assert ("sessions@kms-1", "SessionAdded", "intent@kms-1") in heard
    kms.cluster.close()
