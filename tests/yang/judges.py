"""Two judges of data that know nothing of this project: libyang, and yangson.

libyang has the types of RFC 9911 built in, and the modules of yang-library. yangson reads those
of RFC 6991 that pyang brings.
"""

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etsi.gs015.model.library import LIBRARY_VERSION
from etsi.gs015.model.tree import MODULE, REVISION, TYPES

OWN = ("ietf-restconf-monitoring",)
"""Modules beside those of 015 that a tree has data of, and libyang has not built in."""


def pyang_modules() -> Path:
    """Return where pyang keeps the modules of the IETF."""
    return Path(sys.prefix) / "share/yang/modules/ietf"


class Libyang:
    """The judge of most tools in the field."""

    def __init__(self, folder: Path) -> None:
        libyang: Any = import_module("oopt_gnpy_libyang")  # which `make yang` alone installs
        self._ly = libyang
        self.name = f"libyang {libyang.libyang_version()}"
        self._context = libyang.Context(f"{folder}:{pyang_modules()}")
        for module in (TYPES, MODULE, *OWN):
            self._context.load_module(module).set_implemented()
        self._context.load_module("ietf-yang-library", LIBRARY_VERSION).set_implemented()

    def refuses(self, data: dict[str, Any]) -> str:
        """Say what is wrong with data, or nothing."""
        try:
            strict, whole = self._ly.ParseOptions.Strict, self._ly.ValidationOptions.Present
            self._context.parse_data(json.dumps(data), self._ly.DataFormat.JSON, strict, whole)
        except self._ly.Error as why:
            told = "; ".join(error.message for error in self._context.errors())
            self._context.clean_all_errors()
            return told or str(why)
        return ""


class Yangson:
    """A judge that is strict about RFC 7951."""

    def __init__(self, folder: Path) -> None:
        yangson: Any = import_module("yangson")
        self.name = f"yangson {version('yangson')}"
        places = (str(folder), str(pyang_modules()))
        self.model = yangson.DataModel(json.dumps(_library()), places)
        enumerations: Any = import_module("yangson.enumerations")
        exceptions: Any = import_module("yangson.exceptions")
        self._all = enumerations.ValidationScope.all, enumerations.ContentType.all
        self._refusal: type[Exception] = exceptions.YangsonException

    def refuses(self, data: dict[str, Any]) -> str:
        """Say what is wrong with data, or nothing."""
        try:
            self.model.from_raw(data).validate(*self._all)
        except self._refusal as why:
            return f"{type(why).__name__}: {why}"
        return ""


def _library() -> dict[str, Any]:
    """Name the modules that yangson is to read."""
    rows = [
        (MODULE, REVISION, "urn:etsi:qkd:yang:etsi-qkd-node", "implement"),
        (TYPES, REVISION, f"urn:etsi:qkd:yang:{TYPES}", "implement"),
        *(
            (name, "2013-07-15", f"urn:ietf:params:xml:ns:yang:{name}", "import")
            for name in ("ietf-inet-types", "ietf-yang-types")
        ),
    ]
    names = ("name", "revision", "namespace", "conformance-type")
    modules = [dict(zip(names, row, strict=True)) for row in rows]
    return {"ietf-yang-library:modules-state": {"module-set-id": "x", "module": modules}}
