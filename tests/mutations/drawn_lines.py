"""Forty lines drawn at random, five of each room, each left out or with a condition that is fixed.

A program drew them, with one seed for each room. In the order drawn those were kept whose loss a
peer, an SAE or the rows of a node could show in a network whose configuration stays as it is:
no constructors, logs, metrics and alarms, no words of operators, nothing that only costs time or
frames, and no second line of defence. All were kept before any was run.
"""

from typing import Any, NamedTuple

from actors.keystore.delivery import Delivery
from actors.keystore.key_store import KeyStore
from actors.keystore.multicast import Multicast
from actors.keystore.pads import PeerPads
from actors.ledger.batches import Batches
from actors.ledger.held import Held
from actors.ledger.issued import Issued
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.links.chunk_source import ChunkSource
from actors.links.quantum_link import QuantumLink
from actors.links.store_side import StoreSide
from actors.network.lsdb import LinkStateDatabase
from actors.network.neighbours import Neighbours
from actors.network.originate import Originate
from actors.network.peer_manager import PeerManager
from actors.network.router import Router
from actors.relay.link_queue import LinkQueue
from actors.relay.outgoing import Outgoing
from actors.relay.queues import SendQueue
from actors.relay.room import Rooms
from actors.sessions.origin import Origin
from actors.sessions.sessions import SessionManager
from actors.sessions.terms import HopTable
from actors.sessions.transit import Transit
from actors.sync.peering import Peering
from actors.sync.segments import Segments


class Drawn(NamedTuple):
    """A line of a method, what takes its place, and the seed that noticed it; None if none has."""

    owner: Any
    name: str
    line: str
    by: str
    seed: int | None = None
    quick: bool = False
    """Whether that takes a few seconds of a core at most: then it is among the slow tests."""


FORTY = [
    # Ledger
    Drawn(Batches, "conclude", "if confirmed:", "if True:", 2),
    Drawn(Stream, "take", "segment.grants += 1", "pass", 0, quick=True),
    Drawn(Issued, "__init__", "stream.expect(made)", "pass", 4),
    Drawn(
        Shares,
        "_free",
        "self.account = max(0, min(self.account, target, stock - self.reserved))",
        "pass",
    ),
    Drawn(Shares, "ask", "heapq.heappush(self._heap, made)", "pass", 9, quick=True),
    # Key store
    Drawn(Multicast, "_fail", "made.answer(failed)", "pass", 8, quick=True),
    Drawn(KeyStore, "tick", "self._tick_in_step(now)", "pass", 0),
    Drawn(
        Delivery,
        "_serve",
        "self._commits.effect(lambda: query.answer(body))",
        "pass",
        0,
        quick=True,
    ),
    Drawn(PeerPads, "resumed", "self._life = life", "pass"),
    Drawn(Multicast, "located", 'if self.sender == self._at("peer_manager"):', "if False:", 9),
    # Relay, and the links that it fills
    Drawn(SendQueue, "enter", "self.epochs[epoch] = None", "pass"),
    Drawn(ChunkSource, "_use", "self.go()", "pass"),
    Drawn(Outgoing, "on_carried", "if queue := self.queues.of(id_):", "if False:"),
    Drawn(Rooms, "on_room", "if queue is None:", "if True:", 9),
    Drawn(LinkQueue, "next", "self._origins[name] = origin", "pass", 9),
    # Sessions
    Drawn(SessionManager, "far_end_opened", "self.origin.far_end_opened(origin)", "pass"),
    Drawn(HopTable, "add", "if state.hop:", "if False:"),
    Drawn(Transit, "_told", "self.close(state)", "pass"),
    Drawn(
        Origin,
        "refresh",
        "self._refreshing.say_own({peer: keys for peer, keys in named.items() if keys})",
        "pass",
        9,
    ),
    Drawn(Transit, "on_session_lost", "self.lost_beyond(state, code, node)", "pass", 12),
    # Sync, and the quantum link
    Drawn(Segments, "on_transfer", "if self._stream.accept(word.segment, word.n):", "if False:", 2),
    Drawn(Peering, "serve_pending", "self._unreachable_since = 0.0", "pass"),
    Drawn(
        Peering,
        "_end_late",
        'request.answer(Failed(code="peer_down", why=self.why_down))',
        "pass",
    ),
    Drawn(QuantumLink, "go", "self.remind(tick_s, Tick(turn=self._turn))", "pass", 2, quick=True),
    Drawn(
        StoreSide, "on_opened", "self._heard = self.link.begin(news.epoch)", "pass", 2, quick=True
    ),
    # Rows of what is held
    Drawn(Held, "_save_open", 'self._journal.put("window", key, (slave, indexes))', "pass", 2),
    Drawn(Held, "_loads_at", 'if mode == "local":', "if False:", 22),
    Drawn(Held, "_finish", 'self._journal.drop("holding", _row(number))', "pass", 2, quick=True),
    Drawn(
        Held,
        "fetch",
        "self._save_open(slave, dict.fromkeys(name.grant for name in names))",
        "pass",
        2,
    ),
    Drawn(
        Held,
        "fetch",
        "self._open[place] = Delivery(self._receipt, now + WRITING_S, under_way=True)",
        "pass",
        2,
        quick=True,
    ),
    # Routes
    Drawn(
        Originate,
        "if_old",
        "if self._neighbours.public and now - self._originated_at >= self._options.refresh_s:",
        "if True:",
        9,
    ),
    Drawn(LinkStateDatabase, "find_paths", "if len(keep) == n == len(fresh):", "if True:", 9),
    Drawn(Router, "peer_up", "if peer in self.neighbours.linked:", "if False:"),
    Drawn(LinkStateDatabase, "cost", "total += hop", "pass"),
    Drawn(Originate, "_originate", "self._committing = False", "pass", 9),
    # Peers
    Drawn(PeerManager, "peer_down", "self._of(news.peer).up = False", "pass", 2),
    Drawn(PeerManager, "subscribe", "self._stores[peer] = None", "pass"),
    Drawn(
        PeerManager,
        "ask_again",
        "if due.peer in self._kms and self._of(due.peer).up:",
        "if False:",
    ),
    Drawn(PeerManager, "started", "self._up(peer)", "pass", 9),
    Drawn(Neighbours, "on_peer_down", "self._events.peer_down(news.peer)", "pass"),
]
