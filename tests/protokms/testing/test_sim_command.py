"""The command line of the simulation: what it takes, what it refuses, and what it prints."""

import sys
from pathlib import Path

import pytest

from actors.base import Actor
from protokms.testing.sim.__main__ import _shrinking, main
from protokms.testing.sim.faults import fault, fault_args
from protokms.testing.sim.faults.fault import KINDS, Fault
from protokms.testing.sim.faults.plan import Plan, plan
from protokms.testing.sim.run import runner
from protokms.testing.sim.run.world import Outcome, world

PAIR, FAR = 17, next(seed for seed in range(100) if plan(seed).far)

WRONG = {
    "nonsense": "a fault is TIME KIND PLACE SECONDS AMOUNT DICE [WORD]",
    "1 cut a>b 1 0 0 blocks.held/1 more": "a fault is",
    "12.5 nokind a>b 3 0 0": "no such fault: nokind",
    "12.5 cut a>b x 0 0": "are numbers",
    "12.5 cut a>b 1 0 0.5": "DICE is a whole one",
    "12.5 crash q 3 0 0": "there is no node q in this network, a-b",
    "12.5 cut a>z 3 0 0": "there is no node z",
    "12.5 cut a 3 0 0": "the place of cut is NODE>NODE, not a",
    "12.5 cut a>a 3 0 0": "two ends",
    "12.5 crash a>b 3 0 0": "the place of crash is NODE, not a>b",
    "12.5 actor_crash a 0 0 0": "the place of actor_crash is NODE>ACTOR, not a",
    "12.5 actor_crash a>nobody 0 0 0": "there is no actor nobody; alarms, intent, key_store/a,",
    "12.5 dark b>a 3 0 0": "no link sends from b to a; the links are a>b",
    "12.5 cut a>b 3 0 0 no.word": "no word no.word",
    "12.5 loss a>b 3 7 0": "the amount of loss must be from 0 to 1, and is 7",
    "12.5 loss a>b 3 nan 0": "the amount of loss",
    "12.5 cut a>b 3 1 0": "the amount of cut must be 0, and is 1",
    "12.5 replay a>b 3 1 0": "replay takes no time: its seconds must be 0, and are 3",
    "12.5 cut a>b -1 0 0": "it must last no less than 0 s, and end before 74 s",
    "12.5 cut a>b inf 0 0": "it must last",
    "70 cut a>b 1 0 0": "it must begin between 0 and 64 s",
    "-1 cut a>b 1 0 0": "it must begin",
    "3 restore a 1 5 0": "the copy, 5 s older, would be taken before time 0",
    "30 restore a 1 5 0; 40 restore b 1 5 0": "one restore is all",
    "; ".join(f"{at} actor_crash a>router 0 0 0" for at in range(10, 16)): "more than 5 crashes",
}


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("text", WRONG)
def test_a_fault_that_cannot_be_is_refused_in_a_sentence(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert WRONG[text] in refused([f"--seed={PAIR}", f"--faults={text}"], capsys)


def test_a_relay_that_lies_is_refused_and_an_end_of_a_session_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "50 betray a>b 0 3 0"
    far = plan(FAR)
    one, other = far.distant[0]

    fault_args.check(plan(PAIR), fault.read(text))
    fault_args.check(far, fault.read(f"50 betray {other}>{one} 0 3 0"))
    assert "over a distance" in refused([f"--seed={FAR}", f"--faults={text}"], capsys)


@pytest.mark.parametrize("sizes", [None, (4, 36)])
def test_every_fault_that_is_drawn_can_be_given(sizes: tuple[int, int] | None) -> None:
    for seed in range(150):
        drawn = plan(seed, sizes=sizes)
        fault_args.check(drawn, drawn.faults)
        fault_args.check(drawn, fault.read(fault.write(drawn.faults)))


def test_every_kind_of_fault_says_what_its_amount_may_be() -> None:
    for kind, how in KINDS.items():
        least, most = fault_args.AMOUNTS.get(kind, (0.0, 0.0))
        assert least <= how.amount[0] <= how.amount[1] <= most, kind


def test_the_actors_that_may_be_named_are_those_of_the_network() -> None:
    with world(plan(PAIR)) as made:
        for node in made.plan.names:
            names = made.cluster.nodes[node].actors.items()
            there = {name for name, actor in names if isinstance(actor, Actor)}
            assert there - fault_args.actors(made.plan, node) == {"supervisor", *_peers(there)}
            assert fault_args.actors(made.plan, node) <= there


def _peers(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("peer/")}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--seeds 0", "--seeds: '0' is not a whole number, 1 or more"),
        ("--seeds -3", "--seeds: '-3' is not"),
        ("--jobs 0", "--jobs: '0' is not"),
        ("--jobs two", "--jobs: 'two' is not"),
        ("--first -1", "--first: '-1' is not a whole number, 0 or more"),
        ("--seed 1.5", "--seed: '1.5' is not"),
        ("--nodes 4", "--nodes: '4' is not LEAST-MOST, 4 to 36"),
        ("--nodes 3-9", "--nodes: '3-9' is not LEAST-MOST, 4 to 36"),
        ("--faults x", "--faults needs --seed"),
        ("--seed 1 --seeds 5", "--seeds is for many seeds"),
        ("--seed 1 --first 0", "--first is for many seeds"),
        ("--seed 1 --jobs 1", "--jobs is for many seeds"),
        ("--seed 1 --coverage", "--coverage is for many seeds"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in refused(words.split(), capsys)


def test_no_faults_at_all_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def attempt(wanted: object) -> Outcome:
        ran.append(wanted)
        return Outcome(1, 2, 3, 4, 5.0, met=runner.Total().met, answers={})

    monkeypatch.setattr(runner, "attempt", attempt)

    assert main(["--seed", "1", "--faults", ""]) == 0
    assert ran == [plan(1, [])]


def test_how_many_faults_are_left_is_told_every_half_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [1000.0]
    tell = _shrinking(lambda: clock[0])

    for run in range(1, 8):
        clock[0] += 12.0
        tell(56 - run, run)

    assert capsys.readouterr().err == "53 faults left after 3 runs\n50 faults left after 6 runs\n"


def test_a_failure_is_left_as_it_is_once_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "attempt", lambda _: pytest.fail("it ran"))
    failure = runner.Failure(17, "P1", "twice", 64.0)

    assert runner.shrunk(failure, until=0.0) == failure


def test_faults_after_the_end_are_kept_if_it_takes_them_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = plan(PAIR).faults
    failure = runner.Failure(PAIR, "P1", "twice", drawn[40].at)

    def attempt(wanted: Plan) -> Outcome | runner.Failure:
        if {drawn[3], drawn[50]} <= set(wanted.faults):
            return runner.Failure(PAIR, "P1", "twice", failure.at, tuple(wanted.faults))
        return Outcome(PAIR, 2, 3, 4, 5.0, met=runner.Total().met, answers={})

    monkeypatch.setattr(runner, "attempt", attempt)

    assert runner.shrunk(failure).faults == (drawn[3], drawn[50])


@pytest.mark.parametrize(
    ("used", "typed"),
    [
        (".venv/bin/python", ".venv/bin/python"),
        ("a b/python", "'a b/python'"),
        ("/usr/bin/python3.11", "/usr/bin/python3.11"),
    ],
)
def test_the_command_that_repeats_a_failure_names_the_python_that_ran(
    used: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / used))
    failure = runner.Failure(17, "P1", "twice", 3.0, (Fault(1.0, "cut", ("a", "b")),))

    wanted = f"{typed} -m protokms.testing.sim --seed 17 --faults '1 cut a>b 0 0 0'"
    assert failure.command == wanted
