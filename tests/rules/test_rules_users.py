"""SAE pairs beside each other at one store: turns, and what is left for those who ask little."""

import itertools

from actors.ledger.pair_reserves import RESERVE_OCTETS
from actors.protocol import keys
from actors.protocol.common import Failed
from tests.kit.pair import Pair
from transport.envelope import Address, Envelope
from transport.message import Message

GREEDY, QUIET = ("alice", "bob"), ("carol", "bert")


class Crowd:
    """Asks for keys without waiting for the answers, which come in the order of `answers`."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self._tokens = pair, itertools.count(1)
        self.probe = pair.cluster.probe("crowd@a")
        self.asked: dict[int, tuple[str, str]] = {}

    def ask(self, pair: tuple[str, str], number: int, size: int = 32) -> None:
        token = next(self._tokens)
        self.asked[token] = pair
        master, slave = pair
        body = keys.GetKey(master=master, slaves=(slave,), number=number, size=size, within=3.0)
        to = Address.parse(self.pair.at("a"))
        self.pair.cluster.nodes["a"].send(Envelope(self.probe.address, to, body, token))

    def answers(self) -> list[tuple[tuple[str, str], Message]]:
        self.pair.cluster.settle()
        return [(self.asked[it.token], it.body) for it in self.probe.envelopes]


def test_small_requests_do_not_wait_for_large_ones_of_another_pair() -> None:
    pair = Pair(max_bits=1 << 23)
    for _ in range(40):
        pair.feed(16_000)
    pair.cluster.advance(2.0)
    crowd = Crowd(pair)

    for _ in range(8):
        crowd.ask(GREEDY, number=128, size=128)  # 16 KiB each
    for _ in range(4):
        crowd.ask(QUIET, number=1)
    answers = crowd.answers()

    assert all(isinstance(body, keys.Keys) for _, body in answers), answers
    quiet = [place for place, (who, _) in enumerate(answers) if who == QUIET]
    assert max(quiet) < 8  # in order of asking they would be the last four of twelve


def test_a_pair_that_takes_all_leaves_another_its_reserve() -> None:
    pair = Pair()
    pair.fill(60)
    crowd = Crowd(pair)
    crowd.ask(QUIET, number=1)
    crowd.answers()

    for _ in range(1000):
        crowd.ask(GREEDY, number=8)
        crowd.pair.cluster.settle()
    last = crowd.answers()[-1][1]
    stock = pair.store("a").stream.stock
    crowd.ask(QUIET, number=1)

    assert isinstance(last, Failed)
    assert last.why == "what is left is kept for other pairs of SAEs"
    assert stock >= RESERVE_OCTETS // 2
    assert isinstance(crowd.answers()[-1][1], keys.Keys)


def test_p9_a_status_leaves_out_what_is_kept_for_others() -> None:
    pair = Pair()
    pair.fill(20)
    crowd = Crowd(pair)
    before = pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))
    crowd.ask(QUIET, number=1)
    crowd.answers()

    after = pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))

    assert isinstance(before, keys.Stock)
    assert isinstance(after, keys.Stock)
    assert before.stored - after.stored == 1 + RESERVE_OCTETS // 32
