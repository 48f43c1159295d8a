"""What a row may say: its texts and numbers, and what it names. Returns it as it is kept."""

import re
from collections.abc import Iterable
from dataclasses import replace

from actors.intent.rows import Body
from actors.intent.scene import No, Scene
from actors.protocol import intent
from actors.protocol.intent import Application, Link, Note, Policy, Settings
from actors.protocol.limits import SHARES_MAX, SLAVES_MAX, WEIGHT_MAX
from actors.protocol.sessions import BITS_MAX, NODES_MAX, are_disjoint, is_path

TTL_MAX = 31_536_000
ORDER_MAX = PRIORITY_MAX = (1 << 32) - 1
NAMES_MAX = 256
"""SAEs and nodes that a policy names, on either side."""
DAY_MAX = 253_402_300_800.0
"""The year 10000."""

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile("[a-z0-9][a-z0-9_.-]{0,63}")


def id_of(kind: str, id_: str, edit: int) -> str:
    """Return an id as it is kept, or raise `No`."""
    lower = id_.lower()
    if kind == intent.SETTINGS:
        good, form = lower == intent.SETTINGS_ID, f"only {intent.SETTINGS_ID!r}"
    elif kind == intent.POLICY:
        good, form = bool(_NAME.fullmatch(lower)), "a name of a-z, 0-9, '_', '.', '-'"
    else:
        good, form = bool(_UUID.fullmatch(lower)), "a UUID"
    if not good:
        raise No("malformed", f"the id of a {kind} is {form}", edit)
    return lower


def judged(body: Body, scene: Scene, edit: int) -> Body:
    """Check one row, and name nodes by their names; `No` says what is wrong."""
    match body:
        case Link():
            return _link(body, scene, edit)
        case Application():
            return _application(body, scene, edit)
        case Policy():
            return _policy(body, scene, edit)
        case Settings():
            _texts([body.location], "location", edit)
            _notes(body.notes, edit)
            return body


def _link(link: Link, scene: Scene, edit: int) -> Link:
    if link.kind not in (intent.PHYS, intent.VIRT):
        raise No("malformed", "a link is phys or virt", edit)
    local, remote = (scene.name_of(node, edit) for node in (link.local, link.remote))
    if local == remote:
        raise No("malformed", "a link is with another node", edit)
    _numbers(link, edit)
    _notes(link.notes, edit)
    named = replace(link, local=local, remote=remote)
    if link.kind == intent.PHYS:
        return _phys(named, scene, edit)
    return _virt(named, scene, edit)


def _phys(link: Link, scene: Scene, edit: int) -> Link:
    if link.local != scene.node:
        raise No("malformed", f"a link of modules begins here: local is {scene.node}", edit)
    if link.prev or link.hops or link.paths or link.bandwidth is not None:
        raise No("malformed", "a link of modules has no hops and reserves nothing", edit)
    if scene.interfaces and link.interface and link.interface not in scene.interfaces:
        raise No("data_missing", f"there is no interface {link.interface}", edit)
    return link


def _virt(link: Link, scene: Scene, edit: int) -> Link:
    if link.interface or link.peer_interface:
        raise No("malformed", "a link that relay fills has no interface", edit)
    prev = scene.name_of(link.prev, edit) if link.prev else ""
    hops = tuple(scene.name_of(hop, edit) for hop in _few(link.hops, NODES_MAX - 1, "hops", edit))
    paths = tuple(
        tuple(scene.name_of(node, edit) for node in _few(path, NODES_MAX, "nodes", edit))
        for path in _few(link.paths, SHARES_MAX, "paths", edit)
    )
    if hops and paths:
        raise No("malformed", "either hops or paths", edit)
    if len(set(hops)) < len(hops) or scene.node in hops or prev in hops:
        raise No("malformed", "a node is on the path twice", edit)
    if prev == scene.node or (paths and prev):
        raise No("malformed", "the node before this one is another", edit)
    if not prev and scene.node not in (link.local, link.remote):
        raise No("malformed", f"neither end is {scene.node}, and there is no node before it", edit)
    if link.remote in hops[:-1] or (len(hops) > 1 and hops[-1] != link.remote):
        raise No("malformed", "hops lead to the remote, or are the first of a path: one", edit)
    if paths:
        _paths(paths, link, edit)
    return replace(link, prev=prev, hops=hops, paths=paths)


def _paths(paths: tuple[tuple[str, ...], ...], link: Link, edit: int) -> None:
    ends = link.local, link.remote
    if not all(is_path(path) and (path[0], path[-1]) == ends for path in paths):
        raise No("malformed", f"a path leads from {ends[0]} to {ends[1]}, no node twice", edit)
    if link.n not in (0, len(paths)):
        raise No("malformed", f"{link.n} paths are asked for, {len(paths)} given", edit)
    if not are_disjoint(paths):
        raise No("malformed", "a node is on two of the paths", edit)


