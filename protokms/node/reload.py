"""A reload of a node: each part acts by itself, and the answer says what came of it.

Whoever asks the core is told of the other processes of the node, too: the core has each of them
read the configuration again, and names those that do not answer.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from actors.protocol.common import Failed, Refused
from actors.protocol.peers import AwaitHomes, HomesInUse
from actors.protocol.roles import PROCESS as HOST
from etsi.http.options import CLIENT_CA, DENY, PAIR, packed, portion
from protokms.config.keyfiles import BadFile
from protokms.config.load import AnyConfig, Reread, needs_restart, reread
from protokms.config.sections import (
    AGENT,
    FRONT,
    DirectoryFiles,
    NodeConfig,
    PolicyRow,
    identity,
)
from protokms.manage.printable import printable
from protokms.manage.words import Reloaded
from protokms.node.logs import Threshold
from transport.envelope import Address, Envelope
from transport.message import Message, local

PROCESS_S = 8.0
"""Seconds for which the core waits for the other processes of its node."""

TEXTS_MAX, TEXT_MAX = 64, 500
"""Of what another process tells, core takes so many texts of each kind, of so many characters."""

ASK_S = 5.0
HOMES_S = 5.0
"""Seconds for which the core waits for the front end to read a new directory."""
_OF_DIRECTORY = ("directory", "node", "transport", "link")
"""Tables that a directory is compared with: with a problem in one of them it is not read."""


@local
class ReloadProcess(Message):
    """The core asks another process of the node to read the configuration again."""


@local
class ProcessReloaded(Message):
    """What came of it there."""

    applied: tuple[str, ...]
    refused: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Host(Protocol):
    """The process of a node that is reloaded."""

    def ask(self, name: str, body: Message, timeout: float) -> Future[Message]:
        """Ask an actor of the node."""
        ...

    def runs(self, name: str) -> bool:
        """Tell whether an actor is in this process."""
        ...

    def use_directory(self, files: DirectoryFiles) -> int:
        """Take the directory in these files; return its serial, or raise what is wrong."""
        ...

    def use_policies(self, rules: Sequence[PolicyRow]) -> Future[Message]:
        """Have the policies of the configuration; `Seeded`, or why not."""
        ...

    def send(self, envelope: Envelope) -> None:
        """Deliver."""
        ...


@dataclass(slots=True)
class _Used:
    """What is in use of the directory."""

    files: DirectoryFiles | None
    """None in a process beside core."""
    serial: int
    policies: Sequence[PolicyRow]


class Reloading:
    """Reloads one process of a node; one reload at a time, whoever asks, on any thread.

    `others` are the other processes that are to be asked. Without a `threshold` whoever embeds
    the node cares for its log. `told` hears of each process that was reloaded what is wrong there:
    nothing, if all is well.
    """

    def __init__(
        self,
        config: AnyConfig,
        host: Host,
        *,
        serial: int,
        others: Sequence[str] = (),
        threshold: Threshold | None = None,
        told: Callable[[str, Sequence[str]], None] = lambda _, __: None,
    ) -> None:
        self._config, self._host, self._others = config, host, others
        process, self._node = identity(config)
        self._name, self._threshold = f"{HOST}/{process}", threshold
        self._process, self._told = process, told
        self._own = "node" if isinstance(config, NodeConfig) else "process"
        """The table that tells of the log."""
        core = config if isinstance(config, NodeConfig) else None
        files, policies = (core.directory, core.policies) if core else (None, ())
        self._used = _Used(files, serial, policies)
        self._lock = threading.Lock()
        self._log = structlog.get_logger().bind(node=self._node, process=process)

    @property
    def name(self) -> str:
        """Under which name the core asks this process."""
        return self._name

    def tell(self, envelope: Envelope) -> None:
        """Reload because the core asks, on a thread of its own, and answer; from any thread."""
        if isinstance(envelope.body, ReloadProcess) and envelope.sender.node == self._node:
            run = partial(self._answer, envelope)
            threading.Thread(target=run, name="reload", daemon=True).start()

    def run(self) -> Reloaded:
        """Reload this process, and those that it is to ask; wait for all of them."""
        asked = [
            (name, self._host.ask(f"{HOST}/{name}", ReloadProcess(), PROCESS_S))
            for name in self._others
        ]
        done = [self._here()]
        away: list[str] = []
        for name, future in asked:
            answer = future.result()
            if isinstance(answer, ProcessReloaded):
                done.append(_of(name, answer))
                self._told(name, done[-1].refused)
            else:
                away.append(name)
        late = tuple(self._late(away))
        done.append(ProcessReloaded(applied=(), refused=late, needs_restart=()))
        self._told(self._process, [*done[0].refused, *(f"{it}: not reached" for it in away)])
        found = Reloaded(
            applied=_union(each.applied for each in done),
            refused=_union(each.refused for each in done),
            needs_restart=_union(each.needs_restart for each in done),
            not_reached=tuple(away),
        )
        for name in away:
            self._log.error("reload_not_reached", other=name)
        self._say(found)
        return found

    def _late(self, away: Sequence[str]) -> list[str]:
        """Wait for all front ends to use the directory; say which of them are late.

        Those in processes that are away are told as such.
        """
        config, serial = self._config, self._used.serial
        if not isinstance(config, NodeConfig):
            return []
        asked = [
            (front, self._host.ask(front, AwaitHomes(serial=serial), HOMES_S))
            for front in config.audience
            if config.process_of(front) not in away
        ]
        return [
            f"{front}: has not read directory serial {serial} yet; it goes on by itself"
            for front, future in asked
            if not isinstance(future.result(), HomesInUse)
        ]

    def _answer(self, envelope: Envelope) -> None:
        done = self._here()
        self._say(done)
        me, token = Address(self._name, self._node), envelope.token
        self._host.send(Envelope(me, envelope.sender, done, token, True, envelope.trace))

    def _say(self, done: Reloaded | ProcessReloaded) -> None:
        away = {"not_reached": list(done.not_reached)} if isinstance(done, Reloaded) else {}
        self._log.info(
            "reloaded",
            applied=list(done.applied),
            kept=len(done.refused),
            serial=self._used.serial,
            needs_restart=list(done.needs_restart),
            **away,
        )

    def _here(self) -> ProcessReloaded:
        with self._lock:
            found = reread(self._config.path)
            applied: list[str] = []
            wrong = [str(problem) for problem in found.problems]
            for table, front in ((FRONT, self._config.front), (AGENT, AGENT)):
                if self._host.runs(front):
                    wrong += _tried(partial(self._front, table, front, found, applied))
            if self._used.files and not any(_of_directory(it.key) for it in found.problems):
                wrong += _tried(partial(self._directory, found, applied))
            if self._used.files and found.policies is not None:
                wrong += _tried(partial(self._policies, found.policies, applied))
            if found.node and self._threshold:
                level, requests = found.node.log_level, found.node.log_requests
                changed = self._threshold.set(level, requests=requests)
                applied += [f"{self._own}.{name}" for name in changed]
            for text in wrong:
                self._log.error("reload_refused", why=text)
            restart = needs_restart(self._config, found.config) if found.config else []
            return ProcessReloaded(
                applied=tuple(applied), refused=tuple(wrong), needs_restart=tuple(restart)
            )

    def _front(self, table: str, front: str, found: Reread, applied: list[str]) -> Sequence[str]:
        """Hand over what is good of its table; return what it says is bad beside that."""
        from etsi.http.service import Reload  # noqa: PLC0415 -- only where HTTP is served
        from etsi.http.service import Reloaded as Done  # noqa: PLC0415

        values, keys = found.fronts[table], {problem.key for problem in found.problems}
        keep = [CLIENT_CA] if f"{table}.{CLIENT_CA}" in keys else []
        keep += [PAIR] if keys & {f"{table}.certificate", f"{table}.key"} else []
        keep += [DENY] if any(_is_in(f"{table}.{DENY}", key) for key in keys) else []
        share = self._config.fronts if table == FRONT else 1
        options = packed(portion(values, share))
        ask = Reload(deny=values.get("deny"), options=options, keep=tuple(keep))
        answer = self._host.ask(front, ask, ASK_S).result()
        if isinstance(answer, Failed):
            raise Refused(answer.code, f"{front}: {answer.code}: {answer.why}")
        if not isinstance(answer, Done):
            return ()
        applied += [f"{table}.{name}" for name in answer.applied]
        return answer.kept

    def _directory(self, found: Reread, applied: list[str]) -> Sequence[str]:
        used = self._used
        files = found.directory or used.files
        if files is None or used.files is None:
            return ()
        serial = self._host.use_directory(files)
        for name in ("file", "ca"):
            if getattr(files, name) != getattr(used.files, name):
                applied.append(f"directory.{name}")
        if serial != used.serial:
            applied.append(f"directory serial {serial}")
        self._used = _Used(files, serial, used.policies)
        return ()

    def _policies(self, rules: Sequence[PolicyRow], applied: list[str]) -> Sequence[str]:
        if rules == self._used.policies:
            return ()
        answer = self._host.use_policies(rules).result()
        if isinstance(answer, Failed):
            raise Refused(answer.code, f"policy: {answer.code}: {answer.why}")
        self._used.policies = rules
        applied.append("policy")
        return ()


def _tried(renew: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Return what is bad of one part of a reload; the other parts act all the same."""
    try:
        return renew()
    except (BadFile, Refused) as why:
        return [str(why)]


def _is_in(table: str, key: str) -> bool:
    """Tell whether a problem is at this key, or at a row of it."""
    return key.partition("[")[0] == table


def _of_directory(key: str) -> bool:
    """Tell whether a problem at this key keeps the directory as it is; `""` is the whole file."""
    table = key.partition(".")[0].partition("[")[0]
    return table in ("", *_OF_DIRECTORY)


def _of(process: str, done: ProcessReloaded) -> ProcessReloaded:
    """Say of what another process tells whose it is; the names of keys alone do not."""

    def named(texts: Sequence[str]) -> tuple[str, ...]:
        kept = [printable(text[:TEXT_MAX])[:TEXT_MAX] for text in texts[:TEXTS_MAX]]
        if more := len(texts) - len(kept):
            kept.append(f"and {more:,} more")
        return tuple(f"{process}: {text}" for text in kept)

    return ProcessReloaded(
        applied=named(done.applied),
        refused=named(done.refused),
        needs_restart=named(done.needs_restart),
    )


def _union(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({text for each in lists for text in each}))
