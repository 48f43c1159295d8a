"""Types of leaves: what JSON may hold (RFC 7951), and the one form in which it is kept."""

from typing import Any

import pytest

from etsi.gs015.model import leaves, tree
from etsi.gs015.model.leaves import BadValue, LeafType, sae_of
from etsi.http.identity import sae_urn

UUID = "7c0a1f5e-2d0b-4a7b-9c55-1f2a7d3e0a01"
WIDE = leaves.Number(0, (1 << 64) - 1, wide=True)

GOOD: list[tuple[LeafType, Any, Any]] = [
    (leaves.Uuid(), UUID, UUID),
    (leaves.Uuid(), UUID.upper(), UUID),
    (leaves.Number(), 0, 0),
    (leaves.Number(), 4_294_967_295, 4_294_967_295),
    (WIDE, "18446744073709551615", (1 << 64) - 1),
    (leaves.Boolean(), False, False),
    (leaves.Text(), "", ""),
    (leaves.Text(), "größe\t\n", "größe\t\n"),
    (leaves.Decimal(3), "24.500", "24.5"),
    (leaves.Decimal(3), "24", "24.0"),
    (leaves.Decimal(3), "+007.250", "7.25"),
    (leaves.Decimal(3), "-0.001", "-0.001"),
    (leaves.Decimal(3), "-0.0", "0.0"),
    (leaves.Decimal(3), "9223372036854775.807", "9223372036854775.807"),
    (leaves.Decimal(3), "-9223372036854775.808", "-9223372036854775.808"),
    (leaves.DateTime(), "2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z"),
    (leaves.DateTime(), "2027-01-15T10:00:00+02:00", "2027-01-15T08:00:00Z"),
    (leaves.DateTime(), "2027-01-15T08:00:00-00:00", "2027-01-15T08:00:00Z"),
    (leaves.DateTime(), "2027-01-15T08:00:00.5Z", "2027-01-15T08:00:00.500000Z"),
    (leaves.Sae(), "sae-1", "urn:protokms:sae:sae-1"),
    (leaves.Sae(), "urn:protokms:sae:sae-1", "urn:protokms:sae:sae-1"),
    (leaves.Sae(), "URN:Protokms:SAE:sae-1", "urn:protokms:sae:sae-1"),
    (leaves.Sae(), "urn:protokms:sae:a%2Fb", "urn:protokms:sae:a%2Fb"),
    (leaves.Sae(), "a/b", "urn:protokms:sae:a%2Fb"),
    (leaves.Sae(), "größe", "urn:protokms:sae:gr%C3%B6%C3%9Fe"),
    (leaves.Sae(), "urn:other:sae-1", "urn:protokms:sae:urn%3Aother%3Asae-1"),
    (tree.LINK_TYPE, "etsi-qkd-node-types:VIRT", "VIRT"),
    (tree.WAVELENGTH, "9999", "9999"),
    (tree.WAVELENGTHS, "1,12-20,40", "1,12-20,40"),
]


def each(type_: LeafType, *given: Any) -> list[tuple[LeafType, Any]]:
    return [(type_, it) for it in given]


WRITTEN = (
    *(leaves.Uuid(), leaves.Text(), leaves.Sae(), leaves.DateTime(), leaves.Decimal(3)),
    tree.LINK_TYPE,
)
BAD = [
    *(row for type_ in WRITTEN for row in each(type_, None, 1, 1.5, True, [], {}, [None])),
    *each(leaves.Uuid(), "", "x", UUID[:-1], UUID + "0", UUID.replace("-", "")),
    *each(leaves.Uuid(), f"{{{UUID}}}", UUID.replace("a", "\u0430")),
    *each(leaves.Number(), "1", -1, 4_294_967_296, 1.0, True, None, [1], {}),
    *each(WIDE, 1, "", "x", "-1", "18446744073709551616", "1.0", "\u0663"),
    *each(leaves.Boolean(), "true", 0, 1, None, [True]),
    *each(leaves.Text(), "\0", "\x1f", "\ud800", "\uffff", "x" * 1_025),
    *each(leaves.Decimal(3), "", "x", "1.", ".5", "1.2345", "1e3", "NaN", " 1", "1 ", "\u0663"),
    *each(leaves.Decimal(3), "9223372036854775.808", "-9223372036854775.809"),
    *each(leaves.DateTime(), "", "2027-01-15", "2027-01-15T08:00:00", "now"),
    *each(leaves.DateTime(), "2027-13-15T08:00:00Z", "2027-02-30T08:00:00Z"),
    *each(leaves.DateTime(), "2027-01-15T25:00:00Z", "2027-01-15T08:00:00+99:00"),
    *each(leaves.DateTime(), "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *each(leaves.DateTime(), "2027-01-15t08:00:00z", "\u0663027-01-15T08:00:00Z"),
    *each(leaves.Sae(), "", "urn:protokms:sae:", "urn:protokms:sae:%FF", "a\nb"),
    *each(leaves.Sae(), "\ud800", "x" * 513, "urn:protokms:sae:%00"),
    *each(tree.LINK_TYPE, "VIRT", "etsi-qkdn-types:VIRT", "etsi-qkd-node-types:virt"),
    *each(tree.LINK_TYPE, "etsi-qkd-node-types:QBER", "etsi-qkd-node-types:", ""),
    *each(tree.WAVELENGTH, "0", "1550.12", "10000", "1,2", ""),
    *each(tree.WAVELENGTHS, "0", "1-", "1,,2", "1;2", "1-2-3"),
]


@pytest.mark.parametrize(("type_", "given", "kept"), GOOD)
def test_a_value_is_kept_in_one_form_and_told_as_such(
    type_: LeafType, given: Any, kept: Any
) -> None:
    value = type_.read(given)

    assert (value, type(value)) == (kept, type(kept))
    assert type_.read(type_.write(value)) == value


@pytest.mark.parametrize(("type_", "given"), BAD)
def test_what_is_not_of_the_type_is_refused_with_what_is_wanted(
    type_: LeafType, given: Any
) -> None:
    with pytest.raises(BadValue, match=r"write|SAE id"):
        type_.read(given)


def test_a_64_bit_number_is_a_string_in_json_and_one_of_32_bits_is_not() -> None:
    assert WIDE.write(7) == "7"
    assert leaves.Number().write(7) == 7


@pytest.mark.parametrize("sae", ["sae-1", "a/b", "größe", "urn:x:y", "urn:protokms:sae:x", "%2F"])
def test_any_sae_id_comes_back_from_its_urn(sae: str) -> None:
    assert sae_of(str(leaves.Sae().read(sae_urn(sae)))) == sae


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (leaves.Number(), "7", 7),
        (leaves.Number(), "+7", 7),
        (leaves.Boolean(), "true", True),
        (leaves.Boolean(), "false", False),
        (leaves.Uuid(), UUID.upper(), UUID),
    ],
)
def test_keys_of_a_path_are_read(type_: LeafType, text: str, value: Any) -> None:
    assert type_.parse(text) == value


@pytest.mark.parametrize(
    ("type_", "text"),
    [(leaves.Number(), ""), (leaves.Number(), "1.0"), (leaves.Boolean(), "True")],
)
def test_keys_of_a_path_of_another_type_are_refused(type_: LeafType, text: str) -> None:
    with pytest.raises(BadValue):
        type_.parse(text)
