"""The key store shared with one peer KMS: grants for SAEs out of the stream of bits (R8-R12)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from actors.base import Later, System, handles
from actors.giving import Giving
from actors.issuer import Issuer, Waiting
from actors.journal import Shelf
from actors.keeper import StoreOptions, check_request
from actors.link_side import REPEAT_S
from actors.owner_limits import Asked
from actors.protocol import grants, keys
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.grants import Grant
from actors.shared_stream import REPEATS_MAX
from actors.standing import Epoch
from actors.vault import Clock
from actors.waking import Sleeper
from transport.message import Secret

UNACKED_MAX = 4096
ASKED_MAX = 1024
VOLLEYS_MAX = 8
VOLLEY_GRANTS = 128
_PASSED_ON = frozenset({"too_many_undelivered", "frozen"})
"""What a peer may say of a refusal to an SAE here; whatever else it says is not the SAE's fault."""


class KeyStore(Giving):
    """One end of the stream: allocates for masters here; holding for slaves is its base."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._asked: deque[Asked] = deque()
        self._volley = 0

    def load(self, shelf: Shelf) -> None:
        """Rebuild what was allocated and not acknowledged."""
        super().load(shelf)
        self.issuer = Issuer(self.journal, shelf, self.stream, self.clock)

    # The owner's side: requests (R9)

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Later:
        """Allocate keys; `Refused` spends nothing."""
        self.not_draining()
        self.check_touch()
        check_request(ask)
        if ask.number * ask.size > self.lease_octets:
            raise Refused("malformed", f"a request is for at most {self.lease_octets} octets")
        self.check_ends(ask.master, ask.slaves)
        answer = self.later()
        seconds = min(ask.within, self.options.request_timeout_s)
        self._take(Asked(ask, answer, self.clock.now + seconds, self.words))
        return answer

    def _take(self, asked: Asked) -> None:
        self.when_in_touch(partial(self.accept, asked), asked.answer, asked.until)

    def accept(self, asked: Asked) -> None:
        """Promise bits to a request; it is served with all that came together."""
        ask, needed = asked.ask, asked.octets
        if isinstance(ask, keys.GetKey):
            if unsure := self.must_ask(asked):
                serve = partial(self._take, asked)
                self.wait_for_loads(ask.master, unsure, Sleeper(serve, asked.answer, asked.until))
                return
            for slave in ask.slaves:
                self.check_peer_load(ask.master, slave, needed)
        self.claim(needed)
        if len(self._asked) >= ASKED_MAX or self.issuer.unacked >= UNACKED_MAX:
            raise Refused("busy", "too many requests wait for the other KMS")
        self.shares.promise(needed, self.stream.stock)
        self._asked.append(asked)

    def hand_over(self) -> None:
        """Serve all who asked meanwhile at one go."""
        self.on_stock()
        super().hand_over()

    def on_stock(self) -> None:
        """Serve who waits: SAEs here first, which have promises; then the relay."""
        self._serve()
        super().on_stock()

    def _serve(self) -> None:
        """As far as bits and the volleys in flight allow."""
        if not (self._asked and self.standing.ready and self.peer_up):
            return
        local = self.options.mode == "local"
        if self.busy if local else self._volley_is_out():
            return  # what waits goes out together: after this commit, or when the volley is back
        made: list[Grant] = []
        self._volley += 1
        now = self.clock
        while self._asked and len(made) < VOLLEY_GRANTS:
            asked = self._asked[0]
            if asked.until <= now.now or not self.is_wanted(asked):
                self._pass_over(self._asked.popleft())
                continue
            if asked.octets > self.stream.usable:
                self.lease_more(asked.octets)
                break
            self._asked.popleft()
            if isinstance(asked.ask, keys.Give):
                self.seal(asked, asked.ask, now, self._volley)
            elif self._still_fits(asked, asked.ask):
                made.append(self._allocate(asked, asked.ask, now))
        self.lease_ahead()
        if made and not local:
            self._announce(made, now=True)
        elif made:
            head = self.standing.head()
            self.say(grants.GrantsAnnounced(head=head, grants=tuple(made)))

    def _pass_over(self, asked: Asked) -> None:
        """Nobody waits for it any more, or it has waited too long and is told so."""
        self.shares.kept(asked.octets)
        if self.is_wanted(asked):
            self.forget(asked)
            asked.answer(Failed(code="timeout", why="no usable key material in time"))

    def _still_fits(self, asked: Asked, ask: keys.GetKey) -> bool:
        """Whether the limits of `local` grants hold after all that was answered meanwhile (R12)."""
        if self.options.mode != "local":
            return True
        try:
            for slave in ask.slaves:
                self.check_peer_load(ask.master, slave, asked.octets)
        except Refused as no:
            self.shares.kept(asked.octets)
            asked.answer(Failed(code=no.code, why=str(no)))
            return False
        return True

    def _volley_is_out(self) -> bool:
        """Whether so many announcements are on their way that the next one waits."""
        return len(self.issuer.volleys) >= VOLLEYS_MAX

    def committed(self, mark: int) -> None:
        """Local grants that waited for this commit go into the next."""
        super().committed(mark)
        self.on_stock()

    def _allocate(self, asked: Asked, ask: keys.GetKey, now: Clock) -> Grant:
        options = self.options
        pieces, octets = self.take_promised(asked.octets, now)
        id_ = self.system.random(keys.ID_OCTETS)
        ends = (ask.size, ask.number, ask.master, ask.slaves, options.mode, options.ttl_s)
        grant = Grant(id_, pieces, *ends)
        told = self.stream.provenance(pieces, now) if ask.provenance else ()
        if options.mode == "local":
            self.issuer.keep_local(grant, now)
            self.issuer.unheard[id_].told = now.now
            self.standing.count()
            self.effect(lambda: self._answer(asked.answer, grant, octets, told))
        else:
            waiting = Waiting(grant, octets, asked.answer, asked.until, self._volley, now.now)
            waiting.provenance = told
            self.issuer.await_held(waiting)
        return grant

    def _announce(self, made: Sequence[Grant], *, now: bool) -> None:
        head = self.standing.head(now=now)
        self.tell(self.peer, grants.GrantsAnnounced(head=head, grants=tuple(made)))

    def _answer(
        self, answer: Later, grant: Grant, octets: bytes, told: tuple[keys.Via, ...]
    ) -> None:
        secret = Secret(octets)
        answer(keys.Keys(grant=grant.id, size=grant.size, octets=secret, provenance=told))
        meter = self.system.meter
        meter.add("protokms_keys_issued", grant.number, peer=self.store, mode=grant.mode)

    @handles(grants.GrantsHeld)
    def on_held(self, word: grants.GrantsHeld) -> None:
        """The peer holds these durably: their masters are answered."""
        if not self.admit(word.head):
            return
        for id_ in word.ids:
            late = self.issuer.waiting.get(id_)
            if late and late.until <= self.clock.now:
                self.give_up(id_, late)
                continue
            given = self.issuer.give(id_, self.clock.now)
            if given:
                given.answer(keys.Given(grant=id_))
                continue
            waiting = self.issuer.acknowledged(id_)
            if waiting:
                told = waiting.provenance
                self._answer(waiting.answer, waiting.grant, waiting.octets, told)
        self.heard_loads(word.head.seq, word.loads)
        self.on_stock()

    @handles(grants.GrantsRefused)
    def on_refused(self, word: grants.GrantsRefused) -> None:
        """These are void; their bits are burnt with the segment."""
        if not self.admit(word.head):
            return
        for refusal in word.refusals:
            unheard = refusal.id in self.issuer.unheard
            waiting = self.issuer.acknowledged(refusal.id)
            if waiting and not waiting.failed:
                code = refusal.code if refusal.code in _PASSED_ON else "not_ready"
                waiting.answer(Failed(code=code, why=f"refused by {self.store}"))
                if code == "too_many_undelivered":  # for the next status
                    for slave in waiting.grant.slaves:
                        self.note_full(waiting.grant.master, slave)
            elif unheard:
                self.alarm("local_grant_refused")
            self.system.meter.add("protokms_grants_refused", peer=self.store)
        self.on_stock()

    def give_up(self, id_: bytes, waiting: Waiting) -> None:
        """Take a grant back that nobody was answered with: the void is durable first.

        Before Resume it is only promised to the master: no counted row is written then (R7).
        """
        if not waiting.failed:
            waiting.failed = True
            failed = Failed(code="timeout", why=f"{self.store} did not hold the keys in time")
            self.effect(lambda: waiting.answer(failed))
        if not self.standing.resumed:
            return
        self.issuer.void(id_).told = self.clock.now
        self.standing.count()
        void = grants.Voided(id_, waiting.grant.pieces)
        self.say(grants.GrantsVoid(head=self.standing.head(), grants=(void,)))

    @handles(grants.GrantsVoidHeld)
    def on_void_held(self, word: grants.GrantsVoidHeld) -> None:
        """The peer will never give these out."""
        if self.admit(word.head):
            for id_ in word.ids:
                self.issuer.void_held(id_)

    @handles(grants.GrantQuery)
    def on_query(self, word: grants.GrantQuery) -> None:
        """An SAE over there has a key_ID its KMS does not know: announce it now, or say no."""
        if not self.admit(word.head):
            return
        unheard = self.issuer.unheard.get(word.id)
        if unheard:
            remaining = max(0.0, unheard.deadline - self.clock.now)
            again = (replace(unheard.grant, remaining=remaining),)
            self.say(grants.GrantsAnnounced(head=self.standing.head(), grants=again))
        elif word.id not in self.issuer.waiting:
            self.say(grants.GrantUnknown(head=self.standing.head(), id=word.id))

    # From time to time

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what the peer has not acknowledged."""
        super().repeat(now, everything=everything)
        before = now.now if everything else now.now - REPEAT_S
        due = self.issuer.due(now, before, REPEATS_MAX)
        if due:
            self.say(grants.GrantsAnnounced(head=self.standing.head(), grants=tuple(due)))
        voids = self.issuer.due_voids(now.now, before, REPEATS_MAX)
        if voids:
            self.say(grants.GrantsVoid(head=self.standing.head(), grants=tuple(voids)))

    def on_tick(self, now: Clock) -> None:
        """Give up what has waited too long."""
        while self._asked and self._asked[0].until <= now.now:
            self._pass_over(self._asked.popleft())
        for id_, waiting in list(self.issuer.waiting.items()):
            if waiting.until <= now.now:
                self.give_up(id_, waiting)
        super().on_tick(now)
        self.on_stock()

    def new_epoch(self, epoch: Epoch) -> None:
        """Who waits for keys of the old epoch waits in vain."""
        vain = [waiting.answer for waiting in self.issuer.epoch_closed() if not waiting.failed]
        for asked in filter(self.is_wanted, self._asked):
            self.forget(asked)
            vain.append(asked.answer)
        self._asked.clear()
        self.shares.promised = 0
        for answer in vain:
            answer(Failed(code="not_ready", why="the store begins a new epoch"))
        super().new_epoch(epoch)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Not frozen? In step with the peer, or waiting for it?"""
        name = self.address.name
        reasons = (f"{name} is frozen",) if self.standing.frozen else ()
        apart = not self.standing.resumed and not self.virtual
        waits = (f"{name} is not in step with its peer",) if apart else ()
        facts = {
            "resumed": str(self.standing.resumed).lower(),
            "peer_up": str(self.peer_up).lower(),
            "epoch": str(self.standing.epoch[0]),
            "stored_bits": str(self.stream.octets * 8),
            "own_bits": str(self.stream.stock * 8),
            "grants_held": str(len(self.vault.holdings)),
        }
        told = tuple(facts.items())
        return Healthy(ready=not reasons, reasons=reasons, facts=told, waits=waits)
