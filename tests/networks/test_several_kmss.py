"""One key for SAEs at several KMSs, on whole nodes: all of them can fetch it, or nobody can."""

from collections.abc import Iterator

import pytest

from actors.protocol import grants, keys
from actors.protocol.common import Failed
from protokms.testing.kms import KmsNetwork
from transport.codec import decode

SAES = {"ann": "a", "amy": "a", "bob": "b", "cat": "c", "cleo": "c"}
ALL = ("bob", "cat", "cleo", "amy")
WAIT_S = 5.0


class Several:
    """A chain a-b-c with filled stores; `ids` are the grants that were brought to anybody."""

    def __init__(self, **store: object) -> None:
        self.kms = KmsNetwork("a-b b-c", saes=SAES, store=store, link={"rate_bit_s": 60e3}, seed=3)
        self.ids: list[bytes] = []
        self.kms.cluster.net.watchers.append(self._watch)
        self.kms.advance(2.0)
        assert isinstance(self.kms.enc("ann", "cat", wait=20.0), keys.Keys)  # a session with c
        self.kms.advance(2.0)

    def _watch(self, what: str, sender: str, _to: str, octets: bytes) -> None:
        body = decode(octets, sender).body if what == "posted" else None
        if isinstance(body, grants.GrantSealed):
            self.ids.append(body.grant.id)

    def ask(self, *slaves: str, wait: float = WAIT_S) -> keys.Keys | Failed:
        return self.kms.enc("ann", *slaves, number=2, wait=wait)

    def fetch(self, slave: str, grant: bytes) -> list[bytes] | str:
        """Fetch both keys; the octets, or the code of the refusal."""
        taken = self.kms.dec(slave, "ann", grant, 0, 1)
        if isinstance(taken, Failed):
            return taken.code
        return [octets.reveal() for octets in taken.octets]


@pytest.fixture
def several() -> Iterator[Several]:
    made = Several()
    yield made
    made.kms.cluster.close()


def cut(made: keys.Keys) -> list[bytes]:
    octets = made.octets.reveal()
    return [octets[:32], octets[32:]]


def test_every_slave_gets_the_keys_once_wherever_it_is(several: Several) -> None:
    made = several.ask(*ALL)

    assert isinstance(made, keys.Keys)
    assert [several.fetch(slave, made.grant) for slave in ALL] == [cut(made)] * 4
    assert [several.fetch(slave, made.grant) for slave in ALL] == ["no_such_key"] * 4


def test_who_is_not_named_gets_nothing(several: Several) -> None:
    made = several.ask("bob", "cat")

    assert isinstance(made, keys.Keys)
    assert several.fetch("cleo", made.grant) == "not_named"
    assert several.fetch("amy", made.grant) == "no_such_key"


def test_a_slave_at_its_limit_voids_the_grant_for_all() -> None:
    several = Several(max_undelivered_bits_per_pair=3 * 256)
    assert isinstance(several.kms.enc("ann", "cleo", number=2), keys.Keys)

    refused = several.ask(*ALL)
    several.kms.advance(2.0)

    assert isinstance(refused, Failed)
    assert refused.code == "too_many_undelivered"
    assert several.ids
    found = {several.fetch(slave, grant) for slave in ALL for grant in several.ids}
    assert found == {"no_such_key"}
    several.kms.cluster.close()


@pytest.mark.parametrize("lost", ["b", "c"])
def test_a_kms_that_is_cut_off_voids_the_grant_for_all(several: Several, lost: str) -> None:
    for other in {"a", "b", "c"} - {lost}:
        several.kms.cluster.cut(lost, other)

    refused = several.ask(*ALL)
    for other in {"a", "b", "c"} - {lost}:
        several.kms.cluster.mend(lost, other)
    several.kms.advance(20.0)

    assert isinstance(refused, Failed)
    found = {several.fetch(slave, grant) for slave in ALL for grant in several.ids}
    assert found <= {"no_such_key"}


@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_an_answered_key_outlives_a_crash_of_any_node(several: Several, node: str) -> None:
    made = several.ask(*ALL)
    assert isinstance(made, keys.Keys)

    several.kms.cluster.restart(node)
    several.kms.advance(5.0)

    assert [several.fetch(slave, made.grant) for slave in ALL] == [cut(made)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_a_crash_at_any_commit_leaves_equal_keys_or_none(
    several: Several, node: str, n: int, before: bool
) -> None:
    cluster = several.kms.cluster
    asker = cluster.probe("etsi014@a")
    ask = keys.GetMulticast(master="ann", slaves=ALL, number=2, size=32)

    cluster.crash_at_commit(node, n, before=before)
    asker.question("multicast@a", ask)
    several.kms.advance(2.0)
    cluster.forget_doom(node)
    cluster.restart(node)
    several.kms.advance(10.0)

    answers = [body for body in asker.received if isinstance(body, keys.Keys)]
    assert len(answers) <= 1
    for grant in dict.fromkeys([*several.ids, *(it.grant for it in answers)]):
        found = [several.fetch(slave, grant) for slave in ALL]
        got = [it for it in found if not isinstance(it, str)]
        assert all(it == got[0] for it in got)
        if answers and answers[0].grant == grant:
            assert found == [cut(answers[0])] * 4
        elif node != "a":
            assert got == []  # who asked lives on, and has taken it back everywhere
