"""One node, or one process of it: what it is made of, how it starts, drains, reloads and stops."""

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from actors.protocol import peers
from actors.protocol.common import Drain, Failed, Ping
from actors.protocol.doors import ANSWERS, DOORS
from actors.system import ThreadSystem
from protokms import config as configs
from protokms import directory as directories
from protokms.cli import version
from protokms.keyfiles import BadFile, read_key
from protokms.meter import MemoryMeter
from protokms.observe import Checkup, Observer, checkup
from protokms.sections import CORE, NodeConfig
from protokms.tables import ConfigError
from protokms.tree import FRONT, ROOT, Tree
from transport import curve
from transport.envelope import Address
from transport.message import Message
from transport.outbox import Peer, destination
from transport.post import Post, PostError, PostOptions
from transport.sealing import ProcessSealer
from transport.session import Doorman, Doors, Refusals

_START_S = 10.0
_DRAIN_S = 10.0
_ASK_S = 5.0

Fatal = Callable[[str], None]


class NodeFailed(Exception):
    """The node cannot start; the text says why, and what to do where that is known."""


class Node:
    """One process of a node, from its configuration to its threads.

    Any number of nodes can run in one Python process. `fatal` is called, on any thread, when
    the process must not go on: the I/O thread, the ZAP gate or the writer is dead, or the root
    supervisor has given up.
    """

    def __init__(self, config: NodeConfig, fatal: Fatal, process: str = CORE) -> None:
        self.config, self.process, self.name = config, process, config.node.name
        self.meter = MemoryMeter()
        self.log = structlog.get_logger().bind(node=self.name, process=process)
        self._fatal = fatal
        self._up: frozenset[str] = frozenset()
        self._quarantined: dict[str, str] = {}
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()
        self._tree = Tree(config, version(), quarantine=self._quarantine, end=self._end)

    # Starting and stopping

    def start(self) -> None:
        """Start everything, bottom up; `NodeFailed` leaves nothing behind."""
        begun = time.monotonic()
        try:
            self._start()
        except (BadFile, ConfigError, PostError, StoreError, OSError, ValueError) as why:
            self._cleanup.close()
            raise NodeFailed(str(why)) from why
        except BaseException:
            self._cleanup.close()
            raise
        gc.freeze()
        self.log.info("node_started", seconds=round(time.monotonic() - begun, 3))

    def stop(self) -> None:
        """Take no more requests, finish the open ones, stop; what is owed to the disk is done."""
        self.log.info("node_stopping")
        self._drain()
        self._cleanup.close()
        self.log.info("node_stopped")

    def reload(self) -> None:
        """Read configuration, certificates, deny list and directory again.

        What is wrong with them is logged, and the old ones stay in use.
        """
        try:
            config = configs.load(self.config.path)
            directory = directories.read(config.directory.file, config.directory.ca)
        except (ConfigError, BadFile) as why:
            self.meter.add("protokms_reloads", result="refused")
            self.log.error("reload_refused", why=str(why))
            return
        if self.process == CORE:
            answer = self.ask("peer_manager", directory, _ASK_S).result()
            if isinstance(answer, Failed):
                self.meter.add("protokms_reloads", result="refused")
                self.log.error("reload_refused", why=answer.why)
                return
            self._post.set_peers(self._peers(directory))
        self._reload_front(config)
        self.meter.add("protokms_reloads", result="done")
        self.log.info("reloaded", serial=directory.serial)

    # What observers and tests ask

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.name

    def names(self) -> Sequence[str]:
        """Return the actors that should be alive, those in other processes of the node too."""
        here = [name for name in self.system.names() if name]
        return here + (self._tree.outside(self.process) if self.process == CORE else [])

    def ask(self, name: str, body: Message, timeout: float) -> "Future[Message]":
        """Ask an actor of this node."""
        return self.system.ask(Address(name, self.name), body, timeout)

    def troubles(self) -> Sequence[str]:
        """Return why the node is not ready, beside what its actors say."""
        return [f"peer/{peer}: quarantined: {why}" for peer, why in self._quarantined.items()]

    def sample(self) -> None:
        """Set the gauges that are only worth setting when somebody looks."""
        self.meter.set("protokms_actors", len(self.system.names()))
        self.meter.set("protokms_threads", threading.active_count())
        self.meter.set("protokms_build_info", 1, version=version())

    async def checkup(self) -> Checkup:
        """Ask every actor how it is."""
        return await checkup(self)

    # How it is put together

    def _start(self) -> None:
        config, clean = self.config, self._cleanup
        directory = directories.read(config.directory.file, config.directory.ca)
        if self.process == CORE:
            self._open_store()
        self._open_post()
        self.system = self._make_system()
        clean.callback(self.system.shutdown)
        self._grow(directory)
        self._post.set_peers(self._peers(directory))
        if self.process == CORE:
            bind = config.metrics.bind
            self.observer = Observer((bind.host, bind.port), self.meter, self)
            self.observer.start()
            clean.callback(self.observer.stop)
