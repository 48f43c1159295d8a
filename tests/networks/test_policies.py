"""Policies of the file and of the command line: who has keys with whom, and how many."""

from collections import UserDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from actors.protocol import intent, keys
from actors.protocol.common import Failed
from actors.protocol.intent import Application, Denied, Edit, Policy, Seeded, Write, Written
from actors.rights.fair_queue import FairQueue
from actors.runtime.bucket import DEPTH_S
from protokms.testing.kms import KmsNetwork
from transport.message import Message

SAES = {"ann": "a", "amy": "a", "bob": "b", "bert": "b", "cleo": "c"}
RATE = 40e3
LAST = (1 << 32) - 1
DENY_ALL = Policy(LAST, ("*",), ("*",), allow=False)
TO_B = Policy(10, ("ann",), ("node:b",))


def network(
    policies: Mapping[str, Policy],
    controlled: str = "",
    store: dict[str, Any] | None = None,
    tolerant: bool = False,
) -> KmsNetwork:
    kms = KmsNetwork(
        "a--b b--c",
        saes=SAES,
        link={"rate_bit_s": RATE},
        policies={"a": policies},
        controlled=controlled,
        store=store,
        tolerant=tolerant,
    )
    kms.advance(12.0)
    return kms


def write(kms: KmsNetwork, name: str, policy: Policy | None, owner: str = intent.CLI) -> Message:
    verb = intent.PUT if policy else intent.REMOVE
    edit = Edit(verb, intent.POLICY, name, policy=policy)
    return kms.cluster.ask("intent@a", Write(owner=owner, edits=(edit,)))


def refused(answer: Message) -> str:
    return answer.why if isinstance(answer, Failed) else ""


def test_a_last_rule_that_denies_all_leaves_what_those_before_it_allow() -> None:
    kms = network({"to-b": TO_B, "others": DENY_ALL})

    assert isinstance(kms.enc("ann", "bob"), keys.Keys)
    assert isinstance(kms.enc("ann", "bob", "bert"), keys.Keys)
    assert refused(kms.enc("ann", "amy")) == "policy others denies keys with SAE amy"
    assert refused(kms.enc("amy", "bob")) == "policy others denies keys with SAE bob"
    assert refused(kms.enc("ann", "bob", "cleo")) == "policy others denies keys with SAE cleo"
    assert isinstance(kms.enc("bob", "ann"), keys.Keys)  # that is for the other node to say


def test_a_rule_of_the_command_line_counts_at_once_and_after_a_restart() -> None:
    kms = network({})
    made = kms.enc("ann", "bob")
    assert isinstance(made, keys.Keys)
    assert isinstance(write(kms, "guests", Policy(5, ("ann",), ("bob",), allow=False)), Written)

    assert refused(kms.enc("ann", "bob")) == "policy guests denies keys with SAE bob"
    assert isinstance(kms.enc("ann", "bert"), keys.Keys)
    assert isinstance(kms.dec("bob", "ann", made.grant), keys.KeysWithIds)
    kms.cluster.restart("a")
    kms.advance(10.0)
    assert refused(kms.enc("ann", "bob")) == "policy guests denies keys with SAE bob"
    write(kms, "guests", None)

    assert isinstance(kms.enc("ann", "bob"), keys.Keys)


def test_a_rule_of_the_file_is_its_own_and_one_before_it_decides() -> None:
    kms = network({"others": DENY_ALL})

    denied = write(kms, "others", replace(DENY_ALL, allow=True))
    assert isinstance(denied, Denied)
    assert (denied.code, denied.owner) == ("access_denied", intent.FILE)
    assert isinstance(write(kms, "to-b", TO_B), Written)

    assert isinstance(kms.enc("ann", "bob"), keys.Keys)


@pytest.mark.parametrize("slave", ["bob", "amy"], ids=["far", "own"])
def test_the_rate_of_a_rule_is_that_of_each_pair(slave: str) -> None:
    kms = network({"slow": Policy(1, ("*",), ("*",), max_bandwidth=512)})
    most = 512 * DEPTH_S // 256

    for master in ("ann", "amy") if slave == "bob" else ("ann",):
        answers = [kms.enc(master, slave, wait=0.5) for _ in range(most + 1)]
        assert all(isinstance(it, keys.Keys) for it in answers[:most])
        assert refused(answers[most]) == "policy slow gives 512 bit/s"
    kms.advance(0.5)

    assert isinstance(kms.enc("ann", slave), keys.Keys)


