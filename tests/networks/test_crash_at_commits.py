"""A controller writes, and the node dies at any commit of it: what runs then is what is configured.

By seed: one story is several writes over RESTCONF, each with a crash just before or just after one
of the commits that follow it, at this node or at another end. After the restart the tree is that of
before the write or that which was asked for, and links, sessions and stores are as the tree says.
"""

import random
from typing import Any

import pytest

from actors.protocol import sessions
from protokms.testing.kms import KmsNetwork
from tests.etsi.gs015.test_writes import leaf, phys, virt
from tests.kit.agent import LINKS, Agent
from tests.kit.configured import OfActor, differences, links_of

NODES = [f"kms-{number}" for number in range(1, 5)]
ME = NODES[0]
IDS = {name: f"00000000-0000-4000-8000-{number:012}" for number, name in enumerate(NODES, 1)}
TOWN = "kms-1--kms-2 kms-1--kms-3 kms-2--kms-3 kms-3--kms-4"
LINK_IDS = {peer: f"c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c00{peer[-1]}" for peer in NODES[1:]}
PATHS: tuple[tuple[str, ...], ...] = ((), ("kms-3", "kms-4"), ("kms-2", "kms-3", "kms-4"))
COMMITS = 6
"""Group commits after a write at which the node may die."""
SETTLE_S = 25.0
WRITES = 4

Ask = tuple[str, str, Any]


class Story:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"commits/{seed}")
        self.kms = KmsNetwork(TOWN, bare=True, link={"rate_bit_s": 20e3}, seed=seed)
        for one, other in (("kms-2", "kms-3"), ("kms-3", "kms-4")):
            for node, peer in ((one, other), (other, one)):
                self.kms.add_link(node, peer)
        for node in ("kms-2", "kms-3"):
            self.kms.add_link(node, ME)
        self.agent = Agent()
        self.agent.wanted = OfActor(self.kms, ME)  # type: ignore[assignment]
        for peer in ("kms-2", "kms-3"):
            assert self.agent.do(*self.physical(peer)).status == 201
        self.kms.advance(8.0)

    def physical(self, peer: str) -> Ask:
        number = ("kms-2", "kms-3").index(peer) + 1
        row = phys(
            qkdl_id=LINK_IDS[peer],
            qkdl_local={"qkdn_id": IDS[ME], "qkdi_id": number},
            qkdl_remote={"qkdn_id": IDS[peer]},
            qkdl_enable=self.dice.random() < 0.7,
        )
        return "PUT", f"{LINKS}/qkd_link={LINK_IDS[peer]}", row

    def virtual(self) -> Ask:
        hops = [IDS[name] for name in self.dice.choice(PATHS)]
        row = virt(
            qkdl_id=LINK_IDS["kms-4"],
            qkdl_local={"qkdn_id": IDS[ME]},
            qkdl_remote={"qkdn_id": IDS["kms-4"]},
            virt_next_hop=hops or None,
            qkdl_enable=self.dice.random() < 0.7,
        )
        return "PUT", f"{LINKS}/qkd_link={LINK_IDS['kms-4']}", row

    def ask(self) -> Ask:
        """Draw what to write next."""
        there = sorted(links_of(self.agent, "?content=config"))
        kind = self.dice.choice(("virtual", "virtual", "physical", "switch", "remove"))
        if kind in ("switch", "remove") and there:
            path = f"{LINKS}/qkd_link={self.dice.choice(there)}"
            if kind == "remove":
                return "DELETE", path, None
            return "PUT", f"{path}/qkdl_enable", leaf("qkdl_enable", self.dice.random() < 0.5)
        return (
            self.virtual()
            if kind == "virtual"
            else self.physical(self.dice.choice(("kms-2", "kms-3")))
        )

    def write_and_die(self) -> str:
        """Let a node die at a commit of a write; return what was done."""
        method, path, body = self.ask()
        before = links_of(self.agent, "?content=config")
        n, first = self.dice.randint(1, COMMITS), self.dice.random() < 0.5
        victim = ME if n <= 2 else self.dice.choice((ME, ME, "kms-3"))
        self.kms.cluster.crash_at_commit(victim, n, before=first)

        answer = self.agent.do(method, path, body)
        self.kms.advance(6.0)  # for what follows the write
        self.kms.cluster.forget_doom(victim)
        self.kms.cluster.restart(victim)
        self.kms.advance(SETTLE_S)

        told = f"{method} {path[-40:]} {body}; {victim} died at {n}, before: {first}"
        after = links_of(self.agent, "?content=config")
        if answer.status >= 500:
            told += "; no answer"
        assert changed(before, after) <= {self.entry_of(path)}, told
        assert is_as_asked(after, path, body) or (answer.status >= 400 and after == before), told
        return told

    @staticmethod
    def entry_of(path: str) -> str:
        return path.partition("qkd_link=")[2].partition("/")[0]


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {id_ for id_ in before | after if before.get(id_) != after.get(id_)}


def is_as_asked(after: dict[str, Any], path: str, body: Any) -> bool:
    """Whether the tree is as the write wanted it."""
    row = after.get(Story.entry_of(path))
    if body is None or row is None:
        return body is None and row is None
    if path.endswith("qkdl_enable"):
        return bool(row["qkdl_enable"] == next(iter(body.values())))
    asked = dict(next(iter(body.values()))[0])
    return all(row.get(name) == value for name, value in asked.items())


def story(seed: int) -> None:
    """Play one seed, and check after each restart."""
    made, done = Story(seed), list[str]()
    try:
        for _ in range(WRITES):
            done.append(made.write_and_die())
            assert differences(made.agent, made.kms, ME) == [], "\n".join(done)
    finally:
        made.agent.close()


@pytest.mark.parametrize("seed", range(1))
def test_what_runs_is_what_is_configured(seed: int) -> None:
    story(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 16))
def test_what_runs_is_what_is_configured_by_many_seeds(seed: int) -> None:
    story(seed)


def test_the_checker_sees_what_differs() -> None:
    """Break each of the three by hand, and hear of it."""
    made = Story(0)
    assert made.agent.do(*made.virtual()).status == 201
    made.kms.advance(SETTLE_S)
    assert differences(made.agent, made.kms, ME) == []

    store: Any = made.kms.cluster.actor(f"key_store/kms-2@{ME}")
    store.intake.paused = not store.intake.paused
    assert any(it.startswith("kms-2: enabled") for it in differences(made.agent, made.kms, ME))
    store.intake.paused = not store.intake.paused
    ask = made.kms.cluster.ask
    ask(f"sessions@{ME}", sessions.RemoveSession(destination="kms-4"), 1.0)
    assert "no session with kms-4" in differences(made.agent, made.kms, ME)
    actors = made.kms.cluster.nodes[ME].actors
    link = actors.pop("quantum_link/kms-2")
    assert "no quantum link to kms-2" in differences(made.agent, made.kms, ME)
    actors["quantum_link/kms-2"] = link
    made.kms.advance(SETTLE_S)
    assert differences(made.agent, made.kms, ME) == [], "all is put right"
    made.agent.close()
