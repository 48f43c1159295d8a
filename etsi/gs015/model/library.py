"""What the agent says of itself: modules (RFC 8525, RFC 7895) and streams (RFC 8040, 9).

These are tables like the tree itself, so that `content`, `depth` and `fields` hold for them too.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from etsi.gs015.model import tree
from etsi.gs015.model.leaves import Boolean, Identity, LeafType, Text
from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Node, Tree

LIBRARY_VERSION: Final = "2019-01-04"
YANG, STREAM = "/restconf/yang", "/restconf/streams/NETCONF"
CAPABILITIES: Final = (
    "urn:ietf:params:restconf:capability:defaults:1.0?basic-mode=explicit",
    "urn:ietf:params:restconf:capability:depth:1.0",
    "urn:ietf:params:restconf:capability:fields:1.0",
)

_HOST: Final = re.compile(
    r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?"
)
_TEXT: Final = Text()


class Module(NamedTuple):
    """A YANG module; one that is not implemented lends its types to others."""

    name: str
    revision: str
    namespace: str
    implemented: bool = True

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}@{self.revision}.yang"


def _ietf(name: str, revision: str, *, implemented: bool = True) -> Module:
    return Module(name, revision, f"urn:ietf:params:xml:ns:yang:{name}", implemented)


MODULES: Final = (
    *(Module(name, tree.REVISION, namespace) for name, namespace in tree.NAMESPACES.items()),
    _ietf("ietf-datastores", "2018-02-14"),
    _ietf("ietf-restconf", "2017-01-26"),
    _ietf("ietf-restconf-monitoring", "2017-01-26"),
    _ietf("ietf-yang-library", LIBRARY_VERSION),
    _ietf("ietf-inet-types", "2013-07-15", implemented=False),
    _ietf("ietf-yang-types", "2013-07-15", implemented=False),
)


def _leaf(name: str, type_: LeafType = _TEXT) -> Leaf:
    return Leaf(name, type_, config=False)


def _list(name: str, keys: str, *children: Node) -> List:
    return List(name, tuple(keys.split()), children, config=False)


def _group(name: str, *children: Node, module: str = "") -> Container:
    return Container(name, children, config=False, module=module)


def _several(name: str) -> LeafList:
    return LeafList(name, _TEXT, config=False)


_DATASTORE = Identity(("running", "operational"), "ietf-datastores")
_MODULE: tuple[Node, ...] = (
    *(_leaf(name) for name in ("name", "revision", "namespace")),
    _several("location"),
)
_YANG_LIBRARY = _group(
    "yang-library",
    _list(
        "module-set",
        "name",
        _leaf("name"),
        _list("module", "name", *_MODULE),
        _list("import-only-module", "name revision", *_MODULE),
    ),
    _list("schema", "name", _leaf("name"), _several("module-set")),
    _list("datastore", "name", _leaf("name", _DATASTORE), _leaf("schema")),
    _leaf("content-id"),
    module="ietf-yang-library",
)
_MODULES_STATE = _group(
    "modules-state",
    _leaf("module-set-id"),
    _list(
        "module",
        "name revision",
        *(_leaf(name) for name in ("name", "revision", "schema", "namespace", "conformance-type")),
    ),
    module="ietf-yang-library",
)
_RESTCONF_STATE = _group(
    "restconf-state",
    _group("capabilities", _several("capability")),
    _group(
        "streams",
        _list(
            "stream",
            "name",
            _leaf("name"),
            _leaf("description"),
            _leaf("replay-support", Boolean()),
            _list("access", "encoding", _leaf("encoding"), _leaf("location")),
        ),
    ),
    module="ietf-restconf-monitoring",
)
ROOT: Final = Container(
    "data",
    (tree.QKD_NODE, _YANG_LIBRARY, _MODULES_STATE, _RESTCONF_STATE),
    module="ietf-restconf",
)
"""The datastore: all there is below `/restconf/data`."""

OWN: Final = (_YANG_LIBRARY.name, _MODULES_STATE.name, _RESTCONF_STATE.name)
"""What of it the agent says of itself."""


@dataclass(frozen=True, slots=True)
class Library:
    """The modules, and the files of those that may be downloaded, by name of the file."""

    files: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path | None) -> "Library":
        """Find the files of modules in a folder: with their revision in the name, or without."""
        found: dict[str, Path] = {}
        for module in MODULES if folder else ():
            assert folder is not None
            for name in (module.file, f"{module.name}.yang"):
                if (folder / name).is_file():
                    found.setdefault(module.file, folder / name)
        return cls(found)

    def data(self, host: str, bound: str) -> Tree:
        """Return the data of `OWN`; URLs name the host that the client has named, if it is one."""
        base = f"https://{host if _HOST.fullmatch(host) else bound}"
        return {
            _YANG_LIBRARY.name: self._yang_library(base),
            _MODULES_STATE.name: self._modules_state(base),
            _RESTCONF_STATE.name: _restconf_state(base),
        }

    @property
    def id(self) -> str:
        """Changes with the modules."""
        return hashlib.sha256(repr(MODULES).encode()).hexdigest()[:16]

    def _yang_library(self, base: str) -> Tree:
        modules = {(it.name,): self._module(it, base) for it in MODULES if it.implemented}
        imports = {
            (it.name, it.revision): self._module(it, base) for it in MODULES if not it.implemented
        }
        all_ = {"name": "all", "module": modules, "import-only-module": imports}
        stores = ("running", "operational")
        return {
            "module-set": {("all",): all_},
            "schema": {("all",): {"name": "all", "module-set": ("all",)}},
            "datastore": {(name,): {"name": name, "schema": "all"} for name in stores},
            "content-id": self.id,
        }

    def _module(self, module: Module, base: str) -> Tree:
        found: Tree = {
            "name": module.name,
            "revision": module.revision,
            "namespace": module.namespace,
        }
        if module.file in self.files:
            found["location"] = (f"{base}{YANG}/{module.file}",)
        return found

    def _modules_state(self, base: str) -> Tree:
        rows: dict[tuple[str, str], Tree] = {}
        for module in MODULES:
            row = self._module(module, base)
            location = row.pop("location", ())
            row["conformance-type"] = "implement" if module.implemented else "import"
            rows[module.name, module.revision] = row | ({"schema": location[0]} if location else {})
        return {"module-set-id": self.id, "module": rows}


def _restconf_state(base: str) -> Tree:
    stream = {
        "name": "NETCONF",
        "description": "the notifications of ETSI GS QKD 015",
        "replay-support": False,
        "access": {("json",): {"encoding": "json", "location": base + STREAM}},
    }
    return {
        "capabilities": {"capability": CAPABILITIES},
        "streams": {"stream": {("NETCONF",): stream}},
    }
