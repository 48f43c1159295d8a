"""Relays and a multicast for the random run of two ends: pads, and keys drawn elsewhere.

A pad is known by what it holds: whatever comes out of a store as one is of the stream, is the same
at both ends, comes out once at each, and is never anything else (R4).
"""

import random
from dataclasses import dataclass
from functools import partial

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.protocol import grants, keys, pads
from actors.protocol.common import Failed
from protokms.testing.probe import Probe
from tests.kit.history import UNIT, Answered, BrokenPromise, History
from tests.kit.pair import Pair
from transport.envelope import Envelope
from transport.message import Message, Secret

NODES = ("a", "b")
MASTERS = {"a": ("alice", "carol"), "b": ("bob", "bert")}
NO_HARM = {
    "stale",
    "opened",
    "not_ready",
    "no_such_segment",
    "undeliverable",
    "no_such_actor",
    "crashed",
    "poison",
}
"""What an honest end may hear when it opens a pad of an honest peer."""


@dataclass(slots=True)
class Taken:
    """A pad that a relay was given."""

    node: str
    pad: pads.Pad
    opened: bool = False


class TwoRelays:
    """`relay/<peer>` and `multicast` of both nodes."""

    def __init__(self, pair: Pair, dice: random.Random, history: History) -> None:
        self.pair, self.dice, self.history = pair, dice, history
        self.number = 0
        self.taken: list[Taken] = []
        self.opened = 0
        self.settled = 0
        self._opening: dict[tuple[str, int], Taken] = {}
        self._giving: dict[tuple[str, int], keys.Prepare] = {}
        self._given: list[tuple[str, keys.Prepare, float]] = []
        self._drawn: dict[bytes, bytes] = {}
        self._relays: dict[str, Probe] = {}
        self._fronts: dict[str, Probe] = {}
        for node in NODES:
            self._relays[node] = pair.cluster.probe(f"relay/{_other(node)}@{node}")
            self._relays[node].tell = partial(self._hear_relay, node)  # type: ignore[method-assign]
            self._fronts[node] = pair.cluster.probe(f"multicast@{node}")
            self._fronts[node].tell = partial(self._hear_give, node)  # type: ignore[method-assign]

    # Pads

    def take_pad(self, node: str) -> None:
        """A relay wants a pad, in one of a few sessions."""
        self.number += 1
        ask = pads.TakePad(
            id=self.number,
            session=self.dice.choice(["one", "two", "three"]),
            octets=KEY_OCTETS + UNIT * self.dice.randint(1, 60),
            weight=self.dice.randint(1, 4),
            wait=self.dice.choice([0.0, 0.5, 2.0, 5.0]),
        )
        self._relays[node].question(self.pair.at(node), ask)

    def open_pad(self) -> None:
        """A frame arrives under some pad: at once, late, or for the second time."""
        if not self.taken:
            return
        taken = self.dice.choice(self.taken[-12:] if self.dice.random() < 0.8 else self.taken)
        reader = _other(taken.node)
        ask = pads.OpenPad(head=taken.pad.head, pieces=taken.pad.pieces)
        token = self._relays[reader].question(self.pair.at(reader), ask)
        self._opening[reader, token] = taken

    def done_pad(self) -> None:
        """Some frames are acknowledged, or given up; one id nobody has heard of."""
        node = self.dice.choice(NODES)
        mine = [taken.pad.id for taken in self.taken if taken.node == node]
        ids = self.dice.sample(mine, min(len(mine), self.dice.randint(1, 6)))
        done = pads.PadsDone(ids=(*ids, self.dice.randint(0, self.number)))
        self._relays[node].say(self.pair.at(node), done)

    def relay_crash(self, node: str) -> None:
        """A relay starts anew; its frames may be on their way still."""
        self._relays[node].say(self.pair.at(node), pads.ForgetPads())

    def _hear_relay(self, node: str, envelope: Envelope) -> None:
        body = envelope.body
        taken = self._opening.pop((node, envelope.token), None)
        if isinstance(body, pads.Pad):
            octets = body.octets.reveal()
            self.history.use(octets, ("pad", node, body.id))
            if any(octets[i : i + UNIT] not in self.history.fed for i in _units(octets)):
                raise BrokenPromise("P2: a pad holds octets that the link never drew")
            self.taken.append(Taken(node, body))
        elif taken and isinstance(body, pads.PadOpened):
            if body.octets.reveal() != taken.pad.octets.reveal():
                raise BrokenPromise("P1: a pad differs at the two ends")
            if taken.opened:
                raise BrokenPromise("R4: a pad was opened twice")
            taken.opened = True
            self.opened += 1
        elif taken and isinstance(body, Failed) and body.code not in NO_HARM:
            raise BrokenPromise(f"R7: an honest pad is refused: {body}")

    # Keys drawn elsewhere

    def seal(self, node: str) -> None:
        """A multicast brings keys that it has drawn."""
        id_, number = self.dice.randbytes(12), self.dice.choice([1, 2, 5])
        size = UNIT * self.dice.randint(1, 6)
        octets = self.dice.randbytes(number * size)
        self.history.feed(octets)
        self._drawn[id_] = octets
        give = keys.Prepare(
            grant=id_,
            master=self.dice.choice(MASTERS[node]),
            slaves=(self.dice.choice(MASTERS[_other(node)]),),
            number=number,
            size=size,
            octets=Secret(octets),
        )
        token = self._fronts[node].question(self.pair.at(node), give)
        self._giving[node, token] = give

    def end_give(self) -> None:
        """All the others hold it too, or one of them refuses; or the multicast dies."""
        if not self._given:
            return
        node, give, since = self._given.pop(self.dice.randrange(len(self._given)))
        fate = self.dice.random()
        if fate < 0.6:
            ask = keys.GetKey(
                master=give.master, slaves=give.slaves, number=give.number, size=give.size
            )
            got = keys.Keys(grant=give.grant, size=give.size, octets=give.octets)
            told = Answered(ask, node, _other(node), "sealed", since)
            told.excused = self.history.restored >= since  # put back to before it was given, maybe
            self.history.answered(got, told)
            self.settled += 1
            self._say(node, keys.Settle(grant=give.grant))
        elif fate < 0.9:
            self._say(node, keys.Abort(grant=give.grant))

    def overheard(self, body: Message) -> None:
        """A sealed grant is on the wire: what it is sealed with is a pad like any other."""
        if isinstance(body, grants.GrantSealed):
            self.history.announced[body.grant.id] = body.grant
            octets = self._drawn[body.grant.id]
            pad = bytes(a ^ b for a, b in zip(octets, body.sealed, strict=True))
            self.history.use(pad, ("pad of", body.grant.id))

    def _hear_give(self, node: str, envelope: Envelope) -> None:
        give = self._giving.pop((node, envelope.token), None)
        if give and isinstance(envelope.body, keys.Prepared):
            self._given.append((node, give, self.pair.cluster.now))
        elif give:
            self._say(node, keys.Abort(grant=give.grant))

    def _say(self, node: str, body: Message) -> None:
        self._fronts[node].say(self.pair.at(node), body)

    def calm(self) -> None:
        """Let everything that is open come to an end."""
        while self._given:
            self.end_give()
        for node in NODES:
            self.relay_crash(node)


def _other(node: str) -> str:
    return "b" if node == "a" else "a"


def _units(octets: bytes) -> range:
    return range(0, len(octets), UNIT)
