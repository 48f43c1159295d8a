"""What the agent asks of intent: rows become the datastore, edits become a write."""

import asyncio
from collections.abc import Mapping, Sequence

from actors.protocol import intent
from actors.protocol.common import Failed
from etsi.gs015.restconf.problems import NO_PATH, Wrong
from etsi.gs015.snapshot import Change, Snapshot, snapshot
from etsi.http.bridge import Asker
from transport.envelope import Address
from transport.message import Message

TRIES = 4
"""Times that something is read or written again because somebody else wrote meanwhile."""

NAMES_S = 10.0
"""For so long the ids of nodes are as they were read."""

_PAGES_MAX = 64
_STATUS: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "invalid-value"),
    "no_path": (400, "invalid-value"),
    "data_exists": (409, "data-exists"),
    "data_missing": (409, "data-missing"),
    "in_use": (409, "in-use"),
    "access_denied": (403, "access-denied"),
    "resource_denied": (409, "resource-denied"),
    "stale": (412, "operation-failed"),
    "no_room": (409, "resource-denied"),
    "store_full": (503, "resource-denied"),
}
"""Status and error-tag of what intent refuses."""

_RETRY: Mapping[str, int] = {"store_full": 30, "not_ready": 2, "timeout": 2, "core_down": 2}


class Stale(Exception):
    """Somebody else wrote meanwhile."""


class Store:
    """Reads and writes intent on behalf of requests; belongs to the loop."""

    def __init__(self, bridge: Asker, node: str, patience_s: float) -> None:
        self._bridge, self._patience_s = bridge, patience_s
        self._intent = Address(intent.NAME, node)
        self._ids: dict[str, str] = {}
        self._read_at = float("-inf")

    @property
    def ids(self) -> Mapping[str, str]:
        """Ids of nodes by name, as they were read last."""
        return self._ids

    async def read(
        self, kinds: Sequence[str], ids: Sequence[str] = (), trace: str = ""
    ) -> Snapshot:
        """Read the datastore, or that part of it; or `Wrong` 503."""
        for _ in range(TRIES):
            pages = await self._pages(tuple(kinds), tuple(ids), trace)
            if len({page.revision for page in pages}) == 1:
                entries = [entry for page in pages for entry in page.entries]
                return snapshot(pages[0], entries, await self._names(entries, trace))
        raise unavailable("the configuration is being written all the time")

    async def write(
        self, owner: str, changes: Sequence[Change], if_revision: int | None, trace: str
    ) -> intent.Written:
        """Make all these changes or none; `Stale` or `Wrong` if it is none."""
        if len(changes) > intent.EDITS_MAX:
            text = f"this changes {len(changes)} entries, more than {intent.EDITS_MAX} at a time"
            raise Wrong(413, "too-big", text)
        edits = tuple(change.edit for change in changes)
        body = intent.Write(owner=owner, edits=edits, if_revision=if_revision)
        answer = await self._ask(body, trace)
        if isinstance(answer, intent.Written):
            return answer
        if not isinstance(answer, intent.Denied):
            raise _unanswered(answer)
        if answer.code == "stale":
            raise Stale
        at = answer.edit
        place = changes[at].place if 0 <= at < len(changes) else ""
        raise _denied(answer, place)

    async def _pages(
        self, kinds: tuple[str, ...], ids: tuple[str, ...], trace: str
    ) -> list[intent.Rows]:
        pages: list[intent.Rows] = []
        after = ""
        while len(pages) < _PAGES_MAX:
            answer = await self._ask(intent.Read(kinds=kinds, ids=ids, after=after), trace)
            if not isinstance(answer, intent.Rows):
                raise _unanswered(answer)
            pages.append(answer)
            after = answer.next
            if not after:
                return pages
        raise RuntimeError("intent tells more rows than there may be")

    async def _names(self, entries: Sequence[intent.Entry], trace: str) -> Mapping[str, str]:
        """Return ids by name; they are read again when a name is not known, or after a while."""
        links = [entry.link for entry in entries if entry.link]
        apps = [entry.application for entry in entries if entry.application]
        names = {name for it in links for name in (it.local, it.remote, it.prev, *it.hops)}
        names |= {name for it in apps for name in (it.local, it.remote)}
        if names:
            await self.refresh(names, trace)
        return self._ids

    async def refresh(self, names: set[str], trace: str = "") -> None:
        """Read the ids of nodes, unless these are known and not old; or `Wrong` 503."""
        age = asyncio.get_running_loop().time() - self._read_at
        if age < NAMES_S and (age < 1.0 or (names - {""}) <= self._ids.keys()):
            return
        found: dict[str, str] = {}
        after = ""
        while True:
            answer = await self._ask(intent.ReadNodes(after=after), trace)
            if not isinstance(answer, intent.Nodes):
                raise _unanswered(answer)
            found |= {each.name: each.id.lower() for each in answer.nodes}
            after = answer.next
            if not after or not answer.nodes:
                break
        self._ids, self._read_at = found, asyncio.get_running_loop().time()

    async def _ask(self, body: Message, trace: str) -> Message:
        return await self._bridge.ask(self._intent, body, self._patience_s, trace)


def unavailable(text: str, retry_after: int = 1) -> Wrong:
    """Return the problem of what cannot be had now."""
    return Wrong(503, "resource-denied", text, retry_after=retry_after)


def _unanswered(answer: Message) -> Wrong:
    code = answer.code if isinstance(answer, Failed) else ""
    texts = {
        "timeout": "no answer in time; what was to be written may have been",
        "core_down": "the core of this node is not reached now",
        "undeliverable": "the configuration is not kept by this node now",
    }
    text = texts.get(code, "the node is not ready; ask again later")
    return unavailable(text, _RETRY.get(code, 5))


def _denied(answer: intent.Denied, place: str) -> Wrong:
    status, tag = _STATUS.get(answer.code, (503, "operation-failed"))
    text = answer.why
    if answer.owner and answer.owner not in text:
        text = f"{text}; its owner is {answer.owner}"
    app_tag = NO_PATH if answer.code == "no_path" else ""
    retry = _RETRY.get(answer.code, 0)
    return Wrong(status, tag, text, place, retry_after=retry, app_tag=app_tag)
