"""Many pairs over few links, with real stores and chunks: all stand, rest, and have their share."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.modules.memory import Pipe
from actors.protocol import intent, relay
from actors.protocol.intent import Link
from protokms.bench.any_to_any import Case, dumbbell, measure, mesh, past_the_limit, spur
from protokms.testing.kms import KmsNetwork
from transport.codec import decode

pytestmark = pytest.mark.slow

RATE, LEAF_BIT_S = 400e3, 20e3
SECONDS = 30.0


@pytest.mark.parametrize("case", [mesh(10), dumbbell(3)], ids=["mesh", "dumbbell"])
def test_all_pairs_stand_at_the_first_look_and_have_a_key_at_the_first_request(case: Case) -> None:
    made = measure(replace(case, rate_bit_s=2e6))

    assert made["stand_at_first_look"] == made["stand_at_the_end"] == len(case.distinct)
    assert (made["keys_at_first_request"], made["refused"]) == (len(case.pairs), {})
    assert made["lanes_lost"] == 0
    assert made["rest_signatures_s_a_node"] <= made["nodes"] / 5
    assert made["rest_frames_s_a_node"] <= 30.0
    assert made["rest_pad_octets"] == 0
    assert made["of_this_rows_mib"] > 0


def test_a_network_of_neighbours_alone_has_figures_too() -> None:
    made = measure(mesh(3), rest_s=1.0)

    assert (made["sessions"], made["mib_a_pair_and_end"]) == (0, None)


@pytest.mark.parametrize(("case", "refusal"), [(dumbbell(3), "link_full"), (spur(4), "share_full")])
def test_one_past_the_limit_is_refused_by_its_name_and_the_others_stay(
    case: Case, refusal: str
) -> None:
    made = past_the_limit(replace(case, rate_bit_s=2e6))["past_the_limit"]

    assert made["stand"] == made["stand_later"] == made["places"] == len(case.distinct) - 1
    assert made["refused"] == {f"{refusal} refused by h": 1}
    assert made["lanes_lost"] == 0


def test_on_a_slow_link_each_pair_has_its_share() -> None:
    """Of its origin's, that is: one that begins fewer sessions has more for each."""
    made = measure(replace(dumbbell(3, slow=True), rate_bit_s=100e3), rest_s=10.0)

    assert made["keys_at_first_request"] == 18
    assert made["keys_a_pair_least"] >= 0.5 * made["keys_a_pair_median"]


def unequal(links: str) -> Callable[..., Pipe]:
    """Make links, in their order, that bring less at the leaves."""
    rates = iter([LEAF_BIT_S if "b" in link else RATE for link in links.split()])
    return lambda **more: Pipe(**{**more, "rate_bit_s": next(rates)})


MARKS = Link(intent.VIRT, "", "", low_bits=1 << 24, high_bits=1 << 25)


def test_many_heavy_sessions_of_one_origin_leave_half_of_a_link_to_one_of_another() -> None:
    leaves = [f"b{n:02}" for n in range(64)]
    links = " ".join(["a-h", "z-h", "h-k", "k-y", *(f"k-{it}" for it in leaves)])
    kms = KmsNetwork(links, link={"max_bytes": 16_000}, pipe=unequal(links))
    kms.advance(10.0)
    carried = Counter[str]()

    def watch(what: str, sender: str, to: str, octets: bytes) -> None:
        if (what, sender, to) != ("posted", "h", "k"):
            return
        word = decode(octets, sender).body
        if isinstance(word, relay.Carry):
            carried[word.chunk.session.origin] += len(word.sealed)

    for leaf in leaves:
        kms.want(replace(MARKS, local="a", remote=leaf, weight=16))
    kms.want(replace(MARKS, local="z", remote="y"))
    kms.advance(10.0)
    kms.cluster.net.watchers.append(watch)
    kms.advance(SECONDS)

    assert carried["a"] + carried["z"] > 0.7 * RATE / 8 * SECONDS
    assert 0.4 <= carried["z"] / (carried["a"] + carried["z"]) <= 0.6
