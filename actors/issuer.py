"""The owner's side of grants: allocated, announced, answered or voided (R9).

No actor, no clock of its own, no I/O. A `confirmed` grant has no row here: until the peer holds it
durably nobody has its bits, and after a start it is left to the slaves' side, where it expires.
A `local` grant has a row from its answer until the peer has acknowledged it; so has a void.
"""

from dataclasses import dataclass, field, replace

from actors.base import Later
from actors.journal import Journal, Shelf
from actors.loads import Loads
from actors.protocol.grants import Grant, Piece, Voided
from actors.protocol.keys import Via
from actors.segment import NEVER
from actors.stream import Stream
from actors.vault import Clock


@dataclass(slots=True)
class Waiting:
    """A confirmed grant that the peer has not acknowledged; nobody has its bits yet."""

    grant: Grant
    octets: bytes = field(repr=False)
    answer: Later
    until: float
    volley: int
    told: float = NEVER
    failed: bool = False
    """Whether its master has been told that it comes to nothing; it is to be voided."""
    sealed: tuple[bytes, bytes] | None = None
    """What it is announced with, and the tag, if its keys were drawn here (R4)."""
    provenance: tuple[Via, ...] = ()


@dataclass(slots=True)
class Unheard:
    """A local grant, answered already, that the peer has not acknowledged."""

    grant: Grant
    deadline: float
    told: float = NEVER


@dataclass(slots=True)
class Given:
    """A sealed grant that the peer holds, while it can be taken back."""

    pieces: tuple[Piece, ...]
    at: float


@dataclass(slots=True)
class Voiding:
    """A grant taken back, until the peer has acknowledged that."""

    pieces: tuple[Piece, ...]
    told: float = NEVER


class Issuer:
    """What this end has allocated and the peer has not acknowledged."""

    def __init__(self, journal: Journal, shelf: Shelf, stream: Stream, clock: Clock) -> None:
        self._journal, self._stream = journal, stream
        self.waiting: dict[bytes, Waiting] = {}
        self.unheard: dict[bytes, Unheard] = {}
        self.voiding: dict[bytes, Voiding] = {}
        self.given: dict[bytes, Given] = {}
        self.loads = Loads()
        self.volleys: dict[int, int] = {}
        """Announcements of confirmed grants on their way, and how many of each are unanswered."""
        for id_, clear, _ in shelf.each("unheard"):
            pieces, size, number, master, slaves, boot, deadline, remaining = clear
            if boot != clock.boot:
                deadline = clock.now + remaining
            made = tuple(Piece(*piece) for piece in pieces)
            grant = Grant(id_, made, size, number, master, tuple(slaves), "local", remaining)
            self.unheard[id_] = Unheard(grant, deadline)
            self.loads.unheard(grant)
            stream.expect(made)
        for id_, pieces, _ in shelf.each("void"):
            self.voiding[id_] = Voiding(tuple(Piece(*piece) for piece in pieces))
            stream.expect(self.voiding[id_].pieces)

    @property
    def unacked(self) -> int:
        """How many grants the peer has not acknowledged, or that may be taken back."""
        return len(self.waiting) + len(self.unheard) + len(self.voiding) + len(self.given)

    def await_held(self, waiting: Waiting) -> None:
        """A confirmed grant goes out; its master is answered when the peer holds it."""
        self.waiting[waiting.grant.id] = waiting
        self.volleys[waiting.volley] = self.volleys.get(waiting.volley, 0) + 1

    def keep_local(self, grant: Grant, clock: Clock) -> None:
        """A local grant is about to be answered; announce it until it is acknowledged."""
        deadline = clock.now + grant.remaining
        self.unheard[grant.id] = Unheard(grant, deadline)
        self.loads.unheard(grant)
        pieces = _plain(grant.pieces)
        time = (clock.boot, deadline, grant.remaining)
        clear = (pieces, grant.size, grant.number, grant.master, grant.slaves, *time)
        self._journal.put("unheard", grant.id, clear)

    def acknowledged(self, id_: bytes) -> Waiting | None:
        """The peer holds it, or refuses it; return the one whose master waits, if any."""
        unheard = self.unheard.pop(id_, None)
        if unheard:
            self._journal.drop("unheard", id_)
            self.loads.unheard(unheard.grant, -1)
            self._stream.known(unheard.grant.pieces)
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
        due = [it for it in self.waiting.values() if it.sealed and it.told <= before][:most]
        for waiting in due:
            waiting.told = now
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
        for id_, unheard in self.unheard.items():
            self._journal.drop("unheard", id_)
            self.loads.unheard(unheard.grant, -1)
        for id_ in self.voiding:  # goes on, but its pieces lie in no segment any more
            self.voiding[id_].pieces = ()
            self._journal.put("void", id_, ())
        for given in self.given.values():  # can be taken back still
            given.pieces = ()
        self.waiting.clear()
        self.unheard.clear()
        self.volleys.clear()
        return vain

    def due(self, clock: Clock, before: float, most: int) -> list[Grant]:
        """Grants to announce (again), with what is left of their time."""
        grants: list[Grant] = []
        for waiting in self.waiting.values():
            if waiting.told <= before and len(grants) < most and not waiting.sealed:
                waiting.told = clock.now
                grants.append(waiting.grant)
        for unheard in self.unheard.values():
            if unheard.told <= before and len(grants) < most:
                unheard.told = clock.now
                remaining = max(0.0, unheard.deadline - clock.now)
                grants.append(replace(unheard.grant, remaining=remaining))
        return grants

    def due_voids(self, now: float, before: float, most: int) -> list[Voided]:
        """Voids to tell (again)."""
        voids: list[Voided] = []
        for id_, voiding in self.voiding.items():
            if voiding.told <= before and len(voids) < most:
                voiding.told = now
                voids.append(Voided(id_, voiding.pieces))
        return voids

    def _no_longer(self, id_: bytes) -> Waiting | None:
        waiting = self.waiting.pop(id_, None)
        if waiting and waiting.volley in self.volleys:
            self.volleys[waiting.volley] -= 1
            if not self.volleys[waiting.volley]:
                del self.volleys[waiting.volley]
        return waiting


def _plain(pieces: tuple[Piece, ...]) -> list[tuple[int, int, int, int]]:
    return [(p.holder, p.batch, p.offset, p.length) for p in pieces]
