"""What an application may have: at most so many bits, at least so many, and for how long."""

from typing import Any

import pytest

from actors.protocol import grants, intent, keys
from actors.protocol.common import Failed
from actors.protocol.intent import Application, Denied, Edit, Happened, Write, Written
from actors.runtime.bucket import DEPTH_S
from protokms.testing.kms import KmsNetwork
from transport.codec import decode
from transport.message import Message

SAES = {"ann": "a", "amy": "a", "bob": "b", "bert": "b", "cleo": "c"}
RATE = 40e3
BITS = 256
MAX = 1_024
BURST = MAX * DEPTH_S // BITS
"""Keys at once, as long as nothing was had before."""
APP = Application("ann", ("bob",), max_bandwidth=MAX)
APP_ID = intent.application_id("ann", ("bob",))


def network(
    link: float = RATE, seed: int = 0, *, shuffle: bool = False, **store: Any
) -> KmsNetwork:
    link_options = {"rate_bit_s": link}
    kms = KmsNetwork(
        "a--b b--c", saes=SAES, link=link_options, store=store, seed=seed, shuffle=shuffle
    )
    kms.advance(6.0)
    return kms


def write(kms: KmsNetwork, app: Application, verb: str = intent.PUT) -> Message:
    edit = Edit(verb, intent.APPLICATION, "", application=app)
    return kms.cluster.ask("intent@a", Write(owner="controller-1", edits=(edit,)))


def code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else ""


def served(kms: KmsNetwork, master: str, *slaves: str, most: int = 100, wait: float = 1.0) -> int:
    """Ask for one key after the other until one is refused, at one moment."""
    for n in range(most):
        if code(kms.enc(master, *slaves, wait=wait)):
            return n
    return most


def turn(kms: KmsNetwork, slave: str = "bob", octets: int = BITS // 8) -> float:
    ask = keys.AskTurn(master="ann", slaves=(slave,), octets=octets)
    told = kms.cluster.ask(kms.store_of("ann", slave), ask)
    assert isinstance(told, keys.Wait)
    return told.seconds


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_past_its_rate_an_application_is_refused_and_told_when_there_is_more(mode: str) -> None:
    kms = network(mode=mode)
    kms.advance(6.0)
    write(kms, APP)

    assert served(kms, "ann", "bob") in (BURST, BURST + 1)
    refused = kms.enc("ann", "bob", wait=0.0)
    assert isinstance(refused, Failed)
    assert (refused.code, refused.why.endswith("gives 1,024 bit/s")) == ("over_rate", True)
    assert served(kms, "ann", "bert", most=3) == 3
    wait = turn(kms)
    assert 0.0 < wait <= BITS / MAX
    kms.advance(wait)

    assert turn(kms) == 0.0
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)


