"""What has to be written so that nodes are as they are to be. No input, no output.

One request writes one container of one node as a whole, on condition that nobody else has written
there since it was read: so of two controllers at once one is refused, and nothing is half done.
What must be there before something else is written in an earlier round: links and permissions;
then sessions that begin, and applications; then what is not wanted any more goes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from protokms.controller.rows import (
    APPLICATIONS,
    KEYS,
    LINKS,
    PHYS,
    About,
    Entry,
    Row,
    Wanted,
    about,
    id_of,
)

CHANGES_MAX: Final = 200
"""Entries that one request changes, at most: an agent need not take more at once."""

ADD, CHANGE, REMOVE = "add", "change", "remove"
_FIRST, _THEN, _LAST = 1, 2, 3
_DEFAULTS: Final[Mapping[str, Any]] = {"qkdl_enable": True, "app_priority": 0}
_UNORDERED: Final = frozenset(("client_app_id",))
_ACTIVE, _PASSIVE = "ACTIVE", "PASSIVE"
_SERVED: Final = frozenset(("ON", "OUT-OF-TIME"))


Place = tuple[str, str]
"""A node by its name, and the id of an entry there."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is configured of a node, and how it is: entries by container and id.

    `config` is what somebody has asked for, `now` all there is.
    """

    id: str
    config: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    now: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that is to be another; None: that is not there before, or afterwards."""

    node: str
    container: str
    id: str
    before: Entry | None
    after: Entry | None
    round: int

    @property
    def verb(self) -> str:
        """Say what is done to it."""
        if self.before is None:
            return ADD
        return REMOVE if self.after is None else CHANGE


@dataclass(frozen=True, slots=True)
class Request:
    """A container of a node as it is to be, and what that changes."""

    node: str
    container: str
    entries: tuple[Entry, ...]
    changes: tuple[Change, ...]


def requests(wanted: Wanted, told: Mapping[str, Told]) -> list[Request]:
    """Return what is to be written, in order; nothing if all is as it is to be."""
    now = {node: {it: dict(told[node].config.get(it, {})) for it in KEYS} for node in wanted.rows}
    found: dict[tuple[int, str, str], list[Change]] = {
        (round_, node, container): []
        for round_ in (_FIRST, _THEN, _LAST)
        for node in wanted.rows
        for container in KEYS
    }
    for node in wanted.rows:
        for change in changes(node, wanted, told[node]):
            found[change.round, node, change.container].append(change)
    made = []
    for (_, node, container), here in found.items():
        for some in _few(here):
            entries = now[node][container]
            _apply(entries, some)
            made.append(Request(node, container, tuple(entries.values()), tuple(some)))
    return made


def changes(node: str, wanted: Wanted, told: Told) -> Iterator[Change]:
    """Yield what has to change at one node; links that are removed come first."""
    rows = wanted.rows[node]
    yield from _removals(node, rows, told)
    for row in rows:
        entries = told.config.get(row.container, {})
        found = _found(row, entries)
        before = entries.get(found) if found else None
        after = _merged(row, before)
        if before is None or not is_so(row, before):
            id_ = found or row.id
            entry = {KEYS[row.container][1]: id_, **after}
            yield Change(node, row.container, id_, before, entry, _round(row))


def _removals(node: str, rows: Sequence[Row], told: Told) -> Iterator[Change]:
    """Yield what we have made before and is not wanted any more."""
    there = {row.about for row in rows}
    for container, entries in told.config.items():
        for id_, entry in entries.items():
            subject = about(container, entry)
            if subject and subject not in there and id_ == id_of(subject):
                first = subject[0] == PHYS  # what it frees, another link may take
                then = container == LINKS and _begins(entry, told.id)
                round_ = _FIRST if first else _THEN if then else _LAST
                yield Change(node, container, id_, entry, None, round_)


def _begins(entry: Entry, here: str) -> bool:
    return entry["qkdl_local"]["qkdn_id"] == here and "virt_prev_hop" not in entry


def _round(row: Row) -> int:
    return _THEN if row.begins or row.container == APPLICATIONS else _FIRST


def _found(row: Row, entries: Mapping[str, Entry]) -> str:
    """Return the id of the entry about the same: one that is right before ours, and any other."""
    same = [it for it, entry in entries.items() if about(row.container, entry) == row.about]
    right = [it for it in same if is_so(row, entries[it])]
    ours = [it for it in same if it == row.id]
    return next(iter((*right, *ours, *same)), "")


def is_so(row: Row, entry: Entry) -> bool:
    """Tell whether an entry is as a row wants it; what the row does not say may be anything."""
    unwanted = any(_leaf(entry, name) is not None for name in row.without)
    return not unwanted and all(
        _agrees(name, it, entry.get(name)) for name, it in row.leaves.items()
    )


def _leaf(entry: Entry, path: str) -> Any:
    head, _, rest = path.partition("/")
    inside = entry.get(head)
    if not rest:
        return inside
    return _leaf(inside, rest) if isinstance(inside, Mapping) else None


def _agrees(name: str, wanted: Any, given: Any) -> bool:
    if isinstance(wanted, Mapping):
        inside = given if isinstance(given, Mapping) else {}
        return all(_agrees(leaf, it, inside.get(leaf)) for leaf, it in wanted.items())
    if name in _UNORDERED and isinstance(given, list):
        return sorted(map(str, given)) == sorted(wanted)
    return bool(wanted == (_DEFAULTS.get(name) if given is None else given))


