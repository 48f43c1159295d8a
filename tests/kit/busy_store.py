"""A key store with something in every queue, and what befalls it: rows of test_order_of_events."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.base import Actor
from actors.keystore.key_store import KeyStore
from actors.ledger.batches import Batches
from actors.ledger.held import Held
from actors.ledger.issued import Issued
from actors.ledger.peering_state import PeeringState
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import blocks, grants, keys, links
from actors.protocol.common import Ping
from actors.protocol.peers import PeerDown, PeerUp
from actors.sync.demand import Demand
from actors.sync.intake import WaterMarks
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from tests.kit.pair import LOCATED, Pair
from tests.kit.recorder import Kept, Record, recorded
from tests.kit.relays import Relays
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

KEPT: tuple[Kept, ...] = (
    ("state of peering is made", PeeringState, "__init__"),
    ("state of peering enters an epoch", PeeringState, "enter"),
    ("stream is made", Stream, "__init__"),
    ("stream is destroyed", Stream, "destroy"),
    ("stream marks", Stream, "mark"),
    ("stream burns what is idle", Stream, "burn_idle"),
    ("stream closes", Stream, "close"),
    ("stream: a grant or pad stands in the way no more", Stream, "known"),
    ("stream is wiped", Stream, "wipe"),
    ("batches are made", Batches, "__init__"),
    ("batches are destroyed", Batches, "destroy"),
    ("batches forget what arrived", Batches, "forget_arrived"),
    ("batches forget what was emitted", Batches, "forget_emitted"),
    ("held grants are made", Held, "__init__"),
    ("held grants expire", Held, "tick"),
    ("held grants detach from the epoch", Held, "epoch_closed"),
    ("held grants forget a segment", Held, "segment_closed"),
    ("issued grants are made", Issued, "__init__"),
    ("issued grants leave the epoch", Issued, "epoch_closed"),
    ("issued grants: which are late?", Issued, "given_before"),
    ("issued grants: which are to be announced?", Issued, "due"),
    ("issued grants: which sealed ones are to be said?", Issued, "due_sealed"),
    ("issued grants: which voids are to be said?", Issued, "due_voids"),
    ("shares: who is next?", Shares, "next"),
    ("shares: bits are reserved", Shares, "reserve"),
    ("shares: a reservation is over", Shares, "release"),
    ("shares: a request is cancelled", Shares, "cancel"),
    ("demand is measured", Demand, "tick"),
    ("marks follow demand", WaterMarks, "follow"),
)
"""What is noted of the books that the store keeps: changes that no row and no word shows."""

ACKNOWLEDGEMENTS = {
    *(blocks.BlocksConfirmed, blocks.BlocksDiscarded, blocks.BlocksSettled, blocks.LeaseHeld),
    *(blocks.TransferTaken, blocks.SegmentClosedHeld, grants.GrantsHeld, grants.GrantsVoidHeld),
    *(grants.GrantUnknown, grants.LoadQuery, grants.GrantQuery),
}
SEALED = bytes(range(32))
KEPT_GRANT = bytes([2]) * keys.ID_OCTETS
"""The sealed grant that is held at the peer, and neither settled nor taken back."""
AT = Pair.at("a")
LATE_S = 1_300.0
"""All that a store forgets or gives up after a while is late by then."""


class RecordedPair(Pair):
    """Two stores, of which that of node `a` is recorded."""

    def __init__(self, record: Record, **options: Any) -> None:
        self.record = record
        super().__init__(**options)

    def recipe(self, system: StepSystem) -> None:
        name, kind = self.at(system.node).partition("@")[0], recorded(self.record, KeyStore)
        to = system.spawn(name, kind, self.made(system.node))
        system.send(Envelope(Address("peer_manager", system.node), to, LOCATED))


class Busy:
    """The scene: nothing that was said at node `a` of late has been acknowledged."""

    def __init__(self, record: Record, **options: Any) -> None:
        limits = {"request_timeout_s": 60.0, "max_undelivered_bits_per_pair": 64 * 8 * 8}
        self.record = record
        self.pair = RecordedPair(record, **limits | options)
        self.cluster = self.pair.cluster
        self.relays = Relays(self.pair)
        self.front: Probe = self.cluster.probe("front@a")
        self.number = 0
        self.confirmed = self.pair.options.get("mode", "confirmed") == "confirmed"

    # What is done at node a

    def ask(self, body: Message) -> None:
        """Ask the store, and wait for nothing."""
        self.front.question(AT, body)
        self.cluster.settle()

    def tell(self, body: Message) -> None:
        """Tell the store something."""
        self.front.say(AT, body)
        self.cluster.settle()

    def play(self, word: Message) -> None:
        """Let the peer say this, whatever the wire loses."""
        lost, self.pair.lost = self.pair.lost, set()
        peer = Address.parse(Pair.at("b"))
        self.cluster.nodes["b"].send(Envelope(peer, Address.parse(AT), word))
        self.pair.lost = lost
        self.cluster.settle()

    def key(self, number: int = 1, *, slave: str = "bob", **more: Any) -> keys.GetKey:
        return keys.GetKey(master="alice", slaves=(slave,), number=number, size=32, **more)

    def give(self, slave: str = "bob") -> keys.Prepare:
        self.number += 1
        id_, octets = bytes([self.number]) * keys.ID_OCTETS, Secret(SEALED)
        ends = {"master": "carol", "slaves": (slave,)}
        return keys.Prepare(grant=id_, number=1, size=32, octets=octets, **ends)  # type: ignore[arg-type]

    def head(self) -> blocks.Head:
        """A head of the peer."""
        return self.pair.store("b").state.head(now=True)

    def burn(self, n: int = 0) -> None:
        """Use up segments of ours that are in use, all or so many, for nothing."""
        stream = self.pair.store("a").stream
        for segment in list(stream._ready.values())[: n or None]:
            stream.burn(segment)

    # The scene

    def fill(self) -> None:
        """Both ends have bits; pads are out at both, and one of the peer's was opened."""
        pair = self.pair
        pair.fill(10)
        pair.fill(10, sender="b")
        for _ in range(2):  # now we have more fresh segments than the peer, to give away
            self.relays.done(self.relays.take(9000, at="b").id, at="b")
        self.theirs = self.relays.take(at="b")
        self.relays.open(self.theirs, at="a")
        self.relays.take()
        self.relays.take(session="t")

    def hold(self) -> None:
        """Held for SAEs here: one grant as it came, one under delivery, one that is finished."""
        pair = self.pair
        pair.key(2, at="b")
        pair.fetch(pair.key(2, at="b").grant, 0, at="a")
        done = pair.key(at="b")
        pair.deliver(done.grant, at="a")

    def owe(self) -> None:
        """Nothing is acknowledged from now on."""
        pair = self.pair
        given, kept = self.give(), self.give()
        self.ask(given)
        self.ask(kept)
        if self.confirmed:  # one more than the peer holds of this pair: it is full
            pair.key(2, slaves=("bert",))
            self.ask(self.key(15, slave="bert"))
        pair.lost |= ACKNOWLEDGEMENTS
        self.tell(keys.Abort(grant=given.grant))
        self.ask(self.key())
        self.ask(self.give())
        self.back = self.give()
        self.ask(self.back)
        self.play(blocks.Wanted(head=self.head(), octets=5000))
        pair.feed()
        pair.feed(sender="b")
        self.cluster.advance(0.1)
        self.burn(1)

    def wait(self) -> None:
        """Requests, sealed grants, pads wait for bits; fetches and requests for the owner."""
        self.burn()
        self.ask(self.key(3))
        self.ask(self.give())
        self.relays.want(3000)
        if self.confirmed:
            self.ask(self.key(slave="bert"))
        else:
            self.ask(replace(self.key(17), master="carol"))
        name = keys.KeyName(b"nowhere to be found"[:12], 0)
        self.ask(keys.GetKeyWithIds(master="bob", slave="alice", names=(name,)))
        self.pair.feed(1200, lose=True)
        epoch = self.pair.store("a").state.datagram_epoch
        self.pair.arrive("a", epoch, 999, bytes(range(40, 215)) * 4)  # too little for a batch
        self.cluster.advance(0.1)

    def sleep(self) -> None:
        """Requests at a distant store that is not in step wait; at any other they are refused."""
        self.ask(self.key())
        self.ask(self.give())
        name = keys.KeyName(b"nobody has heard of it"[:12], 0)
        self.ask(keys.GetKeyWithIds(master="bob", slave="alice", names=(name,)))

    def all(self) -> "Busy":
        """Set it all."""
        self.fill()
        self.hold()
        self.owe()
        self.wait()
        self.record.on = True
        return self


