"""What befalls real nodes in a soak, and what they hold of the machine meanwhile."""

import random
import signal
import socket
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from protokms.config.load import load
from protokms.lab.processes import Running
from tests.processes.real_history import Down
from tests.processes.real_lab import RealLab, eventually, exit_code

SAMPLE_S = 2.0
SLOW_S = 0.1
PAUSE_S = (0.2, 6.0)
"""Seconds that a node stands still: from less than a heartbeat to twice what makes it missed."""

NOISE = (
    b"",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /api/v1/keys/sae-1/status HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\x00" + bytes(31),
    bytes(range(256)) * 40,
)
_CONNECTIONS = 12


class Sample(NamedTuple):
    """What a process held at a time: threads, open files, octets resident."""

    at: float
    threads: int
    files: int
    rss: int


class Watch:
    """Looks at the processes of all nodes now and then, and keeps what it sees for each life."""

    def __init__(self, bench: RealLab) -> None:
        self.lives: dict[tuple[str, int], list[Sample]] = defaultdict(list)
        self._bench, self._over = bench, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def of(self, node: str) -> list[list[Sample]]:
        """Return the lives of a node."""
        return [rows for (name, _), rows in self.lives.items() if name == node]

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            for node in self._bench.nodes:
                with suppress(KeyError, OSError, ValueError):  # it is not there just now
                    process = self._bench.process(node)
                    self.lives[node, process.pid].append(look(process))


def look(process: Running) -> Sample:
    """Tell what a process holds."""
    home = Path(f"/proc/{process.pid}")
    fields = dict(line.split(":", 1) for line in (home / "status").read_text().splitlines())
    files = sum(1 for _ in (home / "fd").iterdir())
    rss = int(fields["VmRSS"].split()[0]) * 1024
    return Sample(time.monotonic(), int(fields["Threads"]), files, rss)


class Drift(NamedTuple):
    """A figure in the second and in the last quarter of a life (medians), and its maximum."""

    early: float
    late: float
    most: float

    @classmethod
    def of(cls, rows: Sequence[Sample], name: str) -> "Drift":
        """Compare the quarters of a life."""
        values = [float(getattr(row, name)) for row in rows]
        quarter = max(1, len(values) // 4)
        early, late = values[quarter : 2 * quarter] or values, values[-quarter:]
        return cls(statistics.median(early), statistics.median(late), max(values))


class Fate:
    """Draws what happens next; `spared` is never ended, only disturbed."""

    def __init__(self, bench: RealLab, seed: int, spared: str) -> None:
        self.downs: list[Down] = []
        self.done: Counter[str] = Counter()
        self._bench, self._dice = bench, random.Random(f"fate/{seed}")
        self._mortal = [node for node in bench.nodes if node != spared]
        self._acts = {
            self.kill: 6,
            self.terminate: 3,
            self.pause: 4,
            self.reload: 3,
            self.break_configuration: 1,
            self.make_noise: 5,
        }

    def strike(self) -> None:
        """Let one thing happen."""
        (act,) = self._dice.choices(list(self._acts), list(self._acts.values()))
        self.done[act.__name__] += 1
        act()

    def kill(self) -> None:
        """Kill one node, or all that may be killed, and start them."""
        nodes = [self._one()] if self._dice.random() < 0.8 else self._mortal
        downs = [Down(node, time.monotonic()) for node in nodes]
        for down in downs:
            self._bench.kill(down.node)
            down.gone = time.monotonic()
        self._again(downs)

    def terminate(self) -> None:
        """End a node in order, and start it."""
        down = Down(self._one(), time.monotonic())
        process = self._bench.process(down.node)
        assert process.signal(signal.SIGTERM)
        assert exit_code(process) == 0
        down.gone = time.monotonic()
        self._again([down])

    def pause(self) -> None:
        """Let a node stand still for a while."""
        with self._bench.frozen(self._dice.choice(self._bench.nodes)):
            threading.Event().wait(self._dice.uniform(*PAUSE_S))  # what is tested is the time

    def reload(self) -> None:
        """SIGHUP, with another deny list."""
        node = self._dice.choice(self._bench.nodes)
        self._bench.configure("etsi014", node, deny=[f"sae-{self._dice.randrange(100, 200)}"])
        self._hup(node, "reloaded")

    def break_configuration(self) -> None:
        """SIGHUP with a configuration that is none, which is refused, and put it right."""
        node = self._dice.choice(self._bench.nodes)
        file = self._bench.folder / node / "node.toml"
        whole = file.read_text()
        file.write_text(whole + "\n[nonsense]\n")
        self._hup(node, "reload_refused")
        file.write_text(whole)

    def make_noise(self) -> None:
        """Knock at every port of a node like one who has no right to, and stay for a while."""
        made = load(self._bench.folder / self._dice.choice(self._bench.nodes) / "node.toml")
        ends = [
            made.transport.bind,
            made.metrics.bind,
            *([made.etsi014.bind] if made.etsi014 else []),
        ]
        with ExitStack() as stack:
            for end in ends:
                for _ in range(_CONNECTIONS):
                    with suppress(OSError):
                        plain = socket.create_connection((end.host, end.port), 5.0)
                        stack.enter_context(plain)
                        plain.sendall(self._dice.choice(NOISE))
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for bind in [link.bind for link in made.links if link.bind]:
                for size in (0, 1, 100, 1_500, 9_000):
                    udp.sendto(self._dice.randbytes(size), (bind.host, bind.port))
            threading.Event().wait(self._dice.uniform(0.0, 1.0))

    def _one(self) -> str:
        return self._dice.choice(self._mortal)

    def _again(self, downs: list[Down]) -> None:
        self._bench.slow_s = self._dice.choice((0.0, SLOW_S))
        self.downs += downs
        self._bench.start(*(down.node for down in downs))
        for down in downs:
            down.until = time.monotonic()

    def _hup(self, node: str, event: str) -> None:
        before = self._bench.events(node).count(event)
        self._bench.process(node).signal(signal.SIGHUP)
        eventually(lambda: self._bench.events(node).count(event) > before, event)


def table(watch: Watch, node: str) -> Iterator[str]:
    """Say what the lives of a node held."""
    lives = [rows for rows in watch.of(node) if rows]
    longest = max(lives, key=len)
    yield f"{node}: {len(lives)} lives, the longest {longest[-1].at - longest[0].at:.0f} s"
    for name, unit in (("threads", 1), ("files", 1), ("rss", 1 << 20)):
        drift = Drift.of(longest, name)
        most = max(Drift.of(rows, name).most for rows in lives)
        early, late = drift.early / unit, drift.late / unit
        yield f"  {name}: {early:.0f}, later {late:.0f}; most in any life {most / unit:.0f}"
