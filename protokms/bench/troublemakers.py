"""Who makes trouble for a node's front end for controllers, in a process of its own.

`python -m protokms.bench.troublemakers LAB SECONDS` prints how often each was served, and refused.
"""

import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from protokms.controller import diff, rows, run
from protokms.controller.desired import Application, Desired, Known
from protokms.controller.restconf import Agent, Identity, RestconfError
from protokms.lab import lab

RIVALS, SLOW, VANISHING, THIEVES = 4, 4, 4, 2
OPEN_S, WAIT_S = 0.2, 10.0
_STREAM = (
    b"GET /restconf/streams/NETCONF HTTP/1.1\r\nHost: kms\r\nAccept: text/event-stream\r\n\r\n"
)


@dataclass(slots=True)
class Trouble:
    """All that is made until a time; `done` counts it, a name for each kind."""

    folder: Path
    known: Known
    own: Identity
    until: float
    done: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """Count one."""
        with self._lock:
            self.done[what] += 1

    def compete(self, number: int) -> None:
        """Read, and write another application of the same SAEs, as all rivals do."""
        nodes, url = list(self.known.nodes), self.known.nodes[0].url
        priority = number
        with Agent("near", url, self.own.context()) as agent:
            while time.monotonic() < self.until:
                priority += RIVALS
                app = Application(
                    master=nodes[0].saes[0], slaves=[nodes[1].saes[0]], priority=priority
                )
                try:
                    told = agent.told()
                    ids = {node.name: told.id for node in nodes}
                    wanted = rows.rows_of(Desired(nodes=nodes, applications=[app]), ids)
                    here = rows.Wanted({nodes[0].name: wanted.rows[nodes[0].name]}, wanted.names)
                    for request in diff.requests(here, {nodes[0].name: told}):
                        agent.put(request)
                    self.count("writes")
                except RestconfError:
                    self.count("writes_refused")

    def read_slowly(self, _: int) -> None:
        """Open the stream of events, and read nothing of it."""
        with self._open():
            self.count("slow_readers")
            time.sleep(max(0.0, self.until - time.monotonic()))

    def vanish(self, _: int) -> None:
        """Open the stream, and be gone without a word, over and over."""
        while time.monotonic() < self.until:
            with self._open() as reader:
                time.sleep(OPEN_S)
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.count("vanished_readers")

    def steal(self, _: int) -> None:
        """Ask with the certificate of an SAE."""
        made = lab.read(self.folder)
        ca, sae = self.folder / made.ca, made.saes[0]
        stolen = Identity(ca, self.folder / sae.cert, self.folder / sae.key)
        while time.monotonic() < self.until:
            with Agent("near", self.known.nodes[0].url, stolen.context()) as agent:
                try:
                    agent.told()
                    self.count("stolen_served")
                except RestconfError:
                    self.count("stolen_refused")

    def _open(self) -> socket.socket:
        host, _, port = self.known.nodes[0].url.removeprefix("https://").rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=WAIT_S)
        made = self.own.context().wrap_socket(plain, server_hostname=host)
        made.sendall(_STREAM)
        return made


def main() -> None:
    """Make all of it for so long."""
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    known, own = run.of_lab(folder)
    made = Trouble(folder, known, own, time.monotonic() + seconds)
    kinds: tuple[tuple[Callable[[int], None], int], ...] = (
        (made.compete, RIVALS),
        (made.read_slowly, SLOW),
        (made.vanish, VANISHING),
        (made.steal, THIEVES),
    )
    threads = [threading.Thread(target=do, args=(n,)) for do, most in kinds for n in range(most)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(made.done) + "\n")


if __name__ == "__main__":
    main()
