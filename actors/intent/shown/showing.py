"""What is told of rows to who reads: each with its owner, its revision, and how it is."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from actors.base import Context, Part, handles
from actors.intent import needs
from actors.intent.reconcile import Seen
from actors.intent.rows import Book, Kept, Key
from actors.intent.scene import Scene
from actors.intent.shown.applications import Taken, Unregistered, consumption, sort_out
from actors.intent.shown.facts import Denials, Store, application_facts, crossed, link_facts
from actors.intent.shown.news import News
from actors.intent.shown.telling import Telling
from actors.intent.wanted import Wanted, begins_here, other_end
from actors.protocol import alarms, intent
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.intent import Application, Entry, Facts, Link, Settings
from actors.protocol.rights import OPEN, Rights
from actors.protocol.sessions import SessionState
from actors.protocol.usage import AskUsage, Usage
from transport.envelope import Address
from transport.message import Message

LOOK_S = 2.0
READERS_S = 20.0
"""After a start readers of events take so long to be back; then they hear what it has brought."""
NODES = 1_024
"""Nodes of one answer."""
_DEAD = "no key store answers"
_SILENT = "the process of this interface does not answer"
_PERCENT = 100.0
_OF_MODULE = ("link_not_ready", "link_quiet")
"""Alarms that say of a module that it does not work."""


class Keeper(Context, Protocol):
    """The actor, and what it knows."""

    book: Book
    seen: Seen
    wanted: Wanted
    scene: Scene


class Showing(Part):
    """Answers `Read`; looks at stores, modules and alarms, and tells what has changed."""

    def __init__(
        self,
        keeper: Keeper,
        telling: Telling,
        *,
        version: str,
        wall: Callable[[], float],
        rights: Callable[[], Rights],
    ) -> None:
        self._keeper, self._telling, self._rights = keeper, telling, rights
        self._version, self._wall = version, wall
        self._denials = Denials(OPEN, keeper.scene)
        self._boot = wall() - keeper.system.now()
        """The time of day when this host was booted, as it seems now: intervals stay where they
        were told to be."""
        self._stores: dict[str, Store] = {}
        self._awaited: set[str] = set()
        self._alarms: dict[tuple[str, str], str] = {}
        self._first: dict[str, float] = {}
        """When applications that nobody registered were first seen; a time of day."""
        self.news = News(telling, wall)
        self._since = keeper.system.now()
        self._had: frozenset[int] | None = None

    # Who reads

    @handles(intent.Read)
    def on_read(self, ask: intent.Read) -> intent.Rows:
        """Tell a page of rows, and how each is."""
        ids = {id_.lower() for id_ in ask.ids}
        wanted = [it for it in self.entries(ask.kinds) if not ids or it.id in ids]
        places = [place_of(it) for it in wanted]
        rest = [it for it, at in zip(wanted, places, strict=True) if at > ask.after]
        page = self._with_history(rest[: intent.PAGE])
        revision, node = self._keeper.book.revision, self._keeper.scene.node
        return intent.Rows(
            revision=revision.number,
            changed=revision.changed,
            node=intent.Named(node, self._keeper.scene.ids.get(node, "")),
            version=self._version,
            entries=page,
            next=place_of(page[-1]) if len(rest) > len(page) else "",
        )

    def _with_history(self, page: list[Entry]) -> tuple[Entry, ...]:
        """Add what applications have consumed: for whom it is read, and not at each look."""
        if not any(entry.application for entry in page):
            return tuple(page)
        taken, others = self._taken()
        taken |= {other.id: other.taken for other in others if other.id not in taken}
        return tuple(
            replace(it, facts=replace(it.facts, consumed=taken[it.id].consumed(self._boot)))
            if it.application
            else it
            for it in page
        )

    @handles(intent.ReadNodes)
    def on_read_nodes(self, ask: intent.ReadNodes) -> intent.Nodes:
        """Tell a page of the directory."""
        rest = sorted(name for name in self._keeper.scene.ids if name > ask.after)
        page = rest[:NODES]
        nodes = tuple(intent.Named(name, self._keeper.scene.ids[name]) for name in page)
        return intent.Nodes(nodes=nodes, next=page[-1] if len(rest) > len(page) else "")

    def entries(self, kinds: Iterable[str] = intent.KINDS) -> Iterator[Entry]:
        """Return all that is told but histories, by kind and id: what nobody wrote too."""
        book, kinds = self._keeper.book, set(kinds)
        links = [kept for kept in book.of(intent.LINK) if isinstance(kept.body, Link)]
        taken, others = self._taken() if kinds & {intent.LINK, intent.APPLICATION} else ({}, [])
        for kind in (kind for kind in intent.KINDS if kind in kinds):
            if kind == intent.SETTINGS and not book.of(kind):
                yield _unwritten()
            elif kind == intent.INTERFACE:
                yield from sorted(self._interfaces(), key=lambda it: it.id)
            elif kind == intent.LINK:
                apps = book.of(intent.APPLICATION)
                expected = consumption(apps, taken, others, self._keeper.scene)
                yield from sorted(self._links(links, expected), key=lambda it: it.id)
            elif kind == intent.APPLICATION:
                feeding = self._feeding(links)
                yield from sorted(self._applications(taken, others, feeding), key=lambda it: it.id)
            else:
                on = Facts(status=intent.ON)
                yield from (entry_of(kept, on) for kept in book.of(kind))

    def _taken(self) -> tuple[dict[str, Taken], list[Unregistered]]:
        """Return what each application takes, and which of them nobody has registered."""
        usage = {peer: store.usage for peer, store in self._stores.items()}
        return sort_out(self._keeper.book.of(intent.APPLICATION), usage, self._keeper.scene.node)

    # Interfaces

    def _interfaces(self) -> Iterator[Entry]:
        bound = {number: peer for peer, number in self._keeper.wanted.links.items()}
        for number, interface in self._keeper.scene.interfaces.items():
            seen = replace(interface, peer=interface.peer or bound.get(number, ""))
            why = self._trouble_of(seen.peer)
            status = intent.FAILED if why else intent.ENABLED
            facts = Facts(status=status, why=why[: intent.TEXT_MAX])
            yield Entry(intent.INTERFACE, str(number), intent.FILE, 0, 0.0, facts, interface=seen)

    def _trouble_of(self, peer: str) -> str:
        """Return why the module of the link to a peer does not work, as far as it is known."""
        found = (self._alarms[id_, peer] for id_ in _OF_MODULE if (id_, peer) in self._alarms)
        store = self._stores.get(peer)
        silent = store is not None and store.silent and peer in (self._keeper.seen.linked or ())
        return next(found, _SILENT if silent else "")

    def remember(self, interfaces: frozenset[int]) -> None:
        """Take note of the interfaces that there were before this start."""
        self._had = interfaces

    def _tell_interfaces(self) -> None:
        """Tell which interfaces this start has brought, and which it has not."""
        if self._had is None or self._keeper.system.now() - self._since < READERS_S:
            return
        had, self._had = self._had, None
        self.news.interfaces(had, self.entries((intent.INTERFACE,)))

    # Links

    def _links(self, rows: list[Kept], expected: Mapping[str, float]) -> Iterator[Entry]:
        """Tell of links; `expected` is what applications take of the store of each peer."""
        over = Counter[str]()
        for kept in rows:
            if isinstance(link := kept.body, Link):
                over.update(
                    dict.fromkeys(crossed(link, self._first_hops(link)), link.bandwidth or 0)
                )
        for kept in rows:
            if isinstance(kept.body, Link):
                why = self._hindrance(kept, kept.body)
                yield entry_of(kept, self._link_facts(kept.body, expected, over, why))
        ids = self._keeper.scene.ids
        for link, why in self._made():
            id_ = intent.link_id(intent.VIRT, ids[link.local], ids[link.remote])
            facts = self._link_facts(link, expected, over, why)
            yield Entry(intent.LINK, id_, intent.NODE, 0, 0.0, facts, link=link)

    def _made(self) -> Iterator[tuple[Link, str]]:
        """Return links that nobody wrote: sessions for SAEs here, and those that others began."""
        seen, scene, node = self._keeper.seen, self._keeper.scene, self._keeper.scene.node
        links = [kept.body for kept in self._keeper.book if isinstance(kept.body, Link)]
        taken = {(it.local, it.remote) for it in links}
        for peer, state in (seen.sessions or {}).items():
            if state.sae and peer in scene.ids and (node, peer) not in taken:
                yield Link(intent.VIRT, node, peer, hops=_hops(state)), state.why
        told = {other_end(it, node) for it in links} | (seen.sessions or {}).keys()
        for peer in seen.distant:
            if peer in scene.ids and peer not in told:
                yield Link(intent.VIRT, node, peer), ""

    def _link_facts(
        self, link: Link, expected: Mapping[str, float], over: Mapping[str, int], why: str
    ) -> Facts:
        peer = other_end(link, self._keeper.scene.node)
        bits = expected.get(peer, 0.0) if peer else 0.0
        bits += over.get(peer, 0) if link.kind == intent.PHYS else 0
        return link_facts(link, self._stores.get(peer), why, bits)

    def _first_hops(self, link: Link) -> tuple[str, ...]:
        if not begins_here(link, self._keeper.scene.node):
            return ()
        state = (self._keeper.seen.sessions or {}).get(link.remote)
        return tuple(path[1] for path in state.paths) if state else ()

    def _hindrance(self, kept: Kept, link: Link) -> str:
        """Return why a link does not run, as far as it is known."""
        seen, wanted = self._keeper.seen, self._keeper.wanted
        if kept.key in wanted.hidden:
            return wanted.hidden[kept.key]
        peer = other_end(link, self._keeper.scene.node)
        if peer and peer not in self._keeper.scene.ids:
            return f"{peer} is not in the directory"
        if link.kind == intent.PHYS:
            asked = seen.links_asked.get(peer)
            there = peer in (seen.linked or ())
        elif begins_here(link, self._keeper.scene.node):
            asked, state = seen.sessions_asked.get(peer), (seen.sessions or {}).get(peer)
            if state and not (asked and asked.code):
                return "" if state.state == "established" else f"{state.state}: {state.why}"
            there = state is not None
        else:
            return ""
        if asked and asked.code:
            return f"{asked.code}: {asked.why}"
        return "" if there else "it is being set up"

    # Applications

    def _applications(
        self,
        taken: Mapping[str, Taken],
        others: Iterable[Unregistered],
        feeding: Mapping[str, tuple[str, ...]],
    ) -> Iterator[Entry]:
        keeper, now = self._keeper, self._wall()
        for kept in keeper.book.of(intent.APPLICATION):
            if isinstance(kept.body, Application):
                yield self._application(kept, kept.body)
        for other in (it for it in others if it.id not in taken):
            created = self._first.setdefault(other.id, now)
            no = self._denials_of_now().of(other.application, registered=False)
            facts = application_facts(
                other.application, keeper.scene, now=now, created=created, denied=no
            )
            app = replace(other.application, links=feeding.get(other.application.remote, ()))
            key = intent.APPLICATION, other.id
            yield Entry(*key, intent.NODE, 0, 0.0, facts, application=app)

    def _denials_of_now(self) -> Denials:
        rights, scene = self._rights(), self._keeper.scene
        if self._denials.rights is not rights or self._denials.scene is not scene:
            self._denials = Denials(rights, scene)
        return self._denials

    def _feeding(self, rows: Iterable[Kept]) -> dict[str, tuple[str, ...]]:
        """Return the ids of links that fill the store shared with each peer."""
        node, ids = self._keeper.scene.node, self._keeper.scene.ids
        found: dict[str, tuple[str, ...]] = {}
        named = [(kept.id, kept.body) for kept in rows if isinstance(kept.body, Link)]
        for link, _ in self._made():
            named.append((intent.link_id(link.kind, ids[node], ids[link.remote]), link))
        for id_, link in named:
            if peer := other_end(link, node):
                found[peer] = *found.get(peer, ()), id_
        return found

    def made_applications(self) -> frozenset[str]:
        """Return the ids of applications that nobody has registered."""
        return frozenset(other.id for other in self._taken()[1])

    def _application(self, kept: Kept, app: Application) -> Entry:
        now, created = self._wall(), kept.since or kept.changed
        scene = self._keeper.scene
        no = self._denials_of_now().of(app, registered=True)
        facts = application_facts(app, scene, now=now, created=created, denied=no)
        return entry_of(kept, replace(facts, why=facts.why or needs.unsure(app, self._measured)))

    def written(self, rows: Iterable[Kept | Key]) -> None:
        """Tell of applications that are to have bits of which nobody knows whether they come."""
        for kept in rows:
            if not isinstance(kept, Kept) or not isinstance(kept.body, Application):
                continue
            if why := needs.unsure(kept.body, self._measured):
                entry = self._application(kept, kept.body)
                self._telling.happened(
                    self._wall(), "event", kept.key, text=why, severity=intent.MINOR, entry=entry
                )

    # Looking

    def look(self) -> None:
        """Ask stores, modules and alarms; what has changed is told once all have answered, or not.

        Stores of distant peers that no row is about are asked if anybody hears of them.
        """
        peers = sorted(self._peers())
        self._stores = {peer: self._stores.get(peer, Store()) for peer in peers}
        self._awaited = {f"key_store/{peer}" for peer in peers} | {alarms.NAME}
        self._awaited |= {f"quantum_link/{peer}" for peer in self._keeper.seen.linked or ()}
        for name in sorted(self._awaited):
            kind, _, peer = name.partition("/")
            ask = {"key_store": AskUsage(), alarms.NAME: alarms.ListAlarms()}.get(kind, Health())
            to = Address(name, self._keeper.scene.node)
            self._keeper.ask(to, ask, partial(self._looked, name, peer), LOOK_S)

    def _peers(self) -> set[str]:
        keeper, node = self._keeper, self._keeper.scene.node
        links = (kept.body for kept in keeper.book if isinstance(kept.body, Link))
        ends = {other_end(link, node) for link in links} & keeper.scene.ids.keys()
        found = ends.union(keeper.seen.linked or (), {node})
        if self._telling.heard:
            found |= {*(keeper.seen.sessions or ()), *keeper.seen.distant}
        return found

    def _looked(self, name: str, peer: str, reply: Message) -> None:
        store = self._stores.get(peer)
        if isinstance(reply, alarms.AlarmList):
            self._alarms = {(it.id, it.subject): it.text for it in reply.alarms}
        elif store is not None and isinstance(reply, Usage):
            store.usage, store.why = reply, ""
        elif store is not None and isinstance(reply, Healthy):
            qber = dict(reply.facts).get("qber")
            store.qber, store.silent = float(qber) * _PERCENT if qber else None, False
        elif store is not None and isinstance(reply, Failed):
            if name.startswith("key_store/"):
                store.why = _DEAD
            else:
                store.qber, store.silent = None, True
        waited = name in self._awaited
        self._awaited.discard(name)
        if waited and not self._awaited:
            self.tell()

    def tell(self) -> None:
        """Tell what has happened since it was last looked."""
        self._tell_interfaces()
        kinds = intent.INTERFACE, intent.LINK
        self.news.look(self.entries(kinds), kinds)
        self.tell_applications()
        self.news.look_at_alarms(self._alarms, self._keeper.scene.node)

    def tell_applications(self) -> None:
        """Tell what has happened to applications, which do not wait for what runs."""
        kinds = (intent.APPLICATION,)
        entries = list(self.entries(kinds))
        self.news.look(entries, kinds)
        ids = {entry.id for entry in entries}
        self._first = {id_: at for id_, at in self._first.items() if id_ in ids}

    @property
    def _measured(self) -> Scene:
        return replace(self._keeper.scene, rates=self.rates)

    @property
    def rates(self) -> dict[str, int]:
        """bit/s that quantum links bring, as far as that was measured, and is not nothing."""
        linked = self._keeper.seen.linked or ()
        found = {
            peer: int(it.usage.measured) for peer, it in self._stores.items() if peer in linked
        }
        return {peer: rate for peer, rate in found.items() if rate}


def entry_of(kept: Kept, facts: Facts) -> Entry:
    """Tell one row, and how it is."""
    key = kept.kind, kept.id
    body = {kept.kind: kept.body}
    return Entry(*key, kept.owner, kept.revision, kept.changed, facts, **body)  # type: ignore[arg-type]


def place_of(entry: Entry) -> str:
    """Return where an entry stands in the order of all, as text."""
    return f"{intent.KINDS.index(entry.kind)}/{entry.id}"


def _unwritten() -> Entry:
    facts = Facts(status=intent.ON)
    key = intent.SETTINGS, intent.SETTINGS_ID
    return Entry(*key, intent.NODE, 0, 0.0, facts, settings=Settings())


def _hops(state: SessionState) -> tuple[str, ...]:
    return state.paths[0][1:] if len(state.paths) == 1 else ()
