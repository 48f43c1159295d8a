"""What a controller reads: the datastore and its parts, and what the agent says of itself."""

from dataclasses import replace
from typing import Any

import pytest

from actors.protocol import intent
from actors.protocol.common import Failed
from etsi.gs015.restconf.problems import MEDIA
from tests.kit.agent import APPS, DATA, INTERFACES, LINKS, NODE, Agent
from tests.kit.wanted import APP_ID, FILE_ID, OWN_ID, PHYS_ID, VIRT_ID

LINK = f"{LINKS}/qkd_link={PHYS_ID}"
APP = f"{APPS}/qkd_app={APP_ID}"
LIBRARY = f"{DATA}/ietf-yang-library"
STREAMS = f"{DATA}/ietf-restconf-monitoring:restconf-state/streams"
IDENTITY = "etsi-qkd-node-types:"

SHOWN: list[tuple[str, Any]] = [
    (f"{NODE}/qkdn_id", {"etsi-qkd-sdn-node:qkdn_id": "7c0a1f5e-2d0b-4a7b-9c55-1f2a7d3e0a01"}),
    (f"{NODE}/qkdn_status", {"etsi-qkd-sdn-node:qkdn_status": f"{IDENTITY}OPERATING"}),
    (f"{LINK}/qkdl_local/qkdi_id", {"etsi-qkd-sdn-node:qkdi_id": 1}),
    (f"{LINK}/phys_channel_att", {"etsi-qkd-sdn-node:phys_channel_att": "9.25"}),
    (
        f"{APP}/client_app_id",
        {"etsi-qkd-sdn-node:client_app_id": ["urn:protokms:sae:sae-3"]},
    ),
    (
        f"{APP}/client_app_id=urn%3Aprotokms%3Asae%3Asae-3",
        {"etsi-qkd-sdn-node:client_app_id": ["urn:protokms:sae:sae-3"]},
    ),
    (
        f"{LINK}/qkdl_performance/phys_perf=etsi-qkd-node-types:QBER",
        {"etsi-qkd-sdn-node:phys_perf": [{"perf_type": f"{IDENTITY}QBER", "value": "2.125"}]},
    ),
    (
        f"{LINKS}/qkd_link?fields=qkdl_id&content=config",
        {"etsi-qkd-sdn-node:qkd_link": [{"qkdl_id": it} for it in (PHYS_ID, VIRT_ID, FILE_ID)]},
    ),
    (
        f"{LINKS}?fields=qkd_link/qkdl_status&content=nonconfig",
        {
            "etsi-qkd-sdn-node:qkd_links": {
                "qkd_link": [
                    {"qkdl_id": PHYS_ID, "qkdl_status": f"{IDENTITY}ACTIVE"},
                    {"qkdl_id": VIRT_ID, "qkdl_status": f"{IDENTITY}PENDING"},
                    {"qkdl_id": OWN_ID, "qkdl_status": f"{IDENTITY}ACTIVE"},
                    {"qkdl_id": FILE_ID, "qkdl_status": f"{IDENTITY}PENDING"},
                ]
            }
        },
    ),
    (f"{NODE}?depth=1", {"etsi-qkd-sdn-node:qkd_node": {}}),
    (f"{LINK}?depth=1", {"etsi-qkd-sdn-node:qkd_link": [{"qkdl_id": PHYS_ID}]}),
    (f"{NODE}/qkd_interfaces?content=nonconfig&depth=2",
     {"etsi-qkd-sdn-node:qkd_interfaces": {}}),
    (f"{NODE}/qkdn_capabilities?content=nonconfig",
     {"etsi-qkd-sdn-node:qkdn_capabilities": {}}),
    (f"{LIBRARY}:yang-library/content-id?content=nonconfig", None),
    (f"{LIBRARY}:modules-state/module=ietf-yang-types,2013-07-15", None),
    (f"{STREAMS}/stream=NETCONF/access=json/location",
     {"ietf-restconf-monitoring:location":
      "https://kms.example:18002/restconf/streams/NETCONF"}),
    (f"{DATA}?depth=2&content=config", {"ietf-restconf:data": {"etsi-qkd-sdn-node:qkd_node": {}}}),
    ("/restconf/operations", {"ietf-restconf:operations": {}}),
    ("/restconf/yang-library-version",
     {"ietf-restconf:yang-library-version": "2019-01-04"}),
]  # fmt: skip

