"""Requests begin by turns of their SAEs: whoever sends many at once does not hold up the others."""

import asyncio
from collections import deque

AT_A_TIME = 2
"""Requests of one SAE that begin in one pass of the loop, while others ask as well."""
MIXED_S = 10.0
"""So long after SAEs have taken turns the next one to come is expected at any moment."""


class Turns:
    """Who may begin now, and who waits for the next pass of the loop; for its thread.

    All that has come is read in one pass. Were all of it begun in that pass, a request that comes
    then would wait until everything was answered. An SAE that is alone has no turns to wait for:
    what begins together costs less. Whoever waits is bounded by the connections there are.
    """

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        """In this pass."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._last, self._mixed_at = "", -MIXED_S

    def take(self, sae: str) -> "asyncio.Future[None] | None":
        """Return what to wait for before a request of this SAE begins; None: nothing."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if sae != self._last:
            self._mixed_at = now if self._last else self._mixed_at
            self._last = sae
        if now - self._mixed_at >= MIXED_S:
            return None
        if not self._begun:
            loop.call_soon(self._next_pass)
        begun = self._begun.get(sae, 0)
        if begun < AT_A_TIME and sae not in self._waiting:
            self._begun[sae] = begun + 1
            return None
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(sae, deque()).append(turn)
        return turn

    def _next_pass(self) -> None:
        self._begun.clear()
        for sae, queue in list(self._waiting.items()):
            while queue and self._begun.get(sae, 0) < AT_A_TIME:
                turn = queue.popleft()
                if not turn.done():  # its request was cancelled
                    turn.set_result(None)
                    self._begun[sae] = self._begun.get(sae, 0) + 1
            if not queue:
                del self._waiting[sae]
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_pass)
