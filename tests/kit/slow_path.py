"""A path of slow links with SAEs at its ends: what of its bits arrives as keys."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.modules.memory import Pipe
from actors.protocol import keys, sessions
from actors.protocol.common import Failed
from protokms.testing.kms import KmsNetwork

KEY = 32
TAG_KEY = 32
DEAD = ("no_pad", "too_late", "unanswered", "busy", "refused", "lost")
"""How a chunk dies at a hop that has not enough bits for it."""


@dataclass(slots=True)
class Pair:
    """Two SAEs, and how many keys the one has had for the other, each fetched and compared."""

    master: str
    slave: str
    keys: int = 0
    first: float | None = None
    """Seconds until the first, looked for every second."""


class SlowPath:
    """A chain of `hops` links `n0 n1 ...`, all with SAEs `s0 s1 ...`; nothing in store.

    `rtt_s` is the round trip from end to end.
    """

    def __init__(
        self,
        hops: int,
        *,
        seed: int = 1,
        rtt_s: float = 0.0,
        pipe: Callable[..., Pipe] = Pipe,
        **link: Any,
    ) -> None:
        self.nodes = [f"n{number}" for number in range(hops + 1)]
        self.hops = list(itertools.pairwise(self.nodes))
        self.kms = KmsNetwork(
            " ".join(f"{one}-{other}" for one, other in self.hops),
            saes={f"s{number}": node for number, node in enumerate(self.nodes)},
            link=link,
            seed=seed,
            pipe=pipe,
        )
        self.cluster = self.kms.cluster
        self.end = f"s{hops}"
        for one, other in itertools.combinations(range(hops + 1), 2):
            delay = rtt_s / 2 * (other - one) / hops
            self.cluster.net.change(f"n{one}", f"n{other}", delay=delay)

    def ensure(self, master: str, slave: str) -> None:
        """Have a session, as whoever asks for a key has."""
        ensure = sessions.EnsureSession(peer=self.kms.saes[slave], sae=master)
        self.cluster.ask(f"sessions@{self.kms.saes[master]}", ensure, 5.0)

    def greedy(
        self, seconds: float, *names: tuple[str, str], number: int = 1, every_s: float = 1.0
    ) -> list[Pair]:
        """Ask for key after key, for so long; without keys, every second again."""
        began, pairs = self.cluster.now, [Pair(*name) for name in names]
        for pair in pairs:
            self.ensure(pair.master, pair.slave)
        while self.cluster.now < began + seconds:
            had = [self._keys(pair, began, number) for pair in pairs]
            if not any(had):
                self.kms.advance(every_s)
        return pairs

    def _keys(self, pair: Pair, began: float, number: int) -> bool:
        ask = keys.GetKey(master=pair.master, slaves=(pair.slave,), number=number, size=KEY)
        made = self.cluster.ask(self.kms.store_of(pair.master, pair.slave), ask, 5.0)
        if isinstance(made, Failed):
            return False
        assert isinstance(made, keys.Keys)
        fetched = self.kms.dec(pair.slave, pair.master, made.grant, *range(number))
        assert isinstance(fetched, keys.KeysWithIds)
        assert b"".join(it.reveal() for it in fetched.octets) == made.octets.reveal()
        pair.keys += number
        if pair.first is None:
            pair.first = self.cluster.now - began
        return True

    # What became of the bits

    def emitted(self, hop: int) -> int:
        """Octets that a link has emitted."""
        return self._both(hop, "protokms_link_octets", way="sent")

    def pads(self, hop: int) -> int:
        """Octets that a link has spent on relay."""
        return self._both(hop, "protokms_pad_octets", way="taken")

    def share(self, pairs: list[Pair], hop: int | None = None) -> float:
        """Keys handed out by octets of the slowest link, or of this one."""
        hops = range(len(self.hops)) if hop is None else [hop]
        return KEY * sum(pair.keys for pair in pairs) / min(self.emitted(hop) for hop in hops)

    def share_less_tags(self, pairs: list[Pair]) -> float:
        """The same without the one-time keys of the tags of batches and chunks (R3, R4)."""
        hop = min(range(len(self.hops)), key=self.emitted)
        batches = self._both(hop, "protokms_batches_decided", decision="confirmed")
        chunks = self._both(hop, "protokms_relay_carried")
        tags = TAG_KEY * (batches + 2 * chunks)  # that of the chunk, and of the batch it makes
        return KEY * sum(pair.keys for pair in pairs) / (self.emitted(hop) - tags)

    def figures(self, pairs: list[Pair], hop: int | None = None) -> str:
        """Both shares, and what each pair had, for people."""
        share, less = self.share(pairs, hop), self.share_less_tags(pairs)
        each = ", ".join(f"{pair.keys} keys, first after {pair.first} s" for pair in pairs)
        return f"{share:.3f} of the bits, {less:.3f} less tags; {each}"

    def dead(self) -> float:
        """Chunks that were given up on their way."""
        return sum(
            self.cluster.count(node, "protokms_relay_dropped", reason=reason)
            for node in self.nodes
            for reason in DEAD
        )

    def _both(self, hop: int, name: str, **labels: str) -> int:
        one, other = self.hops[hop]
        there = self.cluster.count(other, name, peer=one, **labels)
        return int(self.cluster.count(one, name, peer=other, **labels) + there)
