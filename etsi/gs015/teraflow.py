"""How TeraFlowSDN speaks: all of its dialect, for a controller that has it, on paths with a slash.

Its driver reads names and identities without their module, each container in a shape of its own,
and members that no model has. It writes links in a wrapper, with another id for each end, each
direction and each attempt; and throws every refusal away.
"""

from collections.abc import Sequence
from typing import Any, Final

from etsi.gs015.data import PREFIX, Data, Write
from etsi.gs015.model.library import ROOT
from etsi.gs015.model.schema import Container, Key, Leaf, LeafList, List, Node, Tree
from etsi.gs015.model.tree import LINK, MODULE, QKD_NODE, TYPES
from etsi.gs015.restconf import bodies
from etsi.gs015.restconf.edits import merge
from etsi.gs015.restconf.media import need_type
from etsi.gs015.restconf.paths import Target, read_path
from etsi.gs015.restconf.problems import MEDIA, invalid, malformed, not_allowed, not_found
from etsi.gs015.restconf.query import no_query
from etsi.gs015.restconf.view import find
from etsi.gs015.snapshot import part_of
from etsi.http.call import Call, segment
from etsi.http.reply import JSON, Reply, quoted

NAME: Final = "teraflow"

_NODE: Final = f"{MODULE}:{QKD_NODE.name}"
_LINKS: Final = "qkd_links"
_CONTAINERS: Final = ("", "qkdn_capabilities", "qkd_applications", "qkd_interfaces", _LINKS)
_IDENTITIES: Final = ("qkdl_type", "phys_qkd_role")
_ENABLED: Final = {"ACTIVE": True, "OFF": False}
_CODES: Final = f"{TYPES}:"


def speaks(path: Sequence[str]) -> bool:
    """Tell whether a path is one of this dialect: it ends in a slash, which those of 8040 do not.

    `path` are its segments from the root, still percent-encoded.
    """
    return len(path) > len(PREFIX.split("/")) - 1 and path[-1] == ""


async def answer(call: Call, data: Data, owner: str) -> Reply:
    """Answer a request on such a path, of a controller that may do it; or `Problem`."""
    names = [segment(part) for part in call.path[2:-1]]
    container = names[1] if len(names) > 1 else ""
    if names not in ([_NODE], [_NODE, container]) or container not in _CONTAINERS:
        raise not_found("there is nothing at this path")
    target = read_path(ROOT, names)
    no_query(call.query)
    if call.method in ("GET", "HEAD"):
        found = await data.store.read(*part_of(target), call.trace)
        told = layout(container, find(found.now, target))
        return Reply(200, bodies.octets_of(told), media=JSON)
    if container != _LINKS or call.method != "POST":
        methods = "GET, HEAD, POST" if container == _LINKS else "GET, HEAD"
        raise not_allowed(quoted(call.method), methods)
    need_type(call.header("Content-Type"), JSON, MEDIA)
    write = read_links(target, bodies.parse(await call.body()))
    await data.write(call, write, owner)
    return Reply(201, b"", media="")


# What it reads


def layout(container: str, data: Tree) -> Any:
    """Return a container in the shape that its driver and its handler look for."""
    node = QKD_NODE if not container else QKD_NODE.by_name[container]
    plain = _plain(node, data)
    if container == _LINKS:
        return {_LINKS: [_link(row) for row in plain.get(LINK.name, ())]}
    if container == "qkd_interfaces":
        return {"qkd_interface": [_interface(row) for row in plain.get("qkd_interface", ())]}
    if container == "qkd_applications":
        return {container: {"qkd_app": plain.get("qkd_app", [])}}
    return plain


def _link(row: Tree) -> Tree:
    """Add what its handler looks for in a link that is there already."""
    local, remote = row.get("qkdl_local", {}), row.get("qkdl_remote", {})
    return {
        **row,
        "uuid": row["qkdl_id"],
        "src_qkdn_id": local.get("qkdn_id", ""),
        "src_interface_id": local.get("qkdi_id", 0),
        "dst_qkdn_id": remote.get("qkdn_id", ""),
        "dst_interface_id": remote.get("qkdi_id", 0),
    }


