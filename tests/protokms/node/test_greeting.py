"""Two processes of a node greet each other before they talk."""

import pytest

from actors.protocol.siblings import Hello, SayAgain
from protokms.node.siblings import Own, Siblings
from transport.codec import Malformed, decode
from transport.envelope import Address, Envelope
from transport.message import Secret
from transport.sealing import ProcessSealer

ME = "kms-1"
KEY, OTHER = bytes(32), bytes(range(32))


class End:
    """One process: what it has said lies in `out` until the test carries it over."""

    def __init__(self, mine: str, theirs: str, release: str = "1", key: bytes = KEY) -> None:
        self.mine, self.theirs = mine, theirs
        self.sealer = ProcessSealer(key, mine, theirs)
        self.out: list[bytes] = []
        self.alarms: list[Envelope] = []
        self.news: list[tuple[str, bool]] = []
        self.unfit: list[str] = []
        self.siblings = Siblings(
            Own(ME, mine, release, ()),
            {theirs: self.sealer},
            post=self._post,
            after=lambda _, envelope: self.alarms.append(envelope),
            changed=lambda process, up: self.news.append((process, up)),
            unfit=lambda _, why: self.unfit.append(why),
        )

    def _post(self, to: str, octets: bytes) -> bool:
        assert to == (ME if self.theirs == "core" else f"{ME}/{self.theirs}")
        self.out.append(octets)
        return True

    def hear(self, octets: bytes) -> None:
        try:
            envelope = decode(octets, ME, self.sealer)
        except Malformed as no:
            self.siblings.refused(self.theirs, no.reason)
            return
        assert self.siblings.admits(self.theirs, envelope)
        self.siblings.tell(envelope)


Pair = tuple[End, End]


@pytest.fixture
def pair() -> Pair:
    return End("core", "front"), End("front", "core")


def carry(pair: Pair) -> None:
    """Bring over what both say, until nobody says any more."""
    ends = (pair, pair[::-1])
    while any(one.out for one, _ in ends):
        for one, other in ends:
            while one.out:
                other.hear(one.out.pop(0))


def up(pair: Pair) -> None:
    for end in pair:
        end.siblings.news(end.theirs, up=True)


def word(sender: str, to: str) -> Envelope:
    turn = SayAgain(process="core", turn=1)
    return Envelope(Address(sender, ME), Address(to, ME), turn)


def test_both_say_hello_and_then_all_passes(pair: Pair) -> None:
    core, front = pair
    up(pair)
    assert [len(end.out) for end in pair] == [1, 1]
    assert not core.siblings.send("front", b"frame")
    assert not core.siblings.admits("front", word("etsi014", "peer_manager"))

    carry(pair)

    assert [end.news for end in pair] == [[("front", True)], [("core", True)]]
    assert core.siblings.send("front", b"frame")
    assert front.siblings.admits("core", word("peer_manager", "etsi014"))
    assert not core.siblings.troubles()
    assert not front.siblings.troubles()


def test_an_edge_says_that_core_is_away(pair: Pair) -> None:
    core, front = pair

    assert front.siblings.troubles() == ["process core: it is not up"]
    assert core.siblings.troubles() == []


def test_nothing_passes_after_a_process_was_lost_until_it_is_greeted_again(pair: Pair) -> None:
    core, front = pair
    up(pair)
    carry(pair)

    core.siblings.news("front", up=False)
    assert core.news[-1] == ("front", False)
    assert not core.siblings.send("front", b"frame")
    front.siblings.news("core", up=False)
    up(pair)
    carry(pair)

    assert core.news[-1] == ("front", True)
    assert front.siblings.greeted("core")


def test_another_release_is_refused_with_both_versions() -> None:
    core, front = End("core", "front", "0.3.0"), End("front", "core", "0.4.0")
    up((core, front))

    carry((core, front))

    assert not core.news + front.news
    assert not core.siblings.send("front", b"frame")
    for end in (core, front):
        (why,) = end.siblings.troubles()
        assert "0.3.0" in why
        assert "0.4.0" in why
        assert why == f"process {end.theirs}: {end.unfit[-1]}"


def test_another_seal_is_refused_with_that_reason() -> None:
    core, front = End("core", "front"), End("front", "core", key=OTHER)
    up((core, front))

    carry((core, front))

    assert front.siblings.troubles() == [
        "process core: its seal is not ours: both must name the same key"
    ]
    assert not front.siblings.greeted("core")


def test_a_hello_that_got_lost_is_said_again_and_an_old_one_is_not(pair: Pair) -> None:
    core, front = pair
    up(pair)
    lost, core.out = core.out, []
    carry(pair)
    assert len(lost) == 1
    assert not front.siblings.greeted("core")

    core.siblings.tell(core.alarms.pop())
    carry(pair)

    assert front.siblings.greeted("core")
    assert core.siblings.greeted("front")
    for end in pair:
        while end.alarms:
            end.siblings.tell(end.alarms.pop())
        assert not end.out


def test_an_answer_that_nobody_asked_for_changes_nothing(pair: Pair) -> None:
    core, front = pair
    up(pair)
    hello = decode(core.out[0], ME, front.sealer)
    assert isinstance(hello.body, Hello)
    front.hear(core.out.pop(0))
    front.out.pop(0)  # its own Hello
    answer = front.out.pop(0)
    core.siblings.news("front", up=False)

    core.hear(answer)

    assert not core.siblings.send("front", b"frame")


def test_what_a_process_says_after_the_greeting_makes_nobody_not_ready(pair: Pair) -> None:
    core, _ = pair
    up(pair)
    carry(pair)

    hello = Hello(process="front", version="9.9", actors=(), seal=Secret(bytes(16)))
    own, to = Address("greeter/front", ME), Address("greeter/core", ME)
    core.siblings.tell(Envelope(own, to, hello, 7))
    core.siblings.refused("front", "seal")

    assert core.siblings.greeted("front")
    assert (list(core.siblings.troubles()), core.unfit) == ([], [])