NOT_THERE = [
    "/", "/restconf/", "/restconf/x", "/restconf/data/", f"{NODE}/", f"{LINKS}/", f"{LINK}/",
    f"{LINKS}/qkd_link=c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c0ff", f"{LINK}/virt_bandwidth",
    f"{APP}/app_qos/jitter", f"{INTERFACES}/qkd_interface=2", f"{LINK}/nothing",
    f"{LINK}/qkdl_id?content=nonconfig", f"{LINKS}/qkd_link={OWN_ID}?content=config",
    f"{LINK}/qkdl_status?content=config", f"{LINK}/qkdl_applications",
    f"{APP}/client_app_id=sae-4", f"{LIBRARY}:yang-library/content-id?content=config",
    "/restconf/yang/x.yang", "/restconf/streams/x", "/restconf/operations/x", "/.well-known/x",
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), SHOWN)
def test_a_resource_is_told_as_rfc_7951_writes_it(agent: Agent, path: str, body: Any) -> None:
    answer = agent.do("GET", path)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == MEDIA
    assert body in (None, answer.json)


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_there_is_404(agent: Agent, path: str) -> None:
    answer = agent.do("GET", path)

    assert (answer.status, answer.tag) == (404, "invalid-value")


def test_the_whole_node_is_its_parts(agent: Agent) -> None:
    whole = agent.do("GET", NODE).json["etsi-qkd-sdn-node:qkd_node"]

    for name in ("qkd_applications", "qkd_interfaces", "qkd_links", "qkdn_capabilities"):
        part = agent.do("GET", f"{NODE}/{name}").json
        assert part == {f"etsi-qkd-sdn-node:{name}": whole[name]}
    assert agent.do("GET", DATA).json["ietf-restconf:data"]["etsi-qkd-sdn-node:qkd_node"] == whole


def test_what_the_node_has_made_itself_is_no_configuration(agent: Agent) -> None:
    def ids(query: str) -> list[str]:
        rows = agent.do("GET", f"{LINKS}{query}").json["etsi-qkd-sdn-node:qkd_links"]["qkd_link"]
        return [row["qkdl_id"] for row in rows]

    assert OWN_ID in ids("")
    assert OWN_ID not in ids("?content=config")


def test_rows_that_come_in_pages_are_one_tree(agent: Agent) -> None:
    whole = agent.do("GET", NODE).json
    agent.wanted.page = 1

    assert agent.do("GET", NODE).json == whole


def test_statistics_are_left_out_when_they_are_switched_off(agent: Agent) -> None:
    body = {"link_stats_support": False, "application_stats_support": False}
    rows, row = agent.wanted.rows, ("settings", "node")
    off = intent.Settings(link_stats=False, application_stats=False)
    rows[row] = replace(rows[row], settings=off)

    told = agent.do("GET", NODE).json["etsi-qkd-sdn-node:qkd_node"]

    assert told["qkdn_capabilities"] == {**body, "key_relay_mode_enable": True}
    assert not any("qkdl_performance" in row for row in told["qkd_links"]["qkd_link"])
    assert not any("app_statistics" in row for row in told["qkd_applications"]["qkd_app"])


# The head


@pytest.mark.parametrize("path", [NODE, LINK, DATA, "/restconf", "/.well-known/host-meta"])
def test_head_tells_what_get_does_without_its_body(agent: Agent, path: str) -> None:
    told, head = agent.do("GET", path), agent.do("HEAD", path)

    assert (head.status, head.body) == (200, b"")
    assert head.headers | {"Date": ""} == told.headers | {"Date": ""}


@pytest.mark.parametrize(
    ("path", "etag", "modified"),
    [
        (NODE, '"5"', "Fri, 15 Jan 2027 08:00:05 GMT"),
        (LINKS, '"5"', "Fri, 15 Jan 2027 08:00:05 GMT"),
        (LINK, '"3"', "Fri, 15 Jan 2027 08:00:03 GMT"),
        (f"{LINK}/qkdl_local", '"3"', "Fri, 15 Jan 2027 08:00:03 GMT"),
        (f"{LINKS}/qkd_link={OWN_ID}", None, None),
        (f"{LIBRARY}:yang-library", None, None),
    ],
)
def test_a_resource_tells_when_it_was_written(
    agent: Agent, path: str, etag: str | None, modified: str | None
) -> None:
    head = agent.do("GET", path).headers

    assert (head.get("ETag"), head.get("Last-Modified")) == (etag, modified)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (f"{LINK}?content=config", ['If-None-Match: "3"'], 304),
        (f"{LINK}?content=config", ['If-None-Match: "2"', 'If-None-Match: "3"'], 304),
        (f"{LINK}?content=config", ["If-Modified-Since: Fri, 15 Jan 2027 08:00:03 GMT"], 304),
        (f"{LINK}?content=config", ['If-None-Match: "2"'], 200),
        (LINK, ['If-None-Match: "3"'], 200),  # what is not configured may have changed
    ],
)
def test_configuration_that_the_client_has_is_not_sent_again(
    agent: Agent, path: str, fields: list[str], status: int
) -> None:
    answer = agent.do("GET", path, None, *fields)

    assert (answer.status, answer.headers["ETag"]) == (status, '"3"')


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        (MEDIA, 200),
        ("application/*", 200),
        ("application/yang-data+xml, application/yang-data+json;q=0.1", 200),
        ("", 200),
        ("application/json", 406),
        ("application/yang-data+xml", 406),
        ("*/*, application/yang-data+json;q=0", 406),
        ("application/yang-data+json;q=x", 406),
        ("text/event-stream", 406),
    ],
)
def test_a_client_that_reads_something_else_hears_406(
    agent: Agent, accept: str, status: int
) -> None:
    answer = agent.do("GET", NODE, None, f"Accept: {accept}")

    assert answer.status == status
    assert status == 200 or answer.tag == "invalid-value"


