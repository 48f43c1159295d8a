"""One life of an actor: its start and its end on threads of their own, its turns on the stage.

What may take its time is at either end: a store is loaded, a socket bound, a thread joined.
Turns do not wait for anything, so one thread is enough for those of all actors.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from actors.base import Actor
from actors.mailbox import Mailbox
from transport.envelope import Address, Envelope
from transport.stage import Stage

_TURNS = 64
"""Turns of one actor in a row before the others have theirs,"""
_TURNS_S = 0.002
"""or those of so many seconds: the last of them may take longer."""

JOIN_S = 10.0


class Keeper(Protocol):
    """Who is told of what becomes of a life."""

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        """Hear that it has crashed, and in which message."""
        ...

    def over(self, life: "Life", left: list[Any]) -> None:
        """Hear that it has ended for good, and what was left in the mailbox."""
        ...


class Life:
    """An actor, its supervisor, and the thread that starts or ends it (or did so last).

    `ended` is set once nothing of this life runs any more: then the next one may begin.
    """

    __slots__ = ("_keeper", "_mail", "_stage", "actor", "ended", "parent", "thread")

    def __init__(self, actor: Actor, parent: Address | None, stage: Stage, keeper: Keeper) -> None:
        self.actor, self.parent, self.thread = actor, parent, threading.current_thread()
        self.ended = threading.Event()
        self._stage, self._keeper = stage, keeper
        self._mail: Mailbox = actor.mailbox
        self._mail.wake = self._wake

    @property
    def name(self) -> str:
        """The name of the actor."""
        return self.actor.address.name

    def begin(self, before: "Life | None") -> None:
        """Start the actor, once its former life, if any, has ended."""
        self._on_thread(lambda: self._begin(before))

    def _begin(self, before: "Life | None") -> None:
        if before and not before.ended.wait(JOIN_S):  # two lives of one actor must not overlap
            self.actor.actor_stopped.set()
            self._keeper.failed(self.name, TimeoutError(), None)
            self.ended = before.ended  # whoever comes next has to wait for that one as well
            self._keeper.over(self, self._mail.close())
            return
        self._finish(self.actor._actor_loop_setup)  # Pykka's way to call `on_start`
        if self.actor.actor_stopped.is_set():
            self._over()
        else:
            self._mail.rest()

    def _wake(self) -> None:
        self._stage.soon(self._act)

    def _act(self) -> None:
        """Take some turns, on the stage."""
        actor, take = self.actor, self._mail.take
        try:
            turns = min(_TURNS, self._mail.qsize())
            until = time.perf_counter() + _TURNS_S if turns > 1 else 0.0
            for left in range(turns - 1, -1, -1):
                message = take()
                if type(message) is not Envelope:  # Pykka's word for "stop", the last one read
                    self._on_thread(lambda: self._end(actor._stop))
                    return
                actor.on_receive(message)
                if left and time.perf_counter() >= until:
                    break
        except BaseException:
            died = sys.exc_info()
            self._on_thread(lambda: self._end(lambda: self._fail(*died)))
        else:
            self._mail.rest()

    def _fail(self, *died: Any) -> None:
        self.actor._handle_failure(*died)
        self.actor.on_failure(*died)

    def _end(self, last: Callable[[], None]) -> None:
        self._finish(last)
        self._over()

    def _finish(self, act: Callable[[], None]) -> None:
        """Do what may raise: a death on the way in or out is a death like others."""
        try:
            act()
        except BaseException as why:
            self.actor.actor_stopped.set()
            self._keeper.failed(self.name, why, None)

    def _over(self) -> None:
        left = self._mail.close()
        self.ended.set()
        self._keeper.over(self, left)

    def _on_thread(self, act: Callable[[], None]) -> None:
        name = f"{self.actor.address.node}/{self.name}"
        self.thread = threading.Thread(target=act, name=name, daemon=True)
        self.thread.start()
