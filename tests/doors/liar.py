"""A node that has a key of its own and says what it likes: frames, true ones and others."""

import dataclasses
import importlib
import pkgutil
import random
import threading
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

import actors.protocol
from actors.protocol import blocks
from protokms.node.meter import MemoryMeter
from tests.doors.town import FRIEND, HEARTBEAT_S, LIAR, VICTIM, Town
from tests.processes.real_lab import eventually
from transport import curve
from transport.codec import Malformed, decode
from transport.message import Message, doors
from transport.outbox import Peer
from transport.post import Post, PostOptions

for module in pkgutil.iter_modules(actors.protocol.__path__):
    importlib.import_module(f"actors.protocol.{module.name}")

HOME = f"key_store/{LIAR}@{VICTIM}"
NUMBERS = (0, 1, 2, 3, 31, 32, 4000, -1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))
TEXTS = ("", "sae-1", "sae-2", "sae-3", "kms-1", "kms-2", "confirmed", "local", "\u202e", "x" * 500)


class Liar:
    """Speaks as kms-3, heartbeats and all, and answers nothing but where it stands."""

    def __init__(self, town: Town) -> None:
        made = town.config_of(LIAR)
        self.town = town
        self.key = curve.load(made.transport.curve)
        self.start = 77
        self.head = blocks.Head(0, 0, 0, 0, 0)
        self.resumed = threading.Event()
        self.up: dict[str, bool] = {}
        self.victim = self._peer(VICTIM)
        self.post = Post(
            PostOptions(LIAR, "core", str(made.transport.bind), self.key, heartbeat_s=HEARTBEAT_S),
            receive=self._receive,
            news=self._news,
            meter=MemoryMeter(),
            fatal=self._fatal,
        )

    def __enter__(self) -> "Liar":
        self.post.set_peers([self.victim, self._peer(FRIEND)])
        self.post.start()
        eventually(lambda: self.up.get(VICTIM) and self.up.get(FRIEND), "it is heard")
        eventually(self.resumed.is_set, "its store is resumed")
        return self

    def __exit__(self, *_: object) -> None:
        self.post.stop()

    def say(self, octets: bytes, to: str = VICTIM) -> None:
        """Send a frame as it is."""
        eventually(lambda: self.post.post(to, octets), "there is room for a frame")

    def refused(self, node: str = VICTIM) -> float:
        """How many of its frames a node has refused."""
        return self.town.metric(node, "protokms_frames_refused_total", peer=LIAR)

    def heard(self, node: str = VICTIM) -> float:
        """How many of its frames a node has taken in."""
        return self.town.metric(node, "protokms_frames_received_total", peer=LIAR)

    def _peer(self, node: str) -> Peer:
        made = self.town.config_of(node).transport
        return Peer(node, "core", str(made.bind), curve.load(made.curve).public)

    def _news(self, name: str, up: bool) -> None:
        self.up[name] = up

    def _fatal(self, why: str) -> None:
        raise AssertionError(why)

    def _receive(self, node: str, process: str, octets: bytes) -> None:
        """Tell the key store of the victim where this end stands, so that it listens."""
        try:
            asked = decode(octets, node).body
        except Malformed:
            return
        if node == VICTIM and isinstance(asked, blocks.ResumeAsk):
            values = [self.start, asked.number, asked.random, asked.nonce, 5, 0]
            self.post.post(VICTIM, frame("blocks.resume/1", values))
            mine = [self.start, asked.number, asked.random, 4]
            self.post.post(VICTIM, frame("blocks.resume_ask/1", mine))
            self.head = blocks.Head(self.start, asked.start, asked.number, asked.random, 5)
        elif node == VICTIM and isinstance(asked, blocks.Resume):
            self.resumed.set()


def frame(
    word: str,
    values: Any,
    to: str = HOME,
    sender: Any = f"key_store/{VICTIM}",
    token: Any = 0,
    answer: Any = False,
    trace: Any = "",
) -> bytes:
    """Lay a frame out."""
    packed: bytes = msgpack.packb([sender, to, token, answer, trace, word, values])
    return packed


def home_of(word: str) -> str:
    """Which actor of the victim hears this word from the liar."""
    return f"peer_manager@{VICTIM}" if word.startswith("peers.") else HOME


def lie(liar: Liar, word: str, dice: random.Random) -> bytes:
    """Lay out a word that a peer may say, whose fields are right in type and nothing else."""
    return frame(word, plain(drawn(doors()[word], dice, liar.head)), home_of(word))


def drawn(hint: Any, dice: random.Random, head: blocks.Head) -> Any:
    """Draw a value of a type; the head of a word is the true one, mostly."""
    if hint is blocks.Head and dice.random() < 0.8:
        return dataclasses.replace(head, seq=dice.choice(NUMBERS[:7]))
    if hint is int:
        return dice.choice(NUMBERS)
    if hint is float:
        return dice.choice((0.0, -1.0, 60.0, 1e300, -1e300, 5e-324))
    if hint is bool:
        return dice.random() < 0.5
    if hint is str:
        return dice.choice(TEXTS)
    if hint is bytes:
        return dice.randbytes(dice.choice((0, 1, 12, 16, 32, 2000)))
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        return [drawn(kind, dice, head) for _ in range(dice.choice((0, 1, 2, 40)))]
    hints = get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint)]
    made = [drawn(hints[name], dice, head) for name in names]
    return made if issubclass(hint, Message) else tuple(made)


def plain(value: Any) -> Any:
    """Make lists of tuples and of parts, as they travel."""
    if isinstance(value, blocks.Head):
        return list(dataclasses.astuple(value))
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
