"""Each resource, each verb: good, absent, forbidden, malformed, conflicting; status and tag."""

from typing import Any, NamedTuple

import pytest

from tests.etsi.gs015.test_writes import M, T, app, leaf, phys
from tests.kit.agent import APPS, DATA, INTERFACES, LINKS, NODE, Agent
from tests.kit.wanted import APP_ID, PHYS_ID, A

NONE = "99999999-0000-4000-8000-000000000001"
LINK, GONE = f"{LINKS}/qkd_link={PHYS_ID}", f"{LINKS}/qkd_link={NONE}"
APP, NO_APP = f"{APPS}/qkd_app={APP_ID}", f"{APPS}/qkd_app={NONE}"
READS, WRITES = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH", "DELETE")
OK = dict.fromkeys(READS, (None, 200))
TOLD = dict.fromkeys(WRITES, (None, 400))
"""What the node tells is refused by the same status as a bad value."""
NO_VERB = dict.fromkeys(WRITES, (None, 405))
SAME = phys(qkdl_id=PHYS_ID)


class Resource(NamedTuple):
    """A resource, one of its kind that is not there, and what each verb makes of it.

    `good` has a body and a status for each verb; 405 where the resource does not have it.
    """

    path: str
    absent: str
    good: dict[str, tuple[Any, int]]


def of(path: str, absent: str, **verbs: tuple[Any, int]) -> Resource:
    return Resource(path, absent, OK | verbs)


CAN = leaf("qkdn_capabilities", {"link_stats_support": False})
QOS = leaf("app_qos", {"ttl": 60})
RESOURCES = [
    of(DATA, "", POST=(leaf("qkd_node", {"qkdn_id": A}), 409), DELETE=(None, 405),
       PUT=({"ietf-restconf:data": {f"{M}qkd_node": {"qkdn_id": A}}}, 403),
       PATCH=({"ietf-restconf:data": {f"{M}qkd_node": {"qkdn_location_id": "y"}}}, 204)),
    of(NODE, f"{DATA}/{M}nothing", POST=(leaf("qkdn_location_id", "y"), 409),
       PUT=(leaf("qkd_node", {"qkdn_id": A}), 403), DELETE=(None, 403),
       PATCH=(leaf("qkd_node", {"qkdn_location_id": "y"}), 204)),
    of(f"{NODE}/qkdn_capabilities", f"{NODE}/nothing", PUT=(CAN, 204),
       POST=(leaf("link_stats_support", False), 409), PATCH=(CAN, 204), DELETE=(None, 204)),
    of(LINKS, f"{NODE}/nothing", POST=(phys(), 201), PUT=(leaf("qkd_links", {}), 403),
       PATCH=(leaf("qkd_links", {"qkd_link": phys()[f"{M}qkd_link"]}), 204), DELETE=(None, 403)),
    of(f"{LINKS}/qkd_link", f"{LINKS}/nothing", POST=(None, 405), PUT=(phys(), 400),
       PATCH=(phys(), 400), DELETE=(None, 400)),
    of(LINK, GONE, POST=(leaf("phys_channel_att", "1.0"), 409), PUT=(SAME, 204),
       PATCH=(SAME, 204), DELETE=(None, 204)),
    of(f"{LINK}/qkdl_remote", f"{GONE}/qkdl_remote", POST=(leaf("qkdi_id", 3), 409),
       PUT=(leaf("qkdl_remote", {"qkdn_id": A}), 204),
       PATCH=(leaf("qkdl_remote", {"qkdi_id": 3}), 204), DELETE=(None, 400)),
    of(f"{LINK}/qkdl_enable", f"{GONE}/qkdl_enable", POST=(None, 405),
       PUT=(leaf("qkdl_enable", False), 204), PATCH=(leaf("qkdl_enable", False), 204),
       DELETE=(None, 204)),
    of(f"{LINK}/qkdl_status", f"{GONE}/qkdl_status", **TOLD),
    of(f"{LINK}/qkdl_performance/skr", f"{GONE}/qkdl_performance/skr", **TOLD),
    of(f"{LINK}/qkdl_performance/phys_perf=etsi-qkd-node-types%3AQBER",
       f"{LINK}/qkdl_performance/phys_perf=etsi-qkd-node-types%3ASNR", **TOLD),
    of(APPS, f"{NODE}/nothing", POST=(app(), 201), PUT=(leaf("qkd_applications", {}), 204),
       PATCH=(leaf("qkd_applications", {"qkd_app": app()[f"{M}qkd_app"]}), 204),
       DELETE=(None, 204)),
    of(APP, NO_APP, POST=(leaf("app_priority", 1), 409), PUT=(app(app_id=APP_ID), 204),
       PATCH=(app(app_id=APP_ID), 204), DELETE=(None, 204)),
    of(f"{APP}/app_qos", f"{NO_APP}/app_qos", POST=(leaf("jitter", 5), 201), PUT=(QOS, 204),
       PATCH=(QOS, 204), DELETE=(None, 204)),
    of(f"{APP}/app_qos/ttl", f"{NO_APP}/app_qos/ttl", POST=(None, 405), PUT=(leaf("ttl", 9), 204),
       PATCH=(leaf("ttl", 9), 204), DELETE=(None, 204)),
    of(f"{APP}/client_app_id", f"{NO_APP}/client_app_id", POST=(None, 405),
       PUT=(leaf("client_app_id", ["sae-4"]), 204), PATCH=(leaf("client_app_id", ["sae-4"]), 204),
       DELETE=(None, 400)),
    of(f"{APP}/client_app_id=sae-3", f"{APP}/client_app_id=sae-9", POST=(None, 405),
       PUT=(leaf("client_app_id", ["sae-3"]), 204), PATCH=(leaf("client_app_id", ["sae-3"]), 204),
       DELETE=(None, 400)),
    of(f"{APP}/app_statistics/statistics", f"{NO_APP}/app_statistics/statistics", **TOLD),
    of(INTERFACES, f"{NODE}/nothing", POST=(leaf("qkd_interface", [{"qkdi_id": 2}]), 403),
       PUT=(leaf("qkd_interfaces", {}), 403), DELETE=(None, 403),
       PATCH=(leaf("qkd_interfaces", {"qkd_interface": [{"qkdi_id": 2}]}), 403)),
    of(f"{INTERFACES}/qkd_interface=1", f"{INTERFACES}/qkd_interface=9",
       POST=(leaf("qkdi_model", "x"), 409), DELETE=(None, 403),
       PUT=(leaf("qkd_interface", [{"qkdi_id": 1}]), 403),
       PATCH=(leaf("qkd_interface", [{"qkdi_id": 1, "qkdi_model": "x"}]), 403)),
    of(f"{DATA}/ietf-yang-library:yang-library", f"{DATA}/ietf-yang-library:nothing", **TOLD),
    of(f"{DATA}/ietf-restconf-monitoring:restconf-state",
       f"{DATA}/ietf-restconf-monitoring:nothing", **TOLD),
    of("/restconf", "/rest", **NO_VERB),
    of("/restconf/operations", "/restconf/nothing", **NO_VERB),
    of("/restconf/yang-library-version", "/restconf/nothing", **NO_VERB),
    of("/.well-known/host-meta", "/.well-known/nothing", **NO_VERB),
]  # fmt: skip
TAGS = {400: "invalid-value", 403: "access-denied", 405: "operation-not-supported",
        409: "data-exists"}  # fmt: skip
