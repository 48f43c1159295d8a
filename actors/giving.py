"""Keys that were drawn elsewhere, brought to the peer under one-time bits of the stream (R4, R9).

The sealed octets and their tag are made once and repeated as they are; what is lost is void, and
its bits are burnt. What the peer holds can be taken back until the master has been answered.
"""

from functools import partial

from actors import one_time
from actors.base import Later, System, handles
from actors.issuer import Waiting
from actors.keeper import StoreOptions, check_request
from actors.link_side import REPEAT_S
from actors.owner_limits import Asked, OwnerLimits
from actors.protocol import grants, keys
from actors.protocol.common import Failed, Refused
from actors.protocol.grants import Grant
from actors.shared_stream import REPEATS_MAX
from actors.slaves_side import SEALED
from actors.vault import Clock

GIVEN_S = 120.0
"""Seconds after which a grant that nobody settled or took back is left to the slaves' side."""


class Giving(OwnerLimits):
    """Seals grants; remembers them until they are settled or taken back."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._gives: dict[bytes, Asked] = {}
        """Grants to be given that have no bits yet."""
        self._to_void: dict[bytes, None] = {}
        """Taken back while the peer was away."""

    def accept(self, asked: Asked) -> None:
        """Promise bits to a request."""

    def give_up(self, id_: bytes, waiting: Waiting) -> None:
        """Take a grant back that nobody was answered with."""

    @handles(keys.Give)
    def give(self, ask: keys.Give) -> Later:
        """Allocate a pad for keys; `Refused` spends nothing."""
        self.not_draining()
        self.check_touch()
        check_request(ask)
        total = ask.number * ask.size
        if total > self.lease_octets or len(ask.octets) != total:
            raise Refused("malformed", f"not so many octets, or more than {self.lease_octets}")
        if len(ask.grant) != keys.ID_OCTETS or self._is_known(ask.grant):
            raise Refused("malformed", "no such id, or one in use")
        self.check_ends(ask.master, ask.slaves)
        answer = self.later()
        asked = Asked(ask, answer, self.clock.now + self.options.request_timeout_s)
        self._gives[ask.grant] = asked
        try:
            self.when_in_touch(partial(self._go_on, asked, ask.grant), answer, asked.until)
        except Refused:
            self._gives.pop(ask.grant, None)
            raise
        return answer

    def _is_known(self, id_: bytes) -> bool:
        issuer = self.issuer
        tables = (self._gives, issuer.waiting, issuer.given, issuer.voiding, issuer.unheard)
        return any(id_ in table for table in tables)

    def _go_on(self, asked: Asked, id_: bytes) -> None:
        """In touch; it may have been taken back meanwhile."""
        if self._gives.get(id_) is not asked:
            raise Refused("timeout", "taken back")
        try:
            self.accept(asked)
        except Refused:
            self._gives.pop(id_, None)  # it may be asked for again
            raise

    def is_wanted(self, asked: Asked) -> bool:
        """Whether a request that has waited for bits is still to get them."""
        return not isinstance(asked.ask, keys.Give) or self._gives.get(asked.ask.grant) is asked

    def forget(self, asked: Asked) -> None:
        """A request will get no bits."""
        if isinstance(asked.ask, keys.Give) and self.is_wanted(asked):
            del self._gives[asked.ask.grant]

    def seal(self, asked: Asked, ask: keys.Give, now: Clock, volley: int) -> None:
        """Draw the pad, seal once, and say so until it is acknowledged."""
        del self._gives[ask.grant]
        pieces, pad = self.take_promised(asked.octets, now)
        ends = (ask.size, ask.number, ask.master, ask.slaves, SEALED, float(self.options.ttl_s))
        grant = Grant(ask.grant, pieces, *ends)
        place = one_time.grant_place((self.system.node, self.store), self.standing.head(), grant)
        made = one_time.seal(pad, ask.octets.reveal(), place)
        waiting = Waiting(grant, b"", asked.answer, asked.until, volley, now.now, sealed=made)
        self.issuer.await_held(waiting)
        self._say_sealed(waiting)

    def take_promised(self, octets: int, now: Clock) -> tuple[tuple[grants.Piece, ...], bytes]:
        """Allocate what was promised to an SAE here."""
        pieces, found = self.stream.take(octets, now.now)
        self.shares.kept(octets)
        self.demand.served(octets)
        return pieces, found

    def _say_sealed(self, waiting: Waiting) -> None:
        assert waiting.sealed, "sealed once, when it was allocated"
        sealed, tag = waiting.sealed
        head = self.standing.head(now=True)
        word = grants.GrantSealed(head=head, grant=waiting.grant, sealed=sealed, tag=tag)
        self.tell(self.peer, word)

    @handles(keys.Settle)
    def settle(self, news: keys.Settle) -> None:
        """The master has been answered: the grant stands."""
        self.issuer.settle(news.grant)

    @handles(keys.TakeBack)
    def take_back(self, news: keys.TakeBack) -> None:
        """The master is not answered, and never will be."""
        queued = self._gives.pop(news.grant, None)
        if queued:
            queued.answer(Failed(code="timeout", why="taken back"))
        waiting = self.issuer.waiting.get(news.grant)
        if waiting and waiting.sealed:
            waiting.until = self.clock.now
            self.give_up(news.grant, waiting)
        if news.grant in self.issuer.given:
            self._to_void[news.grant] = None
            self._void_given()

    def _void_given(self) -> None:
        """No void is written before Resume (R7)."""
        if not (self._to_void and self.standing.resumed):
            return
        voids = []
        for id_ in self._to_void:
            if id_ in self.issuer.given:
                voiding = self.issuer.take_back(id_)
                voiding.told = self.clock.now
                self.standing.count()
                voids.append(grants.Voided(id_, voiding.pieces))
        self._to_void.clear()
        if voids:
            self.say(grants.GrantsVoid(head=self.standing.head(), grants=tuple(voids)))

    # From time to time

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again, octet for octet, what the peer has not acknowledged."""
        super().repeat(now, everything=everything)
        before = now.now if everything else now.now - REPEAT_S
        for waiting in self.issuer.due_sealed(now.now, before, REPEATS_MAX):
            self._say_sealed(waiting)
        self._void_given()

    def on_tick(self, now: Clock) -> None:
        """Leave to the slaves' side what nobody says anything of any more."""
        for id_ in [id_ for id_, asked in self._gives.items() if asked.until <= now.now]:
            del self._gives[id_]  # it has waited for the peer in vain, and is told so
        for id_ in self.issuer.given_before(now.now - GIVEN_S):
            if id_ not in self._to_void:
                self.issuer.settle(id_)
        super().on_tick(now)
