"""`--paths 2` holds at both ends of a session, for what is in store too (R14)."""

import pytest

from actors.keystore.key_store import KeyStore
from actors.protocol import intent, keys, sessions
from actors.protocol.common import Failed
from actors.protocol.intent import Link
from actors.sync.peering import Peering
from protokms.testing.kms import KmsNetwork

pytestmark = pytest.mark.slow

RING = "a--b b--c c--d d--a"
ASK = keys.GetKey(master="sae-3", slaves=("sae-1",), number=1, size=32, provenance=True)


def stocked(**options: object) -> KmsNetwork:
    """A session on demand over one path, with stock at both ends."""
    kms = KmsNetwork(RING, **options)  # type: ignore[arg-type]
    kms.advance(5.0)
    assert isinstance(kms.enc("sae-1", "sae-3", wait=10.0), keys.Keys)
    kms.advance(5.0)
    made = kms.cluster.ask("key_store/a@c", ASK, 2.0)
    assert isinstance(made, keys.Keys)
    assert {len(it.paths) for it in made.provenance} == {1}
    return kms


def ask_for_two(kms: KmsNetwork) -> None:
    assert isinstance(kms.want(Link(intent.VIRT, "a", "c", n=2)), intent.Written)
    ask = sessions.AddSession(destination="c", n=2)
    assert isinstance(kms.cluster.ask("sessions@a", ask, 20.0), sessions.SessionAdded)


def store(kms: KmsNetwork, at: str) -> KeyStore:
    found = kms.cluster.actor(at)
    assert isinstance(found, KeyStore)
    return found


def weak(kms: KmsNetwork, at: str) -> int:
    """Octets that this end may still give out, and that came over one path."""
    segments = store(kms, at).stream.segments.values()
    return sum(it.free for it in segments if it.owned and it.way.least < 2)


def paths_of_new_keys(kms: KmsNetwork, n: int = 12) -> set[int]:
    """Ask at c for keys, and have a deliver them; return over how many paths they came."""
    seen: set[int] = set()
    for _ in range(n):
        made = kms.cluster.ask("key_store/a@c", ASK, 2.0)
        kms.advance(1.0)
        if not isinstance(made, keys.Keys):
            continue
        seen |= {len(it.paths) for it in made.provenance}
        assert isinstance(kms.dec("sae-1", "sae-3", made.grant), keys.KeysWithIds)
    return seen


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_what_came_over_one_path_is_burnt_at_both_ends(mode: str) -> None:
    kms = stocked(store={"mode": mode})
    assert weak(kms, "key_store/a@c")

    ask_for_two(kms)
    kms.advance(3.0)

    assert weak(kms, "key_store/c@a") == weak(kms, "key_store/a@c") == 0
    assert paths_of_new_keys(kms) == {2}


def test_the_terms_hold_across_a_start_of_the_other_end() -> None:
    kms = stocked()
    kms.cluster.cut("a", "c")
    ask_for_two(kms)
    kms.cluster.mend("a", "c")
    kms.advance(5.0)

    kms.cluster.restart("c")

    assert store(kms, "key_store/a@c").stream.paths == 2
    kms.advance(10.0)
    assert paths_of_new_keys(kms) == {2}


def test_an_end_that_does_not_know_the_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peering, "speaks", lambda *_: False)
    kms = stocked()
    assert weak(kms, "key_store/a@c")

    ask_for_two(kms)

    refused = kms.cluster.ask("key_store/a@c", ASK, 2.0)
    assert isinstance(refused, Failed)
    assert refused.code == "not_ready"
    assert paths_of_new_keys(kms, 30) <= {2}


def test_fewer_paths_are_enough_again_when_the_session_is_removed() -> None:
    kms = stocked()
    ask_for_two(kms)
    kms.advance(3.0)

    gone = kms.cluster.ask("sessions@a", sessions.RemoveSession(destination="c"), 5.0)
    kms.advance(3.0)

    assert gone == sessions.SessionRemoved()
    assert store(kms, "key_store/a@c").stream.paths == 1


def test_the_word_is_repeated_until_it_is_acknowledged() -> None:
    kms = stocked()
    lost = kms.cluster.net.post
    dropped: list[bytes] = []

    def lose(sender: str, to: str, octets: bytes) -> None:
        if b"blocks.paths_needed" in octets and len(dropped) < 4:
            dropped.append(octets)
        else:
            lost(sender, to, octets)

    kms.cluster.net.post = lose  # type: ignore[method-assign]

    ask_for_two(kms)
    kms.advance(10.0)

    assert len(dropped) == 4
    assert weak(kms, "key_store/a@c") == 0
    assert store(kms, "key_store/c@a").fill._paths_held == 2
