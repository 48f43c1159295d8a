"""Requests drawn from the tree, and against it: no fault of ours, and no write by halves."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etsi.gs015.model import leaves
from etsi.gs015.model.library import ROOT
from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Node, full_name
from etsi.gs015.model.tree import QKD_NODE
from etsi.gs015.restconf.problems import MEDIA
from tests.doors.mutate import damaged
from tests.doors.tally import TRIED, Tally
from tests.kit.agent import DATA, Agent
from tests.kit.wanted import APP_ID, FILE_ID, PHYS_ID, VIRT_ID, A, B, C, rows

DOOR = "RESTCONF"
EXAMPLES = 1_500
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LINK")
STATUSES = {200, 201, 204, 304, 400, 403, 404, 405, 406, 409, 412, 413, 415}
UUIDS = st.sampled_from((A, B, C, PHYS_ID, VIRT_ID, FILE_ID, APP_ID, A.upper())) | st.uuids().map(
    str
)
NOISE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(max_size=6), it, max_size=3),
    max_leaves=8,
)
QUERIES = st.sampled_from((*[""] * 20, "depth=1", "content=config", "content=nonconfig",
                           "fields=qkdn_id", "depth=0", "x", "depth=2&depth=2", "fields=%00",
                           "content=all&depth=3&fields=qkd_links"))  # fmt: skip
HEADS = st.lists(
    st.sampled_from((
        'If-Match: "5"', 'If-Match: "4"', "If-Match: *", "If-None-Match: *", "If-Match: x",
        "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:03 GMT", "If-Modified-Since: x",
        "Accept: */*", "Accept: text/plain", "Accept: ;;,", "Content-Encoding: gzip",
    )),
    max_size=2,
)  # fmt: skip


def values(type_: leaves.LeafType) -> st.SearchStrategy[Any]:
    """Draw values of a leaf for JSON."""
    if isinstance(type_, leaves.Uuid):
        return UUIDS
    if isinstance(type_, leaves.Number):
        return st.sampled_from((0, 1, 2)) | st.integers(type_.least, type_.most)
    if isinstance(type_, leaves.Boolean):
        return st.booleans()
    if isinstance(type_, leaves.Identity):
        return st.sampled_from(type_.names).map(type_.write)
    if isinstance(type_, leaves.Sae):
        return st.sampled_from(("sae-1", "urn:protokms:sae:sae-3", "a/b", "größe"))
    if isinstance(type_, leaves.Decimal):
        return st.sampled_from(("1", "24.500", "-0.001"))
    if isinstance(type_, leaves.DateTime):
        return st.sampled_from(("2027-01-15T08:00:00Z", "2027-01-15T10:00:00.5+02:00"))
    assert isinstance(type_, leaves.Text)
    return st.sampled_from(("1", "12", "1,12-20")) if type_.form else st.text("aä/'\"", max_size=8)


def data(node: Node, *, all_of_it: bool = False) -> st.SearchStrategy[Any]:
    """Draw data of a node for JSON; without `all_of_it` what is told by the node is left out."""
    if isinstance(node, Leaf):
        return values(node.type)
    if isinstance(node, LeafList):
        return st.lists(values(node.type), max_size=3)
    if isinstance(node, List):
        return st.lists(members(node, all_of_it=all_of_it), min_size=1, max_size=2)
    return members(node, all_of_it=all_of_it)


def members(node: Container | List, *, all_of_it: bool) -> st.SearchStrategy[dict[str, Any]]:
    found = {
        full_name(child): data(child, all_of_it=all_of_it)
        for child in node.children
        if child.config or all_of_it
    }
    needed = node.keys if isinstance(node, List) else ()
    needed += ("qkdl_type", "qkdl_remote", "server_app_id", "client_app_id", "qkdn_id")
    drawn = st.fixed_dictionaries(
        {name: it for name, it in found.items() if name in needed},
        optional={name: it for name, it in found.items() if name not in needed},
    )
    return drawn if all_of_it else drawn.map(lambda row: fitting(node, row))


def fitting(node: Container | List, row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is for links of the other type."""
    whens = {full_name(child): child.when for child in node.children if child.when}
    types = {name: f"etsi-qkd-node-types:{when[1]}" for name, when in whens.items()}
    return {
        name: it
        for name, it in row.items()
        if row.get("qkdl_type") == types.get(name, row.get("qkdl_type"))
    }


