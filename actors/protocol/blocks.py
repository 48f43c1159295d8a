"""What the two ends of a shared key store say to each other about its stream of bits.

Every word carries a `Head`; rules R1-R7 of docs/protocol.md say when it counts.
"""

from typing import ClassVar

from transport.message import Message, part, wire


@part
class Head:
    """The lives of both ends, the store epoch, and the sender's committed ledger seq."""

    mine: int
    yours: int
    number: int
    random: int
    seq: int


@part
class SegmentId:
    """A confirmed batch: which end held it (0 or 1, by order of KMS names), and its number."""

    holder: int
    batch: int


@part
class Run:
    """Datagrams first..last, all of them, by their seq in the current datagram epoch."""

    first: int
    last: int


@wire("blocks.resume_ask/1")
class ResumeAsk(Message):
    """Where do you stand? From the question until its answer no other word counts (R7)."""

    start: int
    number: int
    random: int
    nonce: int


@wire("blocks.resume/1")
class Resume(Message):
    """Here: my start, my epoch, my ledger seq, and the highest of yours that I have seen."""

    start: int
    number: int
    random: int
    nonce: int
    seq: int
    seen: int


@wire("blocks.held/1")
class BlocksHeld(Message):
    """The receiver of datagrams holds a batch; `credit` (octets it will take) is not tagged."""

    bulk: ClassVar[bool] = True
    head: Head
    batch: int
    runs: tuple[Run, ...]
    lengths: tuple[int, ...]
    tag: bytes
    credit: int

    def judged(self, verdict: str) -> "BlocksHeldJudged":
        """Say it together with a verdict."""
        return BlocksHeldJudged(
            head=self.head,
            batch=self.batch,
            runs=self.runs,
            lengths=self.lengths,
            tag=self.tag,
            verdict=verdict,
            credit=self.credit,
        )


@wire("blocks.held/2")
class BlocksHeldJudged(Message):
    """The same, with what the holder thinks of its copy: `good`, `bad` or `quarantined` (R21).

    Only a batch that both ends find good is confirmed. Said to a peer that is known to speak this
    word; what was said of a batch in one of the two is repeated in that one.
    """

    bulk: ClassVar[bool] = True
    head: Head
    batch: int
    runs: tuple[Run, ...]
    lengths: tuple[int, ...]
    tag: bytes
    verdict: str
    credit: int


@wire("blocks.confirmed/1")
class BlocksConfirmed(Message):
    """The batch is a segment at this end; decided once, durably."""

    head: Head
    batch: int


@wire("blocks.discarded/1")
class BlocksDiscarded(Message):
    """The batch is erased at this end, for ever."""

    head: Head
    batch: int


@wire("blocks.settled/1")
class BlocksSettled(Message):
    """The holder has the decision durably; the decider may forget it."""

    head: Head
    batch: int
    credit: int


@wire("blocks.room/1")
class Room(Message):
    """The receiver of datagrams was nearly full; now it will take `credit` octets."""

    head: Head
    credit: int


@wire("blocks.lease/1")
class Lease(Message):
    """The owner is about to use these segments (R6)."""

    head: Head
    segments: tuple[SegmentId, ...]


@wire("blocks.lease_held/1")
class LeaseHeld(Message):
    """The leases are durable at the peer."""

    head: Head
    segments: tuple[SegmentId, ...]


@wire("blocks.transfer/1")
class Transfer(Message):
    """The owner gives a whole, never leased segment away; `n` counts its transfers (R5)."""

    head: Head
    segment: SegmentId
    n: int


@wire("blocks.transfer_taken/1")
class TransferTaken(Message):
    """Transfer `n` of the segment is known."""

    head: Head
    segment: SegmentId
    n: int


@wire("blocks.wanted/1")
class Wanted(Message):
    """The sender is short of bits of its own and asks for about so many octets (a hint)."""

    head: Head
    octets: int


@wire("blocks.demand/1")
class Demand(Message):
    """What SAEs at the sender ask of this store (a hint): octets a second, and the most at once."""

    head: Head
    rate: int
    most: int


@wire("blocks.paths_needed/1")
class PathsNeeded(Message):
    """Bits that came over fewer than `n` paths are of no use to the sender: burn yours (R14).

    Said after every resume until it is acknowledged, to a peer that is known to speak this word.
    """

    head: Head
    n: int


@wire("blocks.paths_needed_held/1")
class PathsNeededHeld(Message):
    """That is durable at the peer: it has burnt such bits of its own, and will."""

    head: Head
    n: int


@wire("blocks.key_ids/1")
class KeyIds(Message):
    """A QKD device gave these keys: datagrams `first`, `first + 1`, ... of this datagram epoch.

    The other end fetches the same keys from its own device, each key_ID once an epoch. Said again
    until a batch names them all or their time is over (R2), to a peer that is known to speak this
    word.
    """

    head: Head
    epoch: bytes
    first: int
    key_ids: tuple[str, ...]


@wire("blocks.closed/1")
class SegmentClosed(Message):
    """The owner will never use any more of the segment: what no grant holds is burnt (R1)."""

    head: Head
    segment: SegmentId


@wire("blocks.closed_held/1")
class SegmentClosedHeld(Message):
    """The burn is durable at the peer."""

    head: Head
    segment: SegmentId
