"""A write on the book: what would change, or why it may not be. Nothing is changed here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from actors.intent import needs
from actors.intent.hops import Topology, in_order, is_unordered, peers_here
from actors.intent.judge import id_of, judged
from actors.intent.rows import BODIES, Body, Book, Kept, Key
from actors.intent.scene import No, Scene
from actors.protocol import intent
from actors.protocol.intent import Application, Edit, Link, Settings
from actors.protocol.sessions import AddSession

ROWS_MAX: Mapping[str, int] = {
    intent.LINK: intent.LINKS_MAX,
    intent.APPLICATION: intent.APPLICATIONS_MAX,
    intent.POLICY: intent.POLICIES_MAX,
    intent.SETTINGS: 1,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write would do: rows to put in, keys of rows to take out; which edits make a row."""

    made: tuple[Kept | Key, ...]
    created: tuple[bool, ...]


def judge(book: Book, scene: Scene, write: intent.Write, known: Topology | None = None) -> Outcome:
    """Go through the edits of a write, each on what those before it have left, or raise `No`.

    `known` is what is known of the network, if that matters.
    """
    if write.if_revision not in (None, book.revision.number):
        raise No("stale", f"the revision is {book.revision.number}")
    if not 0 < len(write.edits) <= intent.EDITS_MAX:
        raise No("malformed", f"a write has 1 to {intent.EDITS_MAX} edits")
    if not 0 < len(write.owner) <= intent.ID_MAX:
        raise No("malformed", "a write has an owner")
    trial: dict[Key, Kept | None] = {}
    created = []
    known = (known or Topology()).with_links(scene.node, peers_here(book, write.edits, scene))
    for at, edit in enumerate(write.edits):
        key = _key(edit, at, book, scene)
        before = trial[key] if key in trial else book.get(*key)
        switch = _is_switch(edit, before, write)
        if before and before.owner != write.owner and not switch:
            why = f"the {edit.kind} belongs to {before.owner}"
            raise No("access_denied", why, at, before.owner)
        body = _edited(edit, at, before, scene, known)
        owner = intent.FILE if switch else write.owner
        trial[key] = Kept(*key, owner, 0, 0.0, body) if body else None
        created.append(before is None and trial[key] is not None)
    _choose_interfaces(book, scene, trial)
    _check_together(book, scene, trial, write.edits)
    made = tuple(key if kept is None else kept for key, kept in trial.items())
    return Outcome(tuple(it for it in made if _tells(book, it)), tuple(created))


def _tells(book: Book, made: Kept | Key) -> bool:
    """Whether it is more than a row that came and went in one write."""
    return isinstance(made, Kept) or made in book.written


def _key(edit: Edit, at: int, book: Book, scene: Scene) -> Key:
    if edit.verb not in intent.VERBS or edit.kind not in BODIES:
        raise No("malformed", "no such verb, or no such kind of row that is written", at)
    id_ = edit.id or _own_id(edit, at, book, scene)
    return edit.kind, id_of(edit.kind, id_, at)


def _own_id(edit: Edit, at: int, book: Book, scene: Scene) -> str:
    """Return the id of the row that wants the same as this one, or what the node would give it."""
    if edit.link:
        link = edit.link
        local, remote = scene.named(link.local), scene.named(link.remote)
        pair = link.kind, local, remote  # of a node that has left the directory there may be rows
        for kept in book.of(intent.LINK):
            if isinstance(it := kept.body, Link) and (it.kind, it.local, it.remote) == pair:
                return kept.id
        local, remote = scene.name_of(local, at), scene.name_of(remote, at)
        return intent.link_id(link.kind, scene.ids[local], scene.ids[remote])
    if edit.application:
        return intent.application_id(edit.application.master, edit.application.slaves)
    return ""