def places(node: Node, path: str) -> Iterator[tuple[Node, str, list[leaves.LeafType]]]:
    """Return each node with its path; `{}` stands for a key, whose types follow."""
    types: list[leaves.LeafType] = []
    yield node, path, types
    if isinstance(node, List):
        types = [node.key_type(index) for index in range(len(node.keys))]
        path += "=" + ",".join(["{}"] * len(types))
        yield node, path, types
    if isinstance(node, Container | List):
        for child in node.children:
            for found, below, more in places(child, f"{path}/{full_name(child)}"):
                yield found, below, [*types, *more]


PLACES = list(places(ROOT, DATA))
CONFIGURED = [row for row in PLACES if row[1].startswith(f"{DATA}/{full_name(QKD_NODE)}")]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, Any, list[str]]:
    """Draw a request that is nearly right, or not at all."""
    node, form, types = draw(st.sampled_from(CONFIGURED * 3 + PLACES))
    texts = [str(draw(values(type_))) for type_ in types]
    path, method = form.format(*texts), draw(st.sampled_from(METHODS))
    shape = node
    if method == "POST" and isinstance(node, Container | List):
        shape = draw(st.sampled_from(node.children))
    value = draw(data(shape, all_of_it=draw(st.sampled_from((False, False, True)))))
    if isinstance(shape, List) and draw(st.booleans()):
        del value[1:]
        if form.endswith("={}"):
            value[0][shape.keys[0]] = int(texts[-1]) if texts[-1].isdigit() else texts[-1]
    module = "" if shape.module else "etsi-qkd-sdn-node"
    body: Any = {full_name(shape, module): value}
    kind = draw(st.sampled_from(("good", "good", "good", "noise", "damaged", "empty")))
    if kind == "noise":
        body = draw(NOISE)
    if kind == "damaged":
        octets = json.dumps(body).encode()
        body = damaged(octets, random.Random(draw(st.integers(0, 1 << 32))))
        path = damaged(path.encode(), random.Random(draw(st.integers(0, 1 << 32)))).decode(
            "latin-1"
        )
        path = "/" + "".join(sign for sign in path if "!" <= sign <= "~").lstrip("/")
    if query := draw(QUERIES):
        path += f"?{query}"
    return method, path, b"" if kind == "empty" else body, draw(HEADS)


def attack(agent: Agent, tally: Tally, examples: int) -> None:
    @settings(max_examples=examples, phases=[Phase.generate], database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(requests())
    def send(drawn: tuple[str, str, Any, list[str]]) -> None:
        method, path, body, heads = drawn
        agent.wanted.rows = {(row.kind, row.id): row for row in rows()}
        before, writes = dict(agent.wanted.rows), len(agent.wanted.writes)

        answer = agent.do(method, path, body, *heads)

        tally.note(DOOR, method, answer.status)
        assert answer.status in STATUSES, answer
        if answer.status >= 400 and method != "HEAD":
            assert answer.error["error-message"]
        if answer.status >= 400 or method in ("GET", "HEAD", "OPTIONS"):
            assert agent.wanted.rows == before
        if len(agent.wanted.writes) > writes:
            assert agent.do("GET", DATA).status == 200
        if answer.status == 201:
            assert agent.do("GET", answer.headers["Location"]).status == 200

    send()


def test_requests_drawn_from_the_tree_are_answered(agent: Agent) -> None:
    attack(agent, Tally(), 60)


@pytest.mark.slow
def test_many_requests_drawn_from_the_tree_are_answered(
    agent: Agent, record_property: Callable[[str, object], None]
) -> None:
    tally = Tally()
    attack(agent, tally, EXAMPLES)
    record_property(TRIED, tally.rows())


@pytest.mark.parametrize("text", ["[", '{"a":', '[{"a":', '"\\u'])
def test_json_that_is_costly_to_read_is_refused(agent: Agent, text: str) -> None:
    octets = text.encode() * ((1 << 20) // len(text))

    answer = agent.do("PUT", DATA, octets, media=MEDIA)

    assert (answer.status, answer.tag) == (400, "malformed-message")
