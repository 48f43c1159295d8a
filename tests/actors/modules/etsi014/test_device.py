"""Two nodes whose bits come from a pair of devices: with good ones, and with each kind of bad."""

from collections import Counter
from dataclasses import replace

import pytest

from actors.modules.devices.device import DeviceError, DeviceKey
from actors.modules.etsi014.talk import Container, DecKeys, EncKeys, GetStatus, Status
from actors.modules.module import Role
from tests.kit.device_pair import A, B, alarm, both_fetch, link, network, stock
from tests.kit.twin_devices import KEY_OCTETS, Twins, only
from tests.kit.twins import always, well
from transport.message import Secret


@pytest.mark.parametrize(
    "roles", [("sender", "receiver"), ("receiver", "sender"), ("both", "both")]
)
def test_bits_of_a_pair_of_devices_become_keys_at_both_ends(roles: tuple[Role, Role]) -> None:
    twins = Twins(roles)
    kms = network(twins)

    kms.advance(20.0)

    assert stock(kms) == stock(kms, B) > 0.9 * 18 * twins.rate * KEY_OCTETS
    assert both_fetch(kms)
    assert link(kms).waits == link(kms, B).waits == ()
    dec = Counter(
        it for _, asked in twins.asked if isinstance(asked, DecKeys) for it in asked.key_ids
    )
    assert set(dec.values()) == {1}
    ends = {end for end, asked in twins.asked if isinstance(asked, EncKeys)}
    assert ends == {end for end, role in enumerate(roles) if role != "receiver"}


def test_a_device_is_asked_no_more_often_than_it_gives() -> None:
    twins = Twins(rate=10)
    kms = network(twins)

    kms.advance(100.0)

    assert len([1 for _, asked in twins.asked if isinstance(asked, GetStatus)]) < 250
    assert stock(kms, B) > 0.9 * 95 * 10 * KEY_OCTETS


def test_the_age_of_the_last_bits_and_what_is_stored_are_told() -> None:
    twins = Twins()
    kms = network(twins)
    kms.advance(5.0)
    twins.wrong[0] = always("no_answer", "Connection refused")

    kms.advance(60.0)

    count = kms.cluster.count
    assert 50 < count(A, "protokms_link_device_idle_seconds", peer=B) < 61
    assert count(A, "protokms_link_device_errors", peer=B, kind="no_answer") >= 5
    assert count(A, "protokms_link_device_keys", peer=B) >= 0


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("no_answer", "Connection refused"),
        ("timeout", "no answer within 5 s"),
        ("tls", "its certificate is refused: certificate has expired"),
        ("unauthorized", "it answers 401"),
        ("server_error", "it answers 500"),
        ("malformed", "the answer is no JSON"),
        ("unavailable", "it answers 503"),
    ],
)
@pytest.mark.parametrize("end", [0, 1])
def test_a_device_that_fails_leaves_its_link_quiet_with_the_reason_until_it_is_well(
    kind: str, text: str, end: int
) -> None:
    twins = Twins()
    kms = network(twins)
    kms.advance(5.0)
    node, before = (A, B)[end], stock(kms)

    twins.wrong[end] = always(kind, text)
    kms.advance(30.0)
    assert link(kms, node).waits == (f"quiet: {text}",)
    assert alarm(kms, node) == [text]
    assert stock(kms) < before + 2 * twins.rate * KEY_OCTETS
    assert both_fetch(kms)  # what was in store before is not lost

    twins.wrong[end] = well
    kms.advance(60.0)
    assert (link(kms, node).waits, alarm(kms, node)) == ((), [])
    assert stock(kms) == stock(kms, B) > before + 10 * twins.rate * KEY_OCTETS


def test_fewer_keys_than_asked_for_are_as_good_as_any() -> None:
    twins = Twins()
    twins.wrong[0] = only(EncKeys, lambda found: Container(found.keys[:3]))
    kms = network(twins)

    kms.advance(20.0)

    assert both_fetch(kms)
    assert kms.cluster.count(A, "protokms_link_device_keys_lost", reason="not_given") > 0


@pytest.mark.parametrize("what", ["key", "key_ID"])
def test_what_the_device_gives_twice_is_used_once(what: str) -> None:
    twins = Twins()
    first: list[Container] = []

    def again(found: Container) -> Container:
        first.append(found)
        if len(first) % 2:
            return found
        pairs = zip(found.keys, first[0].keys, strict=False)
        if what == "key":
            return Container(tuple(replace(new, octets=old.octets) for new, old in pairs))
        return Container(tuple(replace(new, key_id=old.key_id) for new, old in pairs))

    twins.wrong[0] = only(EncKeys, again)
    kms = network(twins)
    said = []
    for _ in range(80):
        kms.advance(0.25)
        said.append(link(kms).waits)

    assert kms.cluster.count(A, "protokms_link_device_errors", kind="repeated") > 0
    told = [it for it in said if it]
    assert told
    assert all("for the second time" in it[0] for it in told)
    used = kms.cluster.count(A, "protokms_link_octets", way="sent")
    good = sum(KEY_OCTETS * len(found.keys) for found in first[::2])
    assert used <= good


