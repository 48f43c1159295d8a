"""What a process says of itself when core asks."""

from collections.abc import Mapping, Sequence
from typing import cast

from actors.protocol.siblings import AskProcess, ProcessStatus
from protokms.node.desk import Desk
from protokms.node.meter import MemoryMeter
from protokms.node.reload import Reloading, ReloadProcess
from transport.envelope import Address, Envelope

OWN, CORE = Address("node/front", "a"), Address("edge/core", "a")


class FakeSystem:
    def names(self) -> Sequence[str]:
        return ["supervisor/front", "etsi014"]

    def waiting(self) -> int:
        return 7

    def crashes(self) -> Mapping[str, str]:
        return {"etsi014": "ValueError at api.py:1 f"}


class FakeReloading:
    def __init__(self) -> None:
        self.told: list[Envelope] = []

    def tell(self, envelope: Envelope) -> None:
        self.told.append(envelope)


def test_it_tells_how_it_is_and_hands_on_a_reload() -> None:
    sent: list[Envelope] = []
    meter, reloading = MemoryMeter(), FakeReloading()
    meter.add("protokms_actor_deaths", actor="etsi014")
    meter.add("protokms_actor_deaths", 2, actor="quantum_link/b")
    desk = Desk(OWN, "1.2", FakeSystem(), meter, cast(Reloading, reloading), sent.append)
    reload = Envelope(CORE, OWN, ReloadProcess(), 4)

    desk.tell(Envelope(CORE, OWN, AskProcess(), 3, trace="t"))
    desk.tell(reload)
    desk.tell(Envelope(Address("edge/core", "b"), OWN, AskProcess(), 5))

    (answer,) = sent
    assert (answer.sender, answer.to, answer.token, answer.answer) == (OWN, CORE, 3, True)
    assert isinstance(answer.body, ProcessStatus)
    assert (answer.body.process, answer.body.version) == ("front", "1.2")
    assert answer.body.actors == ("supervisor/front", "etsi014")
    assert (answer.body.deaths, answer.body.mailbox) == (3, 7)
    assert answer.body.last_error == "etsi014: ValueError at api.py:1 f"
    assert reloading.told == [reload]
