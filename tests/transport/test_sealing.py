import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import sealing
from transport.sealing import ProcessSealer

KEY = bytes(range(32))


@given(st.binary(max_size=2000))
def test_what_one_process_seals_the_other_opens(octets: bytes) -> None:
    here, there = ProcessSealer(KEY, "core", "front"), ProcessSealer(KEY, "front", "core")

    assert there.open(here.seal(octets)) == octets
    assert here.open(there.seal(octets)) == octets


def test_the_same_octets_are_never_sealed_alike() -> None:
    here = ProcessSealer(KEY, "core", "front")

    assert len({here.seal(b"same") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("key", "mine", "theirs"),
    [
        (bytes(32), "front", "core"),
        (KEY, "core", "front"),
        (KEY, "link", "core"),
        (KEY, "front", "link"),
    ],
    ids=["another node", "the sender itself", "another reader", "another pair"],
)
def test_nobody_else_opens_it(key: bytes, mine: str, theirs: str) -> None:
    sealed = ProcessSealer(KEY, "core", "front").seal(b"octets")

    with pytest.raises(ValueError, match="do not open"):
        ProcessSealer(key, mine, theirs).open(sealed)


def test_every_changed_octet_is_noticed() -> None:
    here, there = ProcessSealer(KEY, "core", "front"), ProcessSealer(KEY, "front", "core")
    sealed = here.seal(b"octets")

    for at in range(len(sealed)):
        with pytest.raises(ValueError, match="do not open"):
            there.open(sealed[:at] + bytes([sealed[at] ^ 0x80]) + sealed[at + 1 :])
    for length in range(len(sealed)):
        with pytest.raises(ValueError, match="sealed octets"):
            there.open(sealed[:length])


def test_the_key_is_renewed_before_nonces_can_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_RENEW", 3)
    here, there = ProcessSealer(KEY, "core", "front"), ProcessSealer(KEY, "front", "core")

    sealed = [here.seal(b"octets") for _ in range(7)]

    salts = [octets[:16] for octets in sealed]
    assert len(set(salts)) == 3
    assert salts == sorted(salts, key=salts.index)
    assert {there.open(octets) for octets in sealed} == {b"octets"}


def test_a_sealer_takes_a_whole_key_and_two_processes() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        ProcessSealer(KEY[:16], "core", "front")
    with pytest.raises(ValueError, match="two different"):
        ProcessSealer(KEY, "core", "core")
