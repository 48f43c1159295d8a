"""The datastore at one moment, made of rows of intent; and the edits that another one asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from actors.protocol import intent
from etsi.gs015 import rows
from etsi.gs015.model import tree
from etsi.gs015.model.schema import Container, Key, List, Tree
from etsi.gs015.restconf.conditions import Validators
from etsi.gs015.restconf.paths import Target, entry_of
from etsi.gs015.restconf.problems import Wrong

NODE = tree.QKD_NODE.name
_AT = f"/{tree.MODULE}:{NODE}"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where rows of a kind stand in the tree."""

    kind: str
    container: str
    list: List

    @property
    def place(self) -> str:
        """The error-path of the list."""
        return f"{_AT}/{self.container}/{self.list.name}"

    def id_of(self, key: Key) -> str:
        """Return the id of a row, from the key of its entry."""
        return str(key[0])


KINDS = (
    Kind(intent.APPLICATION, "qkd_applications", tree.APP),
    Kind(intent.INTERFACE, "qkd_interfaces", tree.INTERFACE),
    Kind(intent.LINK, "qkd_links", tree.LINK),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is configured, what is, and the rows behind it.

    `config` holds what somebody has asked for; `now` besides that what the node has made itself,
    and how all of it is. Both begin at the datastore. `of` are the rows, by kind and id.
    """

    revision: int
    changed: float
    config: Tree
    now: Tree
    of: Mapping[tuple[str, str], intent.Entry] = field(default_factory=dict)

    def validators(self, target: Target) -> Validators | None:
        """Return revision and time of a resource; None if nobody has written such an entry."""
        for kind, key in _entries_of(target):
            entry = self.of.get((kind.kind, kind.id_of(key)))
            if entry is None or entry.owner == intent.NODE:
                return None
            return Validators(entry.revision, entry.changed)
        return Validators(self.revision, self.changed)


def snapshot(
    first: intent.Rows, entries: Iterable[intent.Entry], ids: Mapping[str, str]
) -> Snapshot:
    """Lay rows out as the tree; `first` is any page of them, `ids` those of nodes by name."""
    config, now = rows.node(first)
    can = config["qkdn_capabilities"]
    lists: dict[str, tuple[dict[Key, Tree], dict[Key, Tree]]] = {}
    of: dict[tuple[str, str], intent.Entry] = {}
    for entry in entries:
        of[entry.kind, entry.id] = entry
        if entry.kind == intent.INTERFACE:
            made = rows.interface(entry)
        elif entry.kind == intent.LINK:
            made = rows.link(entry, ids, stats=can["link_stats_support"])
        elif entry.kind == intent.APPLICATION:
            made = rows.application(entry, ids, stats=can["application_stats_support"])
        else:
            continue
        configured, told = lists.setdefault(entry.kind, ({}, {}))
        kind = next(each for each in KINDS if each.kind == entry.kind)
        key = kind.list.key_of(made[0])
        told[key] = made[1]
        if entry.owner != intent.NODE:
            configured[key] = made[0]
    for kind in KINDS:
        configured, told = lists.get(kind.kind, ({}, {}))
        if configured:
            config[kind.container] = {kind.list.name: configured}
        if told:
            now[kind.container] = {kind.list.name: told}
    return Snapshot(first.revision, first.changed, {NODE: config}, {NODE: now}, of)


@dataclass(frozen=True, slots=True)
class Change:
    """One edit, and the error-path of what it is about."""

    edit: intent.Edit
    place: str


def changes(before: Snapshot, after: Tree, *, any_order: bool = True) -> list[Change]:
    """Return the edits that make this configuration of the one before; or `Wrong`.

    Removals come first, so that what they free may be taken. `any_order` is of the edits.
    """
    old, new = before.config.get(NODE, {}), after.get(NODE, {})
    removals: list[Change] = []
    others = _node_changes(before, old, new)
    for kind in KINDS:
        was, becomes = _list(old, kind), _list(new, kind)
        keys = [*was, *(key for key in becomes if key not in was)]
        for key in keys:
            if was.get(key) == becomes.get(key):
                continue
            change = _change(before, kind, key, becomes.get(key))
            if key not in becomes:
                removals.append(change)
            elif key not in was or not _same(before, kind, key, was[key], change):
                others.append(change)
    if any_order:
        others = [_in_any_order(change) for change in others]
    return [*removals, *others]


def _in_any_order(change: Change) -> Change:
    link = change.edit.link
    edit = replace(change.edit, fields=intent.ANY_ORDER)
    return replace(change, edit=edit) if link and link.hops else change


def _change(before: Snapshot, kind: Kind, key: Key, wanted: Tree | None) -> Change:
    place = entry_of(kind.place, kind.list, key)
    if kind.kind == intent.INTERFACE:
        raise _not_yours("interfaces are configured in the file of the node", place)
    id_ = kind.id_of(key)
    entry = before.of.get((kind.kind, id_))
    revision = 0 if entry is None else entry.revision
    if wanted is None:
        edit = intent.Edit(verb=intent.REMOVE, kind=kind.kind, id=id_, if_revision=revision)
    elif kind.kind == intent.LINK:
        here = before.config[NODE]["qkdn_id"]
        link = rows.link_of(wanted, here, place, entry.link if entry else None)
        edit = intent.Edit(intent.PUT, kind.kind, id_, link=link, if_revision=revision)
    else:
        application = rows.application_of(wanted, place, entry.application if entry else None)
        edit = intent.Edit(
            intent.PUT, kind.kind, id_, application=application, if_revision=revision
        )
    return Change(edit, place)


def _same(before: Snapshot, kind: Kind, key: Key, was: Tree, change: Change) -> bool:
    """Tell whether the row is as it was: what is left out may be what holds by default."""
    try:
        return _change(before, kind, key, was) == change
    except Wrong:  # it names a node that the directory does not name any more
        return False


def _node_changes(before: Snapshot, old: Tree, new: Tree) -> list[Change]:
    """Return what changes of the node as a whole; what its own file says can be left out."""
    for name in ("qkdn_id", "qkdn_version"):
        if name in new and new[name] != old[name]:
            raise _not_yours(f"{name} is told by the node", f"{_AT}/{name}")
    can = new.get("qkdn_capabilities", {})
    if not can.get("key_relay_mode_enable", True):
        place = f"{_AT}/qkdn_capabilities/key_relay_mode_enable"
        raise _not_yours("key_relay_mode_enable is told by the node", place)
    entry = before.of.get((intent.SETTINGS, intent.SETTINGS_ID))
    settings = (entry.settings if entry else None) or intent.Settings()
    wanted = rows.settings_of(new, settings)
    if wanted == settings:
        return []
    revision = entry.revision if entry else 0
    edit = intent.Edit(
        intent.PUT, intent.SETTINGS, intent.SETTINGS_ID, settings=wanted, if_revision=revision
    )
    return [Change(edit, _AT)]


def _list(data: Tree, kind: Kind) -> dict[Key, Tree]:
    found = data.get(kind.container, {}).get(kind.list.name, {})
    assert isinstance(found, dict)
    return found


def _entries_of(target: Target) -> Iterable[tuple[Kind, Key]]:
    for step in target.steps:
        for kind in KINDS:
            if step.node is kind.list and step.key is not None:
                yield kind, step.key


def _not_yours(text: str, place: str) -> Wrong:
    return Wrong(403, "access-denied", f"{text}: its owner is {intent.FILE}", place)


def part_of(target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kinds and ids of rows that a resource is made of; no ids: all."""
    for kind, key in _entries_of(target):
        return (kind.kind, intent.SETTINGS), (kind.id_of(key), intent.SETTINGS_ID)
    for step in target.steps:
        for kind in KINDS:
            if isinstance(step.node, Container) and step.node.name == kind.container:
                return (intent.SETTINGS, kind.kind), ()
    names = [step.node.name for step in target.steps]
    if len(names) > 1:  # a leaf of the node, or its capabilities
        return (intent.SETTINGS,), ()
    return (intent.SETTINGS, *(kind.kind for kind in KINDS)), ()