def _numbers(link: Link, edit: int) -> None:
    _within(link.interface, 0, (1 << 32) - 1, "interface", edit)
    _within(link.peer_interface, 0, (1 << 32) - 1, "peer_interface", edit)
    _within(link.bandwidth, 0, intent.BANDWIDTH_MAX, "bandwidth", edit)
    _within(link.n, 0, SHARES_MAX, "n", edit)
    _within(link.weight, 1, WEIGHT_MAX, "weight", edit)
    _within(link.high_bits, 0, BITS_MAX, "high_bits", edit)
    _within(link.low_bits, 0, link.high_bits, "low_bits", edit)
    _texts(link.applications, "applications", edit)


def _application(app: Application, scene: Scene, edit: int) -> Application:
    if app.kind not in (intent.CLIENT, intent.INTERNAL):
        raise No("malformed", "an application is client or internal", edit)
    slaves = _few(app.slaves, SLAVES_MAX, "slaves", edit)
    _texts((app.master, *slaves), "SAEs", edit)
    if app.kind == intent.CLIENT and not (app.master and slaves):
        raise No("malformed", "an application of SAEs has a master and a slave", edit)
    if len({app.master, *slaves}) < 1 + len(slaves):
        raise No("malformed", "an SAE is named twice", edit)
    for sae in [app.master, *slaves] if app.kind == intent.CLIENT else ():
        if sae not in scene.homes:
            raise No("data_missing", f"{sae[:64]!r} is no SAE of the directory", edit)
    for name in ("max_bandwidth", "min_bandwidth", "jitter_ms"):
        _within(getattr(app, name), 0, intent.BANDWIDTH_MAX, name, edit)
    _within(app.priority, 0, PRIORITY_MAX, "priority", edit)
    _within(app.ttl_s, 1, TTL_MAX, "ttl_s", edit)
    _within(app.expires, 0, DAY_MAX, "expires", edit)
    if None not in (app.min_bandwidth, app.max_bandwidth):
        _within(app.min_bandwidth, 0, app.max_bandwidth or 0, "min_bandwidth", edit)
    _texts(app.links, "links", edit)
    _notes(app.notes, edit)
    local, remote = (scene.name_of(node, edit) if node else "" for node in (app.local, app.remote))
    return replace(app, local=local, remote=remote)


def _policy(policy: Policy, scene: Scene, edit: int) -> Policy:
    masters, slaves = (
        tuple(_party(name, scene, edit) for name in _few(names, NAMES_MAX, "names", edit))
        for names in (_named(policy.masters), policy.slaves)
    )
    if not (masters and slaves):
        raise No("malformed", "a policy names masters and slaves; * is anybody", edit)
    _within(policy.order, 0, ORDER_MAX, "order", edit)
    _within(policy.max_bandwidth, 0, intent.BANDWIDTH_MAX, "max_bandwidth", edit)
    _within(policy.stock_bits, 0, BITS_MAX, "stock_bits", edit)
    _within(policy.ttl_s, 1, TTL_MAX, "ttl_s", edit)
    _within(policy.priority, 0, PRIORITY_MAX, "priority", edit)
    _within(policy.paths, 0, SHARES_MAX, "paths", edit)
    mark = (intent.PER_SAE,) if intent.PER_SAE in policy.masters else ()
    return replace(policy, masters=masters + mark, slaves=slaves)


def _named(masters: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in masters if name != intent.PER_SAE)


def _party(name: str, scene: Scene, edit: int) -> str:
    kind, sign, node = name.partition(":")
    if sign and kind == "node":
        return f"node:{scene.name_of(node, edit)}"
    if name != "*" and name not in scene.homes:
        raise No("data_missing", f"{name[:64]!r} is no SAE of the directory", edit)
    return name


def _few(names: tuple[str, ...] | tuple[tuple[str, ...], ...], most: int, what: str, edit: int):  # type: ignore[no-untyped-def]
    if len(names) > most:
        raise No("malformed", f"{len(names)} {what}; at most {most} are taken", edit)
    return names


def _within(value: float | None, low: float, high: float, what: str, edit: int) -> None:
    if value is not None and not low <= value <= high:
        raise No("malformed", f"{what} is a number from {low:,} to {high:,}", edit)


def _texts(texts: Iterable[str], what: str, edit: int, most: int = intent.APPLICATIONS_MAX) -> None:
    for n, text in enumerate(texts):
        if n >= most or len(text) > intent.TEXT_MAX:
            raise No("malformed", f"{what}: too many, or one too long", edit)


def _notes(notes: tuple[Note, ...], edit: int) -> None:
    _texts((it.text for it in notes), "notes", edit, intent.NOTES_MAX)
    _texts((it.name for it in notes), "notes", edit, intent.NOTES_MAX)
    if len({it.name for it in notes}) < len(notes):
        raise No("malformed", "a note is there twice", edit)
