"""The same keys for SAEs at several KMSs: all of these hold them, or nobody gets any (R9).

Nothing here is durable. Keys are drawn from the CSPRNG, held by the own store for SAEs of this
node, and brought under one-time pads to every other KMS; the master is answered when all hold
them. If this actor dies before, no master has been answered, and what is held expires.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from actors.base import Actor, Later, System, handles
from actors.protocol import keys, peers, rights, sessions
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.keys import check_request
from actors.rights.gate import Gate, Request
from actors.rights.right import Limit
from transport.envelope import Address
from transport.message import Message, Secret, local

ROUNDS_MAX = 256
OCTETS_MAX = 16 << 20
REQUEST_OCTETS_MAX = 1 << 17
PATIENCE_S = 4.0

_FRESH_S = 15.0
_PAUSE_S = 0.05
_SUBSCRIBE_S = 30.0
_UNHEARD_S = 0.5


@local
class PrepareAgain(Message):
    """Time to ask a key store that had nothing yet once more."""

    grant: bytes
    kms: str


@local
class SubscribeAgain(Message):
    """Time to subscribe again: a peer manager that was restarted has forgotten us."""


@dataclass(slots=True)
class Round:
    """One request: who is to hold what, and who does not hold it yet."""

    ask: keys.GetMulticast
    answer: Later
    octets: Secret
    until: float
    shares: dict[str, tuple[str, ...]]
    missing: set[str]
    asked: dict[str, None] = field(default_factory=dict)
    """Stores that may hold the grant: they take it back if it comes to nothing. In order."""
    limits: dict[str, frozenset[Limit]] = field(default_factory=dict)
    """Limits of the slaves at each KMS, where there are any, or bits have to come a certain way."""
    unsure: set[str] = field(default_factory=set)
    """Stores that have not said yet whether these let them give so much: none is given before."""

    @property
    def total(self) -> int:
        """How many octets it takes of each rate."""
        return self.ask.number * self.ask.size


class Multicast(Actor):
    """Draws keys, has them held at every KMS of a slave, then answers the master.

    `patience_s` are the seconds of a whole request: less than a front end waits. `known` is what
    SAEs may have, as for a key store: no bit is spent on a request of which a part may not be.
    """

    parts = (Gate,)

    def __init__(
        self,
        system: System,
        name: str,
        patience_s: float = PATIENCE_S,
        known: rights.Rights | None = rights.OPEN,
    ) -> None:
        super().__init__(system, name)
        self._gate = Gate(self, self._home, known)
        self.serve(self._gate)
        self._patience_s = patience_s
        self._here = ""
        self._homes: Mapping[str, str] = {}
        self._open: dict[bytes, Round] = {}
        self._octets = 0
        self._ensured: dict[str, float] = {}

    def started(self) -> None:
        """Ask where SAEs are, and what they may have."""
        self._gate.begin()
        self._subscribe()

    @handles(peers.Located)
    def located(self, news: peers.Located) -> None:
        """Learn which SAE is served where."""
        if self.sender == self._at("peer_manager"):
            self._here, self._homes = news.here, news.homes
            self._gate.moved()

    def _home(self, sae: str) -> str | None:
        return self._homes.get(sae)

    @handles(SubscribeAgain)
    def subscribe_again(self, _: SubscribeAgain) -> None:
        """Subscribe again."""
        self._subscribe()

    @handles(keys.GetMulticast)
    def get_multicast(self, ask: keys.GetMulticast) -> Later:
        """Give the keys to all stores concerned at once; `Refused` spends nothing."""
        self._check(ask)
        answer, until = self.later(), self.system.now() + self._patience_s
        self._gate.when_known(Request(partial(self._begin, ask, answer, until), answer, until))
        return answer

    def _begin(self, ask: keys.GetMulticast, answer: Later, until: float) -> None:
        self._check(ask)  # while it waited SAEs may have left
        self._gate.permit(ask.master, ask.slaves)
        shares: dict[str, list[str]] = {}
        for slave in ask.slaves:
            shares.setdefault(self._homes[slave], []).append(slave)
        permit = partial(self._gate.permit, ask.master)
        found = {kms: frozenset(permit(tuple(some))) for kms, some in shares.items()}
        limits = {
            kms: some
            for kms, some in found.items()
            if some or self._gate.ways(ask.master, tuple(shares[kms]))
        }
        total = ask.number * ask.size
        if len(self._open) >= ROUNDS_MAX or self._octets + total > OCTETS_MAX:
            raise Refused("busy", "too many requests for several KMSs at a time")
        grant = self.system.random(keys.ID_OCTETS)
        made = Round(
            ask,
            answer,
            Secret(self.system.random(total)),
            until,
            {kms: tuple(slaves) for kms, slaves in shares.items()},
            set(shares),
            limits=limits,
            unsure=set(limits),
        )
        self._open[grant] = made
        self._octets += total
        for kms in limits:
            self._check_rate(grant, kms)
        if not limits:
            self._give_all(grant)

    def _check(self, ask: keys.GetMulticast) -> None:
        if not self._homes:
            raise Refused("not_ready", "the directory is not known yet")
        check_request(ask)
        if ask.number * ask.size > REQUEST_OCTETS_MAX:
            raise Refused("malformed", f"a request is for at most {REQUEST_OCTETS_MAX} octets")
        if self._homes.get(ask.master) != self._here:
            raise Refused("not_allowed", "the master SAE is not at this KMS")
        if any(slave not in self._homes for slave in ask.slaves):
            raise Refused("not_allowed", "a slave SAE is not known in this network")

    # One store of a round

    def _check_rate(self, grant: bytes, kms: str) -> None:
        """Ask whether a store would give so much now: its refusal would burn bits at the others.

        It knows what its pairs have had, and how its bits came; here nobody does (decision 0039).
        """
        made = self._open[grant]
        left = made.until - self.system.now()
        body = keys.CheckRate(
            master=made.ask.master,
            slaves=made.shares[kms],
            octets=made.total,
            ahead=self._ahead(grant, kms),
        )

        def checked(reply: Message) -> None:
            if grant not in self._open:
                return
            if isinstance(reply, Failed) and reply.code not in sessions.SOON:
                self._fail(grant, reply)
                return
            made.unsure.discard(kms)  # one that is not there yet has given nothing
            if not made.unsure:
                self._give_all(grant)

        self.ask(self._store(kms), body, checked, max(left, 0.0))

    def _ahead(self, grant: bytes, kms: str) -> int:
        """Octets that rounds before this one will take of the same rates, once stores allow it."""
        mine = self._open[grant].limits[kms]
        others = (it for id_, it in self._open.items() if id_ != grant and it.unsure)
        return sum(it.total for it in others if not mine.isdisjoint(it.limits.get(kms, ())))

    def _give_all(self, grant: bytes) -> None:
        made = self._open[grant]
        try:
            self._check(made.ask)  # while stores were asked SAEs may have left, or rows changed
            self._gate.permit(made.ask.master, made.ask.slaves)
        except Refused as no:
            self._fail(grant, Failed(code=no.code, why=str(no)))
            return
        for kms in made.shares:
            self._give(grant, kms)

    def _give(self, grant: bytes, kms: str) -> None:
        made = self._open[grant]
        made.asked[kms] = None
        ask, left = made.ask, made.until - self.system.now()
        body = keys.Prepare(
            grant=grant,
            master=ask.master,
            slaves=made.shares[kms],
            number=ask.number,
            size=ask.size,
            octets=made.octets,
        )

        def answered(reply: Message) -> None:
            if grant not in self._open:
                return  # somebody else has refused meanwhile, and all were told to give back
            if isinstance(reply, keys.Prepared) and reply.grant == grant:
                self._given(grant, kms)
            else:
                self._not_given(grant, kms, reply)

        self.ask(self._store(kms), body, answered, max(left, 0.0))

    def _given(self, grant: bytes, kms: str) -> None:
        made = self._open[grant]
        made.missing.discard(kms)
        if made.missing:
            return
        self._close(grant)
        made.answer(keys.Keys(grant=grant, size=made.ask.size, octets=made.octets))
        for each in made.shares:
            self.tell(self._store(each), keys.Settle(grant=grant))
        self.system.meter.add("protokms_multicast", result="answered")

    def _not_given(self, grant: bytes, kms: str, reply: Message) -> None:
        failed = reply if isinstance(reply, Failed) else Failed(code="crashed", why=kms)
        if failed.code not in sessions.SOON or kms == self._here:
            self._fail(grant, failed)
        elif failed.code == "undeliverable":
            self._open[grant].asked.pop(kms)
            self._ensure(grant, kms)
        elif self._is_fresh(kms) and self._open[grant].until > self.system.now() + _PAUSE_S:
            self.remind(_PAUSE_S, PrepareAgain(grant=grant, kms=kms))
        else:
            body = sessions.EnsureSession(peer=kms, sae=self._open[grant].ask.master)
            self.tell(self._at("sessions"), body)  # its session may have ended; nobody waits
            self._fail(grant, failed)

    @handles(PrepareAgain)
    def give_again(self, due: PrepareAgain) -> None:
        """Ask a store that had nothing yet once more."""
        if due.grant in self._open and self.sender == self.address:
            self._give(due.grant, due.kms)

    def _ensure(self, grant: bytes, kms: str) -> None:
        """Have a store for that KMS; a second time in a row it has just vanished: wait a little."""
        made = self._open[grant]
        left = made.until - self.system.now()
        if left <= _PAUSE_S:
            self._fail(grant, Failed(code="setting_up", why=kms))
            return
        if self._is_fresh(kms):
            self.remind(_PAUSE_S, PrepareAgain(grant=grant, kms=kms))
            return

        def ensured(reply: Message) -> None:
            if isinstance(reply, sessions.SessionEnsured):
                self._ensured[kms] = self.system.now()
            if grant not in self._open:
                return
            if isinstance(reply, sessions.SessionEnsured):
                self._give(grant, kms)
            else:
                self._fail(grant, _no_session(reply, kms))

        body = sessions.EnsureSession(peer=kms, sae=made.ask.master)
        self.ask(self._at("sessions"), body, ensured, left)

    def _is_fresh(self, kms: str) -> bool:
        return self.system.now() - self._ensured.get(kms, -_FRESH_S) < _FRESH_S

    # The end of a round

    def _fail(self, grant: bytes, failed: Failed) -> None:
        """One says no, or nothing: all give back, and the master gets the reason."""
        made = self._open[grant]
        self._close(grant)
        for kms in made.asked:
            self.tell(self._store(kms), keys.Abort(grant=grant))
        made.answer(failed)
        self.system.meter.add("protokms_multicast", result="refused")
        self.log.info("multicast_refused", code=failed.code, kmss=len(made.shares))

    def _close(self, grant: bytes) -> None:
        self._octets -= self._open.pop(grant).total

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Well as soon as the directory is known."""
        reasons = () if self._homes else ("the directory is not known yet",)
        return Healthy(ready=not reasons, reasons=reasons, facts=(("open", str(len(self._open))),))

    def _subscribe(self) -> None:
        self.tell(self._at("peer_manager"), peers.Subscribe())
        self.go_on(_SUBSCRIBE_S if self._homes else _UNHEARD_S, SubscribeAgain())

    def _store(self, kms: str) -> Address:
        return self._at(f"key_store/{kms}")

    def _at(self, name: str) -> Address:
        return Address(name, self.system.node)


def _no_session(reply: Message, kms: str) -> Failed:
    """Say why there is no session; words of other nodes are not passed on to an SAE."""
    code = reply.code if isinstance(reply, Failed) else "crashed"
    return Failed(code="session_not_allowed" if code == "not_allowed" else code, why=kms)
