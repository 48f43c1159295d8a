"""Data resources: what GET, POST, PUT, PATCH and DELETE do below `/restconf/data` (RFC 8040, 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etsi.gs015.model.library import OWN, Library
from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Tree
from etsi.gs015.restconf import bodies, edits
from etsi.gs015.restconf.conditions import Conditions, Validators, conditions
from etsi.gs015.restconf.media import need_accept, need_type
from etsi.gs015.restconf.paths import Target
from etsi.gs015.restconf.problems import MEDIA, invalid, not_found
from etsi.gs015.restconf.query import CONFIG, no_query, read_query
from etsi.gs015.restconf.view import Absent, find, shown
from etsi.gs015.snapshot import NODE, Snapshot, changes, part_of
from etsi.gs015.store import TRIES, Stale, Store, unavailable
from etsi.http.call import Call
from etsi.http.reply import Reply

PREFIX = "/restconf/data"
PATCHES = ("Accept-Patch", MEDIA)

_READS = "GET, HEAD, OPTIONS"
_CHANGES = f"{_READS}, PUT, PATCH"


def allowed(target: Target) -> str:
    """Return the methods that a resource has."""
    if not target.steps:
        return f"{_CHANGES}, POST"
    if any(not step.node.config for step in target.steps):
        return _READS
    if isinstance(target.node, Leaf | LeafList) or target.is_whole_list:
        return f"{_CHANGES}, DELETE"
    return f"{_CHANGES}, POST, DELETE"


@dataclass(frozen=True, slots=True)
class Write:
    """A write that was read and checked as far as it goes without the datastore.

    `target` is what it is about: of a POST the child that it makes. `held` is the resource that
    conditions are about. `any_order`: hops may be told in another order than that of the path, as
    the model has none.
    """

    target: Target
    held: Target
    make: Callable[[Tree], Tree]
    creates: bool = False
    any_order: bool = True


class Data:
    """The data resources of a node."""

    def __init__(self, store: Store, library: Library, bound: Callable[[], str]) -> None:
        self.store, self.library, self._bound = store, library, bound

    async def get(self, call: Call, target: Target) -> Reply:
        """Tell a resource."""
        need_accept(call.header("Accept"))
        query = read_query(call.query, target.node, target.module)
        config = query.content == CONFIG
        validators: Validators | None = None
        data: Tree = {}
        top = target.steps[0].node.name if target.steps else ""
        if top in (NODE, ""):
            found = await self.store.read(*part_of(target), call.trace)
            data = found.config if config else found.now
            validators = found.validators(target)
        if top != NODE and not config:
            own = self.library.data(call.header("Host"), self._bound())
            data = {**data, **{name: own[name] for name in OWN}}
        try:
            value = shown(target, find(data, target), query)
        except Absent:  # a container is there if what it is in is there
            raise not_found(f"there is no {target.place}", target.place) from None
        if value is None and isinstance(target.node, Container):
            value = {}
        if value is None:
            raise not_found(f"there is no {target.place}", target.place)
        fields = validators.fields if validators else ()
        if config and validators and conditions(call.header).unchanged(validators):
            return Reply(304, b"", media="", fields=fields)
        body = bodies.octets_of(bodies.written(target, value))
        return Reply(200, body, media=MEDIA, fields=fields)

    async def change(self, call: Call, target: Target, owner: str) -> Reply:
        """Write what a request asks for."""
        no_query(call.query)
        given: Any = None
        if call.method != "DELETE":
            need_type(call.header("Content-Type"), MEDIA)
            given = bodies.parse(await call.body())
        return await self.write(call, read_write(call.method, target, given), owner)

    async def write(self, call: Call, write: Write, owner: str) -> Reply:
        """Make it so, if the datastore allows."""
        if_ = conditions(call.header)
        for _ in range(TRIES):
            before = await self.store.read(*part_of(write.target), call.trace)
            _check(if_, before, write.held)
            new = not edits.is_there(before.config, write.target)
            made = write.make(before.config)
            asked = changes(before, made, any_order=write.any_order)
            if not asked:
                as_it_is = Validators(before.revision, before.changed)
                return _written(write, before.validators(write.target) or as_it_is, new=False)
            # Each edit names the revision of its row: that is enough where one row is meant.
            whole = if_.has_revision and not _is_entry(write.held)
            expected = before.revision if whole else None
            try:
                done = await self.store.write(owner, asked, expected, call.trace)
            except Stale:
                continue
            return _written(write, Validators(done.revision, done.changed), new=new)
        raise unavailable("others write the same all the time")


def read_write(method: str, target: Target, given: Any) -> Write:
    """Read the body of a write; or `Wrong`."""
    if any(not step.node.config for step in target.steps):
        name = next(step.node.name for step in target.steps if not step.node.config)
        raise invalid(f"{name} is told by the node, and cannot be written", target.place)
    if method == "POST":
        child, data = bodies.read_child(target, given)
        return Write(child, target, lambda it: edits.create(it, child, data), creates=True)
    if method == "DELETE":
        return Write(target, target, lambda it: edits.remove(it, target))
    if target.is_whole_list and isinstance(target.node, List):
        raise invalid("name one entry by its key", target.place)
    data = bodies.read_itself(target, given)
    if method == "PATCH":
        return Write(target, target, lambda it: edits.merge(it, target, data))
    return Write(target, target, lambda it: edits.replace(it, target, data), creates=True)


def _check(if_: Conditions, before: Snapshot, held: Target) -> None:
    there = edits.is_there(before.config, held)
    if_.check_write(before.validators(held) if there else None)


def _is_entry(held: Target) -> bool:
    return any(isinstance(step.node, List) and step.key is not None for step in held.steps)


def _written(write: Write, validators: Validators, *, new: bool) -> Reply:
    fields = validators.fields
    if write.creates and new:
        location = ("Location", PREFIX + write.target.url)
        return Reply(201, b"", media="", fields=(location, *fields))
    return Reply(204, b"", media="", fields=fields)