def _interface(row: Tree) -> Tree:
    """Say where it is attached: without device and port an interface is no end point there."""
    attached = row.get("qkdi_att_point", {})
    device = attached.get("device", row.get("qkdi_model", "interface"))
    port = attached.get("port", row["qkdi_id"])
    return {**row, "qkdi_att_point": {"device": device, "port": port, "uuid": f"{device}:{port}"}}


def _plain(node: Node, data: Any) -> Any:
    """Return data for JSON without any module."""
    if isinstance(node, Leaf):
        return data
    if isinstance(node, LeafList):
        return list(data)
    if isinstance(node, List):
        return [_members(node, entry) for entry in data.values()]
    return _members(node, data)


def _members(node: Container | List, data: Tree) -> Tree:
    found = (child for child in node.children if child.name in data)
    return {child.name: _plain(child, data[child.name]) for child in found}


# What it writes


def read_links(target: Target, given: Any) -> Write:
    """Read a POST of links; each replaces the link that its pair of nodes had; or `Wrong`."""
    inner = given.get(_LINKS) if isinstance(given, dict) and set(given) == {_LINKS} else None
    rows = inner.get(LINK.name) if isinstance(inner, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise malformed("the body is not {qkd_links: {qkd_link: [...]}}")
    strict = [_strict(row, target) for row in rows]
    body = {f"{MODULE}:{_LINKS}": {LINK.name: strict}}
    data = bodies.read_itself(target, body)
    pairs = {_pair(entry): key for key, entry in data[LINK.name].items()}

    def make(config: Tree) -> Tree:
        older = find(config, target).get(LINK.name, {})
        kept = {key: it for key, it in older.items() if pairs.get(_pair(it), key) == key}
        kept = {key: it for key, it in kept.items() if key not in data[LINK.name]}
        return merge(_with_links(config, kept), target, data)

    return Write(target, target, make, any_order=False)  # it tells the rest of a path as it goes


def _with_links(config: Tree, links: dict[Key, Tree]) -> Tree:
    node = {**config[QKD_NODE.name], _LINKS: {LINK.name: links}}
    return {**config, QKD_NODE.name: node}


def _pair(entry: Tree) -> tuple[Any, Any, Any]:
    """Tell links of one kind from here to there apart from others; ids do not."""
    ends = (entry.get(name, {}).get("qkdn_id") for name in ("qkdl_local", "qkdl_remote"))
    return (entry.get("qkdl_type"), *ends)


def _strict(row: Any, target: Target) -> Tree:
    """Write a link as the model has it: nothing that is null, identities with their module."""
    found = {name: it for name, it in row.items() if it is not None}
    for name in _IDENTITIES:
        if isinstance(it := found.get(name), str) and ":" not in it:
            found[name] = _CODES + it
    for name in ("qkdl_local", "qkdl_remote"):
        if isinstance(end := found.get(name), dict):
            members = end.items()
            found[name] = {key: it for key, it in members if it is not None and _is_some(key, it)}
    if found.get("virt_bandwidth") == 0:
        del found["virt_bandwidth"]
    if found.get("virt_next_hop") == []:
        del found["virt_next_hop"]
    return _enabled(found, target)


def _is_some(name: str, value: Any) -> bool:
    """Tell whether an end names an interface; 0 is how it says that it knows none."""
    return name != "qkdi_id" or type(value) is not int or value != 0


def _enabled(row: Tree, target: Target) -> Tree:
    """Take the status that is wished for what it means: whether keys are to come."""
    if "qkdl_status" not in row:
        return row
    status = row.pop("qkdl_status")
    name = status.removeprefix(_CODES) if isinstance(status, str) else ""
    if name not in _ENABLED:
        raise invalid("qkdl_status may be ACTIVE or OFF", target.place)
    return {"qkdl_enable": _ENABLED[name]} | row