def busy(record: Record, **options: Any) -> Busy:
    return Busy(record, **options).all()


# Rows


def start(record: Record, **options: Any) -> Busy:
    scene = busy(record, **options)
    scene.cluster.restart("a")
    return scene


def first_start(record: Record) -> None:
    record.on = True
    RecordedPair(record)


def peer_up(record: Record, **options: Any) -> None:
    scene = busy(record, **options)
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    scene.tell(PeerUp(peer="b"))
    scene.tell(PeerUp(peer="b"))


def unknown_start(record: Record) -> None:
    scene = busy(record)
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    scene.play(blocks.ResumeAsk(start=77, number=1, random=0, nonce=5))


def higher_epoch(record: Record) -> None:
    scene = busy(record)
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    head = scene.head()
    scene.play(blocks.Room(head=replace(head, number=head.number + 1), credit=1))


def peer_down(record: Record, **options: Any) -> None:
    scene = busy(record, **options)
    scene.tell(PeerDown(peer="b"))
    scene.tell(PeerDown(peer="b"))
    scene.ask(scene.key())


def resumed(record: Record, **options: Any) -> None:
    """With what was taken back while the peer was away; what was heard of limits is forgotten."""
    scene = busy(record, **options)
    record.on = False
    scene.tell(PeerDown(peer="b"))
    scene.pair.lost |= {blocks.Resume}
    scene.tell(PeerUp(peer="b"))
    scene.tell(keys.Abort(grant=KEPT_GRANT))
    scene.sleep()
    scene.pair.lost -= {blocks.Resume}
    record.on = True
    scene.tell(PeerUp(peer="b"))
    scene.ask(scene.key(slave="bert"))
    loads = (grants.Load("alice", "bert", 0, 0, 64),)
    scene.play(grants.GrantsHeld(head=replace(scene.head(), seq=1), ids=(), loads=loads))


