"""Keys with SAEs at a KMS that shares no quantum link with this one: a session, on demand.

Whoever asks first for a pair that nobody has configured waits a little; once there is a key
store for that KMS, this is not on the way of a request any more.
"""

import asyncio
import math
from dataclasses import replace

from actors.protocol import keys, sessions
from actors.protocol.common import Failed
from etsi.bridge import Asking
from transport.envelope import Address
from transport.message import Message

SETTING_UP = "setting_up"
NOT_ALLOWED = "session_not_allowed"
REFUSED = "session_refused"

_FRESH_S = 15.0
_NUDGE_S = 5.0
_PAUSE_S = (0.02, 0.25)
_STEPS = 8
_OURS = {"not_allowed": REFUSED}
_STORE_SHARE = 0.6
"""Of the time that is left a store may take so much: its answer finds somebody who waits."""


class Reach:
    """Asks for sessions, and waits for what they bring; belongs to the loop thread.

    `patience` are the seconds of a whole request.
    """

    def __init__(self, bridge: Asking, node: str, patience: float) -> None:
        self._bridge, self._node, self._patience = bridge, node, patience
        self._sessions = Address("sessions", node)
        self._ensured: dict[str, float] = {}
        self._reasons: dict[str, tuple[float, str]] = {}
        """Why the session with a KMS does not stand, and when we asked."""

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
            body = sessions.EnsureSession(peer=kms, sae=ask.master)
            ensured = await self._ask(self._sessions, body, until - now(), trace)
            if not isinstance(ensured, sessions.SessionEnsured):
                return _no_session(ensured, failed)
            self._ensured[kms] = now()
        made: Message = failed
        if now() - self._ensured.get(kms, -_FRESH_S) < _FRESH_S:
            made = await self._wait(kms, ask, until, trace)
        if isinstance(made, Failed) and made.code in (*sessions.SOON, SETTING_UP):
            return await self._with_reason(kms, ask, made, trace)
        return made

    async def _with_reason(self, kms: str, ask: keys.GetKey, made: Failed, trace: str) -> Failed:
        """Say why no session brings keys, if it is that; one that has ended is begun anew."""
        now = asyncio.get_running_loop().time()
        at, code = self._reasons.get(kms, (-_NUDGE_S, ""))
        if now - at >= _NUDGE_S:
            body = sessions.EnsureSession(peer=kms, sae=ask.master)
            ensured = await self._ask(self._sessions, body, 0.0, trace)
            code = ensured.code if isinstance(ensured, sessions.SessionEnsured) else ""
            if code != "not_allowed":  # that is a matter of this SAE
                self._reasons[kms] = now, code
        return Failed(code=_OURS.get(code, code), why="") if code else made

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


def _no_session(answer: Message, failed: Failed) -> Failed:
    """Say why there is no session; texts of other nodes are not passed on to an SAE."""
    if not isinstance(answer, Failed) or answer.code == "undeliverable":
        return failed  # nobody makes sessions here
    if answer.code == "not_allowed":
        return Failed(code=NOT_ALLOWED, why="")
    return Failed(code=answer.code, why="")
