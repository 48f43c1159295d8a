import pickle
from typing import Any

import pytest

from transport.codec import check_of
from transport.envelope import Address
from transport.message import Message, Secret, door, local, part, wire, word


@part
class Hidden:
    secret: Secret


@part
class Deeper:
    hidden: tuple[Hidden, ...]


@local
class Stays(Message):
    number: int


@wire("test.goes/1")
class Goes(Message):
    number: int


HOLDERS = [
    Secret,
    Secret | None,
    tuple[Secret, ...],
    tuple[int, Secret],
    tuple[tuple[Secret, ...], ...],
    list[Secret],
    dict[str, Secret],
    Hidden,
    Hidden | None,
    Deeper,
    tuple[Deeper, ...],
    Any,
    object,
]


@pytest.mark.parametrize("hint", HOLDERS, ids=str)
def test_a_wire_word_that_could_hold_a_secret_is_an_error_at_declaration(hint: Any) -> None:
    leaky = type("Leaky", (Message,), {"__annotations__": {"field": hint}})

    with pytest.raises(TypeError, match="field field holds a Secret"):
        wire("test.leaky/1")(leaky)
    with pytest.raises(KeyError):
        door("test.leaky/1")


def test_a_wire_name_is_declared_once() -> None:
    with pytest.raises(TypeError, match=r"test.goes/1 is declared twice"):
        wire("test.goes/1")(type("Other", (Message,), {}))


def test_a_local_word_has_a_name_but_no_door() -> None:
    assert word("test_message.Stays") is Stays
    with pytest.raises(KeyError):
        door("test_message.Stays")


def test_messages_are_frozen_and_compare_by_value() -> None:
    with pytest.raises(AttributeError):
        Goes(number=1).number = 2  # type: ignore[misc]
    assert Goes(number=1) == Goes(number=1)


@pytest.mark.parametrize("hint", [object, set[int], list[int], dict[str, int], int | str, Any])
def test_types_that_have_no_exact_form_do_not_travel(hint: Any) -> None:
    with pytest.raises(TypeError, match="does not travel"):
        check_of(hint)


def test_a_secret_never_shows_itself() -> None:
    secret = Secret(b"SECRET")

    assert "SECRET" not in f"{secret} {secret!r} {Hidden(secret)} {[secret]}"
    assert len(secret) == 6
    assert secret == Secret(b"SECRET")
    assert secret != Secret(b"OTHERS")
    assert secret != b"SECRET"
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("text", ["a@b", "key_store/kms-2@kms-1", "peer/KMS.2@kms_1.lab"])
def test_an_address_is_read_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a", "@", "a@", "@b", "a@B", "a/b/c/d@e", "a b@c", "a@b@c"])
def test_what_is_no_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Address.parse(text)