def resumed_with_a_new_life(record: Record, **options: Any) -> None:
    """The pad of the old one is stale, and no news."""
    scene = busy(record, **options)
    theirs = scene.theirs
    scene.cluster.restart("b")
    scene.relays.refused(theirs, at="a")


def new_epoch(record: Record, **options: Any) -> None:
    """The peer is in a higher one; pads of the old one are forgotten."""
    scene = busy(record, **options)
    record.on = False
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    scene.tell(PeerUp(peer="b"))
    nonce = scene.pair.said(blocks.ResumeAsk, "a")[-1].nonce
    record.on = True
    facts = {"start": 5, "number": 2, "random": 5, "nonce": nonce, "seq": 0, "seen": 0}
    scene.play(blocks.Resume(**facts))
    scene.relays.done(*range(10))


def rolled_back(record: Record) -> None:
    scene = busy(record)
    record.on = False
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    scene.tell(PeerUp(peer="b"))
    nonce = scene.pair.said(blocks.ResumeAsk, "a")[-1].nonce
    state = scene.pair.store("a").state
    record.on = True
    facts = {"number": state.epoch[0], "random": state.epoch[1], "nonce": nonce}
    scene.play(blocks.Resume(start=5, seq=0, seen=1 << 40, **facts))


def segment_closed(record: Record, **options: Any) -> None:
    """Of the peer; with a pad that was opened there, and the tombstone of a grant."""
    scene = busy(record, **options)
    piece = scene.theirs.pieces[0]
    name = blocks.SegmentId(piece.holder, piece.batch)
    scene.play(blocks.SegmentClosed(head=scene.head(), segment=name))
    scene.relays.refused(scene.theirs, at="a")


