"""Grants of the peer held for SAEs here: announced or sealed, void, refused (R4, R9, P5)."""

from collections import Counter

from actors.base import Clock, Context, Part, handles
from actors.crypto import one_time_pad
from actors.crypto.one_time_pad import KEY_OCTETS, Forged
from actors.keystore.delivery import Delivery
from actors.keystore.options import StoreOptions
from actors.keystore.serving import Homes
from actors.ledger.held import Held
from actors.ledger.pieces import PIECES_MAX, Pieces
from actors.protocol import blocks, grants, keys
from actors.protocol.grants import SEALED, Grant, Piece, Refusal
from actors.protocol.limits import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX
from actors.protocol.peers import Located
from actors.rights.gate import Gate
from actors.storage.group_commit import GroupCommit
from actors.sync.accounts import Accounts
from actors.sync.peering import Peering

GRANTS_MAX = 256
TTL_MAX_S = 1e9
HELD_MIN = 1 << 16
HELD_BITS = 128
"""Grants held at most: so many, or one for so many bits of what an SAE may leave undelivered."""
TOMBS_MAX = 1 << 16
REFUSED_MAX = 1 << 13
"""Ids of refused grants that are known; twice as many as an owner has open."""
TRIES_MAX = 3
"""So many frames that do not verify end the pad they name."""
FORGED_MAX = 1024