def _merged(row: Row, before: Entry | None) -> Entry:
    """Return an entry as it is to be: what the row does not say stays."""
    made: dict[str, Any] = dict(before or {})
    for path in row.without:
        head, _, rest = path.partition("/")
        if rest and isinstance(made.get(head), Mapping):
            left = {name: it for name, it in made[head].items() if name != rest}
            made |= {head: left}
            if not left:
                del made[head]
        elif not rest:
            made.pop(head, None)
    for name, wanted in row.leaves.items():
        given = made.get(name)
        inside = given if isinstance(given, Mapping) else {}
        made[name] = {**inside, **wanted} if isinstance(wanted, Mapping) else wanted
    return made


def _few(found: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for at in range(0, len(found), CHANGES_MAX):
        yield found[at : at + CHANGES_MAX]


def _apply(entries: dict[str, Entry], some: Iterable[Change]) -> None:
    for change in some:
        if change.after is None:
            entries.pop(change.id, None)
        else:
            entries[change.id] = change.after


# How it is


def lagging(
    wanted: Wanted, told: Mapping[str, Told], fresh: Collection[Place] = frozenset()
) -> list[str]:
    """Return what is not in step yet, a sentence each: what is configured, and does not run.

    A link of which keys are left and no more come is PASSIVE: its store may be full, or it does not
    run; a node does not say which. One that was there before may be so. Of those that are `fresh`,
    as they were written and have brought no keys since, it is not known that they run.
    """
    found = []
    for node, row, entry in _seen(wanted, told):
        idle = entry is not None and (node, _id_of(row, entry)) not in fresh
        if why := _lag(row, entry, may_be_idle=idle):
            found.append(f"{node}: {title(row.about, wanted.names)} {why}")
    return found


def idle(
    wanted: Wanted, told: Mapping[str, Told], fresh: Collection[Place] = frozenset()
) -> list[str]:
    """Return which links are to bring keys and do not now, though keys of them are left.

    Without those that are `fresh`: they are lagging.
    """
    return [
        f"{node}: {title(row.about, wanted.names)} is {_PASSIVE}: no keys come now, some are left"
        for node, row, entry in _seen(wanted, told)
        if row.container == LINKS and row.leaves["qkdl_enable"] and row.ends
        if entry is not None and _status(row, entry) == _PASSIVE
        if (node, _id_of(row, entry)) not in fresh
    ]


def active(wanted: Wanted, told: Mapping[str, Told]) -> set[Place]:
    """Return the links that bring keys."""
    return {
        (node, _id_of(row, entry))
        for node, row, entry in _seen(wanted, told)
        if entry is not None and _status(row, entry) == _ACTIVE
    }


def _seen(wanted: Wanted, told: Mapping[str, Told]) -> Iterator[tuple[str, Row, Entry | None]]:
    """Yield what each node is to have, and what it tells of it."""
    for node, rows in wanted.rows.items():
        for row in rows:
            entries = told[node].now.get(row.container, {})
            yield node, row, entries.get(_found(row, entries))


def _id_of(row: Row, entry: Entry) -> str:
    return str(entry[KEYS[row.container][1]])


def _status(row: Row, entry: Entry) -> str:
    leaf = "app_status" if row.container == APPLICATIONS else "qkdl_status"
    return str(entry.get(leaf, "of no state")).rpartition(":")[2]


def _lag(row: Row, entry: Entry | None, *, may_be_idle: bool) -> str:
    if entry is None:
        return "is not there"
    status = _status(row, entry)
    if row.container == APPLICATIONS:
        fine = status in _SERVED
    elif row.leaves["qkdl_enable"]:
        runs = status == _ACTIVE or (status == _PASSIVE and may_be_idle)
        fine = runs or not row.ends
    else:
        fine = status != _ACTIVE
    return "" if fine else f"is {status}"


# In words


def title(subject: About, names: Mapping[str, str]) -> str:
    """Say what an entry is about."""
    kind, *parties = subject or ("something",)
    told = [names.get(one, one) for one in parties]
    if kind == "app":
        return f"application {told[0]} with {', '.join(told[1:])}"
    return f"{'session' if kind == 'VIRT' else 'link'} {' - '.join(told)}"


def describe(change: Change, names: Mapping[str, str]) -> list[str]:
    """Say what a change does, in one line and one more for each leaf that differs."""
    entry = change.after or change.before or {}
    sign = {ADD: "+", CHANGE: "~", REMOVE: "-"}[change.verb]
    lines = [f"{sign} {change.node}: {title(about(change.container, entry), names)}"]
    if change.verb == REMOVE:
        return lines
    before, after = dict(_flat(change.before or {})), dict(_flat(change.after or {}))
    key = KEYS[change.container][1]
    told = {*_told_by_title(), key} if change.verb == ADD else {key}
    for name in [*after, *(name for name in before if name not in after)]:
        was, becomes = before.get(name), after.get(name)
        if was != becomes and name not in told:
            old = "" if was is None else f"{_value(was, names)} -> "
            new = "nothing" if becomes is None else _value(becomes, names)
            lines.append(f"    {name} = {old}{new}")
    return lines


def _told_by_title() -> tuple[str, ...]:
    ends = ("qkdl_local/qkdn_id", "qkdl_remote/qkdn_id", "qkdl_type")
    return (*ends, "app_type", "server_app_id", "client_app_id")


def _flat(entry: Entry, head: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{head}{name}/")
        else:
            yield f"{head}{name}", value


def _value(value: Any, names: Mapping[str, str]) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_value(it, names) for it in value)
    return names.get(value, value) if isinstance(value, str) else str(value).lower()