def tick(record: Record, **options: Any) -> None:
    """Of all that is repeated, something is due."""
    scene = busy(record, **options)
    record.on = False
    scene.cluster.jump("a", 3.0)
    record.on = True
    scene.cluster.advance(0.5)


def tick_when_all_is_late(record: Record, **options: Any) -> None:
    scene = busy(record, ttl_s=60.0, **options)
    record.on = False
    scene.cluster.jump("a", LATE_S)
    record.on = True
    scene.cluster.advance(0.5)


def tick_out_of_step(record: Record, **options: Any) -> None:
    scene = busy(record, ttl_s=60.0, **options)
    record.on = False
    scene.pair.lost |= {blocks.Resume, blocks.ResumeAsk}
    scene.tell(PeerUp(peer="b"))
    scene.sleep()
    scene.cluster.jump("a", LATE_S)
    record.on = True
    scene.cluster.advance(0.5)


def turns_over(record: Record, **options: Any) -> None:
    """Leases are held and new bits there: requests and pads that wait are served together."""
    scene = busy(record, **options)
    store = scene.pair.store("a")
    names = tuple(segment.id for segment in store.stream.asking())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Actor, "pressing", 1)
        scene.play(blocks.LeaseHeld(head=scene.head(), segments=names))
        scene.ask(scene.key(2))
        scene.relays.want(200)
    scene.ask(Ping())


def sixty_four_turns(record: Record) -> None:
    """So many are enough, whatever waits."""
    scene = Busy(record)
    scene.fill()
    record.on = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Actor, "pressing", 1)
        scene.ask(scene.key())
        for _ in range(66):
            scene.tell(Ping())
    scene.tell(Ping())


def commit_returned(record: Record, **options: Any) -> None:
    """What has come meanwhile goes into the next."""
    scene = busy(record, **options)
    scene.cluster.slow_disk("a", 0.2)
    scene.pair.lost.clear()
    scene.pair.feed(sender="b")
    scene.cluster.advance(0.1)
    scene.ask(scene.key())
    scene.tell(keys.Settle(grant=KEPT_GRANT))
    scene.cluster.advance(0.35)


def rows_that_nobody_waits_for(record: Record) -> None:
    scene = Busy(record)
    scene.fill()
    scene.hold()
    record.on = True
    scene.pair.store("a").state.count()
    scene.ask(Ping())
    scene.cluster.advance(0.1)


def stop(record: Record, **options: Any) -> None:
    """A commit is under way, and more is collected."""
    scene = busy(record, **options)
    scene.cluster.slow_disk("a", 0.2)
    scene.pair.feed(sender="b")
    scene.cluster.advance(0.1)
    head = scene.head()
    scene.play(blocks.Room(head=replace(head, seq=head.seq + 1), credit=1 << 20))
    scene.cluster.nodes["a"].stop(AT.partition("@")[0])
    scene.cluster.advance(0.5)


def below_the_low_mark(record: Record) -> None:
    """A distant store lets its link go on at once."""
    scene = Busy(record, virtual=True)
    scene.fill()
    scene.cluster.advance(2.0)
    scene.tell(links.Marks(low_bits=8 * 40000, high_bits=8 * 41000))
    record.on = True
    scene.relays.want(9000)


def having(row: Callable[..., Any], **options: Any) -> Callable[[Record], Any]:
    return lambda record: row(record, **options)


BOTH = (
    *(start, peer_up, peer_down, resumed, resumed_with_a_new_life, new_epoch, segment_closed),
    *(tick, tick_when_all_is_late, tick_out_of_step, turns_over, commit_returned, stop),
)
CONFIRMED = (first_start, unknown_start, higher_epoch, rolled_back, sixty_four_turns)
ROWS: dict[str, Callable[[Record], Any]] = {
    **{f"store_{row.__name__}": row for row in (*BOTH, *CONFIRMED, rows_that_nobody_waits_for)},
    **{f"store_{row.__name__}_local": having(row, mode="local") for row in BOTH},
    **{f"distant_{row.__name__}": having(row, virtual=True) for row in BOTH},
    "distant_resumed_local": having(resumed, virtual=True, mode="local"),
    "distant_below_the_low_mark": below_the_low_mark,
}