@pytest.mark.parametrize("slaves", [("bob", "bert"), ("amy", "amy")], ids=["far", "own"])
def test_the_rate_of_an_sae_is_one_for_all_its_pairs_at_a_kms(slaves: tuple[str, str]) -> None:
    kms = network({"slow": Policy(1, ("*", intent.PER_SAE), ("*",), max_bandwidth=512)})
    most = 512 * DEPTH_S // 256

    answers = [kms.enc("ann", slaves[at % 2], wait=0.5) for at in range(most + 1)]

    assert all(isinstance(it, keys.Keys) for it in answers[:most])
    assert refused(answers[most]) == "policy slow for SAE ann gives 512 bit/s"
    other = "bob" if slaves[0] == "bob" else "ann"
    assert isinstance(kms.enc("amy", other), keys.Keys), "another SAE has its own"


def code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else ""


STOCK = Policy(1, ("ann",), ("*",), stock_bits=2 * 256)
LIES = "policy few lets 512 bits of these SAEs lie unfetched"


@pytest.mark.parametrize("mode", ["confirmed", "local"])
@pytest.mark.parametrize("slave", ["bob", "amy", "cleo"], ids=["near", "own", "distant"])
def test_so_much_of_a_pair_lies_unfetched_and_no_more(slave: str, mode: str) -> None:
    kms = network({"few": STOCK}, store={"mode": mode})
    made = [kms.enc("ann", slave, wait=20.0) for _ in range(2)]

    third = kms.enc("ann", slave)
    assert (code(third), refused(third)) == ("over_stock", LIES)
    ask = keys.GetStatus(master="ann", slave=slave, size=32)
    stock = kms.cluster.ask(kms.store_of("ann", slave), ask)
    assert isinstance(stock, keys.Stock)
    assert stock.stored == 0
    if slave == "bob":
        assert isinstance(kms.enc("amy", slave), keys.Keys), "the rule names another"

    assert isinstance(made[0], keys.Keys)
    assert isinstance(kms.dec(slave, "ann", made[0].grant), keys.KeysWithIds)
    kms.advance(1.0)
    assert isinstance(kms.enc("ann", slave), keys.Keys)
    assert code(kms.enc("ann", slave)) == "over_stock"


def test_requests_that_come_together_leave_no_more_unfetched_than_one_after_the_other() -> None:
    kms = network({"few": STOCK})
    desk = kms.cluster.probe("etsi014@a")
    for _ in range(8):
        desk.question(
            "key_store/b@a", keys.GetKey(master="ann", slaves=("bob",), number=1, size=32)
        )
    kms.advance(2.0)

    assert len(desk.of(keys.Keys)) == 2
    assert [it.code for it in desk.of(Failed)] == ["over_stock"] * 6


def test_what_lies_unfetched_counts_for_keys_at_several_kmss_as_well() -> None:
    kms = network({"few": STOCK})
    assert isinstance(kms.enc("ann", "cleo", wait=20.0), keys.Keys)
    assert isinstance(kms.enc("ann", "bob"), keys.Keys)
    assert isinstance(kms.enc("ann", "bob", "cleo"), keys.Keys)

    several = kms.enc("ann", "bob", "cleo")

    assert (code(several), refused(several)) == ("over_stock", LIES)
    assert code(kms.enc("ann", "bob")) == "over_stock"


def test_new_keys_live_no_longer_than_a_rule_says() -> None:
    kms = network({"short": Policy(1, ("*",), ("*",), ttl_s=20)})
    made = kms.enc("ann", "bob")
    assert isinstance(made, keys.Keys)

    kms.advance(22.0)

    assert isinstance(kms.dec("bob", "ann", made.grant), Failed)


def test_a_rule_that_allows_is_no_application_and_an_application_no_rule_that_allows() -> None:
    kms = network({"to-b": TO_B, "others": DENY_ALL}, controlled="a")
    app = Edit(intent.PUT, intent.APPLICATION, "", application=Application("ann", ("cleo",)))
    kms.cluster.ask("intent@a", Write(owner="controller-1", edits=(app,)))

    assert refused(kms.enc("ann", "bob")).startswith("no application")
    assert refused(kms.enc("ann", "cleo")) == "policy others denies keys with SAE cleo"


def told(kms: KmsNetwork, node: str = "a") -> dict[tuple[str, ...], intent.Facts]:
    rows = kms.cluster.ask(f"intent@{node}", intent.Read(kinds=(intent.APPLICATION,)))
    assert isinstance(rows, intent.Rows)
    apps = [(it.application, it.facts) for it in rows.entries if it.application]
    return {(app.master, *app.slaves): facts for app, facts in apps}


