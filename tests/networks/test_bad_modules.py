"""A module of others that fails wherever it can, or gives nonsense: its link ends, nothing else."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from actors.modules.memory import Pipe
from actors.modules.module import Bits, Host, Module, Role
from actors.protocol import keys
from protokms.testing.kms import KmsNetwork
from transport.message import Secret

A, B, C = "kms-1", "kms-2", "kms-3"
LINK, STORE = f"quantum_link/{B}@{A}", f"key_store/{B}@{A}"
KEY = Secret(bytes(range(100)))


class Bad:
    """Fails with `why` in the method `where`, and else gives `bits` at each tick."""

    role: Role = "sender"
    tick_s = 0.1

    def __init__(self, where: str, why: BaseException, bits: Callable[[], Any]) -> None:
        self._where, self._why, self._bits = where, why, bits
        self._at("__init__")

    def _at(self, where: str) -> None:
        if where == self._where:
            raise self._why

    def start(self, host: Host) -> None:
        self._at("start")

    def open(self, epoch: bytes) -> None:
        self._at("open")

    def tick(self, octets: int) -> Iterable[Bits]:
        self._at("tick")
        yield self._bits()

    def release(self, bits: Bits) -> None:
        self._at("release")

    def take(self, datagrams: tuple[Secret, ...]) -> Iterable[Bits]:
        return ()

    def close(self) -> None:
        self._at("close")

    def stop(self) -> None:
        self._at("stop")


class Ends(Pipe):
    """A pipe whose sender is such a module."""

    make: Callable[[], Module]

    def sender(self) -> Module:  # type: ignore[override]
        return self.make()


def good() -> Bits:
    return Bits((7,), (KEY,))


def network(
    where: str = "", why: BaseException | None = None, bits: Callable[[], Any] = good
) -> KmsNetwork:
    """Three nodes: the link of the first two is bad, the other is not."""
    made: list[Pipe] = []

    def pipe(**options: Any) -> Pipe:
        made.append(Ends(**options) if not made else Pipe(**options))
        if len(made) == 1:
            made[0].make = lambda: Bad(where, why or KeyError(), bits)  # type: ignore[attr-defined]
        return made[-1]

    kms = KmsNetwork(f"{A}--{B} {B}--{C}", pipe=pipe, tolerant=True)
    kms.advance(8.0)
    return kms


def died(kms: KmsNetwork) -> set[str]:
    return {str(crash.address) for crash in kms.cluster.crashes}


def others_have_keys(kms: KmsNetwork) -> None:
    made = kms.enc("sae-2", "sae-3", wait=5.0)
    assert isinstance(made, keys.Keys)
    assert isinstance(kms.dec("sae-3", "sae-2", made.grant), keys.KeysWithIds)


@pytest.mark.parametrize("where", ["__init__", "start", "open", "tick", "release", "stop"])
def test_a_module_that_raises_costs_its_link_and_no_other(where: str) -> None:
    kms = network(where, ZeroDivisionError())

    assert died(kms) <= {LINK, f"peer/{B}@{A}"}
    assert (LINK in died(kms)) is (where != "stop")
    others_have_keys(kms)


def test_a_module_that_calls_exit_while_it_is_made_costs_its_link_and_no_other() -> None:
    kms = network("__init__", SystemExit(1))

    assert LINK in died(kms)
    others_have_keys(kms)


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        (Bits((), ()), "one Secret for each seq"),
        (Bits((7,), ()), "one Secret for each seq"),
        (Bits((7, 8), (KEY,)), "one Secret for each seq"),
        (Bits((7,), (b"octets",)), "one Secret for each seq"),  # type: ignore[arg-type]
        (Bits((7,), (Secret(b""),)), "1 to 64,000 octets"),
        (Bits((7,), (Secret(bytes(64_001)),)), "1 to 64,000 octets"),
        (Bits((-1,), (KEY,)), "from 0 to"),
        (Bits((1 << 63,), (KEY,)), "from 0 to"),
        (Bits((7.0,), (KEY,)), "from 0 to"),  # type: ignore[arg-type]
        (Bits((True,), (KEY,)), "from 0 to"),
        (Bits(("7",), (KEY,)), "from 0 to"),  # type: ignore[arg-type]
        (Bits((8, 7), (KEY, KEY)), "ascending"),
        (Bits((7, 7), (KEY, KEY)), "ascending"),
        (Bits((7, 9), (KEY, KEY)), "no gaps"),
        (Bits((7,), (KEY,), ("a", "b")), "one for each seq"),
        (Bits((7,), (KEY,), (7,)), "one for each seq"),  # type: ignore[arg-type]
        (Bits((7,), (KEY,), ("é",)), "printable ASCII"),
        (Bits((7,), (KEY,), ("x" * 65,)), "printable ASCII"),
    ],
)
def test_bits_that_make_no_sense_end_the_link_with_the_reason_and_do_not_reach_the_store(
    bits: Bits, reason: str
) -> None:
    kms = network(bits=lambda: bits)

    whys = [str(crash.why) for crash in kms.cluster.crashes if str(crash.address) == LINK]
    assert whys
    assert all(reason in why for why in whys)
    assert STORE not in died(kms)
    others_have_keys(kms)


def test_seqs_may_have_gaps_at_the_end_that_takes() -> None:
    assert Bits((7, 9), (KEY, KEY)).fault(gaps=True) == ""
    assert Bits((7, 8), (KEY, KEY), ("a", "b")).fault(gaps=False) == ""