EACH = [(each, verb) for each in RESOURCES for verb in (*READS, *WRITES)]
IDS = [f"{verb} {each.path.removeprefix(DATA)}" for each, verb in EACH]
each_verb = pytest.mark.parametrize(("resource", "verb"), EACH, ids=IDS)


def body_of(resource: Resource, verb: str) -> Any:
    """Return a body: one there has to be, even where the verb is not for the resource."""
    body = resource.good[verb][0]
    return body if body is not None or verb not in ("POST", "PUT", "PATCH") else {}


def wrote(agent: Agent) -> bool:
    return bool(agent.wanted.writes)


@each_verb
def test_good(agent: Agent, resource: Resource, verb: str) -> None:
    answer = agent.do(verb, resource.path, body_of(resource, verb))

    status = resource.good[verb][1]
    assert answer.status == status, answer.json
    assert wrote(agent) <= (verb in WRITES)
    if status >= 400:
        assert answer.tag in (TAGS[status], "missing-element")
    if status == 405 or verb == "OPTIONS":
        others = [it for it in WRITES if resource.good[it][1] == 405]
        assert not set(others) & set(answer.headers["Allow"].split(", "))


@each_verb
def test_absent(agent: Agent, resource: Resource, verb: str) -> None:
    """A path where nothing is: OPTIONS and PUT may ask for it; a body says which entry it is."""
    if not resource.absent:
        return  # the datastore is there
    answer = agent.do(verb, resource.absent, body_of(resource, verb))

    if resource.good[verb][1] in (400, 405) and verb in WRITES:
        assert answer.status in (400, 404, 405)
    elif answer.status != 404:
        key_of_another = answer.status == 400 and verb == "PATCH"
        assert key_of_another or verb in ("OPTIONS", "PUT")
    elif verb != "HEAD":
        assert answer.tag == "invalid-value"
    assert not wrote(agent) or verb == "PUT"


@each_verb
def test_forbidden(agent: Agent, resource: Resource, verb: str) -> None:
    body = body_of(resource, verb)
    reads = agent.do(verb, resource.path, body, who="reader")
    nobody = agent.do(verb, resource.path, body, who="sae-1")

    if verb in READS:
        assert reads.status == 200
    elif resource.good[verb][1] != 405:
        assert (reads.status, reads.tag) == (403, "access-denied")
    else:
        assert reads.status in (403, 405)
    assert nobody.status == 401
    assert verb == "HEAD" or nobody.tag == "access-denied"
    assert not wrote(agent)


@each_verb
def test_malformed(agent: Agent, resource: Resource, verb: str) -> None:
    if verb in ("POST", "PUT", "PATCH"):
        answer = agent.do(verb, resource.path, b'{"a": 1, "a": 2}')
        tag = "malformed-message"
    else:
        answer = agent.do(verb, f"{resource.path}?nothing=1")
        tag = "invalid-value"

    if verb == "OPTIONS":
        assert answer.status == 200
    elif resource.good[verb][1] == 405:
        assert answer.status == 405
    else:
        assert answer.status == 400
        assert verb == "HEAD" or answer.tag == tag
    assert not wrote(agent)


@each_verb
def test_conflicting(agent: Agent, resource: Resource, verb: str) -> None:
    answer = agent.do(verb, resource.path, body_of(resource, verb), 'If-Match: "999"')

    good = resource.good[verb][1]
    if verb in WRITES and good in (201, 204):
        assert (answer.status, answer.tag) == (412, "operation-failed")
    elif verb in WRITES:
        assert answer.status in (good, 412)
    assert not wrote(agent)


def test_no_resource_of_the_tree_is_left_out() -> None:
    """Each kind of node is above, as what may be written and as what is told."""
    paths = {each.path.rpartition("/")[2].partition("=")[0] for each in RESOURCES}

    assert {"qkd_link", "qkd_app", "qkd_interface", "phys_perf", "statistics"} <= paths
    assert T in SAME[f"{M}qkd_link"][0]["qkdl_type"]
