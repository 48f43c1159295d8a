"""A QKD module in one file: a device that leaves its blocks of key as files in a folder.

The two devices of a pair write the same blocks under the same numbers: a block is a file
`<number>.key` of 1 to 64,000 octets, written under another name first and then renamed. Numbers
only go up, also after a start of the devices. What is taken out of the folder is erased there.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from actors.modules.module import Bits, Host, Module, Role
from transport.message import Secret

BLOCK_MAX = 64_000
NUMBER_MAX = (1 << 62) - 1
GROUP = 16
"""Blocks that are taken at a time; more wait in the folder."""

NAME = re.compile(r"(0|[1-9][0-9]{0,18})\.key")
NUMBER_OCTETS = 8


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[link.options]`: the folder of the device, and how often to look there."""

    folder: Annotated[Path, Meta(description="write the path of the folder of the device")]
    poll_s: Annotated[float, Meta(ge=0.01, le=60, description="write 0.01 to 60 seconds")] = 0.2


def factory(role: Role, options: Options) -> Callable[[], Module]:
    """Return what makes the module, afresh for each life of its link.

    `ValueError` and `OSError` are for the operator: what is wrong with the folder.
    """
    if options.folder.stat().st_mode & 0o077:
        raise ValueError(f"{options.folder} can be opened by others: chmod 700 {options.folder}")
    folder = Folder(options.folder)  # one for all lives: a number is given once
    return lambda: FolderModule(role, folder, Watch(options.poll_s))


class Folder:
    """Takes blocks out of the folder, each once, the lowest number first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad = 0
        """Blocks without or with too many octets, or with a number that was passed already."""
        self._last = -1

    def take(self) -> list[bytes]:
        """Return some blocks, each behind its number, once they are erased for good."""
        found = [NAME.fullmatch(it) for it in os.listdir(self.path)]
        numbers = sorted(int(it[1]) for it in found if it)
        taken = [(number, self._read(number)) for number in numbers[:GROUP]]
        if taken:
            self._settle()
        return [
            number.to_bytes(NUMBER_OCTETS, "big") + octets for number, octets in taken if octets
        ]

    def _read(self, number: int) -> bytes:
        file = self.path / f"{number}.key"
        good = self._last < number <= NUMBER_MAX and 1 <= file.stat().st_size <= BLOCK_MAX
        octets = file.read_bytes() if good else b""
        file.unlink()
        if octets:
            self._last = number
        else:
            self.bad += 1
        return octets

    def _settle(self) -> None:
        """Have the disk forget: after a power cut no block may be there for a second time."""
        opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


class Watch:
    """A thread that looks into the folder again and again, until it is told to stop."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._over = every_s, threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, look: Callable[[], None], broken: Callable[[str], None]) -> None:
        """Call `look` every so often on a thread; `broken` if it fails."""
        self._thread = threading.Thread(target=self._run, args=(look, broken), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread:
            self._thread.join()

    def _run(self, look: Callable[[], None], broken: Callable[[str], None]) -> None:
        try:
            while not self._over.wait(self._every_s):
                look()
        except OSError as why:
            broken(f"the folder of the device: {why}")


class FolderModule:
    """A `Module`: one end. The device has numbered its blocks, so seqs are these numbers."""

    tick_s = None

    def __init__(self, role: Role, folder: Folder, watch: Watch) -> None:
        self.role, self._folder, self._watch = role, folder, watch
        self._open = self._full = False

    def start(self, host: Host) -> None:
        """Begin to look; nothing is taken before `open`."""
        self._host = host
        self._watch.start(self.look, host.broken)

    def look(self) -> None:
        """Take blocks and hand them over, unless some wait already; on the thread of the watch."""
        if not self._open or self._full:
            return
        blocks = self._folder.take()
        self._host.count("dropped", self._folder.bad, reason="malformed")
        self._folder.bad = 0
        if blocks:
            self._full = True
            self._host.arrived(blocks)

    def open(self, epoch: bytes) -> None:
        """Give from now on; seqs may go on in a new epoch, they never come twice."""
        self._open = True

    def tick(self, octets: int) -> Iterable[Bits]:
        """Give nothing: blocks come by `take`."""
        return ()

    def release(self, bits: Bits) -> None:
        """Do nothing: the other end has them from its own device."""

    def take(self, datagrams: tuple[Secret, ...]) -> Iterator[Bits]:
        """Pass blocks on, in runs of numbers without a gap; closed, they are lost at this end."""
        self._full = False
        run: list[tuple[int, Secret]] = []
        for block in datagrams if self._open else ():
            octets = block.reveal()
            seq = int.from_bytes(octets[:NUMBER_OCTETS], "big")
            if run and seq != run[-1][0] + 1:
                yield bits_of(run)
                run = []
            run.append((seq, Secret(octets[NUMBER_OCTETS:])))
        if run:
            yield bits_of(run)

    def close(self) -> None:
        """Give nothing until `open`; blocks stay in the folder."""
        self._open = False

    def stop(self) -> None:
        """End the watch."""
        self._open = False
        self._watch.stop()


def bits_of(run: list[tuple[int, Secret]]) -> Bits:
    """Make what the link passes on."""
    return Bits([seq for seq, _ in run], tuple(octets for _, octets in run))