def test_a_status_says_what_the_rate_leaves() -> None:
    kms = network()
    kms.advance(6.0)
    write(kms, APP)
    status = keys.GetStatus(master="ann", slave="bob", size=BITS // 8)

    before = kms.cluster.ask(kms.store_of("ann", "bob"), status)
    served(kms, "ann", "bob")
    after = kms.cluster.ask(kms.store_of("ann", "bob"), status)

    assert isinstance(before, keys.Stock)
    assert isinstance(after, keys.Stock)
    assert (before.stored, after.stored) == (BURST, 0)


def test_a_pair_of_one_node_has_a_rate_as_well() -> None:
    kms = network()
    write(kms, Application("ann", ("amy",), max_bandwidth=MAX))

    assert served(kms, "ann", "amy") in (BURST, BURST + 1)
    assert kms.enc("ann", "amy").__class__ is Failed
    kms.advance(1.0)
    assert isinstance(kms.enc("ann", "amy"), keys.Keys)


def test_several_slaves_of_an_application_share_its_rate() -> None:
    kms = network()
    kms.advance(6.0)
    write(kms, Application("ann", ("bob", "bert"), max_bandwidth=MAX))

    assert served(kms, "ann", "bob", "bert", most=BURST // 2) == BURST // 2
    assert served(kms, "ann", "bert") in (BURST // 2, BURST // 2 + 1)


def sealed_at(kms: KmsNetwork) -> list[str]:
    """Have a session with c, then watch at which nodes keys are brought that were drawn at a."""
    assert isinstance(kms.enc("ann", "cleo", wait=20.0), keys.Keys)
    kms.advance(6.0)
    write(kms, APP)
    sealed: list[str] = []

    def watch(what: str, sender: str, to: str, octets: bytes) -> None:
        if what == "posted" and isinstance(decode(octets, sender).body, grants.GrantSealed):
            sealed.append(to)

    kms.cluster.net.watchers.append(watch)
    return sealed


def test_a_rate_that_is_spent_burns_no_bits_at_the_stores_of_other_slaves() -> None:
    kms = network()
    sealed = sealed_at(kms)
    served(kms, "ann", "bob")

    answers = [kms.enc("ann", "bob", "cleo", "amy", wait=0.0) for _ in range(8)]

    assert {code(it) for it in answers} == {"over_rate"}
    assert {it.why for it in answers if isinstance(it, Failed)} == {
        f"application {APP_ID} gives 1,024 bit/s"
    }
    assert sealed == []
    kms.advance(1.0)
    assert isinstance(kms.enc("ann", "bob", "cleo", "amy"), keys.Keys)
    assert sorted(set(sealed)) == ["b", "c"]


@pytest.mark.parametrize("seed", range(3))
def test_of_many_requests_at_once_those_past_the_rate_burn_no_bits_either(seed: int) -> None:
    kms = network(seed=seed, shuffle=True)
    sealed = sealed_at(kms)
    asker = kms.cluster.probe("etsi014@a")
    ask = keys.GetMulticast(master="ann", slaves=("bob", "cleo"), number=1, size=BITS // 8)

    for _ in range(BURST + 12):
        asker.question("multicast@a", ask)
    kms.cluster.settle()
    kms.advance(0.2)

    answers = [code(it) for it in asker.received]
    assert sorted(answers) == [""] * BURST + ["over_rate"] * 12
    assert sorted(sealed) == ["b"] * BURST + ["c"] * BURST


def test_keys_that_were_not_made_count_towards_no_rate() -> None:
    kms = network()
    write(kms, APP)
    ask = keys.GetKey(master="ann", slaves=("bob",), number=1_000, size=BITS // 8)

    refused = {code(kms.cluster.ask(kms.store_of("ann", "bob"), ask)) for _ in range(9)}

    assert refused == {"no_keys"}
    assert turn(kms, octets=MAX * DEPTH_S // 8) == 0.0


@pytest.mark.parametrize("slaves", [("bob",), ("amy",), ("bob", "amy")], ids=["far", "own", "both"])
def test_new_keys_live_as_long_as_the_application_says(slaves: tuple[str, ...]) -> None:
    kms = network()
    old = kms.enc("ann", *slaves)
    write(kms, Application("ann", slaves, ttl_s=20))
    new = kms.enc("ann", *slaves)
    assert isinstance(old, keys.Keys)
    assert isinstance(new, keys.Keys)
    kms.advance(22.0)

    for slave in slaves:
        assert code(kms.dec(slave, "ann", new.grant)) == "no_such_key"
        assert isinstance(kms.dec(slave, "ann", old.grant), keys.KeysWithIds)


SLOW, SECONDS = 3_000.0, 40


def test_what_is_kept_for_an_application_is_there_beside_pairs_that_take_all() -> None:
    kms = network(link=SLOW)  # each end owns half of it
    kms.advance(20.0)
    made = write(kms, Application("ann", ("bob",), min_bandwidth=MAX))
    assert isinstance(made, Written)
    had = 0

    for step in range(4 * SECONDS):
        for master, slave in (("amy", "bert"), ("amy", "bob"), ("ann", "bert")):
            served(kms, master, slave, wait=0.0)
        if step % 4 == 0:
            had += sum(isinstance(kms.enc("ann", "bob", wait=0.0), keys.Keys) for _ in range(4))
        kms.advance(0.25)

    assert had * BITS >= 0.95 * MAX * SECONDS


def test_more_than_is_measured_is_refused_with_the_numbers_and_what_is_there_is_not() -> None:
    kms = network()
    kms.advance(30.0)
    half = Application("ann", ("bob",), min_bandwidth=int(RATE * 0.4))

    assert isinstance(write(kms, half), Written)
    denied = write(kms, Application("amy", ("bert",), min_bandwidth=int(RATE * 0.7)))
    assert isinstance(denied, Denied)
    assert denied.code == "resource_denied"
    assert denied.why.startswith(f"{int(RATE * 0.4) + int(RATE * 0.7):,} bit/s would be kept")
    assert isinstance(write(kms, Application("amy", ("bert",), min_bandwidth=100)), Written)


def test_what_nobody_has_measured_is_accepted_and_an_event_says_so() -> None:
    kms = network()
    kms.advance(30.0)
    probe = kms.cluster.probe("etsi015@a")
    probe.question("intent@a", intent.Subscribe())
    kms.cluster.settle()

    made = write(kms, Application("ann", ("cleo",), min_bandwidth=1 << 30))

    assert isinstance(made, Written)
    texts = [it.text for it in probe.of(Happened) if it.kind == intent.APPLICATION]
    assert texts == ["min_bandwidth is kept of what comes: no rate to c was measured"]
