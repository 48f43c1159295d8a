import importlib
import math
import pkgutil
import struct
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import actors.protocol
from actors.protocol import blocks, common, keys, peers
from transport.codec import MAX_FRAME, Malformed, check_of, decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, doors, local, part, wire
from transport.sealing import ProcessSealer

for module in pkgutil.iter_modules(actors.protocol.__path__):
    importlib.import_module(f"actors.protocol.{module.name}")
DECLARED = {name: kind for name, kind in doors().items() if not name.startswith("test.")}


@part
class Inner:
    number: int
    name: str


@wire("test.wide/1")
class Wide(Message):
    number: int
    ratio: float
    flag: bool
    name: str
    octets: bytes
    names: tuple[str, ...]
    pair: tuple[int, str]
    inner: Inner
    inners: tuple[Inner, ...]
    maybe: str | None


@local
class Sealed(Message):
    secret: Secret
    several: tuple[Secret, ...]


@wire("test.checked/1")
class Checked(Message):
    """A word of others, which checks itself and fails as it likes."""

    number: int

    def __post_init__(self) -> None:
        if self.number < len(FAILS):
            raise FAILS[self.number]


FAILS: list[BaseException] = [
    IndexError(),
    ZeroDivisionError(),
    AssertionError(),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    struct.error(),
    SystemExit(1),
    RuntimeError("x" * 10_000),
]

WIDE: list[Any] = [1, 0.5, True, "a", b"b", ["c"], [2, "d"], [3, "e"], [[4, "f"]], None]
HEAD: list[Any] = ["asker", "reader@kms-1", 7, False, "trace"]
ME, YOU = Address("asker", "kms-2"), Address("reader", "kms-1")


def frame(
    values: Any = None, word: str = "test.wide/1", head: list[Any] | None = None, **at: Any
) -> bytes:
    values = list(WIDE) if values is None else values
    for index, value in at.items():
        values[int(index[1:])] = value
    packed: bytes = msgpack.packb([*(HEAD if head is None else head), word, values])
    return packed


def sealers() -> tuple[ProcessSealer, ProcessSealer]:
    key = bytes(range(32))
    return ProcessSealer(key, "core", "front"), ProcessSealer(key, "front", "core")


PLAIN: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
    bool: st.booleans,
    int: lambda: st.integers(-(1 << 63), (1 << 64) - 1),
    float: lambda: st.floats(allow_nan=False, allow_infinity=False),
    str: lambda: st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    bytes: lambda: st.binary(max_size=30),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and inner[-1] is ...:
        return st.lists(values_of(inner[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, inner))
    if origin in (Union, types.UnionType):
        return st.one_of(*[st.none() if kind is type(None) else values_of(kind) for kind in inner])
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(
            hint, **{field.name: values_of(hints[field.name]) for field in fields(hint)}
        )
    return PLAIN[hint]()


@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_wire_word_can_be_read(name: str) -> None:
    assert callable(check_of(DECLARED[name]))


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(DECLARED)), st.integers(0, (1 << 63) - 1), st.booleans())
def test_every_declared_wire_word_comes_back_as_it_went(
    data: st.DataObject, name: str, token: int, answer: bool
) -> None:
    body = data.draw(values_of(DECLARED[name]))
    sent = Envelope(ME, YOU, body, token, answer, "t")

    assert decode(encode(sent), "kms-2") == sent


@settings(max_examples=50)
@given(values_of(Wide))
def test_every_kind_of_field_comes_back_as_it_went(body: Wide) -> None:
    sent = Envelope(ME, YOU, body)

    assert decode(encode(sent), "kms-2") == sent


@given(st.binary(max_size=200))
def test_noise_is_malformed_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(Malformed):
        decode(noise, "kms-2")


@given(st.data())
def test_a_frame_with_flipped_octets_is_malformed_or_whole(data: st.DataObject) -> None:
    octets = bytearray(frame())
    for at in data.draw(st.lists(st.integers(0, len(octets) - 1), min_size=1, max_size=4)):
        octets[at] = data.draw(st.integers(0, 255))

    try:
        envelope = decode(bytes(octets), "kms-2")
    except Malformed:
        return
    assert decode(encode(envelope), "kms-2") == envelope


SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats()
TREES = st.recursive(
    SCALARS | st.binary(max_size=9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(TREES, st.lists(TREES, max_size=6), st.sampled_from(sorted(DECLARED)))
def test_any_other_msgpack_is_malformed_and_nothing_else(
    tree: Any, values: list[Any], word: str
) -> None:
    for row in (tree, values, [*HEAD, word, values], [*values, *HEAD][:7], [*HEAD, tree, values]):
        try:
            envelope = decode(msgpack.packb(row), "kms-2")
        except Malformed:
            continue
        assert decode(encode(envelope), "kms-2") == envelope


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_0", True),
        ("_0", 1.0),
        ("_0", "1"),
        ("_0", None),
        ("_1", math.inf),
        ("_1", math.nan),
        ("_1", 1),
        ("_2", 1),
        ("_3", b"a"),
        ("_4", "b"),
        ("_5", "abc"),
        ("_5", b"abc"),
        ("_5", {"a": 1}),
        ("_5", [1]),
        ("_6", [2]),
        ("_6", [2, "d", 3]),
        ("_6", ["d", 2]),
        ("_7", [3]),
        ("_7", {"number": 3, "name": "e"}),
        ("_7", [True, "e"]),
        ("_8", [3, "e"]),
        ("_9", 1),
        ("_9", msgpack.ExtType(1, b"octets")),
        ("_9", msgpack.Timestamp(1)),
    ],
)
def test_a_field_of_another_type_is_malformed(field: str, value: Any) -> None:
    with pytest.raises(Malformed):
        decode(frame(**{field: value}), "kms-2")


