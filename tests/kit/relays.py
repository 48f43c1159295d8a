"""Stands in for the relays of a pair: takes pads at one end, opens them at the other."""

from actors.protocol import pads
from actors.protocol.common import Failed
from protokms.testing.probe import Probe
from tests.kit.pair import Pair
from transport.message import Message


class Relays:
    """`relay/b@a` and `relay/a@b`, by hand."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.number = pair, 0
        self.probes: dict[str, Probe] = {}
        for node, peer in (("a", "b"), ("b", "a")):
            self.probes[node] = pair.cluster.probe(f"relay/{peer}@{node}")

    def ask(self, at: str, body: Message) -> Message | None:
        """Ask the store at a node; the answer, if it came at once."""
        probe = self.probes[at]
        token = probe.question(self.pair.at(at), body)
        self.pair.cluster.settle()
        return self.answer(at, token)

    def answer(self, at: str, token: int) -> Message | None:
        """What came as the answer to a question, if anything."""
        found = [it.body for it in self.probes[at].envelopes if it.answer and it.token == token]
        return found[0] if found else None

    def want(
        self, octets: int = 100, *, at: str = "a", session: str = "s", weight: int = 1
    ) -> tuple[int, int]:
        """Ask for a pad that has two seconds; return its id, and the token of the question."""
        self.number += 1
        take = pads.TakePad(id=self.number, session=session, octets=octets, weight=weight, wait=2.0)
        token = self.probes[at].question(self.pair.at(at), take)
        self.pair.cluster.settle()
        return self.number, token

    def take(self, octets: int = 100, *, at: str = "a", session: str = "s") -> pads.Pad:
        """Take a pad, whose bits there are."""
        _, token = self.want(octets, at=at, session=session)
        for _ in range(20):
            if self.answer(at, token):
                break
            self.pair.cluster.advance(0.1)
        pad = self.answer(at, token)
        assert isinstance(pad, pads.Pad), pad
        return pad

    def open(self, pad: pads.Pad, *, at: str = "b") -> bytes:
        """Open a pad that the other end has taken."""
        answer = self.ask(at, pads.OpenPad(head=pad.head, pieces=pad.pieces))
        assert isinstance(answer, pads.PadOpened), answer
        return answer.octets.reveal()

    def refused(self, pad: pads.Pad, *, at: str = "b") -> str:
        """Try to open a pad; return the code of the refusal."""
        answer = self.ask(at, pads.OpenPad(head=pad.head, pieces=pad.pieces))
        assert isinstance(answer, Failed), answer
        return answer.code

    def done(self, *ids: int, at: str = "a") -> None:
        """Say that these pads are done with."""
        self.probes[at].say(self.pair.at(at), pads.PadsDone(ids=ids))
        self.pair.cluster.settle()
