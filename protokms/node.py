"""One node, or one process of it: what it is made of, how it starts, drains, reloads and stops."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog
import uvloop

from actors.protocol import peers
from actors.protocol.common import Drain, Failed, Ping, Refused
from actors.protocol.doors import ANSWERS, DOORS
from actors.store import StoreFile
from actors.store_errors import StoreError
from actors.system import ThreadSystem
from actors.writer import Writer
from protokms import config as configs
from protokms import directory as directories
from protokms import ports, wiring
from protokms.keyfiles import BadFile
from protokms.manage import Manager
from protokms.meter import MemoryMeter
from protokms.observe import Observer
from protokms.release import version
from protokms.sections import CORE, NodeConfig
from protokms.tables import ConfigError
from protokms.tree import FRONT, Tree
from transport.envelope import Address, Envelope
from transport.message import Message
from transport.post import Post, PostError
from transport.session import Doorman, Doors, Refusals
from transport.stage import Stage

_START_S = 10.0
_DRAIN_S = 10.0
_ASK_S = 5.0
_INFO, _ERROR = 20, 40

Fatal = Callable[[str], None]


class NodeFailed(Exception):
    """The node cannot start; the text says why, and what to do where that is known."""


class Node:
    """One process of a node, from its configuration to its threads.

    Any number of nodes can run in one Python process. `fatal` is called, on any thread, when
    the process must not go on: the stage, the post, its ZAP gate or the writer is dead, or the
    root supervisor has given up. With `through_sockets` messages between its actors become octets
    and messages again, as if each lived in a process of its own.
    """

    def __init__(
        self,
        config: NodeConfig,
        fatal: Fatal,
        process: str = CORE,
        *,
        through_sockets: bool = False,
    ) -> None:
        self.config, self.process, self.name = config, process, config.node.name
        self._through_sockets = through_sockets
        self.meter = MemoryMeter()
        self.log = structlog.get_logger().bind(node=self.name, process=process)
        self._fatal = fatal
        self._up: frozenset[str] = frozenset()
        self._quarantined: dict[str, str] = {}
        self._full = False
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
        self.log.info("node_started", seconds=round(time.monotonic() - begun, 3))

    def stop(self) -> None:
        """Take no more requests, finish the open ones, stop; what is owed to the disk is done."""
        self.log.info("node_stopping")
        self._drain()
        self._cleanup.close()
        self.log.info("node_stopped")

    def reload(self) -> None:
        """Read certificates, deny list and directory again.

        What is wrong with them is logged, and the old ones stay in use. All else in the
        configuration is for the next start.
        """
        try:
            config = configs.load(self.config.path)
            directory = directories.read(config.directory.file, config.directory.ca)
            if self.process == CORE:
                self._insist("peer_manager", directory)
                self._post.set_peers(wiring.others(self.config, self.process, directory))
            if config.etsi014 and FRONT in self.system.names():
                from etsi.frontend import Reload  # noqa: PLC0415 -- only where HTTP is served

                self._insist(FRONT, Reload(deny=tuple(config.etsi014.deny)))
        except (ConfigError, BadFile, Refused) as why:
            self.meter.add("protokms_reloads", result="refused")
            self.log.error("reload_refused", why=str(why))
            return
        self.meter.add("protokms_reloads", result="done")
        self.log.info("reloaded", serial=directory.serial)

    # What observers and tests ask

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.name

    def names(self) -> Sequence[str]:
        """Return the actors that should be alive, those in other processes of the node too."""
        return [*self.system.names(), *self._tree.outside(self.process)]

    def ask(self, name: str, body: Message, timeout: float) -> "Future[Message]":
        """Ask an actor of this node."""
        return self.system.ask(Address(name, self.name), body, timeout)

    def troubles(self) -> Sequence[str]:
        """Return why the node is not ready, beside what its actors say."""
        found = [f"peer/{peer}: quarantined: {why}" for peer, why in self._quarantined.items()]
        return [*found, "the disk is full"] if self._full else found

    def sample(self) -> None:
        """Set the gauges that are only worth setting when somebody looks."""
        self.meter.set("protokms_actors", len(self.system.names()))
        self.meter.set("protokms_threads", threading.active_count())
        self.meter.set("protokms_build_info", 1, version=version())

    # How it is put together

    def _start(self) -> None:
        config, clean = self.config, self._cleanup
        directory = directories.read(config.directory.file, config.directory.ca)
        self._check_ports()
        self._stage = Stage(f"{self.name}/{self.process}", self._fatal, uvloop.new_event_loop)
        clean.callback(self._stage.stop)
        durable = self._open_store() if self.process == CORE else None
        sealers = wiring.sealers(config, self.process)
        doors, refusals = Doors(DOORS, ANSWERS), Refusals(self.meter)
        self._post = self._make_post()
        self.system = ThreadSystem(
            self.name,
            self.meter,
            process=self.process,
            placement=self._tree.placed,
            post=self._post.post,
            admit=Doorman(self.name, doors, sealers, refusals).admit,
            sealers=sealers,
            durable=durable,
            through_sockets=self._through_sockets,
            stage=self._stage,
        )
        clean.callback(self.system.shutdown)
        root = self._tree.root(self.process, directory, lambda: self._up)
        self.system.spawn(root.name, root.kind, *root.args)
        self._settle()
        self._post.set_peers(wiring.others(self.config, self.process, directory))
        self._post.start()  # now that there is somebody to hear what peers say
        clean.callback(self._post.stop)
        if self.process == CORE:
            bind = config.metrics.bind
            self.observer = Observer((bind.host, bind.port), self.meter, self)
            self.observer.start()
            clean.callback(self.observer.stop)
            if config.manage:
                manager = Manager(config.manage.socket, self)
                manager.start()
                clean.callback(manager.stop)

    def _check_ports(self) -> None:
        """Find ports that are taken while there is nobody but the operator to be told."""
        config, placed = self.config, self._tree.placed
        wanted = [
            (link.bind, socket.SOCK_DGRAM, f"link to {link.peer}: bind")
            for link in config.links
            if placed(f"quantum_link/{link.peer}") == self.process
        ]
        if config.etsi014 and placed(FRONT) == self.process:
            wanted.append((config.etsi014.bind, socket.SOCK_STREAM, "etsi014.bind"))
        for end, kind, key in wanted:
            if ports.occupied(end, kind):
                raise NodeFailed(f"{key}: {end.authority} is occupied by another process")

    def _open_store(self) -> Writer:
        path, key = self.config.node.data, configs.node_key(self.config)
        if path.exists():
            store = StoreFile.open(path, self.name, key)
        else:
            self.log.warning("store_created", path=str(path))
            store = StoreFile.create(path, self.name, key)
        writer = Writer(
            store,
            self.meter,
            deliver=self._deliver,
            fatal=self._fatal,
            on_full=self._disk_full,
            erase_s=self.config.store.erase_s,
        )
        writer.start()
        self._cleanup.callback(self._close, writer)
        return writer

    def _close(self, writer: Writer) -> None:
        if not writer.stop():
            self.log.error("store_not_closed", why="the disk is full, or slow", alarm=True)

    def _make_post(self) -> Post:
        return Post(
            wiring.inbox(self.config, self.process),
            receive=self._receive,
            news=self._news,
            meter=self.meter,
            fatal=self._fatal,
            stage=self._stage,
            idled=self._idled,
        )

    def _settle(self) -> None:
        """Wait until every actor is past its `started()`."""
        seen: set[str] = set()
        while new := [name for name in self.system.names() if name not in seen]:
            asked = [(name, self.ask(name, Ping(), _START_S)) for name in new]
            for name, answer in asked:
                said = answer.result()
                if isinstance(said, Failed):
                    raise NodeFailed(f"{name} does not start ({said.code}); see the log")
            seen.update(new)

    def _drain(self) -> None:
        """First the front end, so that open requests still find everything they need."""
        mine = self.system.names()
        for kind in (FRONT, "virtual_link", "quantum_link", "key_store"):
            names = [name for name in mine if name.partition("/")[0] == kind]
            for answer in [self.ask(name, Drain(), _DRAIN_S) for name in names]:
                answer.result()

    def _insist(self, name: str, body: Message) -> None:
        answer = self.ask(name, body, _ASK_S).result()
        if isinstance(answer, Failed):
            raise Refused(answer.code, answer.why)

    # What happens meanwhile, on other threads

    def _receive(self, node: str, process: str, octets: bytes) -> None:
        self.system.receive(node, process, octets)

    def _deliver(self, envelope: Envelope) -> None:
        self.system.send(envelope)

    def _disk_full(self, full: bool) -> None:
        self._full = full
        self.log.log(_ERROR if full else _INFO, "disk_full" if full else "disk_free", alarm=full)

    def _news(self, name: str, up: bool) -> None:
        node, _, process = name.partition("/")
        if process or node == self.name:
            self.log.info("process_up" if up else "process_down", other=name)
            return
        self._up = self._up | {node} if up else self._up - {node}
        to = Address("peer_manager", self.name)
        body = peers.PeerUp(peer=node) if up else peers.PeerDown(peer=node)
        self.system.send(Envelope(Address("post", self.name), to, body))

    def _idled(self, node: str) -> None:
        """A connection that nobody used is closed: the peer is not down, nor known to be up."""
        self._up = self._up - {node}
        body = peers.PeerDown(peer=node, idle=True)
        to = Address("peer_manager", self.name)
        self.system.send(Envelope(Address("post", self.name), to, body))

    def _quarantine(self, name: str, why: str) -> None:
        peer = name.partition("/")[2]
        self._quarantined[peer] = why
        self.meter.set("protokms_quarantined", 1, peer=peer)
        self.log.error("peer_quarantined", peer=peer, actor=name, why=why, alarm=True)

    def _end(self, name: str, why: str) -> None:
        self._fatal(f"the supervisor has given up on {name}: {why}")
