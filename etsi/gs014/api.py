"""ETSI GS QKD 014 V1.1.1: status, enc_keys and dec_keys for the SAEs whose KME this node is."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from math import ceil
from typing import NoReturn

import msgspec

from actors.protocol import keys
from actors.protocol.common import Failed
from actors.protocol.sessions import LIMITS, OWN_LIMITS, TOO_MANY
from etsi.gs014 import openapi, provenance
from etsi.gs014 import request as gs014_request
from etsi.gs014.container import container, container_of_grant
from etsi.gs014.options import Gs014Options
from etsi.gs014.places import Places
from etsi.gs014.reach import NOT_ALLOWED, REFUSED, SETTING_UP, Reach
from etsi.gs014.request import malformed
from etsi.http.bridge import Asker
from etsi.http.call import Call, segment
from etsi.http.reply import Problem, Reply, quoted
from transport.envelope import Address
from transport.message import Message

NOT_FOUND = "one or more keys specified are not found on KME"

OVER_RATE = "over_rate"

REFUSALS: dict[str, tuple[int, str, int]] = {
    OVER_RATE: (503, "", 1),
    "over_stock": (503, "", 5),
    "too_few_paths": (503, "", 30),
    "no_keys": (503, "not enough key material for these SAEs now; ask again later", 1),
    "peer_down": (503, "the KME of the other SAE cannot be reached now", 2),
    "busy": (503, "too many requests at a time; ask again later", 1),
    "not_ready": (503, "this KME is not ready; ask again later", 2),
    "frozen": (503, "the keys shared with the KME of the other SAE are being checked", 60),
    "too_many_undelivered": (503, "too many keys of these SAEs wait to be fetched", 5),
    "timeout": (503, "no answer in time; ask again later", 1),
    "crashed": (503, "internal error; ask again later", 1),
    "core_down": (503, "the core of this KME is not reached now; ask again later", 1),
    "undeliverable": (503, "no key material is shared with the KME of the other SAE", 5),
    "in_delivery": (503, "a key of these is in another answer just now; ask again later", 1),
    "no_such_key": (400, NOT_FOUND, 0),
    "not_named": (401, "this SAE is not named for one or more of the keys", 0),
    "not_permitted": (401, "", 0),
    "malformed": (400, "", 0),
    "not_allowed": (400, "", 0),
    SETTING_UP: (503, "a session with the KME of the other SAE is being set up; ask again", 2),
    "no_route": (503, "no way over trusted nodes leads to the KME of the other SAE now", 5),
    "not_enough_bits": (503, "the quantum links to the KME of the other SAE lack bits now", 5),
    "not_enough_disjoint_paths": (503, "too few disjoint ways lead to the KME of that SAE now", 30),
    "no_such_peer": (503, "a KME on the way does not know the KME of the other SAE", 60),
    NOT_ALLOWED: (400, "a session with the KME of the other SAE is not allowed", 0),
    TOO_MANY: (503, "too many sessions with distant KMEs for this SAE, or at this KME", 60),
    "node_full": (503, "a KME on the way carries as many sessions as it may", 15),
    "entry_full": (503, "a link on the way carries as many sessions as it may", 15),
    "link_full": (503, "a link on the way carries as many sessions as it may", 15),
    "share_full": (503, "a link on the way carries as many sessions of this KME as it may", 15),
    "peers_full": (503, "the KME of the other SAE has as many distant KMEs as it may", 15),
    REFUSED: (503, "a KME refuses the session with the KME of the other SAE", 30),
}
"""Refusals of key store and sessions: status, text (empty: its own words), `Retry-After` in s.

