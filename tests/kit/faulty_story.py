"""Two nodes over a pair of devices that do all kinds of wrong, by seed; then all is well again."""

import random
from abc import abstractmethod
from typing import Any

from actors.protocol import keys
from protokms.testing.kms import KmsNetwork

A, B = "kms-1", "kms-2"
WINDOW = 8


class Story:
    """One seed; `twins` are both devices, as in tests/kit/twin_devices.py."""

    def __init__(self, seed: int, twins: Any, unit: int) -> None:
        """`unit`: octets of a key of the devices; a key of an SAE is never less than a part."""
        self.dice = random.Random(f"devices/{seed}")
        self.twins, self.unit = twins, unit
        self.twins.wrong = [self.wrong, self.wrong]
        self.kms = KmsNetwork(f"{A}--{B}", pipe=self.twins, seed=seed, shuffle=True)
        self.twins.join(self.kms.cluster.agenda)
        self.calm = False
        self.given: list[bytes] = []

    @abstractmethod
    def wrong(self, request: Any, answer: Any) -> Any:
        """Spoil some answers; what the device has given is gone there all the same."""

    def slow(self) -> bool:
        """Let an answer take its time; whether it is to be spoilt too."""
        self.twins.answer_s = self.dice.choice((0.001, 0.05, 0.05, 4.0)) if not self.calm else 0.01
        return not self.calm and self.dice.random() >= 0.7

    def step(self) -> None:
        """Let something happen."""
        cluster, dice = self.kms.cluster, self.dice
        cluster.advance(dice.choice((0.1, 0.5, 2.0, 6.0)))
        self.twins.repeats = dice.random() < 0.3
        fate = dice.random()
        if fate < 0.05:
            cluster.restart(dice.choice((A, B)))
        elif fate < 0.10:
            cluster.cut(A, B)
        elif fate < 0.25:
            cluster.mend(A, B)
        elif fate < 0.9:
            self.fetch()

    def fetch(self) -> bool:
        """Let one SAE get keys and the other fetch them; equal, or an error."""
        ends = ["sae-1", "sae-2"]
        self.dice.shuffle(ends)
        master, slave = ends
        made = self.kms.enc(master, slave, number=3, wait=10.0)
        if not isinstance(made, keys.Keys):
            return False
        self.given.append(made.octets.reveal())
        same = self.kms.dec(slave, master, made.grant, 0, 1, 2)
        if isinstance(same, keys.KeysWithIds):
            assert b"".join(it.reveal() for it in same.octets) == made.octets.reveal()
        return isinstance(same, keys.KeysWithIds)

    def same_stock(self) -> bool:
        """Look often, for ten seconds: one end knows of a batch a moment before the other."""
        for _ in range(1_000):
            here, there = (
                self.kms.cluster.count(it, "protokms_bits", kind="stored") for it in (A, B)
            )
            if here == there > 0:
                return True
            self.kms.advance(0.01)
        return False

    def nothing_is_used_twice(self) -> None:
        """No octets of a key are in another, nor in what is in store, nor there twice."""
        rows = self.kms.cluster.backup(A)
        assert isinstance(rows, dict)
        bits = [row.secret.reveal() for row in rows.values() if row.kind == "bits" and row.secret]
        units = [one[at : at + self.unit] for one in bits for at in range(0, len(one), self.unit)]
        left = [unit for unit in units if unit.count(0) < self.unit // 2]  # others are blanked
        assert len(set(left)) == len(left) > 0
        seen: dict[bytes, int] = {}
        for number, octets in enumerate(self.given):
            for at in range(0, len(octets), WINDOW):
                before = seen.setdefault(octets[at : at + WINDOW], number << 16 | at)
                assert before == number << 16 | at

    def run(self) -> None:
        """Let it happen, make all well, and look."""
        for _ in range(40):
            self.step()
        self.calm, self.twins.repeats = True, False
        self.kms.cluster.mend(A, B)
        self.kms.advance(120.0)

        assert self.fetch(), "all is well again"
        self.nothing_is_used_twice()
        assert self.same_stock(), "both ends hold the same between two batches"
