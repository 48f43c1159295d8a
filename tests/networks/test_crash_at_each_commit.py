"""Each kind of write, and a death at each commit that comes of it: one after the other, no dice.

After the restart the tree and the policies are those of before or those that were asked for,
nothing between. Links, sessions and stores are as the tree says, and every store gives keys by the
rules that are told. What was answered is there.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import pytest

from actors.protocol import intent
from actors.protocol.intent import Edit, Policy, Seed, Write, Written
from protokms.testing.kms import KmsNetwork
from tests.etsi.gs015.test_writes import NEW as APP_ID
from tests.etsi.gs015.test_writes import app, leaf, phys, virt
from tests.kit.agent import APPS, LINKS, NODE, Agent
from tests.kit.configured import OfActor, differences

NODES = [f"kms-{number}" for number in range(1, 5)]
ME = NODES[0]
IDS = {name: f"00000000-0000-4000-8000-{number:012}" for number, name in enumerate(NODES, 1)}
TOWN = "kms-1--kms-2 kms-1--kms-3 kms-2--kms-3 kms-3--kms-4"
LINK_IDS = {peer: f"c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c00{peer[-1]}" for peer in NODES[1:]}
FOLLOWS_S = 0.1
"""What a write leads to is done so soon; commits after that are those of bits that come in."""
SETTLE_S = 12.0
COMMITS_MAX = 40

Ask = tuple[str, str, Any] | Write | Seed
"""Method, path and body of a controller; or what the command line, or a reload, says."""


def at(peer: str) -> str:
    return f"{LINKS}/qkd_link={LINK_IDS[peer]}"


def physical(peer: str, **changes: Any) -> dict[str, Any]:
    number = ("kms-2", "kms-3").index(peer) + 1
    ends = {
        "qkdl_local": {"qkdn_id": IDS[ME], "qkdi_id": number},
        "qkdl_remote": {"qkdn_id": IDS[peer]},
    }
    return phys(**({"qkdl_id": LINK_IDS[peer]} | ends | changes))


def virtual(*hops: str, **changes: Any) -> dict[str, Any]:
    ends = {"qkdl_local": {"qkdn_id": IDS[ME]}, "qkdl_remote": {"qkdn_id": IDS["kms-4"]}}
    over = {"virt_next_hop": [IDS[hop] for hop in hops] or None}
    return virt(**({"qkdl_id": LINK_IDS["kms-4"]} | ends | over | changes))


def both(*rows: dict[str, Any]) -> dict[str, Any]:
    return leaf("qkd_links", {"qkd_link": [next(iter(row.values()))[0] for row in rows]})


def policy(verb: str, rule: Policy | None = None) -> Write:
    return Write(owner=intent.CLI, edits=(Edit(verb, intent.POLICY, "guests", policy=rule),))


HOPS, OTHERS = ("kms-3", "kms-4"), ("kms-2", "kms-3", "kms-4")
GIVEN: Ask = ("PUT", at("kms-4"), virtual(*HOPS))
NO_LINK: Ask = ("DELETE", at("kms-2"), None)
APP: Ask = ("POST", APPS, app(client_app_id=["sae-4"]))
AT_APP = f"{APPS}/qkd_app={APP_ID}"
DENY = Policy(5, ("*",), ("sae-4",), allow=False)
OFF = {"qkdl_enable": False}

WRITES: dict[str, tuple[Sequence[Ask], Ask]] = {
    "POST of a PHYS link": ((NO_LINK,), ("POST", LINKS, physical("kms-2"))),
    "PUT of a PHYS link": ((NO_LINK,), ("PUT", at("kms-2"), physical("kms-2"))),
    "PUT that switches a PHYS link off": ((), ("PUT", at("kms-2"), physical("kms-2", **OFF))),
    "DELETE of a PHYS link": ((), ("DELETE", at("kms-3"), None)),
    "POST of a VIRT link": ((), ("POST", LINKS, virtual())),
    "PUT of a VIRT link": ((), GIVEN),
    "PUT of other hops": ((GIVEN,), ("PUT", at("kms-4"), virtual(*OTHERS))),
    "PUT of a leaf": ((GIVEN,), ("PUT", f"{at('kms-4')}/qkdl_enable", leaf("qkdl_enable", False))),
    "PATCH of a VIRT link": ((GIVEN,), ("PATCH", at("kms-4"), virtual(*HOPS, **OFF))),
    "PATCH of several links": ((), ("PATCH", LINKS, both(physical("kms-2", **OFF), virtual()))),
    "DELETE of a VIRT link": ((GIVEN,), ("DELETE", at("kms-4"), None)),
    "DELETE of all links": ((GIVEN,), ("DELETE", LINKS, None)),
    "POST of an application": ((), APP),
    "PUT of an application": ((), ("PUT", AT_APP, app(app_qos={"max_bandwidth": 512}))),
    "PATCH of an application": (
        (APP,),
        ("PATCH", f"{AT_APP}/app_qos", leaf("app_qos", {"ttl": 9})),
    ),
    "DELETE of an application": ((APP,), ("DELETE", AT_APP, None)),
    "a policy": ((), policy(intent.PUT, DENY)),
    "another policy of its name": (
        (policy(intent.PUT, DENY),),
        policy(intent.PUT, Policy(5, ("*",), ("*",), max_bandwidth=512)),
    ),
    "no policy any more": ((policy(intent.PUT, DENY),), policy(intent.REMOVE)),
    "PATCH of the node": ((), ("PATCH", NODE, leaf("qkd_node", {"qkdn_location_id": "y"}))),
}


class State(NamedTuple):
    """What is configured."""

    tree: Any
    policies: list[tuple[str, Policy | None]]


class Story:
    """A network in which a write is about to be made."""

    def __init__(self, before: Sequence[Ask]) -> None:
        self.kms = KmsNetwork(TOWN, bare=True, link={"rate_bit_s": 20e3})
        for one, other in (("kms-2", "kms-3"), ("kms-3", "kms-4"), ("kms-2", ME), ("kms-3", ME)):
            self.kms.add_link(one, other)
            if other != ME:
                self.kms.add_link(other, one)
        self.actor = OfActor(self.kms, ME)
        self.agent = Agent()
        self.agent.wanted = self.actor  # type: ignore[assignment]
        for ask in (*(("PUT", at(it), physical(it)) for it in ("kms-2", "kms-3")), *before):
            assert self.write(ask), ask
            self.kms.advance(8.0)

    def write(self, ask: Ask) -> bool:
        """Make a write; whether it was answered."""
        if isinstance(ask, tuple):
            return self.agent.do(*ask).status < 300
        return isinstance(self.actor.answer(ask), Written)

    def state(self) -> State:
        rows = self.actor.answer(intent.Read(kinds=(intent.POLICY,)))
        assert isinstance(rows, intent.Rows)
        tree = self.agent.do("GET", f"{NODE}?content=config").json
        return State(tree, [(it.id, it.policy) for it in rows.entries])

    def stray_stores(self) -> list[str]:
        """Stores that give keys by other rules than those that are told."""
        actors = self.kms.cluster.nodes[ME].actors
        told: Any = self.kms.cluster.actor(f"{intent.NAME}@{ME}")
        stores = [name for name in actors if name.startswith("key_store/")]
        gates: list[Any] = [self.kms.cluster.actor(f"{name}@{ME}") for name in stores]
        return [
            name
            for name, store in zip(stores, gates, strict=True)
            if store.gate._rights != told.entitling.rights
        ]


def deaths() -> Iterator[tuple[int, bool]]:
    """Just before and just after the first commit, the second, and so on."""
    for n in count(1):
        yield n, True
        yield n, False


def play(before: Sequence[Ask], ask: Ask) -> int:
    """Let the node die at each commit of a write in turn; return at how many."""
    reference = Story(before)
    old = reference.state()
    assert reference.write(ask)
    reference.kms.advance(SETTLE_S)
    new = reference.state()
    assert new != old
    reference.agent.close()
    seen = []
    for n, first in deaths():
        story = Story(before)
        story.kms.cluster.crash_at_commit(ME, n, before=first)
        answered = story.write(ask)
        story.kms.advance(FOLLOWS_S)
        died = not story.kms.cluster.nodes[ME].alive
        story.kms.cluster.forget_doom(ME)
        if died:
            story.kms.cluster.restart(ME)
            story.kms.advance(SETTLE_S)
            told = f"died {'before' if first else 'after'} commit {n}, answered: {answered}"
            seen.append(story.state())
            assert seen[-1] in ((new,) if answered else (old, new)), told
            assert differences(story.agent, story.kms, ME) == [], told
            assert story.stray_stores() == [], told
        story.agent.close()
        if not died:
            break
        assert n < COMMITS_MAX, "as many commits come of bits alone"
    assert seen[0] == old, "nothing is durable before the first commit"
    assert seen[1] == new, "and all is after it"
    return len(seen) // 2


@pytest.mark.parametrize("what", ["PUT of a PHYS link", "a policy"])
def test_a_death_at_each_commit_of_a_write(what: str) -> None:
    assert play(*WRITES[what]) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(WRITES.keys() - {"PUT of a PHYS link", "a policy"}))
def test_a_death_at_each_commit_of_every_kind_of_write(what: str) -> None:
    assert play(*WRITES[what]) >= 1