@pytest.mark.parametrize("values", [[], WIDE[:-1], [*WIDE, 1], {}, "text", None, {"number": 1}])
def test_missing_or_extra_fields_are_malformed(values: Any) -> None:
    octets = msgpack.packb([*HEAD, "test.wide/1", values])

    with pytest.raises(Malformed):
        decode(octets, "kms-2")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, "Asker"),
        (0, "asker/a/b/c"),
        (0, "asker/a/"),
        (0, "a" * 65),
        (0, 1),
        (1, "reader"),
        (1, "reader@KMS"),
        (1, "reader@kms-1@kms-2"),
        (1, "reader@kms-1\n"),
        (1, b"reader@kms-1"),
        (2, -1),
        (2, 1 << 63),
        (2, True),
        (2, 1.0),
        (2, math.inf),
        (3, 1),
        (3, None),
        (4, "t" * 65),
        (4, 1),
    ],
)
def test_a_head_of_another_form_is_malformed(at: int, value: Any) -> None:
    head = list(HEAD)
    head[at] = value

    with pytest.raises(Malformed):
        decode(frame(head=head), "kms-2")


@pytest.mark.parametrize("octet", [b"\x91", b"\x81\xa1a", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff"])
def test_deep_nesting_and_great_promises_are_malformed(octet: bytes) -> None:
    with pytest.raises(Malformed):
        decode(octet * 100_000, "kms-2")


def test_a_frame_that_is_too_long_is_malformed_unread() -> None:
    with pytest.raises(Malformed) as no:
        decode(b"\x97" * (MAX_FRAME + 1), "kms-2")

    assert no.value.reason == "oversized"


def test_octets_after_the_end_are_malformed() -> None:
    with pytest.raises(Malformed):
        decode(frame() + b"\x00", "kms-2")


def test_the_node_of_the_sender_is_the_authenticated_one() -> None:
    assert decode(frame(), "kms-9").sender == Address("asker", "kms-9")


@pytest.mark.parametrize("number", range(len(FAILS)))
def test_a_word_whose_own_check_fails_is_malformed_whatever_that_raises(number: int) -> None:
    with pytest.raises(Malformed) as no:
        decode(frame([number], "test.checked/1"), "kms-2")

    assert no.value.reason == "malformed"
    assert no.value.asked
    assert len(str(no.value)) < 300


def test_a_local_word_from_a_peer_is_malformed_and_says_why() -> None:
    with pytest.raises(Malformed) as no:
        decode(frame([], "common.Ping"), "kms-2")

    assert no.value.reason == "local_word"


def test_an_unknown_word_is_malformed_and_says_why() -> None:
    with pytest.raises(Malformed) as no:
        decode(frame([], "common.Pong/7"), "kms-2")

    assert no.value.reason == "unknown_word"


def test_a_local_word_does_not_leave_for_a_peer() -> None:
    with pytest.raises(TypeError, match="Ping does not leave its node"):
        encode(Envelope(ME, YOU, common.Ping()))


@pytest.mark.parametrize("why", ["\ud800", "x" * MAX_FRAME])
def test_text_that_does_not_fit_a_frame_is_a_type_error(why: str) -> None:
    with pytest.raises(TypeError):
        encode(Envelope(ME, YOU, common.Failed(code="a", why=why)))


def test_a_number_of_more_than_64_bits_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        encode(Envelope(ME, YOU, blocks.ResumeAsk(start=1 << 64, number=0, random=0, nonce=0)))


@given(st.binary(min_size=8, max_size=64), st.lists(st.binary(max_size=64), max_size=4))
def test_local_words_go_sealed_between_processes(octets: bytes, more: list[bytes]) -> None:
    here, there = sealers()
    body = Sealed(secret=Secret(octets), several=tuple(map(Secret, more)))
    sent = Envelope(ME, YOU, body, 5, True, "t")

    seen = encode(sent, here)

    assert decode(seen, "kms-2", there) == sent
    assert octets not in seen


def test_the_words_of_the_key_store_go_sealed_between_processes() -> None:
    here, there = sealers()
    octets = bytes(range(100, 164))
    bodies: list[Message] = [
        keys.Keys(grant=b"g" * 12, size=32, octets=Secret(octets)),
        keys.KeysWithIds(octets=(Secret(octets),), receipt=1),
        peers.PeerUp(peer="kms-2"),
    ]

    for body in bodies:
        seen = encode(Envelope(ME, YOU, body), here)
        assert decode(seen, "kms-2", there).body == body
        assert octets not in seen


def test_a_sealed_frame_that_was_tampered_with_is_malformed() -> None:
    here, there = sealers()
    seen = encode(Envelope(ME, YOU, Sealed(secret=Secret(b"k" * 32), several=())), here)
    start = seen.index(b"test_codec.Sealed") + len(b"test_codec.Sealed")

    for at in range(start, len(seen)):
        broken = seen[:at] + bytes([seen[at] ^ 1]) + seen[at + 1 :]
        with pytest.raises(Malformed):
            decode(broken, "kms-2", there)


def test_a_secret_in_clear_from_another_process_is_malformed() -> None:
    _, there = sealers()

    for clear in (b"k" * 32, "k", msgpack.ExtType(1, b"k" * 64), msgpack.ExtType(2, b"k" * 64)):
        with pytest.raises(Malformed):
            decode(frame([clear, []], "test_codec.Sealed"), "kms-2", there)


def test_a_sealed_frame_says_nothing_of_its_octets_when_it_fails() -> None:
    _, there = sealers()
    octets = b"SECRET-OCTETS-OF-A-KEY"

    with pytest.raises(Malformed) as no:
        decode(frame([octets, []], "test_codec.Sealed"), "kms-2", there)

    assert "SECRET" not in str(no.value)
