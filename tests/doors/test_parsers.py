"""Everything that reads what others wrote, given anything: a value of ours, or one kind of refusal.

The codec and the datagram have more of this in tests/transport and tests/actors.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from actors.protocol import keys
from actors.protocol.common import Refused
from etsi.gs014 import request as gs014_request
from etsi.gs014.options import Gs014Options
from etsi.http import identity
from etsi.http.call import segment
from etsi.http.reply import Problem, quoted
from protokms.config import directory
from protokms.config.keyfiles import BadFile, key_octets
from protokms.config.tables import ConfigError, Report, read_toml
from protokms.lab import topology
from tests.doors.tally import Tally
from tests.kit.site import options
from transport.curve import CurveError, check_public
from transport.endpoint import Endpoint, TcpEndpoint
from transport.envelope import Address, is_name, is_node

pytestmark = pytest.mark.slow

DOOR = "parsers"
EXAMPLES = 500
LIMITS: Gs014Options = options()
many = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

TEXT = st.text(max_size=40)
NAMES = st.sampled_from(
    (
        *("number", "size", "additional_slave_SAE_IDs", "extension_mandatory"),
        *("extension_optional", "key_IDs", "key_ID", "a"),
    )
)
UUIDS = st.uuids().map(str)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | UUIDS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT | NAMES, inner, max_size=5),
    max_leaves=12,
)
BODIES = st.one_of(
    st.lists(UUIDS | TEXT, max_size=4).map(lambda ids: json.dumps({"key_IDs": ids}).encode()),
    st.binary(max_size=80),
    st.dictionaries(NAMES, JSON, max_size=5).map(lambda body: json.dumps(body).encode()),
    st.lists(st.tuples(NAMES, JSON), max_size=4).map(
        lambda rows: b"{%b}" % ",".join(f'"{n}":{json.dumps(v)}' for n, v in rows).encode()
    ),
)


def tried(read: Callable[[], T], no: type[E]) -> T | E:
    """Return what was read, or the one kind of refusal there may be."""
    try:
        return read()
    except no as why:
        return why


@pytest.fixture
def count(tally: Tally, request: pytest.FixtureRequest) -> Any:
    """Counts what each example came to."""
    return partial(tally.note, DOOR, request.node.name.removeprefix("test_").replace("_", " "))


@many
@given(body=BODIES)
def test_key_requests(body: bytes, count: Any) -> None:
    wanted = tried(lambda: gs014_request.wanted({}, gs014_request.body(body), LIMITS), Problem)
    if isinstance(wanted, Problem):
        count(wanted.status)
        assert wanted.status == 400
        assert json.loads(wanted.reply().body)["message"]
        return
    count("taken")
    assert 1 <= wanted.number <= LIMITS.max_keys_per_request
    assert LIMITS.min_key_size_bits <= wanted.size <= LIMITS.max_key_size_bits
    assert wanted.size % 8 == 0
    assert len(set(wanted.additional)) == len(wanted.additional) <= LIMITS.max_sae_id_count


@many
@given(body=BODIES)
def test_requests_by_key_id(body: bytes, count: Any) -> None:
    ids = tried(lambda: gs014_request.ids_by_body(gs014_request.body(body), LIMITS), Problem)
    named = ids if isinstance(ids, Problem) else tried(partial(gs014_request.names, ids), Problem)
    if isinstance(named, Problem):
        count(named.status)
        assert named.status == 400
        return
    count("taken")
    assert [keys.key_id(name.grant, name.index) for name in named] == ids


@many
@given(text=st.one_of(TEXT, st.lists(st.tuples(NAMES, TEXT)).map(lambda rows: "&".join(
    f"{name}={quote(value)}" for name, value in rows
))))  # fmt: skip
def test_queries(text: str, count: Any) -> None:
    wanted = tried(lambda: gs014_request.wanted(gs014_request.query(text), {}, LIMITS), Problem)
    if isinstance(wanted, Problem):
        count(wanted.status)
        assert wanted.status == 400
        return
    count("taken")
    assert 1 <= wanted.number <= LIMITS.max_keys_per_request


@many
@given(text=st.text(st.sampled_from("%0123456789abcdefABCDEF/.é\0-"), max_size=20))
def test_path_segments(text: str, count: Any) -> None:
    found = tried(partial(segment, text), Problem)
    if isinstance(found, Problem):
        count(found.status)
        assert found.status == 400
        return
    count("taken")
    found.encode()


@many
@given(text=TEXT | UUIDS | st.uuids().map(lambda made: str(made).upper()) | st.from_regex(
    r"\A[0-9a-fA-F-]{30,40}\Z"
))  # fmt: skip
@example(text="00000000-0000-0000-0000-000000000000\n")
@example(text="{00000000-0000-0000-0000-000000000000}")
def test_key_ids(text: str, count: Any) -> None:
    name = tried(partial(keys.parse_key_id, text), Refused)
    if isinstance(name, Refused):
        count("refused")
        return
    count("taken")
    assert keys.key_id(name.grant, name.index) == text.lower()


@many
@given(der=st.binary(max_size=200))
def test_certificates(der: bytes, count: Any) -> None:
    for source in ("cn", "san_uri", "san_dns", "fingerprint"):
        found = identity.read(der, source)
        count("nobody" if found.trouble else "somebody")
        assert found.trouble


@many
@given(text=TEXT | st.from_regex(r"\A(tcp://)?[\[0-9a-f:\].]{1,30}:[0-9]{1,6}\Z"))
def test_addresses(text: str, count: Any) -> None:
    for read in (Endpoint.parse, TcpEndpoint.parse):
        try:
            made = read(text)
        except ValueError:
            count("refused")
            continue
        count("taken")
        assert type(made).parse(str(made)) == made


@many
@given(text=TEXT | st.from_regex(r"\A[a-z0-9_./@-]{1,70}\Z"))
def test_names(text: str, count: Any) -> None:
    count("taken" if is_name(text) or is_node(text) else "refused")
    assert len(quoted(text)) <= 10 * 90
    assert quoted(text).isascii()
    assert quoted(text).isprintable()
    if is_name(text) and is_node("kms-1"):
        assert str(Address(text, "kms-1")) == f"{text}@kms-1"


@many
@given(text=TEXT | st.text(st.characters(max_codepoint=127), min_size=40, max_size=40))
def test_keys_in_text(text: str, count: Any) -> None:
    public = tried(partial(check_public, text), CurveError)
    count("refused" if isinstance(public, CurveError) else "taken")
    octets = text.encode("utf-8", "surrogatepass")
    key = tried(partial(key_octets, octets, Path("x")), BadFile)
    count("refused" if isinstance(key, BadFile) else "taken")
    assert not isinstance(key, BadFile) or key.reason == "is not the base64 of 32 octets"


@many
@given(octets=st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_directories(octets: bytes, count: Any) -> None:
    found = tried(partial(directory.parse, Path("directory.json"), octets), BadFile)
    count("refused" if isinstance(found, BadFile) else "taken")
    assert not isinstance(found, BadFile) or found.remedy


@many
@given(
    octets=st.binary(max_size=100) | st.text(st.sampled_from('[]{}="ab.\n1e-_#\\u')).map(str.encode)
)
def test_tables(octets: bytes, count: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "table.toml"
    file.write_bytes(octets)
    report = Report(file)
    found = read_toml(file, report)
    count("taken" if found is not None else "refused")
    assert (found is None) == bool(report.problems)


@many
@given(text=TEXT | st.from_regex(r"\A(chain|ring|star|mesh):[0-9]{1,5}\Z"))
def test_shapes(text: str, count: Any) -> None:
    made = tried(partial(topology.parse, text), ConfigError)
    count("refused" if isinstance(made, ConfigError) else "taken")
    if isinstance(made, ConfigError):
        assert all(each.remedy for each in made.problems)
    else:
        assert 1 <= len(made.nodes) <= topology.MAX_NODES
