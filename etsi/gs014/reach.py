"""Keys with SAEs at a KMS that shares no quantum link with this one: a session, on demand.

Whoever asks first for a pair that nobody has configured waits a little; once there is a key
store for that KMS, this is not on the way of a request any more. Who asks for the status of
such a pair has its session begun, and does not wait for bits.
"""

import asyncio
import math
from dataclasses import replace

from actors.protocol import keys, sessions
from actors.protocol.common import Failed
from etsi.http.bridge import Asker
from transport.envelope import Address
from transport.message import Message

SETTING_UP = "setting_up"
NOT_ALLOWED = "session_not_allowed"
NOT_PERMITTED = "not_permitted"
REFUSED = "session_refused"

_FRESH_S = 15.0
_NUDGE_S = 5.0
_PAUSE_S = (0.02, 0.25)
_STEPS = 8
_OURS = {"not_allowed": REFUSED}
_WAIT_FRESH_S = 1.0
_WAITS_MAX = 256
_STORE_SHARE = 0.6
"""Of the time that is left a store may take so much: its answer finds somebody who waits."""


class Reach:
    """Asks for sessions, and waits for what they bring; belongs to the loop thread.

    Of a limit that is reached the answer has in `why` its name, and whose it is.
    `patience` are the seconds of a whole request.
    """

    def __init__(self, bridge: Asker, node: str, patience: float) -> None:
        self._bridge, self._node, self._patience = bridge, node, patience
        self._sessions = Address("sessions", node)
        self._ensured: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        """When a status last had a session begun, or looked after."""
        self._reasons: dict[str, tuple[float, str, str]] = {}
        """Why the session with a KMS does not stand, and when we asked."""
        self._waits: dict[tuple[str, int], tuple[float, float]] = {}
        """When a KMS's store will have so many octets, and when we asked."""

    async def status(self, kms: str, ask: keys.GetStatus, stock: Message, trace: str) -> Message:
        """Begin the session of a pair whose status says that nothing is stored, if policy allows.

        A client that waits for a first key, or for room for one, would else wait for ever.
        """
        missing = isinstance(stock, Failed) and stock.code == "undeliverable"
        empty = isinstance(stock, keys.Stock) and not stock.stored
        now = asyncio.get_running_loop().time()
        if kms == self._node or not (missing or empty):
            return stock
        if missing and (no := await self._refusal(ask.master, (ask.slave,), trace)):
            return no
        if missing or now - self._begun.get(kms, -_NUDGE_S) >= _NUDGE_S:
            body = sessions.EnsureSession(peer=kms, sae=ask.master)
            ensured = await self._ask(self._sessions, body, self._patience / 2, trace)
            if isinstance(ensured, sessions.SessionEnsured):
                self._begun[kms] = now
                if missing:
                    store = Address(f"key_store/{kms}", self._node)
                    stock = await self._ask(store, ask, self._patience / 2, trace)
        if missing and isinstance(stock, Failed) and stock.code in sessions.SOON:
            return keys.Stock(stored=0, capacity=0)
        return stock

    async def again(
        self, kms: str, ask: keys.GetKey, failed: Failed, until: float, trace: str
    ) -> Message:
        """Answer a request that the key store of this KMS has just not met; `until` is a deadline.

        The loop's clock counts. What is no matter of a session is returned as it is.
        """
        now = asyncio.get_running_loop().time
        if kms == self._node or failed.code not in sessions.SOON:
            return failed
        if failed.code == "undeliverable":
            if no := await self._refusal(ask.master, ask.slaves, trace):
                return no
            body = sessions.EnsureSession(peer=kms, sae=ask.master)
            ensured = await self._ask(self._sessions, body, until - now(), trace)
            if not isinstance(ensured, sessions.SessionEnsured):
                return self._no_session(ensured, failed)
            self._ensured[kms] = now()
        made: Message = failed
        if now() - self._ensured.get(kms, -_FRESH_S) < _FRESH_S:
            made = await self._wait(kms, ask, until, trace)
        if isinstance(made, Failed) and made.code in (*sessions.SOON, SETTING_UP):
            return await self._with_reason(kms, ask, made, trace)
        return made

    async def _refusal(self, master: str, slaves: tuple[str, ...], trace: str) -> Failed | None:
        """Say no before a session is made, to those who may not have keys over it."""
        to, ask = (
            Address("multicast", self._node),
            keys.AskTurn(master=master, slaves=slaves, octets=0),
        )
        told = await self._ask(to, ask, self._patience / 2, trace)
        return told if isinstance(told, Failed) and told.code == NOT_PERMITTED else None

    async def wait(self, kms: str, octets: int, trace: str) -> float:
        """Return the seconds until the store for a KMS has so many octets; 0: nobody knows."""
        now = asyncio.get_running_loop().time()
        at, seconds = self._waits.get((kms, octets), (-_WAIT_FRESH_S, 0.0))
        if now - at >= _WAIT_FRESH_S:
            if len(self._waits) >= _WAITS_MAX:
                self._waits.clear()
            store = Address(f"key_store/{kms}", self._node)
            told = await self._ask(store, keys.AskWait(octets=octets), 0.0, trace)
            at, seconds = now, told.seconds if isinstance(told, keys.Wait) else 0.0
            self._waits[kms, octets] = at, seconds
        return max(0.0, seconds - (now - at))

    async def turn(self, kms: str, ask: keys.AskTurn, trace: str) -> float:
        """Return the seconds until rows let these SAEs have so many octets; 0: nobody knows."""
        store = Address(f"key_store/{kms}", self._node)
        told = await self._ask(store, ask, 0.0, trace)
        return told.seconds if isinstance(told, keys.Wait) else 0.0

    async def _with_reason(self, kms: str, ask: keys.GetKey, made: Failed, trace: str) -> Failed:
        """Say why no session brings keys, if it is that; one that has ended is begun anew."""
        now = asyncio.get_running_loop().time()
        at, code, why = self._reasons.get(kms, (-_NUDGE_S, "", ""))
        if now - at >= _NUDGE_S:
            body = sessions.EnsureSession(peer=kms, sae=ask.master)
            ensured = await self._ask(self._sessions, body, 0.0, trace)
            code, why = "", ""
            if isinstance(ensured, sessions.SessionEnsured):
                code = ensured.code
                why = f"{ensured.limit} of {ensured.node}" if ensured.limit else ""
            if code not in ("not_allowed", sessions.TOO_MANY):  # these are matters of this SAE
                self._reasons[kms] = now, code, why
        return Failed(code=_OURS.get(code, code), why=why) if code else made

    async def _wait(self, kms: str, ask: keys.GetKey, until: float, trace: str) -> Message:
        """Ask the store again and again, in growing steps, until it answers something else."""
        now, store = asyncio.get_running_loop().time, Address(f"key_store/{kms}", self._node)
        pause = 0.0
        while (left := until - now()) > pause:
            await asyncio.sleep(pause)
            timely = replace(ask, within=_STORE_SHARE * (left - pause))
            made = await self._ask(store, timely, left - pause, trace)
            if not (isinstance(made, Failed) and made.code in sessions.SOON):
                return made
            pause = min(max(2 * pause, _PAUSE_S[0]), _PAUSE_S[1])
        return Failed(code=SETTING_UP, why=kms)

    async def _ask(self, to: Address, body: Message, left: float, trace: str) -> Message:
        """Ask within what is left, in one of few lengths: a bridge has a timer for each."""
        step = self._patience / _STEPS
        steps = min(max(1, math.ceil(left / step)), _STEPS)
        return await self._bridge.ask(to, body, steps * step, trace)

    def _no_session(self, answer: Message, failed: Failed) -> Failed:
        """Say why there is no session; texts of other nodes are not passed on to an SAE."""
        if not isinstance(answer, Failed) or answer.code == "undeliverable":
            return failed  # nobody makes sessions here
        if answer.code == "not_allowed":
            return Failed(code=NOT_ALLOWED, why="")
        ours = answer.code == sessions.TOO_MANY and answer.why in sessions.OWN_LIMITS
        return Failed(code=answer.code, why=f"{answer.why} of {self._node}" if ours else "")
