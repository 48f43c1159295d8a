"""What is told of a death: where and of what, never the data."""

import logging

import pytest

from actors.modules.module import ModuleFailed
from actors.protocol.common import Failed, Ping
from actors.runtime import crashes
from actors.runtime.crashes import Poison, describe, frames_of, keep_values_out_of_logs
from actors.storage.errors import StoreCorrupt
from transport.envelope import Address, Envelope

HERE, THERE = Address("here", "a"), Address("there", "a")


def died() -> Exception:
    try:
        try:
            raise KeyError("key bits")
        except KeyError as why:
            raise ValueError("key bits") from why
    except ValueError as why:
        return why


def message(n: int, *, sender: Address = HERE) -> Envelope:
    return Envelope(sender, THERE, Failed(code="x", why=str(n)))


def test_a_death_is_described_by_type_and_place() -> None:
    assert describe(died()).startswith("ValueError at test_crashes.py:")
    assert describe(None) == "unknown"
    assert describe(OSError("key bits")) == "OSError"
    assert [each for each in frames_of(died()) if ":" not in each] == ["KeyError", "ValueError"]
    assert "key bits" not in repr(frames_of(died()))


def test_a_text_made_for_operators_is_told_as_it_is() -> None:
    assert describe(ModuleFailed("UDP 127.0.0.1:7 is occupied; end it")).endswith("end it")
    assert describe(StoreCorrupt("row 7 is damaged", "bring a backup")).startswith("row 7")
    assert len(describe(ModuleFailed("x" * 10_000))) < 2_000


def test_what_pykka_logs_holds_no_values(caplog: pytest.LogCaptureFixture) -> None:
    keep_values_out_of_logs()
    keep_values_out_of_logs()

    logging.getLogger("pykka").error("Unhandled:", exc_info=died())

    assert "Unhandled: ValueError at test_crashes.py:" in caplog.text
    assert "key bits" not in caplog.text


def test_two_deaths_make_a_poison_and_one_does_not() -> None:
    poison = Poison(lambda: 0.0)

    assert not poison.suspect(message(1))
    assert not poison.deadly(message(1))
    assert not poison.suspect(message(2))
    assert poison.suspect(message(1))
    assert poison.deadly(message(1))
    assert not poison.deadly(message(2))


def test_what_one_says_to_oneself_is_no_poison() -> None:
    poison = Poison(lambda: 0.0)

    for _ in range(5):
        assert not poison.suspect(Envelope(THERE, THERE, Ping()))

    assert not poison.deadly(Envelope(THERE, THERE, Ping()))


def test_a_poison_is_forgotten_in_time() -> None:
    now = [0.0]
    poison = Poison(lambda: now[0])
    poison.suspect(message(1))
    poison.suspect(message(1))

    now[0] = 601.0

    assert not poison.deadly(message(1))
    assert not poison.suspect(message(1))


def test_only_so_many_deaths_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "_DIGESTS", 3)
    poison = Poison(lambda: 0.0)
    poison.suspect(message(0))
    for n in range(1, 4):
        poison.suspect(message(n))

    assert not poison.suspect(message(0))
    assert poison.suspect(message(3))
