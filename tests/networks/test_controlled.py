"""A controlled node serves pairs of SAEs that have an application, and nobody else, ever."""

from dataclasses import replace
from typing import Any

import pytest

from actors.protocol import intent, keys, peers, sessions
from actors.protocol.common import Failed
from actors.protocol.intent import Application, Edit, Write, Written
from actors.protocol.rights import FRESH_S, OPEN, AskRights
from protokms.testing.kms import TODAY, KmsNetwork
from protokms.testing.probe import Probe
from transport.envelope import Envelope
from transport.message import Message

SAES = {"ann": "a", "amy": "a", "bob": "b", "bert": "b", "cleo": "c"}
PAIRS = {"neighbours": "bob", "distant": "cleo", "local": "amy"}
RATE = 40e3
"""bit/s of each quantum link: few, so that a test is quick."""
APP = Application("ann", ("bob",))


def network(**more: Any) -> KmsNetwork:
    kms = KmsNetwork("a--b b--c", saes=SAES, controlled="a", link={"rate_bit_s": RATE}, **more)
    kms.advance(6.0)
    return kms


def write(kms: KmsNetwork, app: Application, verb: str = intent.PUT) -> None:
    edit = Edit(verb, intent.APPLICATION, "", application=app)
    made = kms.cluster.ask("intent@a", Write(owner="controller-1", edits=(edit,)))
    assert isinstance(made, Written)


def code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else ""


@pytest.mark.parametrize("slave", PAIRS.values(), ids=PAIRS)
def test_a_pair_without_a_row_is_refused_and_one_with_a_row_is_served(slave: str) -> None:
    kms = network()
    if slave == "cleo":
        kms.cluster.ask("sessions@a", sessions.EnsureSession(peer="c", sae="ann"), 5.0)
        kms.advance(5.0)

    refused = kms.enc("ann", slave)
    assert isinstance(refused, Failed)
    assert refused.code == "not_permitted"
    assert refused.why == f"no application lets this SAE have keys with SAE {slave}"
    status = keys.GetStatus(master="ann", slave=slave, size=32)
    assert code(kms.cluster.ask(kms.store_of("ann", slave), status)) == "not_permitted"
    write(kms, Application("ann", (slave,)))
    made = kms.enc("ann", slave)
    assert isinstance(made, keys.Keys)
    write(kms, Application("ann", (slave,)), intent.REMOVE)

    assert code(kms.enc("ann", slave)) == "not_permitted"
    assert isinstance(kms.dec(slave, "ann", made.grant), keys.KeysWithIds)  # P3


def test_several_slaves_need_a_row_each_and_nothing_is_spent_before() -> None:
    kms = network()
    kms.cluster.ask("sessions@a", sessions.EnsureSession(peer="c", sae="ann"), 5.0)
    kms.advance(5.0)
    write(kms, APP)
    held = kms.cluster.count("b", "protokms_grants_held", peer="a")

    assert code(kms.enc("ann", "bob", "bert")) == "not_permitted"
    assert code(kms.enc("ann", "bob", "cleo")) == "not_permitted"
    assert kms.cluster.count("b", "protokms_grants_held", peer="a") == held == 0
    write(kms, Application("ann", ("bob", "bert", "cleo", "amy")))

    assert isinstance(kms.enc("ann", "bob", "cleo", "amy"), keys.Keys)
    assert isinstance(kms.enc("ann", "bob", "bert"), keys.Keys)


def test_others_go_on_serving_everybody() -> None:
    kms = network()

    assert isinstance(kms.enc("bob", "ann"), keys.Keys)


def test_nobody_is_served_before_the_rows_are_known() -> None:
    kms = network(tolerant=True)
    write(kms, APP)
    kms.cluster.nodes["a"].stop("intent")  # a store that starts finds nobody who could tell it
    kms.cluster.crash_actor("key_store/b@a")
    kms.cluster.crash_actor("key_store/a@a")
    kms.advance(8.0)

    for slave in ("bob", "bert", "amy"):
        ask = keys.GetKey(master="ann", slaves=(slave,), number=1, size=32)
        assert code(kms.cluster.ask(kms.store_of("ann", slave), ask, 5.0)) == "not_ready"


@pytest.mark.parametrize("slave", ["bob", "amy"])
def test_a_start_has_no_moment_in_which_everybody_is_served(slave: str) -> None:
    kms = network(tolerant=True)
    kms.cluster.crash("a")
    kms.cluster.start("a")
    seen = set()

    for _ in range(60):
        seen.add(code(kms.enc("ann", slave, wait=0.0)))
        kms.advance(0.1)

    assert "" not in seen
    assert "not_permitted" in seen


