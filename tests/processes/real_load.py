"""SAEs that ask real nodes for keys without end, and write down all that happens."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from protokms.client import SaeClient, SaeError, SaeKey
from tests.processes.real_history import Op
from tests.processes.real_lab import RealLab, eventually

_AFTER_ERROR_S = 0.02
_BREATH_S = 0.002
_OCTETS = 128
_BACKLOG = 200
_EAGER, _LATE, _GREED = 0.7, 0.2, 0.2
PAIR = (("sae-1", "sae-2"), ("sae-2", "sae-1"))
Ids = tuple[str, ...]
Pairs = Sequence[tuple[str, str]]


class End:
    """One SAE's connection to its node, whose use is recorded."""

    def __init__(self, client: SaeClient, node: str, ops: list[Op]) -> None:
        self._client, self._node, self._ops = client, node, ops
        self._before = 0.0

    def enc(self, master: str, slave: str, number: int, size: int) -> Op:
        """Ask for keys to share with a slave."""
        return self._do(
            "enc", master, slave, (), lambda: self._client.enc_keys(slave, number, size)
        )

    def dec(self, master: str, slave: str, ids: Sequence[str]) -> Op:
        """Ask for the keys that a master got."""
        return self._do(
            "dec", master, slave, tuple(ids), lambda: self._client.dec_keys(master, list(ids))
        )

    def _do(
        self,
        what: str,
        master: str,
        slave: str,
        ids: tuple[str, ...],
        call: Callable[[], list[SaeKey]],
    ) -> Op:
        begun, status, why, retry_after, late = time.monotonic(), 200, "", "", False
        got: list[SaeKey] = []
        try:
            got = call()
        except SaeError as no:
            status, why, retry_after = no.status, str(no), no.retry_after
            late = isinstance(no.__cause__, TimeoutError)
        op = Op(
            what="enc" if what == "enc" else "dec",
            master=master,
            slave=slave,
            node=self._node,
            begun=begun,
            ended=time.monotonic(),
            before=self._before or begun,
            status=status,
            why=why,
            retry_after=retry_after,
            timed_out=late,
            ids=tuple(key.key_id for key in got) or ids,
            values=tuple(key.key.reveal() for key in got),
        )
        self._before = begun
        self._ops.append(op)
        return op


class Load:
    """Threads that get keys at one node and fetch them at another, until told to stop.

    `pairs` are masters and slaves, taken in turn by the threads; `breath_s` is how many seconds a
    thread waits between two requests for keys.
    """

    def __init__(
        self,
        bench: RealLab,
        threads: int,
        seed: int,
        mode: str = "confirmed",
        pairs: Pairs = PAIR,
        breath_s: float = _BREATH_S,
    ) -> None:
        self.ops: list[Op] = []
        self._bench, self._local = bench, mode == "local"
        self._pairs, self._breath_s = pairs, breath_s
        self._answered: Counter[tuple[str, str]] = Counter()
        self._over, self._lock = threading.Event(), threading.Lock()
        self._failed: list[BaseException] = []
        self._open: list[tuple[str, str, Ids]] = []
        self._threads = [
            threading.Thread(
                target=self._run, args=(*pairs[i % len(pairs)], random.Random(f"{seed}/{i}"))
            )
            for i in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every thread finish what it is at."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]

    def settle(self, again: int) -> None:
        """Fetch every key that nobody has fetched yet, and so many that were, once more."""
        with ExitStack() as stack:
            ends = self._ends(stack)
            for master, slave, ids in self._open:
                self._until_said(ends[slave], master, slave, ids)
            first = {op.ids: op for op in self.ops if op.what == "dec" and op.ok}
            names = [(op, name) for op in first.values() for name in op.ids]
            for op, name in names[-again:]:
                self._until_said(ends[op.slave], op.master, op.slave, (name,))

    def await_progress(self, more: int) -> None:
        """Wait until each pair has got so many more answers."""
        now = {pair: self._answered[pair] for pair in self._pairs}

        def done() -> bool:
            assert not self._failed, self._failed
            return all(self._answered[pair] >= count + more for pair, count in now.items())

        eventually(done, "the load makes progress")

    def _ends(self, stack: ExitStack) -> dict[str, End]:
        made = self._bench.made
        return {
            row.id: End(stack.enter_context(self._bench.client(row.id)), row.node, self.ops)
            for row in made.saes
        }

    def _until_said(self, end: End, master: str, slave: str, ids: tuple[str, ...]) -> None:
        eventually(lambda: end.dec(master, slave, ids).status in (200, 400), "an answer")

    def _run(self, master: str, slave: str, dice: random.Random) -> None:
        todo = _Todo(dice)
        try:
            with ExitStack() as stack:
                ends = self._ends(stack)
                while not self._over.wait(self._breath_s):
                    self._get(ends[master], master, slave, todo)
                    self._fetch(ends[slave], master, slave, todo)
        except BaseException as why:  # the test thread must hear of it
            self._failed.append(why)
        self._open += [(master, slave, ids) for ids in (*todo.again, *todo.fresh)]

    def _get(self, end: End, master: str, slave: str, todo: "_Todo") -> None:
        number = todo.dice.randint(1, 8)
        got = end.enc(master, slave, number, 8 * todo.dice.randint(8, _OCTETS))
        if not got.ok:
            self._over.wait(_AFTER_ERROR_S)
            return
        with self._lock:
            self._answered[master, slave] += 1
        cut = todo.dice.randint(1, number)
        todo.fresh += [ids for ids in (got.ids[:cut], got.ids[cut:]) if ids]

    def _fetch(self, end: End, master: str, slave: str, todo: "_Todo") -> None:
        while (ids := todo.draw()) and not self._over.is_set():
            told = end.dec(master, slave, ids)
            if told.status not in (200, 400):
                todo.again.append(ids)  # as a whole: of its keys all are delivered, or none
                self._over.wait(_AFTER_ERROR_S)
                return
            if told.status == 400 and self._local:
                self._open.append((master, slave, ids))  # its owner was away: once more at the end
            if told.ok and todo.dice.random() < _GREED:
                end.dec(master, slave, ids)
        todo.fresh += [ids] if ids else []


class _Todo:
    """Keys to be fetched: first what was asked for in vain, then the latest mostly."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.again: list[Ids] = []
        self.fresh: list[Ids] = []

    def draw(self) -> Ids:
        """Take out what is to be fetched next; some are left lying, up to a number."""
        if self.again:
            return self.again.pop(0)
        if not self.fresh or (len(self.fresh) < _BACKLOG and self.dice.random() > _EAGER):
            return ()
        late = self.dice.random() < _LATE
        return self.fresh.pop(self.dice.randrange(len(self.fresh)) if late else -1)