def test_other_bits_under_the_same_key_id_at_the_other_end_cost_their_batch_alone() -> None:
    twins = Twins()
    kms = network(twins)
    spoilt = 0

    def spoil(found: Container) -> Container:
        nonlocal spoilt
        spoilt += 1
        if spoilt % 5:
            return found
        head, *rest = found.keys
        return Container((replace(head, octets=Secret(bytes(KEY_OCTETS))), *rest))

    twins.wrong[1] = only(DecKeys, spoil)
    kms.advance(30.0)

    assert kms.cluster.count(A, "protokms_batches_decided", decision="discarded") > 0
    assert stock(kms) == stock(kms, B) > 0
    assert both_fetch(kms)


def test_two_devices_that_are_no_pair_give_no_key_and_both_ends_say_why() -> None:
    twins = Twins()
    kms = network(twins)
    kms.advance(5.0)
    before = stock(kms)

    def other(found: Container) -> Container:
        drawn = (Secret(twins.dice.randbytes(KEY_OCTETS)) for _ in found.keys)
        return Container(tuple(map(DeviceKey, (it.key_id for it in found.keys), drawn)))

    twins.wrong[1] = only(DecKeys, other)
    kms.advance(30.0)
    for node in (A, B):
        (why,) = link(kms, node, "key_store").waits
        assert "discarded: its two ends get different bits" in why
    assert stock(kms) == stock(kms, B) <= before + twins.rate * KEY_OCTETS
    assert both_fetch(kms)  # what was in store before is not lost

    twins.wrong[1] = well
    kms.advance(10.0)
    assert link(kms, A, "key_store").waits == link(kms, B, "key_store").waits == ()
    assert stock(kms) == stock(kms, B) > before


def test_a_device_that_forgets_its_keys_costs_those_and_no_others() -> None:
    twins = Twins()
    kms = network(twins)
    kms.advance(5.0)

    def forget(request: object, answer: object) -> Container:
        if isinstance(request, GetStatus):
            return answer  # type: ignore[return-value]
        twins.forget(1)
        twins.wrong[1] = well
        raise DeviceError("refused", "it answers 400")

    twins.wrong[1] = forget
    kms.advance(60.0)

    assert kms.cluster.count(B, "protokms_link_device_keys_lost", reason="not_fetched") > 0
    assert stock(kms) == stock(kms, B) > 30 * twins.rate * KEY_OCTETS
    assert both_fetch(kms)


def test_a_slow_device_gives_what_it_can() -> None:
    twins = Twins()
    twins.answer_s = 3.0
    kms = network(twins)

    kms.advance(120.0)

    assert both_fetch(kms)
    assert stock(kms) == stock(kms, B)


def test_a_status_that_names_keys_that_are_not_there_leaves_the_link_quiet() -> None:
    twins = Twins(rate=0)

    def lie(_: object, answer: object) -> object:
        return replace(answer, stored=5000) if isinstance(answer, Status) else answer

    twins.wrong[0] = lie  # type: ignore[assignment]
    kms = network(twins)

    kms.advance(60.0)

    assert link(kms).waits == ("quiet: it answers 503",)
    assert len(twins.asked) < 30


@pytest.mark.parametrize("node", [A, B])
def test_p2_after_a_crash_of_either_end_no_key_of_the_devices_is_used_twice(node: str) -> None:
    twins = Twins()
    kms = network(twins)
    for _ in range(5):
        kms.advance(7.3)
        kms.cluster.restart(node)
    kms.advance(40.0)

    named = Counter(
        it for _, asked in twins.asked if isinstance(asked, DecKeys) for it in asked.key_ids
    )
    assert len(named) > 20 * twins.rate
    assert stock(kms) == stock(kms, B)
    assert both_fetch(kms)


def test_the_qber_that_a_device_names_is_shown() -> None:
    twins = Twins()

    def named(_: object, answer: object) -> object:
        return replace(answer, qber=0.021) if isinstance(answer, Status) else answer

    twins.wrong[0] = named  # type: ignore[assignment]
    kms = network(twins)

    kms.advance(5.0)

    assert ("qber", "0.0210") in link(kms).facts
    assert kms.cluster.count(A, "protokms_link_qber", peer=B) == 0.021
    assert "qber" not in dict(link(kms, B).facts)