def test_saes_that_are_denied_are_told_as_disconnected_and_as_on_once_they_are_not() -> None:
    kms = network({"to-b": TO_B})
    probe = kms.cluster.probe("etsi015@a")
    probe.question("intent@a", intent.Subscribe())
    assert isinstance(kms.enc("amy", "bob"), keys.Keys)
    kms.advance(8.0)
    assert told(kms)["amy", "bob"].status == intent.ON
    assert isinstance(write(kms, "others", DENY_ALL), Written)
    assert refused(kms.enc("amy", "bert"))
    kms.advance(8.0)

    off = told(kms)
    assert off["amy", "bert"].status == off["amy", "bob"].status == intent.DISCONNECTED
    assert off["amy", "bert"].why == "policy others denies keys with SAE bert"
    gone = [it for it in probe.of(intent.Happened) if it.event == "application_disconnected"]
    assert [it.text for it in gone] == ["policy others denies keys with SAE bob"]
    assert told(kms, "b")["amy", "bob"].status == intent.ON, "there they are not the ones to ask"

    assert isinstance(write(kms, "others", None), Written)
    assert {it.status for it in told(kms).values()} == {intent.ON}


def test_an_application_that_a_policy_denies_is_disconnected_whoever_has_registered_it() -> None:
    kms = network({"others": DENY_ALL})
    edit = Edit(intent.PUT, intent.APPLICATION, "", application=Application("ann", ("bob",)))

    assert isinstance(kms.cluster.ask("intent@a", Write(owner="x", edits=(edit,))), Written)

    facts = told(kms)["ann", "bob"]
    assert (facts.status, facts.why) == (
        intent.DISCONNECTED,
        "policy others denies keys with SAE bob",
    )


def seed(kms: KmsNetwork, policies: Mapping[str, Policy]) -> Message:
    return kms.cluster.ask("intent@a", intent.Seed(policies=policies))


def test_other_rules_of_the_file_count_at_once_and_those_of_others_stay() -> None:
    kms = network({"others": DENY_ALL, "to-b": TO_B})
    assert isinstance(write(kms, "guests", Policy(5, ("*",), ("cleo",))), Written)
    links = [it for it in rows_of(kms, intent.LINK) if it.owner == intent.FILE]

    assert seed(kms, {"bert": Policy(1, ("*",), ("bert",), allow=False)}) == Seeded(changed=True)

    assert isinstance(kms.enc("amy", "bob"), keys.Keys)
    assert refused(kms.enc("ann", "bert")) == "policy bert denies keys with SAE bert"
    assert [(it.id, it.owner) for it in rows_of(kms, intent.POLICY)] == [
        ("bert", intent.FILE),
        ("guests", intent.CLI),
    ]
    after = [it for it in rows_of(kms, intent.LINK) if it.owner == intent.FILE]
    assert [it.revision for it in after] == [it.revision for it in links], "they are as before"


def test_the_same_rules_again_are_no_news() -> None:
    kms = network({"to-b": TO_B})
    before = read(kms).revision

    assert seed(kms, {"to-b": TO_B}) == Seeded(changed=False)
    assert read(kms).revision == before
    assert seed(kms, {}) == Seeded(changed=True)
    assert seed(kms, {}) == Seeded(changed=False)
    assert read(kms).revision == before + 1


def test_rules_are_read_again_when_their_actor_starts_anew() -> None:
    live = UserDict({"others": DENY_ALL})
    kms = network(live, tolerant=True)
    live.data = {"to-b": TO_B}
    seed(kms, live.data)

    kms.cluster.crash_actor("intent@a")
    kms.advance(12.0)

    assert [it.id for it in rows_of(kms, intent.POLICY)] == ["to-b"]
    assert isinstance(kms.enc("amy", "bert"), keys.Keys)


def test_a_controller_may_not_say_what_the_file_has_and_a_full_disk_changes_nothing() -> None:
    kms = network({"others": DENY_ALL})
    front = kms.cluster.probe("etsi015@a")
    front.question("intent@a", intent.Seed(policies={}))
    kms.cluster.settle()
    assert [it.code for it in front.of(Failed)] == ["not_allowed"]
    kms.cluster.fill_disk("a")
    edit = Edit(intent.PUT, intent.POLICY, "guests", policy=TO_B)
    kms.cluster.probe("test@a").question("intent@a", Write(owner=intent.CLI, edits=(edit,)))
    kms.cluster.settle()

    assert code(seed(kms, {})) == "store_full"
    assert [it.id for it in rows_of(kms, intent.POLICY)] == ["others"]


def rows_of(kms: KmsNetwork, kind: str) -> list[intent.Entry]:
    return list(read(kms, kind).entries)


def read(kms: KmsNetwork, *kinds: str) -> intent.Rows:
    rows = kms.cluster.ask("intent@a", intent.Read(kinds=kinds or intent.KINDS))
    assert isinstance(rows, intent.Rows)
    return rows


