"""What the agents of a chain of three nodes tell of themselves, for the judges."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from etsi.gs015.model.tree import NOTIFICATIONS
from etsi.gs015.notifications import event_of
from tests.etsi.gs015.test_events import TOLD, happened, texts
from tests.kit.agent import DATA, NODE, Agent
from tests.kit.wanted import NODES, VIRT_ID, Wanted

IDS = {node.name: node.id for node in NODES}


def trees() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return each tree with a name: whole, and cut by each query."""
    for node, wanted in zip(NODES, chain(), strict=True):
        agent = Agent()
        agent.wanted = wanted
        for query in ("", "?content=config"):
            yield f"{node.name}{query}", agent.do("GET", f"{NODE}{query}").json
        yield f"all of {node.name}", agent.do("GET", DATA).json["ietf-restconf:data"]
        agent.close()


def chain() -> tuple[Wanted, Wanted, Wanted]:
    """Lay out what is wanted of three nodes in a row, with keys from the first to the last."""
    first, middle, last = Wanted(), Wanted(), Wanted()
    for here, wanted in zip(NODES, (first, middle, last), strict=True):
        wanted.here = here
    virt = first.rows["link", VIRT_ID]
    assert virt.link
    through = replace(virt.link, prev="kms-1", hops=("kms-3",))
    middle.rows["link", VIRT_ID] = replace(virt, link=through)
    end = replace(virt.link, local="kms-3", remote="kms-1", prev="kms-2", hops=())
    last.rows["link", VIRT_ID] = replace(virt, link=end)
    return first, middle, last


def notifications() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return each notification as data: the judges read them as containers."""
    for event, entry, name, _ in TOLD:
        assert name in NOTIFICATIONS
        octets = event_of(happened(event, entry), IDS)
        assert octets
        (told,) = texts(octets)
        inner = dict(told["ietf-restconf:notification"])
        del inner["eventTime"]
        yield name, {"etsi-qkd-sdn-node:qkd_node": {"qkdn_id": NODES[0].id}, **inner}
