"""The actor that keeps what is wanted of a node, and sees to it that the node is so.

It decides nothing itself: `edits` says what a write may do, `wanted` what the rows want, and
`reconcile` what is to be said. Rows change when their commit has returned, and not before; so what
is read, and what is done, is always what is durable.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from actors.base import Actor, Change, Later, System, handles
from actors.intent import edits
from actors.intent.entitling import Entitling
from actors.intent.hops import Topology, nodes_of, topology
from actors.intent.reconcile import Say, Seen, adopted, heard, pause_word, words
from actors.intent.rows import STORE, Body, Book, Draft, Key
from actors.intent.scene import No, Scene, anywhere
from actors.intent.shown.showing import Showing
from actors.intent.shown.telling import Telling
from actors.intent.wanted import Over, Wanted, wanted_of
from actors.protocol import intent, links, peers, routes, sessions
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.intent import Interface, Policy
from transport.envelope import Address
from transport.message import Message, local

TICK_S = 5.0
ASK_S = 20.0
"""Longer than a session may take to be refused, or a process to run a link."""
LOOK_S = 2.0
QUEUE_MAX = 64
"""Writes that wait for the one before them."""

_FULL = "the disk is full"
FRONT, ESTABLISHED = "etsi015", "established"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentPlan:
    """What the composition of a node tells it: `seeds` are the rows of its configuration.

    So are `policies`, by name: those that were read last, which may be others at the next start.
    `wall` is the time of day in seconds since 1970. `controlled`: SAEs have keys by an application.
    """

    directory: peers.Directory
    version: str
    seeds: Mapping[Key, Body]
    policies: Mapping[str, Policy]
    wall: Callable[[], float]
    interfaces: Mapping[int, Interface] = field(default_factory=dict)
    controlled: bool = False
    leads: Callable[[int, str], str] = anywhere
    """Why an interface does not lead to a peer; nothing if it does, or nobody knows."""


@local
class Tick(Message):
    """Time to look again."""


class Intent(Actor):
    """Keeps the rows, one write after the other, and says what they ask for."""

    parts = (Telling, Showing, Entitling)

    def __init__(self, system: System, name: str, plan: IntentPlan) -> None:
        super().__init__(system, name)
        self._plan = plan
        self.book, self.seen, self.wanted = Book(), Seen(), Wanted()
        scene = Scene(node=system.node, interfaces=plan.interfaces, leads=plan.leads)
        self.scene = scene.of(plan.directory.kmss)
        self.telling = Telling(self)
        self.entitling = Entitling(self, controlled=plan.controlled, wall=plan.wall)
        self.showing = Showing(
            self,
            self.telling,
            version=plan.version,
            wall=plan.wall,
            rights=lambda: self.entitling.rights,
        )
        self._ways: dict[Over, tuple[str, ...]] = {}
        self._queue: deque[tuple[intent.Write | intent.Seed, Later]] = deque()
        self._busy = False

    # What befalls it

    def started(self) -> None:
        """Load, seed, and ask how all is."""
        rows = self.system.load(STORE)
        self.book = Book.load(rows)
        changes = self.book.seed(self._seeds(self._plan.policies), self._plan.wall())
        self.showing.remember(self.book.interfaces)
        if changes := [*changes, *self.book.count(self._plan.interfaces)]:
            self.commit(changes, lambda: None)
        self.serve(self.telling, self.showing, self.entitling)
        self.tell(self._here("peer_manager"), peers.Subscribe())
        self._changed()
        self._look()

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """See how all is, and say again what had no effect."""
        if self.sender == self.address:
            self._look()

    def _look(self) -> None:
        self.go_on(TICK_S, Tick())
        self.ask(self._here("sessions"), sessions.ListSessions(), self._seen_sessions, LOOK_S)
        self._find_ways()
        self.entitling.look()
        self.showing.look()

    def _seen_sessions(self, reply: Message) -> None:
        if not isinstance(reply, sessions.Sessions):
            return
        self.seen.sessions = {it.destination: it for it in reply.sessions}
        self.seen.distant = reply.stores
        if not (self.book.revision.adopted or self._busy):
            self._adopt()
        self._reconcile()

    @handles(peers.Directory)
    def on_directory(self, news: peers.Directory) -> None:
        """Rows are judged by the directory of now; those that are kept stay."""
        if self.sender == self._here("peer_manager"):
            self.scene = self.scene.of(news.kmss)
            self._reconcile()

    @handles(peers.Linked)
    def on_linked(self, news: peers.Linked) -> None:
        """Hear which quantum links run."""
        if self.sender == self._here("peer_manager"):
            self.seen.linked = frozenset(news.peers)
            self._reconcile()

    @handles(peers.PeerUp)
    def on_peer_up(self, _: peers.PeerUp) -> None:
        """A way may be open again."""
        self._reconcile()

    @handles(peers.PeerDown)
    def on_peer_down(self, _: peers.PeerDown) -> None:
        """What is wanted does not change."""

    @handles(peers.PeerSpeaks)
    def on_peer_speaks(self, _: peers.PeerSpeaks) -> None:
        """Nothing is said to peers from here."""

    @handles(links.AskPause)
    def on_ask_pause(self, ask: links.AskPause) -> None:
        """A store has started anew, and knows of no pause."""
        if self.sender == self._here(f"key_store/{ask.peer}"):
            self.tell(self.sender, pause_word(self.wanted, ask.peer).body)

    @handles(sessions.AskPermits)
    def on_ask_permits(self, _: sessions.AskPermits) -> None:
        """Sessions have started anew: they know of no permit, and not what was asked of them."""
        if self.sender == self._here("sessions"):
            self.seen.permits, self.seen.sessions = None, None
            self.seen.sessions_asked.clear()
            self._reconcile()
            self._look()

    def _find_ways(self) -> None:
        """Have the router find the rest of paths of which one node is given, as they are now.

        A session that stands keeps its path.
        """
        for hop, end in sorted(self.wanted.over):
            state = (self.seen.sessions or {}).get(end)
            stands = state is not None and state.state == ESTABLISHED
            if (hop, end) not in self._ways or not stands:
                ask = routes.FindRoute(start=hop, end=end)
                self.ask(self._here("router"), ask, partial(self._found_way, (hop, end)), LOOK_S)

    def _found_way(self, over: Over, reply: Message) -> None:
        way = (self.system.node, *reply.path) if isinstance(reply, routes.Route) else ()
        if way and len(set(way)) == len(way) and self._ways.get(over) != way:
            self._ways[over] = way
            self._changed()
            self._reconcile()

    # Writes, one after the other

    @handles(intent.Write)
    def on_write(self, ask: intent.Write) -> Later | intent.Denied:
        """Judge, make durable, answer, do."""
        front = self.sender.name.partition("/")[0] == FRONT
        if ask.owner in intent.OWNERS and (front or ask.owner != intent.CLI):
            why = f"a controller may not be called {ask.owner[: intent.ID_MAX]}"
            return intent.Denied(code="access_denied", why=why)
        if self.system.disk_full:
            return intent.Denied(code="store_full", why=_FULL)
        return self._enqueue(ask)

    @handles(intent.Seed)
    def on_seed(self, ask: intent.Seed) -> Later:
        """The configuration was read again: have its policies as soon as that is durable."""
        if self.sender.name.partition("/")[0] == FRONT:
            raise Refused("not_allowed", "the configuration is the node's own")
        if self.system.disk_full:
            raise Refused("store_full", _FULL)
        return self._enqueue(ask)

    def _enqueue(self, ask: intent.Write | intent.Seed) -> Later:
        if len(self._queue) >= QUEUE_MAX:
            raise Refused("not_ready", f"{QUEUE_MAX} writes wait already")
        answer = self.later()
        self._queue.append((ask, answer))
        self._next()
        return answer

    def _seeds(self, policies: Mapping[str, Policy]) -> dict[Key, Body]:
        rules = {(intent.POLICY, name): policy for name, policy in policies.items()}
        return {**self._plan.seeds, **rules}

    def _next(self) -> None:
        while self._queue and not self._busy:
            ask, answer = self._queue.popleft()
            if isinstance(ask, intent.Seed):
                self._seed(ask, answer)
            elif nodes := nodes_of(ask.edits[: intent.EDITS_MAX], self.scene):
                self._busy = True
                then = partial(self._heard_links, ask, answer)
                self.ask(self._here("router"), routes.AskLinks(nodes=nodes), then, LOOK_S)
            else:
                self._write(ask, answer, Topology())

    def _seed(self, ask: intent.Seed, answer: Later) -> None:
        bodies = self._seeds(ask.policies)
        revision = self.book.reseeded(bodies, self._plan.wall())
        if revision is None:
            answer(intent.Seeded(changed=False))
            return
        made = revision

        def have() -> None:
            self.book.have(bodies, made)
            self.log.info("intent", owner=intent.FILE, revision=made.number, rows=len(bodies))
            answer(intent.Seeded(changed=True))

        self._make([made.row()], have)

    def _heard_links(self, ask: intent.Write, answer: Later, reply: Message) -> None:
        self._busy = False
        if isinstance(reply, routes.KnownLinks):
            self._write(ask, answer, topology(reply))
        else:
            answer(Failed(code="not_ready", why="it is not known which links there are"))
        self._next()

    def _write(self, ask: intent.Write, answer: Later, known: Topology) -> None:
        scene = replace(
            self.scene, applications=self.showing.made_applications(), rates=self.showing.rates
        )
        try:
            made = edits.judge(self.book, scene, ask, known)
        except No as no:
            self.log.info("intent_denied", owner=ask.owner[: intent.ID_MAX], code=no.code)
            answer(_denied(no))
        else:
            draft = self.book.draft(made.made, self._plan.wall())
            self._commit(draft, partial(self._written, ask.owner, made.created, answer))

    def _commit(self, draft: Draft, then: Callable[[Draft], None]) -> None:
        def take() -> None:
            self.book.take(draft)
            then(draft)

        self._make(draft.changes(), take)

    def _make(self, changes: Sequence[Change], take: Callable[[], None]) -> None:
        """Make it durable; then `take` it into the rows, and do what they ask for."""
        self._busy = True

        def durable() -> None:
            self._busy = False
            take()
            self.entitling.look()
            self._changed()
            self._find_ways()
            self._reconcile()
            self.showing.tell_applications()
            self._next()

        self.commit(changes, durable)

    def _written(self, owner: str, created: tuple[bool, ...], answer: Later, draft: Draft) -> None:
        number, changed = draft.revision.number, draft.revision.changed
        self.log.info("intent", owner=owner, revision=number, rows=len(draft.made))
        answer(intent.Written(revision=number, changed=changed, created=created))
        self.showing.written(draft.made)

    def _adopt(self) -> None:
        """Take over sessions that were added when nobody kept an intent: theirs is the CLI."""
        made = edits.adopt(self.book, self.scene, adopted(self.seen.sessions or {}))
        draft = self.book.draft(made, self._plan.wall(), adopted=True)
        self._commit(draft, lambda _: None)

    # What is done for them

    def _changed(self) -> None:
        self.wanted = wanted_of(self.book, self.system.node, self._ways)
        self._ways = {over: way for over, way in self._ways.items() if over in self.wanted.over}

    def _reconcile(self) -> None:
        if not self.book.revision.adopted:
            return  # what is there is not known to be unwanted yet
        for say in words(self.wanted, self.seen, self.system.now()):
            to = self._here(say.to)
            if say.ask:
                self.ask(to, say.body, partial(self._heard, say), ASK_S)
            else:
                self.tell(to, say.body)

    def _heard(self, say: Say, reply: Message) -> None:
        link = isinstance(say.body, peers.AddQuantumPeer | peers.RemoveQuantumPeer)
        table = self.seen.links_asked if link else self.seen.sessions_asked
        code, why = (reply.code, reply.why) if isinstance(reply, Failed) else ("", "")
        for asked in table.values():
            if asked.body is say.body:
                heard(asked, code, why)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers; what does not run is told where it is read."""
        facts = [("revision", str(self.book.revision.number)), ("rows", str(len(list(self.book))))]
        return Healthy(ready=True, reasons=(), facts=tuple(facts))

    def _here(self, name: str) -> Address:
        return Address(name, self.system.node)


def _denied(no: No) -> intent.Denied:
    return intent.Denied(code=no.code, why=str(no)[: intent.TEXT_MAX], edit=no.edit, owner=no.owner)
