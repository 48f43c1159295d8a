"""What the processes of one node may say to each other: each is a peer of core, with a table (R19).

Whoever has the keys of one process can say what its actors may say, and nothing else.
"""

from collections.abc import Callable, Collection, Mapping

from transport.codec import Malformed
from transport.envelope import Envelope

Kinds = tuple[str, str]
"""Kind of a sender and of a reader: what stands before the first `/` of their names."""

Table = Mapping[Kinds, Mapping[str, Collection[str]]]
"""The words that pass, each with those that answer it; none: it is not a question."""

CORE = "core"

FAILED = "common.failed/1"
"""The word that may answer any question."""


class Roles:
    """Admits a frame of another process of this node, or says why not.

    `placed` names the process where an actor lives: nobody speaks for an actor of another one.
    Between the kinds in `paired` only those talk whose names go on alike: a link and its store.
    Those of the kinds `cores` are heard from core alone, though every process has one.
    """

    def __init__(
        self,
        table: Table,
        paired: Collection[Kinds],
        placed: Callable[[str], str],
        cores: Collection[str] = (),
    ) -> None:
        self._words = {kinds: frozenset(words) for kinds, words in table.items()}
        self._answers = {(to, by): _answers(words) for (by, to), words in table.items()}
        self._paired = frozenset(paired) | {(to, by) for by, to in paired}
        self._placed, self._cores = placed, frozenset(cores)

    def check(self, process: str, envelope: Envelope) -> None:
        """Raise `Malformed` if this process may not say this to its reader."""
        sender, reader, word = envelope.sender.name, envelope.to.name, envelope.body.word
        if self._placed(sender) != process:
            raise Malformed(f"{sender} does not live in {process}", "role")
        by, _, mine = sender.partition("/")
        to, _, theirs = reader.partition("/")
        listed = self._answers if envelope.answer else self._words
        if word not in listed.get((by, to), ()):
            said = "answer" if envelope.answer else "tell"
            raise Malformed(f"{sender} does not {said} {reader} {word}", "role")
        if by in self._cores and process != CORE:
            raise Malformed(f"{sender} is heard from core alone", "role")
        if (by, to) in self._paired and mine != theirs:
            raise Malformed(f"{sender} has nothing to do with {reader}", "role")


def _answers(words: Mapping[str, Collection[str]]) -> frozenset[str]:
    found = {answer for answers in words.values() for answer in answers}
    return frozenset(found | {FAILED} if found else ())