def test_rows_outlive_the_store_and_the_one_that_keeps_them() -> None:
    kms = network(tolerant=True)
    write(kms, APP)
    kms.cluster.crash_actor("key_store/b@a")
    kms.advance(5.0)
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)
    kms.cluster.crash_actor("intent@a")
    kms.advance(2 * FRESH_S)
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)
    kms.cluster.crash_actor("intent@a")
    kms.advance(FRESH_S)

    write(kms, APP, intent.REMOVE)  # of which a fresh `intent` does not know whom to tell

    assert code(kms.enc("ann", "bob")) == "not_permitted"


def test_no_new_keys_from_the_time_on_when_an_application_ends() -> None:
    kms = network(tolerant=True)
    ends = kms.cluster.now + 30.25
    write(kms, replace(APP, expires=TODAY + ends))
    kms.advance(30.0)
    made = kms.enc("ann", "bob")
    assert isinstance(made, keys.Keys)
    kms.advance(ends - kms.cluster.now)

    refused = kms.enc("ann", "bob", wait=0.0)

    assert isinstance(refused, Failed)
    assert (refused.code, "is over" in refused.why) == ("not_permitted", True)
    rows = kms.cluster.ask("intent@a", intent.Read(kinds=(intent.APPLICATION,)))
    assert isinstance(rows, intent.Rows)
    assert [it.facts.status for it in rows.entries] == [intent.OUT_OF_TIME]
    assert isinstance(kms.dec("bob", "ann", made.grant), keys.KeysWithIds)
    write(kms, replace(APP, expires=TODAY + ends + 60.0))
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)


def test_an_application_that_ends_ends_on_a_node_that_is_open_too() -> None:
    kms = KmsNetwork("a--b", saes={"ann": "a", "bob": "b"}, link={"rate_bit_s": RATE})
    kms.advance(6.0)
    write(kms, replace(APP, expires=TODAY + kms.cluster.now + 1.0))
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)

    kms.advance(1.0)

    assert code(kms.enc("ann", "bob")) == "not_permitted"


def stale(kms: KmsNetwork) -> Probe:
    """Have `intent` of a answer nobody, until nothing that it has said holds."""
    kms.cluster.nodes["a"].stop("intent")
    silent = kms.cluster.probe("intent@a")
    kms.advance(FRESH_S + 1.0)
    silent.clear()
    return silent


def open_to_all(kms: KmsNetwork, silent: Probe) -> None:
    """Answer at last what was asked."""
    for asked in silent.envelopes:
        if asked.token and isinstance(asked.body, AskRights):
            answer = Envelope(silent.address, asked.sender, OPEN, asked.token, True)
            kms.cluster.nodes["a"].send(answer)


def test_an_sae_that_moves_while_its_rights_are_asked_for_gets_no_keys() -> None:
    kms = network()
    silent, asker = stale(kms), kms.cluster.probe("etsi014@a")
    asker.question("key_store/b@a", keys.GetKey(master="ann", slaves=("bob",), number=1, size=32))
    kms.cluster.settle()
    assert not asker.received

    homes = {**SAES, "bob": "c"}
    moved = peers.Located(serial=9, here="a", homes=homes)
    kms.cluster.tell("key_store/b@a", moved)
    open_to_all(kms, silent)
    kms.advance(1.0)

    assert asker.received == [Failed(code="not_allowed", why="not every SAE is at b")]


def test_a_row_counts_at_once_at_stores_that_were_asked_nothing_for_long() -> None:
    kms = network()
    kms.cluster.ask("sessions@a", sessions.EnsureSession(peer="c", sae="ann"), 5.0)
    kms.advance(3 * FRESH_S)  # nobody tells them any more
    write(kms, Application("ann", ("bob", "amy", "cleo")))

    assert not code(kms.enc("ann", "bob", "amy", "cleo"))


@pytest.mark.parametrize("slave", ["bob", "amy"])
def test_the_status_of_a_store_that_was_asked_nothing_for_long_is_right(slave: str) -> None:
    kms = network()
    kms.advance(3 * FRESH_S)
    write(kms, Application("ann", (slave,)))
    status = keys.GetStatus(master="ann", slave=slave, size=32)

    told = kms.cluster.ask(kms.store_of("ann", slave), status)

    assert isinstance(told, keys.Stock)
    assert told.stored
