"""CURVE keys on disk, and the ZAP gate: which public key may connect at all.

The gate is the first of two looks. libzmq asks it once a connection, so the post looks up the
key again for every frame: a key that is taken out of the table is refused from then on.
"""

import json
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import zmq
from zmq.utils import z85

from transport.binding import cannot_bind
from transport.explained import Explained
from transport.message import Secret

DOMAIN = b"protokms"
"""The ZAP domain of every inbox. Without one libzmq admits everybody, asking nobody."""

_ZAP = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
# libzmq tells the client of a 400, so that it can say why; of a 300 ("try again") nothing at all.
# After a 400 libzmq does not connect again by itself: the outbox does.
_NO = b"400"
_KEY_TOLD, _ADDRESS_TOLD = 8, 64
_FILE_LIMIT = 4096
_MAKE = (
    'python -c "from pathlib import Path; from transport import curve; '
    'print(curve.create(Path({!r})).public)"'
)
_OCTETS = 32
_PROBE_MS = 2000


class CurveError(Explained, ValueError):
    """A key or a key file is unusable; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class CurveKey:
    """The key pair of one process: both Z85, 40 characters."""

    public: str
    secret: Secret

    @classmethod
    def draw(cls) -> Self:
        """Make a new pair."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), Secret(secret))


def check_public(text: str) -> str:
    """Return a public key, or raise `CurveError` if it is not one in Z85."""
    try:
        octets = z85.decode(text.encode("ascii"))
    except (KeyError, ValueError, struct.error):
        octets = b""
    if len(octets) != _OCTETS or z85.encode(octets) != text.encode():
        raise CurveError("a CURVE public key is 40 characters of Z85")
    return text


def create(path: Path) -> CurveKey:
    """Draw a pair and write it to a new file, mode 0600; `CurveError` if there is one."""
    key = CurveKey.draw()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CurveError(f"{path}: exists; move it away first, a key is not overwritten") from None
    with os.fdopen(handle, "wb") as file:
        row = {"public": key.public, "secret": key.secret.reveal().decode()}
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def load(path: Path) -> CurveKey:
    """Read a pair; `CurveError` if others may read the file, or if it holds none."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            octets = file.read(_FILE_LIMIT)
    except FileNotFoundError as why:
        remedy = f"make one, whose public half this prints: `{_MAKE.format(str(path))}`"
        raise CurveError(f"{path}: {why.strerror}; {remedy}") from None
    except OSError as why:
        raise CurveError(f"{path}: {why.strerror}; make it a readable file") from None
    if stat.S_IMODE(mode) & 0o077:
        raise CurveError(f"{path}: others than its owner may use it; chmod 600 {path}")
    try:
        row = json.loads(octets)
        public, secret = check_public(row["public"]), row["secret"].encode()
        fits = zmq.curve_public(secret) == public.encode()
    except (AttributeError, KeyError, TypeError, ValueError, zmq.ZMQError):
        raise CurveError(f"{path}: holds no CURVE key pair") from None
    if not fits:
        raise CurveError(f"{path}: public and secret key do not belong together")
    return CurveKey(public, Secret(secret))


class TurnedAway(NamedTuple):
    """Who was not let in: the address it came from, and the first characters of its key."""

    address: str
    key: str


class Gate:
    """The ZAP handler of one Context: answers for CURVE keys that `knows` says yes to.

    It owns a socket and no thread: whoever owns it polls `socket` and calls `answer`.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], knows: Callable[[str], bool]
    ) -> None:
        self._context, self._knows = context, knows
        self.refused = 0
        self._away: list[TurnedAway] = []
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        try:
            self.socket.bind(_ZAP)
        except zmq.ZMQError:
            self.socket.close()
            raise

    def answer(self) -> list[TurnedAway]:
        """Answer every question that waits; return whom the answer was no."""
        while True:
            try:
                asker, _, version, number, *rest = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                away, self._away = self._away, []
                return away
            except ValueError:
                continue
            code, text, user = self._judge(version, rest)
            reply = [asker, b"", _VERSION, number, code, text, user, b""]
            self.socket.send_multipart(reply, zmq.NOBLOCK)

    def probe(self) -> None:
        """Ask once as libzmq asks, with a key nobody has; `CurveError` if the gate is not shut."""
        with self._context.socket(zmq.DEALER) as asker:
            asker.linger = 0
            asker.connect(_ZAP)
            nobody = bytes(_OCTETS)
            asker.send_multipart(
                [b"", _VERSION, b"probe", DOMAIN, b"127.0.0.1", b"", b"CURVE", nobody]
            )
            if self.socket.poll(_PROBE_MS):
                self.answer()
            said = asker.recv_multipart() if asker.poll(_PROBE_MS) else []
        self.refused = 0
        if said[2:4] != [b"probe", _NO]:
            raise CurveError("the ZAP gate does not answer as it should")

    def close(self) -> None:
        """Let go of the socket; from then on nobody is admitted."""
        self.socket.close()

    def _judge(self, version: bytes, rest: list[bytes]) -> tuple[bytes, bytes, bytes]:
        if version == _VERSION and rest[:1] == [DOMAIN] and rest[3:4] == [b"CURVE"]:
            keys = rest[4:]
            if len(keys) == 1 and len(keys[0]) == _OCTETS:
                user = z85.encode(keys[0])
                if self._knows(user.decode()):
                    return b"200", b"OK", user
        self.refused += 1
        key = rest[4] if rest[3:4] == [b"CURVE"] and len(rest[4:]) == 1 else b""
        told = z85.encode(key)[:_KEY_TOLD].decode() if len(key) == _OCTETS else ""
        address = rest[1][:_ADDRESS_TOLD].decode("ascii", "replace") if rest[1:] else ""
        self._away.append(TurnedAway(address, told))
        return _NO, b"no access", b""


def explain(why: zmq.ZMQError | CurveError, address: str) -> str:
    """Say for people why an address cannot be bound."""
    if isinstance(why, CurveError):
        return str(why)
    return str(cannot_bind(address, OSError(why.errno, why.strerror)))
