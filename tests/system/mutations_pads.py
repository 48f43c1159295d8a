"""Lines of pads, shares and sealed grants broken on purpose, for test_mutations_pads.py."""

from dataclasses import replace
from typing import Any

from actors import one_time
from actors.fair import Shares
from actors.giving import Giving
from actors.pads import Pads
from actors.protocol import keys
from actors.protocol import pads as words
from actors.segment import Way
from actors.slaves_side import SlavesSide
from actors.stream import Stream
from actors.waking import Waking
from transport.message import Secret


def opened_again(_: Any) -> Any:
    def open_pad(self: Pads, ask: words.OpenPad) -> words.PadOpened:
        self._check_open(ask)
        return words.PadOpened(octets=Secret(self.cut(ask.pieces)))

    return open_pad


def not_remembered(original: Any) -> Any:
    def open_pad(self: Pads, ask: words.OpenPad) -> Any:
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
    def say_sealed(self: Giving, waiting: Any) -> None:
        sealed, tag = waiting.sealed
        original(self, waiting)
        waiting.sealed = sealed[::-1], tag

    return say_sealed


def unverified(_: Any) -> Any:
    def open_(key_and_pad: bytes, sealed: bytes, tag: bytes, associated: bytes) -> bytes:
        return one_time._xor(key_and_pad, sealed)

    return open_


def keeps_pads(original: Any) -> Any:
    def new_epoch(self: Pads, epoch: Any) -> None:
        kept = dict(self.pads)
        original(self, epoch)
        self.pads.update(kept)

    return new_epoch


def waits_go_on(original: Any) -> Any:
    def fail(self: Pads, ids: list[int], code: str, why: str) -> None:
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
        return original(self, stock, usable + self.promised)

    return next_


def all_of_it(_: Any) -> Any:
    def for_local(self: Shares, stock: int) -> int:
        return stock - self.promised

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
    def seal(self: Giving, asked: Any, ask: Any, now: Any, volley: int) -> None:
        original(self, asked, ask, now, volley)
        asked.answer(keys.Given(grant=ask.grant))

    return seal


def void_before_resume(original: Any) -> Any:
    def void_given(self: Giving) -> None:
        was, self.standing.resumed = self.standing.resumed, True
        original(self)
        self.standing.resumed = was

    return void_given


def head_of_anybody(original: Any) -> Any:
    def check_open(self: Pads, ask: words.OpenPad) -> Any:
        standing = self.standing
        head = replace(ask.head, mine=standing.peer, yours=standing.start)
        head = replace(head, number=standing.epoch[0], random=standing.epoch[1])
        return original(self, replace(ask, head=head))

    return check_open


def held_in_the_open(_: Any) -> Any:
    def hold(self: SlavesSide, grant: Any, now: Any) -> str:
        code = self.check_grant(grant)
        if not code:
            self.keep(grant, self.cut(grant.pieces), now)
        return code or "held"

    return hold


def never_late(original: Any) -> Any:
    def on_tick(self: Waking, now: Any) -> None:
        asleep, self.sleepers = self.sleepers, []
        original(self, now)
        self.sleepers = asleep

    return on_tick


def counts_paths(original: Any) -> Any:
    def together(vias: Any) -> Way:
        paths = original(vias).paths
        return Way(paths, len(paths))

    return together