class HeldGrants(Part):
    """Holds grants of the peer for SAEs here; the same id again is acknowledged again."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        delivery: Delivery,
        gate: Gate,
        *,
        pieces: Pieces,
        held: Held,
        commits: GroupCommit,
        homes: Homes,
        options: StoreOptions,
        accounts: Accounts,
    ) -> None:
        self._context, self._peer, self._delivery = context, peer, delivery
        self._gate = gate
        self._accounts = accounts
        self._pieces, self._held, self._commits = pieces, held, commits
        self._homes = homes
        self._refused: dict[bytes, str] = {}
        self._forged: Counter[bytes] = Counter()
        most = options.max_undelivered_bits_per_sae
        most += options.max_undelivered_bits_of_earlier_starts
        self._most = max(HELD_MIN, most // HELD_BITS)

    @handles(Located)
    def on_located(self, news: Located) -> None:
        """Which SAE is at which KMS (P5): peers speak only for SAEs bound to them."""
        self._homes.replace(news.homes)
        self._gate.moved()

    # Announced in the open

    @handles(grants.GrantsAnnounced)
    def on_announced(self, word: grants.GrantsAnnounced) -> None:
        """Hold grants for SAEs here."""
        held: list[bytes] = []
        refusals: list[Refusal] = []
        pairs: dict[tuple[str, str], None] = {}
        now = self._context.clock
        for grant in word.grants[:GRANTS_MAX]:
            code = self._hold(grant, now)
            if code == "held":
                held.append(grant.id)
                pairs.update({(grant.master, slave): None for slave in grant.slaves})
            elif code != "wait":
                refusals.append(Refusal(grant.id, code))
                self._note_refused(grant.id, code)
        local = any(grant.mode == "local" for grant in word.grants)
        self._acknowledge(held, tuple(self._load(*pair) for pair in pairs) if local else ())
        self._refuse(refusals)

    def _acknowledge(self, held: list[bytes], loads: tuple[grants.Load, ...] = ()) -> None:
        """Say what is held, once that is durable."""
        if held:
            head = self._peer.state.head()
            self._peer.say(grants.GrantsHeld(head=head, ids=tuple(held), loads=loads))
            self._commits.effect(lambda: self._delivery.now_held(held))

    def _refuse(self, refusals: list[Refusal]) -> None:
        """Say what never will be held."""
        if refusals:
            codes = ", ".join(dict.fromkeys(refusal.code for refusal in refusals))
            peer, head = self._peer.name, self._peer.state.head()
            self._context.log.warning("grants_refused", n=len(refusals), codes=codes, peer=peer)
            self._peer.say(grants.GrantsRefused(head=head, refusals=tuple(refusals)))

    def _hold(self, grant: Grant, now: Clock) -> str:
        """Hold one grant; return `held`, `wait`, or the code of the refusal."""
        if self._held.knows(grant.id):
            return "void" if self._held.voided(grant.id) else "held"
        code = "malformed" if grant.mode == SEALED else self._check(grant)
        if not code:
            self._keep(grant, self._pieces.cut(grant.pieces), now)
        return code or "held"

    # Sealed: their keys were drawn at the owner

    @handles(grants.GrantSealed)
    def on_sealed(self, word: grants.GrantSealed) -> None:
        """Hold a grant for SAEs here."""
        code = self._hold_sealed(word)
        if code == "held":
            self._acknowledge([word.grant.id])
        elif code != "wait":
            self._note_refused(word.grant.id, code)
            self._refuse([Refusal(word.grant.id, code)])

    def _hold_sealed(self, word: grants.GrantSealed) -> str:
        """Verify and open it, once; return `held`, `wait`, or the code of the refusal."""
        grant = word.grant
        if self._held.knows(grant.id):
            return "void" if self._held.voided(grant.id) else "held"
        total = grant.number * grant.size
        if grant.mode != SEALED or len(word.sealed) != total:
            return "malformed"
        code = self._check(grant)
        if code:
            return code
        ends = self._peer.name, self._context.address.node
        place = one_time_pad.grant_place(ends, word.head, grant)
        try:
            octets = one_time_pad.open_(
                self._pieces.cut(grant.pieces), word.sealed, word.tag, place
            )
        except Forged:
            return self._is_forged(grant)
        self._forged.pop(grant.id, None)
        self._keep(grant, octets, self._context.clock)
        return "held"

    def _is_forged(self, grant: Grant) -> str:
        """The true one may come yet; not for ever, or somebody could guess on."""
        self._forged[grant.id] += 1
        self._context.system.meter.add("protokms_grants_forged", peer=self._peer.name)
        if self._forged[grant.id] < TRIES_MAX:
            if len(self._forged) > FORGED_MAX:
                del self._forged[next(iter(self._forged))]
            return "wait"
        del self._forged[grant.id]
        self._peer.alarm("forged")
        self._pieces.use_up(grant.pieces)
        self._held.void(grant.id, grant.pieces)
        self._peer.state.count()
        return "forged"

    # Whether a grant may be held

    def _check(self, grant: Grant) -> str:
        """Return why a grant is not held, or not yet; "" if it may be."""
        if self._may_be_held(grant.id, grant.pieces):
            return "wait"
        code = self._refused.get(grant.id) or self._check_ends(grant)
        if code:
            return code
        code = self._pieces.check(grant.pieces)
        if code == "overlap":
            self._peer.freeze(code)
        return code or self._check_paths(grant) or self._check_room(grant)

    def _check_paths(self, grant: Grant) -> str:
        """Refuse keys that fewer nodes know than is asked for: the owner has not heard of it yet.

        But not what an owner has answered before it heard (P3): it makes no more of them.
        """
        if not self._pieces.weak(grant.pieces):
            return ""
        answered = grant.mode == "local" and self._peer.speaks(blocks.PathsNeeded)
        return "" if answered else "too_few_paths"

    def _check_ends(self, grant: Grant) -> str:
        if not _well_formed(grant):
            return "malformed"
        if self._peer.state.frozen:
            return "wait" if grant.mode == "local" else "frozen"
        if not self._homes:
            return "wait"  # the directory is on its way; the owner will repeat
        here = self._context.address.node
        theirs = self._homes.get(grant.master) == self._peer.name
        ours = all(self._homes.get(slave) == here for slave in grant.slaves)
        return "" if theirs and ours else "not_allowed"

    def _check_room(self, grant: Grant) -> str:
        """Limits are no reason to refuse a `local` grant, which was answered; it may wait."""
        octets = grant.number * grant.size
        full = self._held.count >= self._most
        if grant.mode == "local":
            return "wait" if full else ""
        room = self._held.room
        full = full or any(octets > room(grant.master, slave) for slave in grant.slaves)
        return "too_many_undelivered" if full else ""

    def _keep(self, grant: Grant, octets: bytes, now: Clock) -> None:
        """Hold the keys of a grant; where they lay, or their pad, is used up."""
        self._pieces.use_up(grant.pieces)
        self._held.hold(grant, octets, now)
        sealed = grant.mode == SEALED
        self._accounts.given(grant.master, grant.slaves, len(octets), now.now, sealed=sealed)
        self._peer.state.count()

    def _note_refused(self, id_: bytes, code: str) -> None:
        """Its master is told "no": a copy that comes when there is room is refused as well."""
        if len(id_) == keys.ID_OCTETS:
            self._refused[id_] = code
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    # What else the owner says

    @handles(grants.GrantsVoid)
    def on_void(self, word: grants.GrantsVoid) -> None:
        """The owner takes grants back that it never answered."""
        good = [void for void in word.grants if len(void.id) == keys.ID_OCTETS]
        if len(self._held.tombs) + self._held.graves >= TOMBS_MAX:
            good = [void for void in good if self._held.knows(void.id)]  # others come again
        good = [void for void in good if not self._may_be_held(void.id, void.pieces)]
        for void in good:
            pieces = tuple(piece for piece in void.pieces if self._pieces.within(piece))
            if not self._held.knows(void.id) and any(map(self._pieces.used, pieces)):
                continue  # another grant lies there: this id will never be held
            if self._held.void(void.id, pieces):
                self._pieces.use_up(pieces)
                self._peer.state.count()
        ids = tuple(void.id for void in good)
        if ids:
            self._peer.say(grants.GrantsVoidHeld(head=self._peer.state.head(), ids=ids))

    def _may_be_held(self, id_: bytes, pieces: tuple[Piece, ...]) -> bool:
        """Whether an id unknown here may be that of a grant that is not loaded yet.

        Each place of such a one is known to be used: whatever lies elsewhere is new. What may be
        one is neither held nor refused, nor is it void, and comes again.
        """
        if not self._held.loading or self._held.knows(id_):
            return False
        here = self._pieces
        return not pieces or any(not here.within(it) or here.used(it) for it in pieces)

    @handles(grants.GrantUnknown)
    def on_unknown(self, word: grants.GrantUnknown) -> None:
        """The owner has never answered such a grant."""
        self._delivery.unknown(word.id)

    @handles(grants.LoadQuery)
    def on_load_query(self, word: grants.LoadQuery) -> None:
        """The owner checks limits before it spends bits: say what was not fetched here."""
        ends = self._homes.get(word.master), self._homes.get(word.slave)
        here = self._peer.name, self._context.address.node
        if ends == here:
            loads = (self._load(word.master, word.slave),)
            head = self._peer.state.head()
            self._peer.say(grants.GrantsHeld(head=head, ids=(), loads=loads))

    def _load(self, master: str, slave: str) -> grants.Load:
        held, room = self._held, self._held.room(master, slave)
        room = 0 if held.count >= self._most else room
        return grants.Load(master, slave, held.load(master, slave), held.load_of(slave), room)


def _well_formed(grant: Grant) -> bool:
    """Whether the numbers of an announced grant make sense."""
    total = sum(piece.length for piece in grant.pieces)
    return (
        len(grant.id) == keys.ID_OCTETS
        and len(grant.pieces) <= PIECES_MAX
        and all(p.length > 0 and p.offset >= 0 and p.batch >= 0 for p in grant.pieces)
        and 0 < grant.number <= KEYS_MAX
        and 0 < grant.size <= KEY_OCTETS_MAX
        and total == grant.number * grant.size + (KEY_OCTETS if grant.mode == SEALED else 0)
        and 0 < len(set(grant.slaves)) == len(grant.slaves) <= SLAVES_MAX
        and grant.mode in ("confirmed", "local", SEALED)
        and 0.0 <= grant.remaining <= TTL_MAX_S
    )
