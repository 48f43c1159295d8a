"""The page of a lab: what it is told, and who may press its buttons."""

import pytest

from protokms.dashboard.collector import picture
from protokms.dashboard.guards import TOKEN_HEADER, refusal
from protokms.lab.run import NodeState

GOOD = {"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080", TOKEN_HEADER: "t"}


def test_a_link_is_shown_once_and_nothing_unnamed_passes() -> None:
    session = {"destination": "c", "state": "up", "paths": [["a", "b", "c"]], "secret": "x"}
    states = [
        NodeState("a", running=True, ready=True, links={"b": 8}, sessions=[session]),
        NodeState("b", links={"a": 16}),
    ]

    shown = picture(states)

    assert shown["links"] == [{"ends": ["a", "b"], "bits": 8}]
    assert shown["sessions"] == [
        {"from": "a", "to": "c", "state": "up", "paths": [["a", "b", "c"]]}
    ]


def test_a_button_of_the_page_is_let_pass() -> None:
    assert not refusal(GOOD, 8080, writes=True, token="t")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Host", "evil.example:8080", "wrong Host"),
        ("Origin", "http://evil.example", "wrong Origin"),
        ("Origin", "", "wrong Origin"),
        (TOKEN_HEADER, "é", "wrong token"),
    ],
)
def test_others_are_refused(name: str, value: str, why: str) -> None:
    assert refusal({**GOOD, name: value}, 8080, writes=True, token="t") == why
