"""Somebody who stole the keys of a front end: core runs alone, and hears what he lays out."""

import dataclasses
import importlib
import itertools
import pkgutil
import queue
import random
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import actors.protocol
from actors.protocol import keys, siblings
from actors.protocol.common import Health, Healthy, Ping, Pong
from protokms.config.load import load, load_process
from protokms.lab import lab, topology
from protokms.lab.topology import LinkPlan, NodePlan, Topology
from protokms.node import wiring
from protokms.node.node import Node
from protokms.release import VERSION
from transport import message
from transport.codec import Sealer, decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

ME, PEER = "kms-1", "kms-2"
MASTER, SLAVE = "sae-1", "sae-1b"
FRONT, LINKS = "front", "links"
CALLER = "etsi014/http"
WAIT_S = 20.0
NUMBERS = (0, 1, 2, -1, 31, 1024, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))
REALS = (0.0, -1.0, 0.5, 60.0, 1e300, -1e300, 5e-324)
TEXTS = ("", MASTER, SLAVE, "sae-2", ME, PEER, "kms-9", "\u202e", "x" * 500)

for _module in pkgutil.iter_modules(actors.protocol.__path__):
    importlib.import_module(f"actors.protocol.{_module.name}")


def local_words() -> dict[str, type[Message]]:
    """Every word that stays on its node."""
    rooms = ("actors.", "etsi.", "protokms.", "transport.")
    return {it: kind for it, kind in message._inner.items() if kind.__module__.startswith(rooms)}


class Thief:
    """Has all that the process `front` of the node has, and core in front of it."""

    def __init__(self, folder: Path) -> None:
        nodes = [NodePlan(name=ME, saes=[MASTER, SLAVE]), NodePlan(name=PEER, saes=["sae-2"])]
        shape = Topology(nodes=nodes, links=[LinkPlan(a=ME, b=PEER)])
        lab.init(folder, topology.spread(shape))
        made = load(folder / ME / "node.toml")
        self.died: list[str] = []
        edges = {name: load_process(folder / ME / "node.toml", name) for name in (FRONT, LINKS)}
        self.sealers = {name: wiring.sealers(edge)["core"] for name, edge in edges.items()}
        self.node = Node(made, self.died.append, new=True)
        self._said: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self._tokens = itertools.count(1 << 50)

    def __enter__(self) -> "Thief":
        self.node.start()
        self.node.system._post = self._post
        for process in (FRONT, LINKS):
            self.node._news(f"{ME}/{process}", up=True)
            self.greet(process)
        return self

    def __exit__(self, *_: object) -> None:
        self.node.stop()

    def say(self, octets: bytes, process: str = FRONT) -> None:
        """Let core hear a frame of that process."""
        self.node.system.receive(ME, process, octets)

    def tell(self, sender: str, to: str, body: Message, token: int = 0) -> None:
        """Let core hear a word of an actor that the thief makes up, or is."""
        envelope = Envelope(Address(sender, ME), Address(to, ME), body, token)
        self.say(encode(envelope, self.sealers[FRONT]))

    def greet(self, process: str, release: str = "", sealer: Sealer | None = None) -> None:
        """Say the first word of a process."""
        seal = Secret(bytes(16))
        release = release or VERSION
        hello = siblings.Hello(process=process, version=release, actors=(), seal=seal)
        sender, to = Address(f"greeter/{process}", ME), Address("greeter/core", ME)
        self.say(encode(Envelope(sender, to, hello, 1), sealer or self.sealers[process]), process)

    def ask(self, to: str, body: Message, sender: str = CALLER) -> Message:
        """Ask, and wait for the answer."""
        token = next(self._tokens)
        self.tell(sender, to, body, token)
        while True:
            said = self._said.get(timeout=WAIT_S)
            if said.answer and said.token == token:
                return said.body

    def refused(self, process: str = FRONT) -> float:
        """How many frames of a process were none of its business."""
        name = "protokms_frames_refused"
        return self.node.meter.value(name, peer=f"{ME}/{process}", reason="role")

    def unharmed(self) -> None:
        """Prove that core has read all there was, serves, and that no actor of it has died."""
        for name in self.node.system.names():
            assert self.node.ask(name, Ping(), WAIT_S).result() == Pong(), name
        for name in (f"key_store/{ME}", "peer_manager", "sessions"):
            well = self.node.ask(name, Health(), WAIT_S).result()
            assert isinstance(well, Healthy)
            assert well.ready, (name, well.reasons)
        assert not self.died
        names = [sample.name for sample in self.node.meter.samples()[0]]
        assert "protokms_actor_deaths" not in names

    def fetches(self) -> None:
        """Prove that keys are handed out to whoever speaks for the SAEs of the node."""
        store = f"key_store/{ME}"
        made = self.ask(store, keys.GetKey(master=MASTER, slaves=(SLAVE,), number=1, size=32))
        assert isinstance(made, keys.Keys), made
        names = (keys.KeyName(made.grant, 0),)
        got = self.ask(store, keys.GetKeyWithIds(master=MASTER, slave=SLAVE, names=names))
        assert isinstance(got, keys.KeysWithIds), got
        assert got.octets == (made.octets,)
        self.tell(CALLER, store, keys.Written(receipt=got.receipt))

    def _post(self, to: str, octets: bytes) -> bool:
        if to == f"{ME}/{FRONT}":
            self._said.put(decode(octets, ME, self.sealers[FRONT]))
        return True


def drawn(hint: Any, dice: random.Random) -> Any:
    """Draw a value of a type that a message may hold."""
    if hint is int:
        return dice.choice(NUMBERS)
    if hint is float:
        return dice.choice(REALS)
    if hint is bool:
        return dice.random() < 0.5
    if hint is str:
        return dice.choice(TEXTS)
    if hint is bytes:
        return dice.randbytes(dice.choice((0, 1, 12, 16, 32, 2000)))
    if hint is Secret:
        return Secret(dice.randbytes(dice.choice((0, 1, 32, 2000))))
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and inner[-1] is ...:
        return tuple(drawn(inner[0], dice) for _ in range(dice.choice((0, 1, 2, 40))))
    if origin is tuple:
        return tuple(drawn(each, dice) for each in inner)
    if NoneType in inner:
        return None if dice.random() < 0.5 else drawn(inner[0], dice)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        fields = {field.name: field for field in dataclasses.fields(hint)}
        values = {name: drawn(hints[name], dice) for name in fields}
        return hint(**values)
    return {} if origin is not None and issubclass(origin, Mapping) else ()
