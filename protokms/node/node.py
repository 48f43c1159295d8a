"""One node, or one process of it: what it is made of, how it starts, drains, reloads and stops."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from actors.protocol import alarms, peers
from actors.protocol.common import Drain, Failed, Ping, Refused
from actors.protocol.roles import CORES, GREETER, PAIRED, ROLES, SUPERVISOR
from actors.protocol.siblings import Lost, ProcessUp
from actors.protocol.trees import Child
from actors.runtime.system import ThreadSystem
from actors.storage.errors import StoreError
from protokms.config import addresses, directory
from protokms.config.keyfiles import BadFile
from protokms.config.load import node_key
from protokms.config.sections import (
    AGENT,
    CORE,
    FRONTS,
    DirectoryFiles,
    EdgeConfig,
    NodeConfig,
    PolicyRow,
    identity,
)
from protokms.config.tables import ConfigError
from protokms.manage.words import Reloaded
from protokms.node import service, wiring
from protokms.node.desk import Desk
from protokms.node.edge_placement import HTTP, EdgePlacement
from protokms.node.logs import Threshold
from protokms.node.meter import MemoryMeter
from protokms.node.reload import Reloading
from protokms.node.siblings import Own, Siblings
from protokms.release import VERSION
from transport.codec import Question, Sealer
from transport.curve import CurveError
from transport.envelope import Address, Envelope
from transport.explained import Explained
from transport.message import Message
from transport.outbox import destination
from transport.post import Post
from transport.roles import Roles
from transport.session import Doorman, Doors, Refusals
from transport.stage import Stage

if TYPE_CHECKING:
    from actors.runtime.own import OwnActor
    from actors.storage.writer import Writer
    from protokms.node.placement import Placement

_START_S = 10.0
_DRAIN_S = 10.0
_ASK_S = 5.0
_INFO, _ERROR = 20, 40
OWN = "own"
"""Before the name of an actor of another package."""

_CHECKED_S = 5e6
"""Octets of a store that a slow disk brings in a second: all of them are checked at a start."""

Fatal = Callable[[str], None]
Progress = Callable[[str, float], None]
"""Hears what a start is doing, and for how many seconds it may hear no more."""


def _to_nobody(_: str, __: float) -> None:
    pass


class NodeFailed(Explained):
    """The node cannot start now; the text says why, and what to do where that is known."""


class NodeEarly(NodeFailed):
    """An address is not there yet; nothing else is known to be wrong, and nothing was begun."""


class NodeUnfit(NodeFailed):
    """The node cannot start from these files, now or later: somebody has to change them."""


class Node:
    """One process of a node, from its configuration to its threads.

    Any number of nodes can run in one Python process. `fatal` is called, on any thread, when
    the process must not go on: the stage, the post, its ZAP gate or the writer is dead, or the
    root supervisor has given up. `unfit` is called instead if the store turns out to be damaged,
    which no fresh start puts right. `new`: the node has never run, and makes its store. `progress`
    hears of a start that takes long. A reload sets `threshold`, the level of the log, if it is
    given. With `through_codec` messages between its actors become octets and messages again, as if
    each lived in a process of its own.
    """

    def __init__(
        self,
        config: NodeConfig | EdgeConfig,
        fatal: Fatal,
        *,
        unfit: Fatal | None = None,
        new: bool = False,
        progress: Progress = _to_nobody,
        threshold: Threshold | None = None,
        through_codec: bool = False,
    ) -> None:
        self.config, self.core = config, config if isinstance(config, NodeConfig) else None
        self.process, self.name = identity(config)
        self._new, self._progress, self._threshold = new, progress, threshold
        self._through_codec = through_codec
        self.meter = MemoryMeter()
        self.log = structlog.get_logger().bind(node=self.name, process=self.process)
        self._fatal, self._unfit = fatal, unfit or fatal
        self._up: frozenset[str] = frozenset()
        self._quarantined: dict[str, str] = {}
        self._given_up: dict[str, str] = {}
        self._full = False
        self._own: Mapping[str, OwnActor] = {}
        self._cleanup = contextlib.ExitStack()
        self._placement = self._place()

    # Starting and stopping

    def start(self) -> None:
        """Start everything, bottom up; `NodeFailed` leaves nothing behind."""
        begun = time.monotonic()
        try:
            self._start()
        except (BadFile, ConfigError, CurveError) as why:
            self._cleanup.close()
            raise NodeUnfit(str(why)) from why
        except StoreError as why:
            self._cleanup.close()
            raise (NodeFailed if why.passes else NodeUnfit)(str(why)) from why
        except NodeFailed:
            self._cleanup.close()
            raise
        except (Explained, OSError, ValueError) as why:
            self._cleanup.close()
            raise NodeFailed(str(why)) from why
        except BaseException:
            self._cleanup.close()
            raise
        seconds, left = round(time.monotonic() - begun, 3), self.grants_to_load
        self.log.info("node_started", seconds=seconds, grants_to_load=left)

    def stop(self) -> None:
        """Take no more requests, finish the open ones, stop; what is owed to the disk is done."""
        self.log.info("node_stopping")
        self._drain()
        self._cleanup.close()
        self.log.info("node_stopped")

    def reload(self) -> Reloaded:
        """Read certificates, revocation lists, deny list, limits, log level and directory again.

        Each part stands alone: what is wrong is logged, and keeps its last value. All else in
        the configuration is for the next start; what of it has changed is told, too. Core has
        the other processes of the node do the same.
        """
        done = self._reloading.run()
        self.meter.add("protokms_reloads", result="done" if done.whole else "refused")
        return done

    def _reload_told(self, process: str, wrong: Sequence[str]) -> None:
        if wrong:
            self._alarm("reload_refused", process, "; ".join(wrong))
        else:
            self._alarm_over("reload_refused", process)

    def pulse(self, seconds: float, beat: Callable[[], None]) -> None:
        """Call this so often as a turn of the node: it stops when the node takes no more."""
        self._stage.every(seconds, beat)

    # What observers and tests ask

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.name

    def names(self) -> Sequence[str]:
        """Return the actors that should be alive, those in other processes of the node too."""
        return [*self.system.names(), *self._placement.outside()]

    def processes(self) -> Sequence[str]:
        """Return the processes of the node, core first."""
        return [self.process, *self._others]

    def ask(self, name: str, body: Message, timeout: float) -> "Future[Message]":
        """Ask an actor of this node."""
        return self.system.ask(Address(name, self.name), body, timeout)

    @property
    def grants_to_load(self) -> int:
        """How many undelivered grants are on the disk alone; the node serves meanwhile."""
        _, gauges = self.meter.samples()
        return int(sum(it.value for it in gauges if it.name == "protokms_grants_to_load"))

    def troubles(self) -> Sequence[str]:
        """Return why the node is not ready, beside what its actors say."""
        found = [f"peer/{peer}: quarantined: {why}" for peer, why in self._quarantined.items()]
        found += [f"{name}: given up: {why}" for name, why in self._given_up.items()]
        found += self._siblings.troubles()
        return [*found, "the disk is full"] if self._full else found

    def sample(self) -> None:
        """Set the gauges that are only worth setting when somebody looks."""
        self.meter.set("protokms_actors", len(self.system.names()))
        self.meter.set("protokms_threads", threading.active_count())
        self.meter.set("protokms_build_info", 1, version=VERSION)

    # How it is put together

    def _place(self) -> "Placement | EdgePlacement":
        if isinstance(self.config, EdgeConfig):
            return EdgePlacement(self.config, self._end)
        from protokms.node.placement import Placement  # noqa: PLC0415 -- not in an edge

        return Placement(self.config, VERSION, self._quarantine, self._end)

    @property
    def _others(self) -> list[str]:
        """The processes that a reload of this one reloads, too."""
        return [one.name for one in self.core.processes] if self.core else []

    def use_directory(self, files: DirectoryFiles) -> int:
        """Take the directory in these files, if it is good; return its serial."""
        known = directory.read(files.file, files.ca)
        self._insist("peer_manager", known)
        self._post.set_peers(wiring.others(self.config, known))
        return known.serial

    def use_policies(self, rules: Sequence[PolicyRow]) -> Future[Message]:
        """Have the policies of the configuration, also when `intent` starts anew."""
        assert not isinstance(self._placement, EdgePlacement), "it has no policies"
        to, body = self._placement.reread(rules)
        return self.ask(to, body, _ASK_S)

    def runs(self, name: str) -> bool:
        """Tell whether an actor is in this process."""
        return name in self.system.names()

    def send(self, envelope: Envelope) -> None:
        """Deliver."""
        self.system.send(envelope)

    def _make_reloading(self, serial: int) -> Reloading:
        made = Reloading(
            self.config,
            self,
            serial=serial,
            others=self._others,
            threshold=self._threshold,
            told=self._reload_told,
        )
        own, send = Address(made.name, self.name), self.system.send
        desk = Desk(own, VERSION, self.system, self.meter, made, send)
        self.system.register(made.name, desk)
        return made

    def _start(self) -> None:
        core, clean = self.core, self._cleanup
        known = directory.read(core.directory.file, core.directory.ca) if core else None
        if not isinstance(self._placement, EdgePlacement):
            self._own = self._placement.own_actors()
        self._check_addresses()
        self._stage = Stage(f"{self.name}/{self.process}", self._fatal, self._new_loop)
        clean.callback(self._stage.stop)
        durable = self._open_store(core) if core else None
        sealers = wiring.sealers(self.config)
        self._post = self._make_post()
        clean.callback(self._post.stop)  # should it never start
        self._siblings = self._make_siblings(sealers)
        self.system = ThreadSystem(
            self.name,
            self.meter,
            process=self.process,
            placement=self._placement.placed,
            post=self._send,
            admit=self._make_doorman(sealers).admit,
            sealers=sealers,
            durable=durable,
            through_codec=self._through_codec,
            stage=self._stage,
        )
        clean.callback(self.system.shutdown)
        self._reloading = self._make_reloading(known.serial if known else 0)
        self.system.register(f"{GREETER}/{self.process}", self._siblings)
        root = self._root(known)
        self.system.spawn(root.name, root.kind, *root.args)
        self._settle(durable)
        self._post.set_peers(wiring.others(self.config, known))
        self._post.start()  # now that there is somebody to hear what peers say
        clean.callback(self._post.stop)
        if metrics := self.config.metrics:
            from protokms.node import metric_births  # noqa: PLC0415
            from protokms.node.observe import Observer  # noqa: PLC0415 -- it brings much along

            if core:
                metric_births.begin(self.meter, core.neighbours, core.store.mode)
            self.observer = Observer((metrics.bind.host, metrics.bind.port), self.meter, self)
            self.observer.start()
            clean.callback(self.observer.stop)
        if core and core.manage:
            from protokms.manage.callers import callers  # noqa: PLC0415 -- not in an edge
            from protokms.manage.server import Manager  # noqa: PLC0415 -- the same

            try:
                roles = callers(core.manage.read, core.manage.operate, core.manage.security)
            except ValueError as why:
                raise Explained(f"manage: {why}; make it, or take it out") from why
            manager = Manager(core.manage.socket, self, roles)
            manager.start()
            clean.callback(manager.stop)

    def _make_doorman(self, sealers: Mapping[str, Sealer]) -> Doorman:
        return Doorman(
            self.name,
            self._doors(),
            sealers,
            self._refusals(),
            Roles(ROLES, PAIRED, self._placement.placed, CORES),
            greeted=self._siblings.admits,
            refused=self._siblings.refused,
            declined=self._decline,
        )

    def _doors(self) -> Doors:
        if self.core is None:
            return Doors({}, ())  # no peer knocks at an edge
        from actors.runtime.own import doors_with  # noqa: PLC0415 -- every word of a peer

        return doors_with(self._own)

    def _decline(self, question: Question, reason: str) -> None:
        from actors.runtime.own import refusal  # noqa: PLC0415 -- no peer asks an edge

        self.system.send(refusal(question, reason))

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        """Make a loop: a fast one where requests or peers are served."""
        if not (self.core or self.config.etsi014 or self.config.etsi015):
            return asyncio.new_event_loop()
        import uvloop  # noqa: PLC0415 -- it brings TLS along

        return uvloop.new_event_loop()

    def _make_siblings(self, sealers: Mapping[str, Sealer]) -> Siblings:
        return Siblings(
            Own(self.name, self.process, VERSION, tuple(self._placement.own())),
            sealers,
            post=self._post.post,
            after=lambda s, envelope: self.system.after(s, envelope),  # noqa: PLW0108 -- made later
            changed=self._sibling_changed,
            unfit=lambda process, why: self._alarm("process_unfit", process, why),
        )

    def _root(self, known: peers.Directory | None) -> Child:
        if isinstance(self._placement, EdgePlacement):
            return self._placement.root()
        assert known, "core has read it"
        return self._placement.root(known, lambda: self._up, self._own)

    def _check_addresses(self) -> None:
        """Find those that cannot be had while there is nobody but the operator to be told."""
        wanted = addresses.places(structs.asdict(self.config))
        found = addresses.troubles(wanted)
        told = [f"{place.key}: {why}" for place, why in found]
        early = all(why.passes for _, why in found)
        if self.core and self.core.manage:
            from protokms.manage.server import find_trouble  # noqa: PLC0415 -- not in an edge

            if trouble := find_trouble(self.core.manage.socket):
                early = False
                told.append(f"manage.socket: {'; '.join(trouble)}")
        if told:
            raise (NodeEarly if early else NodeFailed)("\n".join(told))

    def _open_store(self, core: NodeConfig) -> "Writer":
        from actors.storage.file import StoreFile  # noqa: PLC0415 -- these are not for an edge
        from actors.storage.writer import Writer  # noqa: PLC0415
        from protokms.node.placement import Placement  # noqa: PLC0415

        path, key = core.node.data, node_key(core)
        if self._new:
            store = StoreFile.create(path, self.name, key)
            self.log.info("store_created", path=str(path))
        else:  # one that is missing is lost, not new: peers would destroy what they share with us
            octets = path.stat().st_size if path.exists() else 0
            self._tell(f"checking {octets:,} octets", service.PATIENCE_S + octets / _CHECKED_S)
            upgrade = Placement.upgraded
            store = StoreFile.open(
                path, self.name, key, prove=False, upgrade=upgrade, progress=self._tell
            )
        writer = Writer(
            store,
            self.meter,
            deliver=self._deliver,
            fatal=self._fatal,
            unfit=self._unfit,
            on_full=self._disk_full,
            on_late=self._erasure_late,
            erase_s=core.store.erase_s,
        )
        writer.start()
        self._cleanup.callback(self._close, writer)
        return writer

    def _close(self, writer: "Writer") -> None:
        if not writer.stop():
            self.log.error("store_not_closed", why="the disk is full, or slow", alarm=True)

    def _make_post(self) -> Post:
        return Post(
            wiring.inbox(self.config),
            receive=self._receive,
            news=self._news,
            meter=self.meter,
            fatal=self._fatal,
            stage=self._stage,
            idled=self._idled,
            key_refused=self._key_refused,
            refusals=self._refusals(),
        )

    def _refusals(self) -> Refusals:
        def told(peer: str, text: str) -> None:
            sibling = peer.startswith(f"{self.name}/")
            self._alarm("process_refused" if sibling else "frames_refused", peer, text)

        return Refusals(self.meter, told=told)

    def _tell(self, text: str, seconds: float = service.PATIENCE_S) -> None:
        self.log.info("node_starting", doing=text)
        self._progress(text, seconds)

    def _settle(self, writer: "Writer | None") -> None:
        """Wait until every actor is past its `started()`, for as long as rows come in."""
        seen: set[str] = set()
        while new := [name for name in self.system.names() if name not in seen]:
            asked = [(name, self.ask(name, Ping(), _START_S)) for name in new]
            for name, answer in asked:
                said, read = answer.result(), -1
                while _is_late(said) and writer and (writer.reading or writer.reads > read):
                    read = writer.reads
                    self._tell(f"{name} reads its rows, {read} times so far")
                    said = self.ask(name, Ping(), _START_S).result()
                if isinstance(said, Failed):
                    why = self.system.crashes().get(name, said.code)
                    raise NodeFailed(f"{name} does not start: {why}")
            seen.update(new)
        if crashed := self.system.crashes():
            raise NodeFailed(
                "\n".join(f"{name} does not start: {why}" for name, why in crashed.items())
            )

    def _drain(self) -> None:
        """First the front end, so that open requests still find everything they need."""
        mine = self.system.names()
        for kind in (*FRONTS, "virtual_link", "quantum_link", "key_store"):
            names = [name for name in mine if name.partition("/")[0] == kind]
            for answer in [self.ask(name, Drain(), _DRAIN_S) for name in names]:
                answer.result()

    def _insist(self, name: str, body: Message) -> Message:
        answer = self.ask(name, body, _ASK_S).result()
        if isinstance(answer, Failed):
            raise Refused(answer.code, answer.why)
        return answer

    # What happens meanwhile, on other threads

    def _send(self, name: str, octets: bytes) -> bool:
        node, _, process = name.partition("/")
        if node == self.name:
            return self._siblings.send(process or CORE, octets)
        return self._post.post(name, octets)

    def _sibling_changed(self, process: str, up: bool) -> None:
        self.log.info("process_up" if up else "process_down", other=destination(self.name, process))
        if up:
            for id_ in ("process_down", "process_refuses_key", "process_unfit"):
                self._alarm_over(id_, process)
            if self.core:
                self._greeter_says("peer_manager", ProcessUp(process=process))
        else:
            self._alarm("process_down", process)
            self._tell_lost(process)

    def _tell_lost(self, lost: str) -> None:
        """Let a front end answer at once whoever waits for core; stop links that core wanted."""
        if lost != CORE:
            return
        self._greeter_says(f"{SUPERVISOR}/{self.process}", Lost())
        agent = AGENT if self.config.etsi015 else ""
        for front in filter(None, (self.config.front, agent)):
            self._greeter_says(f"{front}{HTTP}", Lost())

    def _greeter_says(self, name: str, news: Message) -> None:
        own = Address(f"{GREETER}/{self.process}", self.name)
        self.system.send(Envelope(own, Address(name, self.name), news))

    def _receive(self, node: str, process: str, octets: bytes) -> None:
        self.system.receive(node, process, octets)

    def _deliver(self, envelope: Envelope) -> None:
        self.system.send(envelope)

    def _disk_full(self, full: bool) -> None:
        self._full = full
        self.log.log(_ERROR if full else _INFO, "disk_full" if full else "disk_free", alarm=full)
        if full:
            self._alarm("disk_full")
        else:
            self._alarm_over("disk_full")

    def _erasure_late(self, late: bool) -> None:
        if late:
            self.log.error("erasure_late", alarm=True)
            self._alarm("erasure_late")
        else:
            self._alarm_over("erasure_late")

    def _news(self, name: str, up: bool) -> None:
        node, _, process = name.partition("/")
        if process or node == self.name:
            self._siblings.news(process or CORE, up)
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

    def _key_refused(self, name: str) -> None:
        node, _, process = name.partition("/")
        if process or node == self.name:
            self.log.error("process_refuses_our_key", other=name)
            self._alarm("process_refuses_key", process)
            return
        to = Address("peer_manager", self.name)
        self.system.send(Envelope(Address("post", self.name), to, peers.KeyRefused(peer=node)))

    def _quarantine(self, name: str, why: str) -> None:
        kind, _, peer = name.partition("/")
        if kind == OWN:
            self._given_up[name] = why
            self.log.error("own_actor_given_up", actor=name, why=why, alarm=True)
            self._alarm("actor_given_up", peer, why)
            return
        self._quarantined[peer] = why
        self.meter.set("protokms_quarantined", 1, peer=peer)
        self.log.error("peer_quarantined", peer=peer, actor=name, why=why, alarm=True)
        self._alarm("peer_given_up", peer, f"{name}: {why}")

    def _alarm(self, id_: str, subject: str = "", text: str = "") -> None:
        self._to_alarms(alarms.Raised(id=id_, subject=subject, text=text))

    def _alarm_over(self, id_: str, subject: str = "") -> None:
        self._to_alarms(alarms.Ended(id=id_, subject=subject))

    def _to_alarms(self, news: alarms.Raised | alarms.Ended) -> None:
        if self.process != CORE and news.id not in alarms.APART["node"]:
            return  # core sees this by itself, and believes nobody else (R19); the log has it here
        own = "node" if self.process == CORE else f"node/{self.process}"
        self.system.send(Envelope(Address(own, self.name), alarms.told(self.name), news))

    def _end(self, name: str, why: str) -> None:
        self._fatal(f"the supervisor has given up on {name}: {why}")


def _is_late(said: Message) -> bool:
    return isinstance(said, Failed) and said.code == "timeout"
