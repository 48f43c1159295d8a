"""A request to a store whose distant peer is only idle: it wakes the peer, and waits a little."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from actors.base import Later, System
from actors.filling import Filling
from actors.keeper import StoreOptions
from actors.protocol.common import Failed, Refused
from actors.vault import Clock

SLEEPERS_MAX = 256
WAKE_EVERY_S = 1.0


class Sleeper(NamedTuple):
    """A request, and what to do with it once what it waits for is there."""

    serve: Callable[[], None]
    answer: Later
    until: float


class Waking(Filling):
    """Connections to distant peers are opened when something is said, and closed when idle."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self.sleepers: list[Sleeper] = []
        self._deaf_since = 0.0
        """When a request has waited for the peer in vain; 0: it answers, or was not asked."""

    @property
    def idle(self) -> bool:
        """Whether the peer is away, as far as is known for want of a connection alone."""
        return self.virtual and not self.in_touch and not self.standing.frozen

    @property
    def reachable(self) -> bool:
        """Whether a request may hope for the peer (P9)."""
        return self.in_touch or (self.idle and not self._deaf_since)

    def wait_for_peer(self, sleeper: Sleeper) -> None:
        """Serve this once in step, or say no when its time is over; `Refused("busy")`."""
        if len(self.sleepers) >= SLEEPERS_MAX:
            raise Refused("busy", f"too many requests wait for {self.store}")
        self.sleepers.append(sleeper)
        self.wake()

    def wake(self) -> None:
        """Ask the peer where it stands, which opens a connection."""
        if self.clock.now - self.asked_at >= WAKE_EVERY_S or len(self.sleepers) == 1:
            self.asked_at = self.clock.now
            self.ask_peer()

    def on_resumed(self) -> None:
        """The peer is awake."""
        super().on_resumed()
        self._deaf_since = 0.0
        woken, self.sleepers = self.sleepers, []
        serve_all(woken)

    def on_tick(self, now: Clock) -> None:
        """Give up on a peer that does not answer."""
        late = [sleeper for sleeper in self.sleepers if sleeper.until <= now.now]
        if late:
            self._deaf_since = now.now
            self.sleepers = [sleeper for sleeper in self.sleepers if sleeper.until > now.now]
        for sleeper in late:
            sleeper.answer(Failed(code="peer_down", why=f"{self.store} does not answer"))
        if self.sleepers:
            self.wake()
        super().on_tick(now)


def serve_all(woken: Iterable[Sleeper]) -> None:
    """What these waited for is there; each hears of what else is in its way."""
    for sleeper in woken:
        try:
            sleeper.serve()
        except Refused as no:
            sleeper.answer(Failed(code=no.code, why=str(no)))
