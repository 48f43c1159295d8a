"""The judge of histories of real nodes notices each broken promise."""

from dataclasses import replace

import pytest

from tests.processes.real_history import NOT_FOUND, BrokenPromise, Down, Findings, Op, check

KEY, OTHER = bytes(range(32)), bytes(range(100, 132))
ENC = Op(
    what="enc", master="m", slave="s", node="a", begun=1.0, ended=1.1, before=1.0, status=200,
    ids=("k",), values=(KEY,),
)  # fmt: skip
DEC = replace(ENC, what="dec", node="b", begun=2.0, ended=2.1, before=2.0)
NO = replace(DEC, begun=3.0, ended=3.1, before=2.0, status=400, why=NOT_FOUND, values=())
GONE = replace(DEC, status=0, values=())
BUSY = replace(NO, status=503, retry_after="1")


def judged(*ops: Op, downs: tuple[Down, ...] = (), mode: str = "confirmed") -> Findings:
    return check(ops, downs, 30.0, mode)


def test_a_key_given_once_to_each_is_well() -> None:
    assert judged(ENC, DEC, NO) == Findings(answered=1, delivered=1)


@pytest.mark.parametrize(
    ("promise", "ops"),
    [
        ("P1: two values", (ENC, replace(DEC, values=(OTHER,)))),
        ("P1: k was given to masters twice", (ENC, DEC, ENC)),
        ("P3: .* never given", (ENC,)),
        ("P3: .* was refused", (ENC, NO)),
        ("P3: .* was refused", (ENC, replace(BUSY, begun=2.0, ended=2.1), NO)),
        ("R11: k was given out again", (ENC, DEC, replace(DEC, begun=4.0, ended=4.1))),
        ("P8: no answer, though b was there", (ENC, GONE, DEC)),
        ("P8: 503 without Retry-After", (ENC, DEC, replace(BUSY, retry_after=""))),
        ("P8: an error that nothing explains", (ENC, DEC, replace(NO, status=401))),
        ("P8: an error that nothing explains", (ENC, DEC, replace(NO, why="internal"))),
        ("P8: an error that nothing explains", (ENC, replace(ENC, status=400), DEC)),
    ],
)
def test_a_broken_promise_is_noticed(promise: str, ops: tuple[Op, ...]) -> None:
    with pytest.raises(BrokenPromise, match=promise):
        judged(*ops)


@pytest.mark.parametrize(
    "value",
    [OTHER[:-15] + KEY[:15], KEY[8:16] + OTHER[8:], OTHER[:3] + KEY[8:16] + OTHER[11:], OTHER * 2],
    ids=["any 15", "aligned", "aligned in the first", "within one key"],
)
def test_bits_that_serve_two_keys_are_noticed(value: bytes) -> None:
    second = [replace(op, ids=("j",), values=(value,)) for op in (ENC, DEC)]

    with pytest.raises(BrokenPromise, match="P2"):
        judged(ENC, DEC, *second)


def test_a_crash_excuses_a_lost_answer_and_the_same_key_again() -> None:
    lost = judged(ENC, GONE, replace(DEC, begun=4.0, ended=4.1), downs=(Down("b", 2.0, 2.05, 3.5),))
    late = replace(NO, begun=40.0, ended=40.1)
    again = replace(DEC, begun=4.0, ended=4.1)

    assert lost.delivered == lost.unknown == 1
    assert judged(ENC, GONE, late, downs=(Down("b", 2.0, 2.05, 3.5),)).lost == 1
    assert judged(ENC, DEC, again, downs=(Down("b", 2.05, 2.06, 3.5),)).refetched == 1
    with pytest.raises(BrokenPromise, match="R11"):
        judged(ENC, DEC, again, downs=(Down("a", 2.05, 2.06, 3.5),))


def test_in_local_mode_a_key_may_be_refused_while_its_owner_is_away_but_not_for_ever() -> None:
    early = replace(NO, begun=1.5, ended=1.6)

    assert judged(ENC, early, DEC, mode="local").delivered == 1
    with pytest.raises(BrokenPromise, match="never given"):
        judged(ENC, early, mode="local")