# Who, and what else


@pytest.mark.parametrize("who", ["sae-1", "stranger", "controller-10", ""])
def test_who_is_no_controller_is_told_so(agent: Agent, who: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "DELETE", "LINK"):
        answer = agent.do(method, NODE, who=who)
        assert answer.status == 401
        assert method == "HEAD" or answer.tag == "access-denied"


@pytest.mark.parametrize(
    ("failed", "retry"),
    [("core_down", "2"), ("timeout", "2"), ("not_ready", "2"), ("crashed", "5"), ("x", "5")],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_node_that_does_not_answer_is_503(
    agent: Agent, failed: str, retry: str, method: str
) -> None:
    agent.wanted.failure = Failed(code=failed, why="")

    answer = agent.do(method, LINK)

    assert (answer.status, answer.tag) == (503, "resource-denied")
    assert answer.headers["Retry-After"] == retry


def test_host_meta_leads_to_the_root(agent: Agent) -> None:
    answer = agent.do("GET", "/.well-known/host-meta")

    assert answer.headers["Content-Type"] == "application/xrd+xml"
    assert b'<Link rel="restconf" href="/restconf"/>' in answer.body
    assert agent.do("GET", "/restconf").json == {
        "ietf-restconf:restconf": {
            "data": {},
            "operations": {},
            "yang-library-version": "2019-01-04",
        }
    }


@pytest.mark.parametrize("host", ["kms.example", "10.0.0.1:18002", "[::1]:18002", "x y", "a/b", ""])
def test_urls_name_the_host_that_the_client_has_named(agent: Agent, host: str) -> None:
    path = f"{STREAMS}/stream=NETCONF/access=json/location"
    octets = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()

    told = agent.send(octets).json["ietf-restconf-monitoring:location"]

    good = host in ("kms.example", "10.0.0.1:18002", "[::1]:18002")
    assert told == f"https://{host if good else '127.0.0.1:18002'}/restconf/streams/NETCONF"


OPTIONS = [
    (DATA, "GET, HEAD, OPTIONS, PUT, PATCH, POST"),
    (NODE, "GET, HEAD, OPTIONS, PUT, PATCH, POST, DELETE"),
    (LINK, "GET, HEAD, OPTIONS, PUT, PATCH, POST, DELETE"),
    (f"{LINK}/qkdl_enable", "GET, HEAD, OPTIONS, PUT, PATCH, DELETE"),
    (f"{LINK}/qkdl_status", "GET, HEAD, OPTIONS"),
    (f"{LIBRARY}:yang-library", "GET, HEAD, OPTIONS"),
    ("/restconf", "GET, HEAD, OPTIONS"),
    ("/restconf/streams/NETCONF", "GET, HEAD, OPTIONS"),
    ("/.well-known/host-meta", "GET, HEAD, OPTIONS"),
]


@pytest.mark.parametrize(("path", "allow"), OPTIONS)
def test_options_tells_the_methods_and_others_are_405(agent: Agent, path: str, allow: str) -> None:
    answer = agent.do("OPTIONS", path)

    assert (answer.status, answer.body, answer.headers["Allow"]) == (200, b"", allow)
    assert (answer.headers.get("Accept-Patch") == MEDIA) is ("PATCH" in allow)
    for method in ("TRACE", "LINK"):
        refused = agent.do(method, path)
        assert (refused.status, refused.tag) == (405, "operation-not-supported")
        assert refused.headers["Allow"] == allow
