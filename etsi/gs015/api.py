"""RESTCONF (RFC 8040) for the controllers of a node: which resource a request is about."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from actors.protocol import alarms
from etsi.gs015 import teraflow
from etsi.gs015.data import PATCHES, Data, allowed
from etsi.gs015.model.library import LIBRARY_VERSION, ROOT, Library
from etsi.gs015.options import ControllerRow, Gs015Options
from etsi.gs015.restconf import bodies
from etsi.gs015.restconf.events import Streams, remark
from etsi.gs015.restconf.media import EVENTS, need_accept
from etsi.gs015.restconf.paths import read_path
from etsi.gs015.restconf.problems import MEDIA, Wrong, not_allowed, not_found
from etsi.gs015.restconf.query import no_query
from etsi.gs015.store import Store
from etsi.http.bridge import Asker
from etsi.http.call import Call, Caller, segment
from etsi.http.reply import Problem, Reply, quoted

_HOST_META: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<XRD xmlns="http://docs.oasis-open.org/ns/xri/xrd-1.0">'
    b'<Link rel="restconf" href="/restconf"/></XRD>\n'
)
_XRD, _YANG = "application/xrd+xml", "application/yang"
_READS: Final = ("GET", "HEAD")
_WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
_OF_MODULE: Final = 3


def _json(name: str, value: object) -> tuple[str, bytes, str]:
    return "root", bodies.octets_of({f"ietf-restconf:{name}": value}), MEDIA


_ROOT: Final = {"data": {}, "operations": {}, "yang-library-version": LIBRARY_VERSION}
_FIXED: Final = {
    (".well-known", "host-meta"): ("host_meta", _HOST_META, _XRD),
    ("restconf",): _json("restconf", _ROOT),
    ("restconf", "operations"): _json("operations", {}),
    ("restconf", "yang-library-version"): _json("yang-library-version", LIBRARY_VERSION),
}
"""Resources that are always the same: route, body and type."""


class Gs015:
    """The agent; it knows HTTP as a `Call` that becomes a `Reply`.

    `objection` tells why a caller is not served any more, while it reads a stream; `bound` is the
    address where this is served.
    """

    def __init__(
        self,
        bridge: Asker,
        node: str,
        options: Gs015Options,
        *,
        objection: Callable[[Caller], str],
        bound: Callable[[], str],
    ) -> None:
        self._bridge, self._node = bridge, node
        self.store = Store(bridge, node, options.request_timeout_s)
        self.streams = Streams()
        self._objection = objection
        self._data = Data(self.store, Library.of(options.yang_dir), bound)
        self._controllers: dict[str, ControllerRow] = {}
        self.renew(options)

    def renew(self, options: Gs015Options) -> None:
        """Answer by these options from now on; from any thread."""
        self._data.library = Library.of(options.yang_dir)
        self._controllers = {row.id: row for row in options.controllers}

    async def __call__(self, call: Call) -> Reply:
        """Answer one authenticated request, or raise `Problem`."""
        controller = self._controllers.get(call.caller.sae)
        if controller is None:
            text = f"{quoted(call.caller.sae)} is no controller of this node"
            raise Wrong(401, "access-denied", text, kind="protocol")
        path = tuple(segment(part) for part in call.path)
        if path[:2] == ("restconf", "data"):
            call.route = "data"
            return await self._resource(call, controller)
        if path in _FIXED:
            return _fixed(call, *_FIXED[path])
        if path == ("restconf", "streams", "NETCONF"):
            return self._stream(call)
        if path[:2] == ("restconf", "yang") and len(path) == _OF_MODULE:
            return await self._module(call, path[2])
        raise not_found("there is nothing at this path")

    async def _resource(self, call: Call, controller: ControllerRow) -> Reply:
        if controller.dialect == teraflow.NAME and teraflow.speaks(call.path):
            return await self._teraflow(call, controller)
        target = read_path(ROOT, call.path[2:])
        methods = allowed(target)
        if call.method == "OPTIONS":
            fields = (PATCHES,) if "PATCH" in methods else ()
            return Reply(200, b"", allow=methods, media="", fields=fields)
        if call.method in _READS:
            return await self._data.get(call, target)
        _need_write(call, controller)
        state = "PATCH" not in methods  # told by the node: the write says what is wrong with it
        if call.method not in (_WRITES if state else methods.split(", ")):
            raise not_allowed(quoted(call.method), methods)
        return await self._data.change(call, target, controller.id)

    async def _teraflow(self, call: Call, controller: ControllerRow) -> Reply:
        """Answer in its dialect; it throws refusals away, so others are told of each."""
        try:
            _need_write(call, controller)
            return await teraflow.answer(call, self._data, controller.id)
        except Problem as no:
            if call.method not in _READS:
                text = f"a write of {controller.id} was refused: {no}"
                self.streams.publish(remark(text))
                news = alarms.Raised(id="write_refused", subject=controller.id, text=text)
                self._bridge.tell(alarms.told(self._node), news, call.trace)
            raise

    def _stream(self, call: Call) -> Reply:
        call.route = "events"
        if options := _only_reads(call):
            return options
        no_query(call.query)
        need_accept(call.header("Accept"), EVENTS)
        if call.method == "HEAD":
            return Reply(200, b"", media=EVENTS)
        unwelcome = partial(self._unwelcome, call.caller)
        return Reply(200, b"", media=EVENTS, stream=self.streams.read(unwelcome))

    async def _module(self, call: Call, name: str) -> Reply:
        call.route = "yang"
        if options := _only_reads(call):
            return options
        file = self._data.library.files.get(name)
        if file is None:
            raise not_found("there is no such module to download")
        need_accept(call.header("Accept"), _YANG)
        try:
            octets = await asyncio.to_thread(file.read_bytes)
        except OSError:
            raise not_found("the module cannot be read now") from None
        return Reply(200, octets, media=_YANG)

    def _unwelcome(self, caller: Caller) -> bool:
        return caller.sae not in self._controllers or bool(self._objection(caller))


def _fixed(call: Call, route: str, body: bytes, media: str) -> Reply:
    call.route = route
    if options := _only_reads(call):
        return options
    no_query(call.query)
    need_accept(call.header("Accept"), media)
    return Reply(200, body, media=media)


def _only_reads(call: Call) -> Reply | None:
    """Answer OPTIONS; refuse what does not read; None: go on."""
    methods = ", ".join((*_READS, "OPTIONS"))
    if call.method == "OPTIONS":
        return Reply(200, b"", allow=methods, media="")
    if call.method not in _READS:
        raise not_allowed(quoted(call.method), methods)
    return None


def _need_write(call: Call, controller: ControllerRow) -> None:
    if call.method in _WRITES and not controller.write:
        text = f"{controller.id} may read, and not write"
        raise Wrong(403, "access-denied", text, kind="protocol")
