"""docs/operate.md tells of every refusal: of a request, and of a client at its handshake."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.protocol.sessions import LIMITS
from etsi.gs014.api import REFUSALS
from tests.kit.refused_clients import CLIENTS

ROOT = Path(__file__).parents[1]


def rows(title: str = "At a request") -> list[list[str]]:
    """Return the lines of a table; of requests: status, text, code, and what to do."""
    page = (ROOT / "docs" / "operate.md").read_text()
    section = page.partition(f"### {title}\n")[2].partition("\n##")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "][1:]


def told() -> dict[str, tuple[int, str]]:
    """Return status and text by code."""
    found = {code.strip("`"): (int(status), text) for status, text, code, _ in rows()}
    assert len(rows()) == len(found), "a code is there twice"
    return found


def raised() -> Iterator[tuple[int, str]]:
    """Return status and code of each `Problem` that the front end writes down in its code."""
    for path in ROOT.glob("etsi/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name("Problem"),
                    args=[ast.Constant(int(status)), ast.Constant(str(code)), *_],
                ):
                    yield status, code


def test_each_refusal_of_key_store_and_sessions_is_told_in_its_words() -> None:
    page = told()

    for code, (status, text, _) in REFUSALS.items():
        assert page.get(code) == (status, text or page[code][1]), code


def test_each_refusal_of_the_front_end_is_told_with_its_status() -> None:
    page, codes = told(), set(raised())

    assert codes, "nothing is found in the code any more"
    assert (
        sorted((status, code) for status, code in codes if page.get(code, (0,))[0] != status) == []
    )


def test_no_refusal_is_told_that_is_none() -> None:
    assert sorted(set(told()) - set(REFUSALS) - {code for _, code in raised()}) == []


def test_the_remedy_of_a_limit_names_the_limit() -> None:
    remedies = {code.strip("`"): remedy for _, _, code, remedy in rows()}

    assert [code for code, limit in LIMITS.items() if f"`{limit}`" not in remedies[code]] == []


@pytest.mark.parametrize("who", CLIENTS)
def test_each_refusal_at_the_handshake_is_told_in_one_row(who: str) -> None:
    told = CLIENTS[who]

    found = [
        alerts
        for alerts, why, _ in rows("At the TLS handshake")
        if f"`{told.why}`" in why and f"`{told.alert}`" in alerts
    ]

    assert len(found) == 1
    assert f"`{told.alerts[1]}`" in found[0]


def test_what_is_refused_for_another_reason_has_another_remedy() -> None:
    remedies = [remedy for _, _, remedy in rows("At the TLS handshake")]

    assert len(set(remedies)) == len(remedies)
