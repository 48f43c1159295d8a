"""The owner's side of grants: allocated, announced, answered or voided (R9).

No actor, no clock of its own, no I/O. A `confirmed` grant has no row here: until the peer holds it
durably nobody has its bits, and after a start it is left to the slaves' side, where it expires.
A `local` grant has a row from its answer until the peer has acknowledged it; so has a void.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from actors.base import Clock, Later
from actors.ledger.segment import NEVER
from actors.ledger.stream import Stream
from actors.protocol.grants import Grant, Load, Piece, Voided
from actors.protocol.keys import Via
from actors.storage.journal import Journal, Shelf

K = TypeVar("K", bound=Hashable)


class Told(NamedTuple):
    """Octets that were not fetched when the ledger of the slaves' side was there."""

    octets: int
    seq: int


NOTHING = Told(0, 0)


class Undelivered:
    """What the slaves' side holds and nobody has fetched, as far as the owner knows (R9, R12).

    In `local` mode the owner checks these limits before it answers. What it knows is at least what
    is held: what it was told last, and all that it has answered and that the slaves' side has not
    acknowledged. Sizes are octets, not bits.
    """

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], Told] = {}
        self._slaves: dict[str, Told] = {}
        self._unacknowledged: Counter[tuple[str, str]] = Counter()
        self._unacknowledged_of: Counter[str] = Counter()

    def told(self, load: Load, seq: int) -> bool:
        """The slaves' side says what it holds; `seq` is where its ledger was when it said so.

        False: it has said something later of this pair before. Words may overtake each other, and
        each names some pairs alone, so the pair and the SAE have their latest word each.
        """
        pair = load.master, load.slave
        if pair in self._pairs and seq < self._pairs[pair].seq:
            return False
        _note(self._pairs, pair, Told(load.octets, seq))
        if load.slave not in self._slaves or seq >= self._slaves[load.slave].seq:
            _note(self._slaves, load.slave, Told(load.of_slave, seq))
        return True

    def began_anew(self) -> None:
        """What is said from now on is later than all that was said before."""
        self._pairs = {key: told._replace(seq=0) for key, told in self._pairs.items()}
        self._slaves = {key: told._replace(seq=0) for key, told in self._slaves.items()}

    def unacknowledged(self, grant: Grant, sign: int = 1) -> None:
        """A grant is answered and not acknowledged; with `sign` -1 it is acknowledged."""
        for slave in grant.slaves:
            octets = sign * grant.number * grant.size
            self._unacknowledged[grant.master, slave] += octets
            self._unacknowledged_of[slave] += octets
            if not self._unacknowledged[grant.master, slave]:
                del self._unacknowledged[grant.master, slave]
            if not self._unacknowledged_of[slave]:
                del self._unacknowledged_of[slave]

    def of_pair(self, master: str, slave: str) -> int:
        """Octets that this pair has not fetched."""
        return (
            self._pairs.get((master, slave), NOTHING).octets + self._unacknowledged[master, slave]
        )

    def of_slave(self, slave: str) -> int:
        """Octets that this SAE has not fetched, from whichever master here."""
        return self._slaves.get(slave, NOTHING).octets + self._unacknowledged_of[slave]


@dataclass(slots=True)
class Waiting:
    """A confirmed grant that the peer has not acknowledged; nobody has its bits yet."""

    grant: Grant
    octets: bytes = field(repr=False)
    answer: Later
    until: float
    announcement: int
    last_sent: float = NEVER
    failed: bool = False
    """Whether its master has been told that it comes to nothing; it is to be voided."""
    sealed: tuple[bytes, bytes] | None = None
    """What it is announced with, and the tag, if its keys were drawn here (R4)."""
    provenance: tuple[Via, ...] = ()


@dataclass(slots=True)
class Unacknowledged:
    """A local grant, answered already, that the peer has not acknowledged."""

    grant: Grant
    deadline: float
    last_sent: float = NEVER


