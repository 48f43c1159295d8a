"""Query parameters of a retrieval (RFC 8040, 4.8)."""

import pytest

from etsi.gs015.model.library import ROOT
from etsi.gs015.model.tree import LINK, MODULE, QKD_NODE
from etsi.gs015.restconf.problems import Wrong
from etsi.gs015.restconf.query import Fields, Query, read_query

ALL: Fields = {"qkd_links": None}

FIELDS: list[tuple[str, Fields]] = [
    ("qkd_links", {"qkd_links": None}),
    ("etsi-qkd-sdn-node:qkd_links", {"qkd_links": None}),
    ("qkdn_id;qkdn_status", {"qkdn_id": None, "qkdn_status": None}),
    ("qkd_links/qkd_link", {"qkd_links": {"qkd_link": None}}),
    ("qkd_links(qkd_link/qkdl_id)", {"qkd_links": {"qkd_link": {"qkdl_id": None}}}),
    (
        "qkd_links/qkd_link(qkdl_id;qkdl_local/qkdn_id);qkdn_id",
        {
            "qkd_links": {"qkd_link": {"qkdl_id": None, "qkdl_local": {"qkdn_id": None}}},
            "qkdn_id": None,
        },
    ),
    (
        "qkd_links/qkd_link/qkdl_id;qkd_links/qkd_link/qkdl_type",
        {"qkd_links": {"qkd_link": {"qkdl_id": None, "qkdl_type": None}}},
    ),
    ("qkd_links;qkd_links/qkd_link", {"qkd_links": None}),
    ("qkd%5Flinks%2Fqkd_link", {"qkd_links": {"qkd_link": None}}),
]

BAD = [
    "content=some", "content=", "content", "depth=0", "depth=65536", "depth=-1", "depth=1.0",
    "depth=", "depth=x", "depth=1&depth=1", "content=all&content=all", "x=1", "with-defaults=trim",
    "filter=x", "start-time=2027-01-15T08:00:00Z", "fields=", "fields=x", "fields=qkd_links(",
    "fields=qkd_links)", "fields=qkd_links/", "fields=;", "fields=qkd_links;;qkdn_id",
    "fields=qkd_links(qkd_link))", "fields=qkdn_id/x", "fields=qkd_links()", "fields=%FF",
    "fields=etsi-qkdn:qkd_links", "fields=" + "x" * 2_049, "&".join(["depth=1"] * 20), "&",
    "depth=%D9%A3", "depth=00000" + "1" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields"), FIELDS)
def test_fields_name_what_is_told(text: str, fields: Fields) -> None:
    assert read_query(f"fields={text}", QKD_NODE, MODULE) == Query(fields=fields)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_query_of_this_resource_is_refused(text: str) -> None:
    with pytest.raises(Wrong) as no:
        read_query(text, QKD_NODE, MODULE)

    assert (no.value.status, no.value.code) == (400, "invalid-value")


def test_content_and_depth_go_together() -> None:
    assert read_query("depth=3&content=config", LINK, MODULE) == Query("config", 3)
    assert read_query("depth=unbounded", LINK, MODULE) == Query()


def test_fields_of_the_datastore_name_the_module() -> None:
    text = "fields=etsi-qkd-sdn-node:qkd_node/qkdn_id"

    assert read_query(text, ROOT, "").fields == {"qkd_node": {"qkdn_id": None}}
    with pytest.raises(Wrong):
        read_query("fields=qkd_node", ROOT, "")


def test_deeply_nested_fields_are_refused_and_crash_nothing() -> None:
    with pytest.raises(Wrong):
        read_query("fields=" + "qkd_links(" * 200, QKD_NODE, MODULE)
