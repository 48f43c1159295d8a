"""What is to be said so that the node is as it is wanted: a table of wanted and seen.

No actor, no clock. Every word may be said again: who is as wanted already answers that it is so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.intent.wanted import Wanted
from actors.protocol import links, peers, sessions
from actors.protocol.sessions import AddSession, Permit, SessionState
from transport.message import Message

_ELSEWHERE = "link_up"
"""Why a link is not added: it runs over another interface."""

_NOT_ALLOWED = "not_allowed"

AGAIN_S = 10.0
"""Seconds after which what was refused, or not answered, is asked for again."""


class Say(NamedTuple):
    """One word for one actor of this node; `ask` expects an answer."""

    to: str
    body: Message
    ask: bool = True


@dataclass(slots=True)
class Asked:
    """What was asked for last of one peer, when, and what was answered: nothing yet, or a refusal.

    `done`: it was answered, and it was no refusal.
    """

    body: Message
    at: float
    done: bool = False
    code: str = ""
    why: str = ""


@dataclass(slots=True)
class Seen:
    """What this node is known to be: links and sessions; None: nobody has told yet."""

    linked: frozenset[str] | None = None
    sessions: dict[str, SessionState] | None = None
    distant: tuple[str, ...] = ()
    """Peers that have a store here without a quantum link, whoever began a session."""
    links_asked: dict[str, Asked] = field(default_factory=dict)
    """What was asked of a quantum link, by peer."""
    sessions_asked: dict[str, Asked] = field(default_factory=dict)
    paused: dict[str, bool] = field(default_factory=dict)
    """What stores were told, by peer."""
    permits: tuple[Permit, ...] | None = None


def words(wanted: Wanted, seen: Seen, now: float) -> list[Say]:
    """Return what is to be said now, in order; `seen` notes what was asked, and told."""
    said = [*_links(wanted, seen, now), *_sessions(wanted, seen, now), *_pauses(wanted, seen)]
    if seen.permits != wanted.permits:
        seen.permits = wanted.permits
        said.append(Say("sessions", sessions.Permits(permits=wanted.permits), ask=False))
    return said


def _links(wanted: Wanted, seen: Seen, now: float) -> Iterator[Say]:
    """Start what is wanted and not known to run so, stop what is there and not wanted.

    A link over another interface than is wanted is stopped first. What the configuration binds
    is not asked for.
    """
    if seen.linked is None:
        return
    for peer in sorted((wanted.links.keys() | seen.linked) - wanted.fixed):
        asked = seen.links_asked.get(peer)
        body = _link_word(peer, wanted, seen, asked)
        as_said = asked is not None and asked.body == body and asked.done
        as_it_is = as_said and (peer in seen.linked) is (peer in wanted.links)
        if not as_it_is and _due(asked, body, now):
            seen.links_asked[peer] = Asked(body, now)
            yield Say("peer_manager", body)
    for peer in [peer for peer in seen.links_asked if peer not in wanted.links]:
        if peer not in seen.linked:
            del seen.links_asked[peer]


def _link_word(
    peer: str, wanted: Wanted, seen: Seen, asked: Asked | None
) -> peers.AddQuantumPeer | peers.RemoveQuantumPeer:
    """Return what a link lacks: to be added, or to be removed, be it to come back elsewhere."""
    remove = peers.RemoveQuantumPeer(peer=peer)
    if peer not in wanted.links:
        return remove
    add = peers.AddQuantumPeer(peer=peer, interface=wanted.links[peer])
    there = peer in seen.linked if seen.linked else False
    moves = asked is not None and asked.body not in (add, remove) and there
    refused = asked is not None and asked.code == _ELSEWHERE
    stops = asked is not None and asked.body == remove and there
    return remove if moves or refused or stops else add


def _sessions(wanted: Wanted, seen: Seen, now: float) -> Iterator[Say]:
    """Add what is wanted, in these words; remove what was added, and nobody wants any more.

    Sessions on demand come and go without us. One that may not be is asked for again, since a
    quantum link may have stood in for it, and be gone.
    """
    if seen.sessions is None:
        return
    for peer, add in sorted(wanted.sessions.items()):
        asked, state = seen.sessions_asked.get(peer), seen.sessions.get(peer)
        as_said = asked is not None and asked.body == add and asked.done
        as_it_is = as_said and state and is_as(state, add) and state.state != _NOT_ALLOWED
        if not as_it_is and _due(asked, add, now):
            seen.sessions_asked[peer] = Asked(add, now)
            yield Say("sessions", add)
    for peer, state in sorted(seen.sessions.items()):
        remove = sessions.RemoveSession(destination=peer)
        unwanted = peer not in wanted.sessions and peer not in wanted.waiting and not state.sae
        if unwanted and _due(seen.sessions_asked.get(peer), remove, now):
            seen.sessions_asked[peer] = Asked(remove, now)
            yield Say("sessions", remove)
    for peer in [peer for peer in seen.sessions_asked if peer not in wanted.sessions]:
        if peer not in seen.sessions:
            del seen.sessions_asked[peer]


def _pauses(wanted: Wanted, seen: Seen) -> Iterator[Say]:
    """Tell stores once whether to pause, those too that may have been told by a former life."""
    for peer in sorted(wanted.fills | seen.paused.keys()):
        if seen.paused.get(peer) is not (peer in wanted.paused):
            yield pause_word(wanted, peer)
    seen.paused = {peer: peer in wanted.paused for peer in wanted.fills}


def pause_word(wanted: Wanted, peer: str) -> Say:
    """Return what a store is to be told of what it may take in."""
    body = links.Pause() if peer in wanted.paused else links.Resume()
    return Say(f"key_store/{peer}", body, ask=False)


def _due(asked: Asked | None, body: Message, now: float) -> bool:
    """Whether to say it: it was not said, or in vain and long enough ago."""
    return asked is None or asked.body != body or now - asked.at >= AGAIN_S


def is_as(state: SessionState, add: AddSession) -> bool:
    """Whether a session is as it was asked for, whatever became of it."""
    paths = not add.paths or (state.fixed and set(state.paths) == set(add.paths))
    numbers = state.low_bits, state.high_bits, state.weight
    same = numbers == (add.low_bits, add.high_bits, add.weight) and not state.sae
    return paths and same and state.fixed is bool(add.paths) and add.n in (0, state.n)


def heard(asked: Asked | None, code: str, why: str) -> None:
    """Note the answer: a refusal, or that it is done."""
    if asked:
        asked.done, asked.code, asked.why = not code, code, why


def adopted(states: dict[str, SessionState]) -> dict[str, AddSession]:
    """Return sessions that were added before there was intent, as they would be asked for."""
    return {
        peer: AddSession(
            destination=peer,
            paths=state.paths if state.fixed else (),
            n=state.n,
            low_bits=state.low_bits,
            high_bits=state.high_bits,
            weight=state.weight,
        )
        for peer, state in states.items()
        if not state.sae
    }
