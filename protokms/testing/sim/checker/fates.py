"""Which announced grants have a fate that their owner may know: before that no segment closes (R7).

A word that got lost counts as heard: what a listener cannot know is not judged.
"""

from collections.abc import Iterable
from typing import NamedTuple

from protokms.testing.sim.checker.octets import Place
from protokms.testing.sim.checker.promise import BrokenPromise


class Announced(NamedTuple):
    """Who announced a grant, in which start, and whether it is `local`."""

    owner: str
    start: int
    local: bool


class Fates:
    """Grants by the segments they lie in, and what their slaves' sides have said of them."""

    def __init__(self) -> None:
        self._in: dict[Place, dict[bytes, Announced]] = {}
        self._answered: set[bytes] = set()
        self._voided: set[bytes] = set()
        self._void_held: set[bytes] = set()

    def announced(self, place: Place, id_: bytes, told: Announced) -> None:
        """A grant has octets in a segment."""
        self._in.setdefault(place, {})[id_] = told

    def restored(self, owner: str) -> None:
        """A node has gone back to a copy: it may know nothing of what it has announced."""
        for grants in self._in.values():
            for id_ in [id_ for id_, told in grants.items() if told.owner == owner]:
                if id_ not in self._answered:
                    del grants[id_]

    def answered(self, ids: Iterable[bytes]) -> None:
        """These are held, or refused."""
        self._answered.update(ids)

    def voided(self, ids: Iterable[bytes]) -> None:
        """These are void: the peer has to hold that."""
        self._voided.update(ids)

    def void_held(self, ids: Iterable[bytes]) -> None:
        """It does."""
        self._void_held.update(ids)

    def closed(self, place: Place, start: int) -> None:
        """R7: the owner, in this start, closes a segment; a start forgets what it did not answer.

        But for `local` grants, which were answered, and for what is void.
        """
        for id_, told in self._in.get(place, {}).items():
            if id_ in self._void_held:
                continue
            if id_ in self._voided:
                raise BrokenPromise("R7", f"{place} is closed, and the void of {id_.hex()} open")
            if id_ not in self._answered and (told.local or told.start == start):
                raise BrokenPromise("R7", f"{place} is closed, and {id_.hex()} not held")