def test_requests_wait_with_the_weight_of_their_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    kms = network({"gold": Policy(1, ("ann",), ("bob",), priority=3)})
    weights: dict[object, int] = {}
    put = FairQueue.put

    def noted(queue: Any, user: object, cost: int, item: object, weight: int = 1) -> None:
        weights[user] = weight
        put(queue, user, cost, item, weight)

    monkeypatch.setattr(FairQueue, "put", noted)
    edit = Edit(
        intent.PUT, intent.APPLICATION, "", application=Application("amy", ("bob",), priority=1)
    )
    kms.cluster.ask("intent@a", Write(owner="controller-1", edits=(edit,)))

    for master, slave in (("ann", "bob"), ("amy", "bob"), ("ann", "bert")):
        assert isinstance(kms.enc(master, slave), keys.Keys)

    assert weights == {("ann", "bob"): 4, ("amy", "bob"): 2, ("ann", "bert"): 1}


RING = "n1-n2 n2-n3 n3-n4 n4-n5 n5-n6 n6-n1"
PAIRS = {"ann": "n1", "amy": "n1", "bob": "n4", "bert": "n2"}
FEW = (
    "policy gold wants bits that come over 2 disjoint paths, not 1: "
    "`protokms session add --paths 2`; a quantum link is one path"
)


TWO = Policy(1, ("ann",), ("*",), paths=2)


def ring(paths: int = 1, rule: Policy = TWO) -> KmsNetwork:
    kms = KmsNetwork(RING, saes=PAIRS, relay={"paths": paths}, policies={"n1": {"gold": rule}})
    kms.advance(7.0)
    return kms


def stock(kms: KmsNetwork, master: str, slave: str) -> int:
    ask = keys.GetStatus(master=master, slave=slave, size=32)
    told = kms.cluster.ask(kms.store_of(master, slave), ask)
    assert isinstance(told, keys.Stock), told
    return told.stored


def test_a_pair_that_wants_two_paths_has_keys_once_a_session_asks_for_them() -> None:
    kms = ring()
    assert isinstance(kms.enc("amy", "bob", wait=20.0), keys.Keys), "the rule names another"
    once = kms.enc("ann", "bob")
    assert (code(once), refused(once)) == ("too_few_paths", FEW)
    assert stock(kms, "amy", "bob") > 0
    assert stock(kms, "ann", "bob") == 0
    assert isinstance(kms.enc("bob", "ann"), keys.Keys), "that is for the other node to say"

    assert isinstance(kms.want(intent.Link(intent.VIRT, "n1", "n4", n=2)), Written)
    kms.advance(10.0)

    get = keys.GetKey(master="ann", slaves=("bob",), number=1, size=32, provenance=True)
    made = kms.cluster.ask("key_store/n4@n1", get, 10.0)
    assert isinstance(made, keys.Keys)
    assert all(len(via.paths) == 2 for via in made.provenance)
    assert stock(kms, "ann", "bob") > 0
    assert isinstance(kms.dec("bob", "ann", made.grant), keys.KeysWithIds)


def test_a_node_that_splits_all_its_keys_serves_such_a_pair_from_the_first_request() -> None:
    kms = ring(paths=2)

    assert isinstance(kms.enc("ann", "bob", wait=20.0), keys.Keys)


def test_a_quantum_link_is_one_path_and_two_saes_of_a_kms_need_none() -> None:
    kms = ring()

    assert refused(kms.enc("ann", "bert")) == FEW
    assert stock(kms, "ann", "bert") == 0
    assert isinstance(kms.enc("ann", "amy"), keys.Keys)


def test_of_keys_at_several_kmss_none_burns_bits_for_one_that_lacks_paths() -> None:
    kms = ring(rule=Policy(1, ("ann",), ("bob",), paths=2))
    assert isinstance(kms.enc("amy", "bob", wait=20.0), keys.Keys)
    before = stock(kms, "ann", "bert")

    several = kms.enc("ann", "bert", "bob")

    assert (code(several), refused(several)) == ("too_few_paths", FEW)
    assert stock(kms, "ann", "bert") >= before


def test_requests_that_wait_for_bits_are_asked_again_over_how_many_paths_these_came() -> None:
    kms = ring(rule=Policy(1, ("ann",), ("bert",)))
    desk = kms.cluster.probe("etsi014@n1")
    get = keys.GetKey(master="ann", slaves=("bert",), number=1, size=32)
    desk.question("key_store/n2@n1", get)
    edit = Edit(intent.PUT, intent.POLICY, "x", policy=Policy(0, ("ann",), ("bert",), paths=2))
    desk.question("intent@n1", Write(owner=intent.CLI, edits=(edit,)))
    kms.advance(2.0)

    assert len(desk.of(keys.Keys)) + len(desk.of(Failed)) == 1
    assert {it.code for it in desk.of(Failed)} <= {"too_few_paths"}
    assert code(kms.enc("ann", "bert")) == "too_few_paths"