def _is_switch(edit: Edit, before: Kept | None, write: intent.Write) -> bool:
    """Whether an operator switches a link of the configuration on or off: nothing else of it."""
    switched = edit.verb == intent.MERGE and edit.fields == ("enabled",)
    of_file = before is not None and before.owner == intent.FILE
    return switched and of_file and write.owner == intent.CLI


def _edited(edit: Edit, at: int, before: Kept | None, scene: Scene, known: Topology) -> Body | None:
    """Return what one edit leaves, or None when the row is taken out."""
    there = before.revision if before else 0
    if edit.if_revision not in (None, there):
        raise No("stale", f"the {edit.kind} has revision {there}", at)
    if edit.verb == intent.CREATE and before:
        raise No("data_exists", f"there is such a {edit.kind}", at)
    if edit.verb in (intent.MERGE, intent.REMOVE) and before is None and not _is_whole(edit):
        raise No("data_missing", f"there is no such {edit.kind}", at)
    if edit.verb == intent.REMOVE:
        return None
    body = _body(edit, at, before)
    if is_unordered(edit) and isinstance(body, Link):
        had = before.body if before and isinstance(before.body, Link) else None
        body = replace(body, hops=in_order(body, had, scene, known, at))
    return judged(body, scene, at)


def _is_whole(edit: Edit) -> bool:
    """Whether a row is there though nobody has written it: what is said of the node."""
    return edit.kind == intent.SETTINGS


def _body(edit: Edit, at: int, before: Kept | None) -> Body:
    kind = BODIES[edit.kind]
    given: Body | None = getattr(edit, edit.kind)
    if not isinstance(given, kind):
        raise No("malformed", f"a {edit.kind} is to be there", at)
    if edit.verb != intent.MERGE:
        return given
    names = {field.name for field in fields(kind)}
    if not set(edit.fields) <= names:
        raise No("malformed", f"a {edit.kind} has no such field", at)
    old = before.body if before else Settings()
    return replace(old, **{name: getattr(given, name) for name in edit.fields})


# What rows may not be together


def _choose_interfaces(book: Book, scene: Scene, trial: dict[Key, Kept | None]) -> None:
    """Let a link that names no interface have the one that it had, or one that is free."""
    after = _after(book, trial)
    taken = {it.body.interface for it in after if isinstance(it.body, Link)}
    taken |= {number for number, it in scene.interfaces.items() if it.peer}
    free = [number for number in sorted(scene.interfaces) if number not in taken]
    for key, kept in trial.items():
        if kept is None or not isinstance(kept.body, Link):
            continue
        link, before = kept.body, book.get(*key)
        if link.kind != intent.PHYS or link.interface or not scene.interfaces:
            continue
        had = before.body if before else None
        same = isinstance(had, Link) and had.remote == link.remote
        number = had.interface if same and isinstance(had, Link) else 0
        number = number or _free_for(link.remote, free, scene)
        trial[key] = replace(kept, body=replace(link, interface=number))


def _free_for(peer: str, free: list[int], scene: Scene) -> int:
    """Take out the first that leads to a peer, else the first of all; 0: there is none."""
    number = next((it for it in free if not scene.leads(it, peer)), next(iter(free), 0))
    if number:
        free.remove(number)
    return number


def _after(book: Book, trial: Mapping[Key, Kept | None]) -> list[Kept]:
    after: dict[Key, Kept | None] = {**{kept.key: kept for kept in book}, **trial}
    return [kept for kept in after.values() if kept]


