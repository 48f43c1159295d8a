"""Lines of pads, shares and sealed grants broken on purpose, for test_mutations_pads.py."""

from dataclasses import replace
from typing import Any

from actors.crypto import one_time_pad
from actors.keystore.allocation import Allocation
from actors.keystore.announcements import Announcements
from actors.keystore.held_grants import HeldGrants
from actors.keystore.pads import OwnPads, PeerPads
from actors.ledger.segment import Way
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import keys
from actors.protocol import pads as words
from actors.protocol.grants import Grant
from actors.sync.peering import Peering
from transport.message import Secret


def all_that_is_there(_: Any) -> Any:
    """One pair of SAEs may take what others need."""
    return lambda self, pair, there, now: there


def one_line(original: Any) -> Any:
    """Requests of all pairs of SAEs are served in the order in which they came."""
    return lambda self, user, cost, item: original(self, "all", cost, item)


def opened_again(_: Any) -> Any:
    def open_pad(self: PeerPads, ask: words.OpenPad) -> words.PadOpened:
        self._check(ask)
        return words.PadOpened(octets=Secret(self._pieces.cut(ask.pieces)))

    return open_pad


def not_remembered(original: Any) -> Any:
    def open_pad(self: PeerPads, ask: words.OpenPad) -> Any:
        made = original(self, ask)
        self._opened.clear()
        return made

    return open_pad


def same_octets_again(original: Any) -> Any:
    def take(self: Stream, length: int, now: float) -> Any:
        pieces, octets = original(self, length, now)
        last = getattr(self, "last", octets)
        self.last = octets  # type: ignore[attr-defined]
        return pieces, last if len(last) == len(octets) else octets

    return take


def sealed_anew(original: Any) -> Any:
    def say_sealed(self: Announcements, waiting: Any) -> None:
        sealed, tag = waiting.sealed
        original(self, waiting)
        waiting.sealed = sealed[::-1], tag

    return say_sealed


def unverified(_: Any) -> Any:
    def open_(key_and_pad: bytes, sealed: bytes, tag: bytes, associated: bytes) -> bytes:
        return one_time_pad._xor(key_and_pad, sealed)

    return open_


def keeps_pads(original: Any) -> Any:
    def new_epoch(self: OwnPads) -> None:
        kept = dict(self.pads)
        original(self)
        self.pads.update(kept)

    return new_epoch


def waits_go_on(original: Any) -> Any:
    def fail(self: OwnPads, ids: list[int], code: str, why: str) -> None:
        if code != "not_ready":
            original(self, ids, code, why)

    return fail


def known_at_once(original: Any) -> Any:
    def take(self: Stream, length: int, now: float) -> Any:
        pieces, octets = original(self, length, now)
        self.known(pieces)
        return pieces, octets

    return take


def first_come(original: Any) -> Any:
    def ask(self: Shares, id_: int, name: str, octets: int, weight: int) -> Any:
        good = original(self, id_, name, octets, weight)
        self._classes[name].finish = 0.0
        return good

    return ask


def saves_up(original: Any) -> Any:
    def ask(self: Shares, *args: Any) -> Any:
        now, self._now = self._now, 0.0
        good = original(self, *args)
        self._now = now
        return good

    return ask


def promised_too(original: Any) -> Any:
    def next_(self: Shares, stock: int, usable: int) -> Any:
        return original(self, stock, usable + self.reserved)

    return next_


def all_of_it(_: Any) -> Any:
    def for_local(self: Shares, stock: int) -> int:
        return stock - self.reserved

    return for_local


def paid_in_vain(original: Any) -> Any:
    def cancel(self: Shares, id_: int) -> None:
        made = self._open.get(id_)
        finish = self._classes[made.name].finish if made else 0.0
        original(self, id_)
        if made and made.name in self._classes:
            self._classes[made.name].finish = finish

    return cancel


def given_at_once(original: Any) -> Any:
    def seal(self: Allocation, asked: Any, ask: Any, now: Any) -> None:
        original(self, asked, ask, now)
        asked.answer(keys.Prepared(grant=ask.grant))

    return seal


def void_before_resume(original: Any) -> Any:
    def void_aborted(self: Announcements) -> None:
        state = self._peer.state
        was, state.resumed = state.resumed, True
        original(self)
        state.resumed = was

    return void_aborted


def head_of_anybody(original: Any) -> Any:
    def check_open(self: PeerPads, ask: words.OpenPad) -> Any:
        state = self._peer.state
        head = replace(ask.head, mine=state.peer, yours=state.start)
        head = replace(head, number=state.epoch[0], random=state.epoch[1])
        return original(self, replace(ask, head=head))

    return check_open


def held_in_the_open(_: Any) -> Any:
    def hold(self: HeldGrants, grant: Any, now: Any) -> str:
        code = self._check(grant)
        if not code:
            self._keep(grant, self._pieces.cut(grant.pieces), now)
        return code or "held"

    return hold


def never_late(original: Any) -> Any:
    def tick(self: Peering, now: Any) -> None:
        pending, self._pending = self._pending, []
        original(self, now)
        self._pending = pending

    return tick


def counts_paths(original: Any) -> Any:
    def together(vias: Any) -> Way:
        paths = original(vias).paths
        return Way(paths, len(paths))

    return together


def always_refused(original: Any) -> Any:
    def check_paths(self: HeldGrants, grant: Grant) -> str:
        return "too_few_paths" if self._pieces.weak(grant.pieces) else ""

    return check_paths
