"""What the peer hears of grants allocated here, until it has acknowledged them (R4, R8, R9).

A sealed grant is made once and repeated octet for octet; it can be taken back until its master has
been answered. What is lost is void, and its bits are burnt.
"""

from collections.abc import Sequence
from dataclasses import replace

from actors.base import Clock, Context, Later, Part, handles
from actors.keystore.limits import Limits
from actors.ledger.issued import Issued, Waiting
from actors.protocol import grants, keys
from actors.protocol.common import Failed
from actors.protocol.grants import Grant
from actors.storage.group_commit import GroupCommit
from actors.sync.accounts import Accounts
from actors.sync.peering import REPEAT_S, REPEATS_MAX, Peering
from transport.message import Secret

WINDOW = 8
"""Announcements of confirmed grants in flight."""
PREPARED_S = 120.0
"""Seconds after which a grant that nobody settled or aborted is left to the slaves' side."""
_PASSED_ON = frozenset({"too_many_undelivered", "frozen"})
"""What a peer may say of a refusal to an SAE here; whatever else it says is not the SAE's fault."""


class Announcements(Part):
    """Announces grants, and hears that they are held, or refused, or void."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        limits: Limits,
        *,
        issued: Issued,
        commits: GroupCommit,
        accounts: Accounts,
    ) -> None:
        self._context, self._peer, self._limits = context, peer, limits
        self._accounts = accounts
        self._issued, self._commits = issued, commits
        self._to_void: dict[bytes, None] = {}
        """Aborted while the peer was away."""

    # From allocation

    @property
    def window_full(self) -> bool:
        """Whether so many announcements are on their way that the next one waits."""
        return len(self._issued.announcements) >= WINDOW

    def announce(self, made: Sequence[Grant], *, now: bool) -> None:
        """Tell the peer of confirmed grants at once, of local ones when they are durable."""
        if now:
            head = self._peer.state.head(now=True)
            word = grants.GrantsAnnounced(head=head, grants=tuple(made))
            self._peer.tell(word)
        else:
            head = self._peer.state.head()
            self._peer.say(grants.GrantsAnnounced(head=head, grants=tuple(made)))

    def await_held(self, waiting: Waiting) -> None:
        """The master of a confirmed grant is answered when the peer holds it."""
        self._issued.await_held(waiting)
        if waiting.sealed:
            self._say_sealed(waiting)

    def answer_durable(
        self, grant: Grant, octets: bytes, answer: Later, via: tuple[keys.Via, ...]
    ) -> None:
        """The master of a local grant is answered when it is durable here."""
        now = self._context.clock
        self._issued.keep_local(grant, now)
        self._issued.unacknowledged[grant.id].last_sent = now.now
        self._peer.state.count()
        self._commits.effect(lambda: self._answer(answer, grant, octets, via))

    def _answer(
        self, answer: Later, grant: Grant, octets: bytes, via: tuple[keys.Via, ...]
    ) -> None:
        secret = Secret(octets)
        answer(keys.Keys(grant=grant.id, size=grant.size, octets=secret, provenance=via))
        self._note_given(grant)
        meter = self._context.system.meter
        meter.add("protokms_keys_issued", grant.number, peer=self._peer.name, mode=grant.mode)

    def _note_given(self, grant: Grant, *, sealed: bool = False) -> None:
        now, octets = self._context.clock.now, grant.number * grant.size
        self._accounts.given(grant.master, grant.slaves, octets, now, sealed=sealed)

    def _say_sealed(self, waiting: Waiting) -> None:
        assert waiting.sealed, "sealed once, when it was allocated"
        sealed, tag = waiting.sealed
        head = self._peer.state.head(now=True)
        word = grants.GrantSealed(head=head, grant=waiting.grant, sealed=sealed, tag=tag)
        self._peer.tell(word)

    def abort(self, id_: bytes) -> None:
        """The master of a sealed grant is not answered, and never will be."""
        waiting = self._issued.waiting.get(id_)
        if waiting and waiting.sealed:
            waiting.until = self._context.clock.now
            self._void(id_, waiting)
        if id_ in self._issued.given:
            self._to_void[id_] = None
            self._void_aborted()

    # From the peer

    @handles(grants.GrantsHeld)
    def on_held(self, word: grants.GrantsHeld) -> None:
        """The peer holds these durably: their masters are answered."""
        now = self._context.clock.now
        for id_ in word.ids:
            late = self._issued.waiting.get(id_)
            if late and late.until <= now:
                self._void(id_, late)
                continue
            given = self._issued.give(id_, now)
            if given:
                self._limits.note_held(given.grant)
                given.answer(keys.Prepared(grant=id_))
                self._note_given(given.grant, sealed=True)
                continue
            waiting = self._issued.acknowledged(id_)
            if waiting:
                self._limits.note_held(waiting.grant)
                via = waiting.provenance
                self._answer(waiting.answer, waiting.grant, waiting.octets, via)
        self._limits.hear(word.head.seq, word.loads)

    @handles(grants.GrantsRefused)
    def on_refused(self, word: grants.GrantsRefused) -> None:
        """These are void; their bits are burnt with the segment."""
        for refusal in word.refusals:
            answered = refusal.id in self._issued.unacknowledged
            waiting = self._issued.acknowledged(refusal.id)
            if waiting and not waiting.failed:
                code = refusal.code if refusal.code in _PASSED_ON else "not_ready"
                waiting.answer(Failed(code=code, why=f"refused by {self._peer.name}"))
                if code == "too_many_undelivered":  # for the next status
                    for slave in waiting.grant.slaves:
                        self._limits.note_full(waiting.grant.master, slave)
            elif answered:
                self._peer.alarm("local_grant_refused")
            self._context.system.meter.add("protokms_grants_refused", peer=self._peer.name)

    @handles(grants.GrantsVoidHeld)
    def on_void_held(self, word: grants.GrantsVoidHeld) -> None:
        """The peer will never give these out."""
        for id_ in word.ids:
            self._issued.void_held(id_)

    @handles(grants.GrantQuery)
    def on_query(self, word: grants.GrantQuery) -> None:
        """An SAE over there has a key_ID its KMS does not know: announce it now, or say no."""
        answered = self._issued.unacknowledged.get(word.id)
        if answered:
            remaining = max(0.0, answered.deadline - self._context.clock.now)
            self.announce((replace(answered.grant, remaining=remaining),), now=False)
        elif word.id not in self._issued.waiting:
            self._peer.say(grants.GrantUnknown(head=self._peer.state.head(), id=word.id))

    # The end of a grant

    @handles(keys.Settle)
    def settle(self, news: keys.Settle) -> None:
        """The master has been answered: the grant stands."""
        self._issued.settle(news.grant)

    def _void(self, id_: bytes, waiting: Waiting) -> None:
        """Take a grant back that nobody was answered with: the void is durable first.

        Before Resume it is only promised to the master: no counted row is written then (R7).
        """
        if not waiting.failed:
            waiting.failed = True
            why = f"{self._peer.name} did not hold the keys in time"
            failed = Failed(code="timeout", why=why)
            self._commits.effect(lambda: waiting.answer(failed))
        if not self._peer.state.resumed:
            return
        self._issued.void(id_).last_sent = self._context.clock.now
        self._peer.state.count()
        self._say_void([grants.Voided(id_, waiting.grant.pieces)])

    def _void_aborted(self) -> None:
        """No void is written before Resume (R7)."""
        if not (self._to_void and self._peer.state.resumed):
            return
        voids = []
        for id_ in self._to_void:
            if id_ in self._issued.given:
                voiding = self._issued.take_back(id_)
                voiding.last_sent = self._context.clock.now
                self._peer.state.count()
                voids.append(grants.Voided(id_, voiding.pieces))
        self._to_void.clear()
        self._say_void(voids)

    def _say_void(self, voids: list[grants.Voided]) -> None:
        if voids:
            self._peer.say(grants.GrantsVoid(head=self._peer.state.head(), grants=tuple(voids)))

    # What befalls the store

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what the peer has not acknowledged for a while; sealed as it was."""
        before = now.now if everything else now.now - REPEAT_S
        for waiting in self._issued.due_sealed(now.now, before, REPEATS_MAX):
            self._say_sealed(waiting)
        self._void_aborted()
        due = self._issued.due(now, before, REPEATS_MAX)
        if due:
            self.announce(due, now=False)
        self._say_void(self._issued.due_voids(now.now, before, REPEATS_MAX))

    @property
    def quiet(self) -> bool:
        """Whether the peer has heard, and acknowledged, of all grants and voids."""
        issued = self._issued
        told = issued.waiting or issued.unacknowledged or issued.voiding or issued.given
        return not told and not self._to_void

    def tick(self, now: Clock) -> None:
        """Void what is late; leave to the slaves' side what nobody says anything of any more."""
        for id_, waiting in list(self._issued.waiting.items()):
            if waiting.until <= now.now:
                self._void(id_, waiting)
        for id_ in self._issued.given_before(now.now - PREPARED_S):
            if id_ not in self._to_void:
                self._issued.settle(id_)

    def new_epoch(self) -> None:
        """Who waits for keys of the old epoch waits in vain."""
        vain = [waiting.answer for waiting in self._issued.epoch_closed() if not waiting.failed]
        for answer in vain:
            answer(Failed(code="not_ready", why="the store begins a new epoch"))