@dataclass(slots=True)
class Given:
    """A sealed grant that the peer holds, while it can be taken back."""

    pieces: tuple[Piece, ...]
    at: float


@dataclass(slots=True)
class Voiding:
    """A grant taken back, until the peer has acknowledged that."""

    pieces: tuple[Piece, ...]
    last_sent: float = NEVER


class Issued:
    """What this end has allocated and the peer has not acknowledged."""

    def __init__(self, journal: Journal, shelf: Shelf, stream: Stream, clock: Clock) -> None:
        self._journal, self._stream = journal, stream
        self.waiting: dict[bytes, Waiting] = {}
        self.unacknowledged: dict[bytes, Unacknowledged] = {}
        self.voiding: dict[bytes, Voiding] = {}
        self.given: dict[bytes, Given] = {}
        self.undelivered = Undelivered()
        self.announcements: dict[int, int] = {}
        """Announcements of confirmed grants on their way, and how many of each are unanswered."""
        for id_, clear, _ in shelf.each("unheard"):
            pieces, size, number, master, slaves, boot, deadline, remaining = clear
            if boot != clock.boot:
                deadline = clock.now + remaining
            made = tuple(Piece(*piece) for piece in pieces)
            grant = Grant(id_, made, size, number, master, tuple(slaves), "local", remaining)
            self.unacknowledged[id_] = Unacknowledged(grant, deadline)
            self.undelivered.unacknowledged(grant)
            stream.expect(made)
        for id_, pieces, _ in shelf.each("void"):
            self.voiding[id_] = Voiding(tuple(Piece(*piece) for piece in pieces))
            stream.expect(self.voiding[id_].pieces)

    @property
    def unacked(self) -> int:
        """How many grants the peer has not acknowledged, or that may be taken back."""
        return len(self.waiting) + len(self.unacknowledged) + len(self.voiding) + len(self.given)

    def under_way(self, master: str, slave: str) -> int:
        """Octets of keys of a pair that the peer is told of, and has not acknowledged."""
        made = (it.grant for it in self.waiting.values() if not it.failed)
        ours = (it for it in made if it.master == master and slave in it.slaves)
        return sum(it.number * it.size for it in ours)

    def await_held(self, waiting: Waiting) -> None:
        """A confirmed grant goes out; its master is answered when the peer holds it."""
        self.waiting[waiting.grant.id] = waiting
        self.announcements[waiting.announcement] = (
            self.announcements.get(waiting.announcement, 0) + 1
        )

    def keep_local(self, grant: Grant, clock: Clock) -> None:
        """A local grant is about to be answered; announce it until it is acknowledged."""
        deadline = clock.now + grant.remaining
        self.unacknowledged[grant.id] = Unacknowledged(grant, deadline)
        self.undelivered.unacknowledged(grant)
        pieces = _plain(grant.pieces)
        time = (clock.boot, deadline, grant.remaining)
        clear = (pieces, grant.size, grant.number, grant.master, grant.slaves, *time)
        self._journal.put("unheard", grant.id, clear)

    def acknowledged(self, id_: bytes) -> Waiting | None:
        """The peer holds it, or refuses it; return the one whose master waits, if any."""
        unacknowledged = self.unacknowledged.pop(id_, None)
        if unacknowledged:
            self._journal.drop("unheard", id_)
            self.undelivered.unacknowledged(unacknowledged.grant, -1)
            self._stream.known(unacknowledged.grant.pieces)
        waiting = self._no_longer(id_)
        if waiting:
            self._stream.known(waiting.grant.pieces)
        return waiting

    def void(self, id_: bytes) -> Voiding:
        """Take back a grant nobody has been answered with; durable before it is told."""
        waiting = self._no_longer(id_)
        assert waiting, "only a waiting grant is voided"
        return self._void(id_, waiting.grant.pieces)

    def _void(self, id_: bytes, pieces: tuple[Piece, ...]) -> Voiding:
        made = self.voiding[id_] = Voiding(pieces)
        self._journal.put("void", id_, _plain(made.pieces))
        return made

    # Sealed grants

    def give(self, id_: bytes, now: float) -> Waiting | None:
        """The peer holds a sealed grant; it can be taken back still. None if it is no such."""
        waiting = self.waiting.get(id_)
        if waiting is None or waiting.sealed is None:
            return None
        self._no_longer(id_)
        self.given[id_] = Given(waiting.grant.pieces, now)
        return waiting

    def settle(self, id_: bytes) -> None:
        """A grant that was given stands; harmless when there is none."""
        given = self.given.pop(id_, None)
        if given:
            self._stream.known(given.pieces)

    def take_back(self, id_: bytes) -> Voiding:
        """Void a grant that was given, and that nobody is answered with."""
        return self._void(id_, self.given.pop(id_).pieces)

    def given_before(self, before: float) -> list[bytes]:
        """Grants given so long ago that nobody will say anything of them."""
        return [id_ for id_, given in self.given.items() if given.at < before]

    def due_sealed(self, now: float, before: float, most: int) -> list[Waiting]:
        """Sealed grants to say again."""
        due = [it for it in self.waiting.values() if it.sealed and it.last_sent <= before][:most]
        for waiting in due:
            waiting.last_sent = now
        return due

    def void_held(self, id_: bytes) -> None:
        """The peer knows of the void."""
        voiding = self.voiding.pop(id_, None)
        if voiding:
            self._journal.drop("void", id_)
            self._stream.known(voiding.pieces)

    def epoch_closed(self) -> list[Waiting]:
        """Nothing of the old epoch is announced any more; return those who wait in vain."""
        vain = list(self.waiting.values())
        for id_, unacknowledged in self.unacknowledged.items():
            self._journal.drop("unheard", id_)
            self.undelivered.unacknowledged(unacknowledged.grant, -1)
        for id_ in self.voiding:  # goes on, but its pieces lie in no segment any more
            self.voiding[id_].pieces = ()
            self._journal.put("void", id_, ())
        for given in self.given.values():  # can be taken back still
            given.pieces = ()
        self.waiting.clear()
        self.unacknowledged.clear()
        self.announcements.clear()
        return vain

    def due(self, clock: Clock, before: float, most: int) -> list[Grant]:
        """Grants to announce (again), with what is left of their time."""
        grants: list[Grant] = []
        for waiting in self.waiting.values():
            if waiting.last_sent <= before and len(grants) < most and not waiting.sealed:
                waiting.last_sent = clock.now
                grants.append(waiting.grant)
        for unacknowledged in self.unacknowledged.values():
            if unacknowledged.last_sent <= before and len(grants) < most:
                unacknowledged.last_sent = clock.now
                remaining = max(0.0, unacknowledged.deadline - clock.now)
                grants.append(replace(unacknowledged.grant, remaining=remaining))
        return grants

    def due_voids(self, now: float, before: float, most: int) -> list[Voided]:
        """Voids to tell (again)."""
        voids: list[Voided] = []
        for id_, voiding in self.voiding.items():
            if voiding.last_sent <= before and len(voids) < most:
                voiding.last_sent = now
                voids.append(Voided(id_, voiding.pieces))
        return voids

    def _no_longer(self, id_: bytes) -> Waiting | None:
        waiting = self.waiting.pop(id_, None)
        if waiting and waiting.announcement in self.announcements:
            self.announcements[waiting.announcement] -= 1
            if not self.announcements[waiting.announcement]:
                del self.announcements[waiting.announcement]
        return waiting


def _plain(pieces: tuple[Piece, ...]) -> list[tuple[int, int, int, int]]:
    return [(p.holder, p.batch, p.offset, p.length) for p in pieces]


def _note(table: dict[K, Told], key: K, told: Told) -> None:
    if told.octets > 0:
        table[key] = told
    else:
        table.pop(key, None)