def _check_together(
    book: Book, scene: Scene, trial: Mapping[Key, Kept | None], edits: Iterable[Edit]
) -> None:
    where = dict(zip(trial, range(len(trial)), strict=True))
    for at, edit in enumerate(edits):
        where[edit.kind, edit.id.lower()] = at
    rows = _after(book, trial)
    for kind, most in ROWS_MAX.items():
        many = sum(kept.kind == kind for kept in rows)
        if many > most and any(key[0] == kind and kept for key, kept in trial.items()):
            raise No("no_room", f"at most {most} rows are kept of {kind}")
    known = {kept.id for kept in rows if kept.kind == intent.APPLICATION} | scene.applications
    for key, kept in trial.items():
        if kept and isinstance(kept.body, Link):
            if _has_none(kept.body, scene):
                raise No("in_use", "every interface is bound", where[key])
            _check_lead(kept.body, book.get(*key), scene, where[key])
            _check_applications(kept.body, book.get(*key), known, where[key])
    over = needs.too_much(book, rows, scene)
    for key, kept in trial.items():
        for peer in needs.peers_of(kept.body, scene) if kept and over else ():
            if peer in over:
                raise No("resource_denied", over[peer], where[key])
    taken: dict[object, Kept] = {}
    # Those of this write last: they are the ones to be refused.
    for kept in sorted(rows, key=lambda kept: (kept.key in trial, where.get(kept.key, -1))):
        for claim, code, what in claims(kept.body):
            other = taken.setdefault(claim, kept)
            if other is not kept and kept.key in trial:
                why = f"{what}: {other.kind} {other.id} of {other.owner} has it"
                raise No(code, why, where[kept.key], other.owner)


def _check_lead(link: Link, before: Kept | None, scene: Scene, edit: int) -> None:
    """Refuse a link over an interface that has no pre-shared key for its peer; one that is stays.

    What the interface of another process has is not known here: it will be pending.
    """
    had = before.body if before and isinstance(before.body, Link) else None
    same = had and (had.remote, had.interface) == (link.remote, link.interface)
    if link.kind == intent.PHYS and not same and (why := scene.leads(link.interface, link.remote)):
        raise No("data_missing", why[: intent.TEXT_MAX], edit)


def _check_applications(link: Link, before: Kept | None, known: set[str], edit: int) -> None:
    """Refuse a link that names an application which is not there; those that it had may be gone."""
    had = before.body.applications if before and isinstance(before.body, Link) else ()
    for id_ in link.applications:
        if id_.lower() not in known and id_ not in had:
            raise No("data_missing", f"there is no application {id_[:64]}", edit)


def _has_none(link: Link, scene: Scene) -> bool:
    return link.kind == intent.PHYS and not link.interface and bool(scene.interfaces)


def claims(body: Body) -> list[tuple[object, str, str]]:
    """Return what a row wants for itself, and what it is refused with if another has it."""
    match body:
        case Link(kind=intent.PHYS):
            pair = ((intent.PHYS, body.remote), "data_exists", f"the link to {body.remote}")
            bound = ((intent.INTERFACE, body.interface), "in_use", f"interface {body.interface}")
            return [pair, bound] if body.interface else [pair]
        case Link():
            ends = (intent.VIRT, body.local, body.remote)
            return [(ends, "data_exists", f"the pair {body.local}, {body.remote}")]
        case Application(kind=intent.CLIENT):
            saes = (intent.APPLICATION, body.master, tuple(sorted(body.slaves)))
            return [(saes, "data_exists", "the SAEs")]
    return []


def adopt(book: Book, scene: Scene, sessions: Mapping[str, AddSession]) -> tuple[Kept, ...]:
    """Return the rows of sessions that were added before there were rows, as the CLI's."""
    made = []
    taken = {(kept.body.local, kept.body.remote) for kept in book if isinstance(kept.body, Link)}
    for peer, add in sorted(sessions.items()):
        if peer not in scene.ids or (scene.node, peer) in taken:
            continue
        link = Link(
            intent.VIRT,
            scene.node,
            peer,
            paths=add.paths,
            n=add.n,
            low_bits=add.low_bits,
            high_bits=add.high_bits,
            weight=add.weight,
        )
        id_ = intent.link_id(intent.VIRT, scene.ids[scene.node], scene.ids[peer])
        made.append(Kept(intent.LINK, id_, intent.CLI, 0, 0.0, link))
    return tuple(made)