What is not listed is our own fault: 503, in the standard's table "error on server side".
"""

RETRY_MAX_S = 600
"""A longer wait for bits is not told: by then anything may be otherwise."""
_SHORT = ("no_keys", SETTING_UP)
_LIMITS = frozenset({*LIMITS.values(), *OWN_LIMITS})
_INT32 = (1 << 31) - 1
_ROOT = ["api", "v1", "keys"]
_METHODS = {
    "status": "GET",
    "enc_keys": "GET, POST",
    "dec_keys": "GET, POST",
}


class Gs014:
    """The three methods of the standard; it knows HTTP as a `Call` that becomes a `Reply`.

    `places` is replaced, from any thread, whenever the directory changes; None until it is known.
    """

    def __init__(
        self, bridge: Asker, node: str, options: Gs014Options, allow_loopback_pairs: bool = False
    ) -> None:
        self._bridge, self._node, self._options = bridge, node, options
        self._allow_loopback_pairs = allow_loopback_pairs
        self._openapi = openapi.document(options)
        self._reach = Reach(bridge, node, options.request_timeout_s)
        self.places: Places | None = None

    def renew(self, options: Gs014Options) -> None:
        """Answer by these options from now on; from any thread."""
        self._openapi = openapi.document(options)
        self._options = options

    async def __call__(self, call: Call) -> Reply:
        """Answer one authenticated request, or raise `Problem`."""
        path = [segment(part) for part in call.path]  # `%65nc_keys` is `enc_keys` (RFC 3986, 6.2.2)
        if path == ["openapi.json"]:
            call.route = "openapi"
            _allow(call, "GET")
            return Reply(200, self._openapi)
        if len(path) < 5 or path[:3] != _ROOT or path[4] not in _METHODS:  # noqa: PLR2004
            raise Problem(404, "no_such_path", "there is nothing at this path")
        method, style = path[4], path[5:]
        if style and method != "enc_keys":
            raise Problem(404, "no_such_path", "there is nothing at this path")
        call.route = method
        _allow(call, "GET" if style else _METHODS[method])
        if method == "status":
            return await self._status(call, self._peer(call, path[3]))
        if method == "enc_keys":
            return await self._enc_keys(call, self._peer(call, path[3]), style)
        return await self._dec_keys(call, self._peer(call, path[3]))

    async def _status(self, call: Call, slave: str) -> Reply:
        options, places = self._options, self._known()
        kms = places.kms[slave]
        size = options.key_size_bits // 8
        question = keys.GetStatus(master=call.caller.sae, slave=slave, size=size)
        stock = await self._ask(call, kms, question)
        stock = await self._reach.status(kms, question, stock, call.trace)
        if not isinstance(stock, keys.Stock):
            _refuse(stock)
        capacity = min(max(stock.capacity, 0), _INT32)
        body = {
            "source_KME_ID": places.ids.get(places.here, places.here),
            "target_KME_ID": places.ids.get(kms, kms),
            "master_SAE_ID": call.caller.sae,
            "slave_SAE_ID": slave,
            "key_size": options.key_size_bits,
            "stored_key_count": min(max(stock.stored, 0), capacity),
            "max_key_count": capacity,
            "max_key_per_request": options.max_keys_per_request,
            "max_key_size": options.max_key_size_bits,
            "min_key_size": options.min_key_size_bits,
            "max_SAE_ID_count": options.max_sae_id_count,
        }
        return Reply(200, msgspec.json.encode(body))

    async def _enc_keys(self, call: Call, slave: str, style: list[str]) -> Reply:
        values = gs014_request.body(await call.body()) if call.method == "POST" else {}
        fields = gs014_request.query(call.query)
        if style:
            fields = _with_path(fields, style)
        wanted = gs014_request.wanted(fields, values, self._options)
        slaves = (slave, *self._additional(call, slave, wanted.additional))
        octets = wanted.size // 8
        made = await self._fresh_keys(call, slaves, wanted)
        if made.size != octets or len(made.octets) != octets * wanted.number:
            raise RuntimeError("the key store answered with other keys than were asked for")
        call.keys = wanted.number
        told = self._provenance(made, slaves) if wanted.provenance else []
        if wanted.insists and not told:
            raise gs014_request.unmet()
        return Reply(200, container_of_grant(made, told))

    async def _fresh_keys(
        self, call: Call, slaves: tuple[str, ...], wanted: gs014_request.Wanted
    ) -> keys.Keys:
        """Get keys for SAEs at one KMS, or at several."""
        number, size, master = wanted.number, wanted.size // 8, call.caller.sae
        kms = self._one_home(slaves)
        if kms is None:
            if wanted.insists:  # each slave's copy has come its own way
                raise gs014_request.unmet()
            to, timeout = Address("multicast", self._node), self._options.request_timeout_s
            several = keys.GetMulticast(master=master, slaves=slaves, number=number, size=size)
            made = await self._bridge.ask(to, several, timeout, call.trace)
        else:
            until = asyncio.get_running_loop().time() + self._options.request_timeout_s
            question = keys.GetKey(
                master=master,
                slaves=slaves,
                number=number,
                size=size,
                provenance=wanted.provenance,
            )
            made = await self._ask(call, kms, question)
            if isinstance(made, Failed):
                made = await self._reach.again(kms, question, made, until, call.trace)
        if not isinstance(made, keys.Keys):
            _refuse(made, await self._expected(master, slaves, number * size, made, call.trace))
        return made

    async def _expected(
        self, master: str, slaves: tuple[str, ...], octets: int, failed: Message, trace: str
    ) -> float:
        """Return in how many seconds all may have enough, if bits or a rate are in the way."""
        code, homes = failed.code if isinstance(failed, Failed) else "", self._known().kms
        at = {
            kms: [it for it in slaves if homes[it] == kms] for kms in map(homes.get, slaves) if kms
        }
        waits = [0.0]
        for kms, some in at.items():
            if code in _SHORT:
                waits.append(await self._reach.wait(kms, octets, trace))
            elif code == OVER_RATE:
                ask = keys.AskTurn(master=master, slaves=tuple(some), octets=octets)
                waits.append(await self._reach.turn(kms, ask, trace))
        return max(waits)

    def _one_home(self, slaves: tuple[str, ...]) -> str | None:
        """Return the KMS of these SAEs, None if they are at several."""
        homes = self._known().kms
        kms = homes[slaves[0]]
        several = len(slaves) > 1 and any(homes[slave] != kms for slave in slaves)
        return None if several else kms

    def _provenance(self, made: keys.Keys, slaves: tuple[str, ...]) -> list[bytes]:
        kms = self._one_home(slaves)
        return provenance.extensions(made, self._known().here, kms) if kms else []

    async def _dec_keys(self, call: Call, master: str) -> Reply:
        if call.method == "POST" and (values := gs014_request.body(await call.body())):
            ids = gs014_request.ids_by_body(values, self._options)
        else:
            ids = gs014_request.ids_by_query(gs014_request.query(call.query))
        names = gs014_request.names(ids)
        kms = self._known().kms[master]
        question = keys.GetKeyWithIds(master=master, slave=call.caller.sae, names=names)
        taken = await self._ask(call, kms, question)
        if not isinstance(taken, keys.KeysWithIds):
            _refuse(taken)
        settle = partial(self._settle, self._store(kms), taken.receipt, call.trace)
        if len(taken.octets) != len(names):
            settle(False)
            raise RuntimeError("the key store answered with other keys than were asked for")
        call.keys = len(ids)
        return Reply(200, container(ids, taken.octets), settle=settle)

    def _settle(self, store: Address, receipt: int, trace: str, written: bool) -> None:
        body = keys.Written(receipt=receipt) if written else keys.Broken(receipt=receipt)
        self._bridge.tell(store, body, trace)

    def _ask(self, call: Call, kms: str, question: Message) -> Awaitable[Message]:
        timeout = self._options.request_timeout_s
        return self._bridge.ask(self._store(kms), question, timeout, call.trace)

    def _store(self, kms: str) -> Address:
        return Address(f"key_store/{kms}", self._node)

    def _known(self) -> Places:
        if self.places is None:
            _refuse(Failed(code="not_ready", why=""))
        return self.places

    def _peer(self, call: Call, other: str) -> str:
        """Check that the caller is at home here, and the other SAE known; return the latter."""
        places, me = self._known(), call.caller.sae
        home = places.kms.get(me)
        if home is None:
            raise Problem(401, "unknown_caller", f"SAE {quoted(me)} is not known in this network")
        if home != places.here:
            kme = places.ids.get(home, home)
            text = f"SAE {quoted(me)} is served by the KME {kme}, not by this one"
            raise Problem(401, "not_at_home", text)
        if other not in places.kms:
            raise _unknown(other)
        call.peer = other
        if other == me and not self._allow_loopback_pairs:
            raise Problem(400, "loopback", "master and slave are the same SAE")
        return other

    def _additional(self, call: Call, slave: str, others: tuple[str, ...]) -> Sequence[str]:
        """Check that these SAEs are known, at whatever KMS, and not named before."""
        if not others:
            return ()
        places = self._known()
        for sae in others:
            if sae == slave:
                raise malformed("additional_slave_SAE_IDs names the slave SAE of the path")
            if sae not in places.kms:
                raise _unknown(sae)
            if sae == call.caller.sae and not self._allow_loopback_pairs:
                raise Problem(400, "loopback", "additional_slave_SAE_IDs names the master SAE")
        return others


def _allow(call: Call, methods: str) -> None:
    if call.method not in methods.split(", "):
        text = f"{quoted(call.method)} is not for this path; allowed: {methods}"
        raise Problem(405, "method", text, allow=methods)


def _with_path(fields: dict[str, str], style: list[str]) -> dict[str, str]:
    """Read `number/1/size/256` besides a query, as some clients write a GET."""
    names = style[0::2]
    if len(style) % 2 or not set(names) <= {"number", "size", "key_size"}:
        raise Problem(404, "no_such_path", "there is nothing at this path")
    if len({*names, *fields}) != len(names) + len(fields):
        raise malformed("a name appears twice in path and query")
    return {**fields, **dict(zip(names, style[1::2], strict=True))}


def _refuse(answer: Message, wait: float = 0.0) -> NoReturn:
    """Refuse a request; `wait`: seconds until it can be met, as it looks."""
    code = answer.code if isinstance(answer, Failed) else "crashed"
    status, text, retry_after = REFUSALS.get(code, REFUSALS["crashed"])
    why = answer.why if isinstance(answer, Failed) else ""
    if why.partition(" of ")[0] in _LIMITS:  # as `Reach` says it: no words of other nodes
        text = f"{text} ({why})"
    retry_after = max(retry_after, min(ceil(wait), RETRY_MAX_S))
    raise Problem(status, code, text or why or code, retry_after=retry_after)


def _unknown(sae: str) -> Problem:
    return Problem(400, "unknown_sae", f"SAE {quoted(sae)} is not known in this network")
