"""What Prometheus and Grafana are told to look at exists, with the labels that are used."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
BOARD = ROOT / "deploy/grafana/protokms.json"
PAGE = ROOT / "docs/metrics.md"
OF_PROMETHEUS = {"up": {"job", "instance"}}
LABEL = re.compile(r"\$labels\.(\w+)")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def known() -> dict[str, set[str]]:
    """Return the series of the page, and their labels."""
    found = dict(OF_PROMETHEUS)
    for names, labels in re.findall(
        r"^\|([^|\n]*`protokms_[^|\n]*)\|([^|\n]*)\|", PAGE.read_text(), re.M
    ):
        mine = {it.strip() for it in labels.split(",") if it.strip().isidentifier()}
        found |= dict.fromkeys(re.findall(r"`(protokms_\w+)`", names), mine)
    return found


def selectors(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Find the series that an expression reads, and the labels by which it chooses."""
    seen: list[Any] = []

    def note(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            seen.append(node)

    promql_parser.walk(promql_parser.parse(expr), note)
    for node in seen:
        yield node.name, {matcher.name for matcher in node.matchers.matchers}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_each_rule_reads_series_that_exist(rule: dict[str, Any]) -> None:
    series = known()
    read = list(selectors(rule["expr"]))

    assert read
    for name, chosen in read:
        assert chosen <= series[name] | {"job"}
    said = set(LABEL.findall(rule["annotations"]["summary"])) - {"instance"}
    assert said <= set.union(*(series[name] for name, _ in read))


def test_a_series_that_is_not_there_would_be_noticed() -> None:
    ((name, labels),) = selectors('rate(protokms_nothing_total{colour="red"}[5m]) > 0')

    assert (name, labels) == ("protokms_nothing_total", {"colour"})
    assert name not in known()


def test_what_the_page_says_to_alarm_on_has_a_rule() -> None:
    rows = [row for row in PAGE.read_text().splitlines() if "**Alarm" in row and row[:1] == "|"]
    read = {name for rule in rules() for name, _ in selectors(rule["expr"])}

    assert len(rows) > 5
    assert [row for row in rows if not read & set(re.findall(r"`(protokms_\w+)`", row))] == []


def test_prometheus_is_told_of_the_rules() -> None:
    told = yaml.safe_load((FOLDER / "prometheus.yml").read_text())

    assert [FOLDER / file for file in told["rule_files"]] == [FOLDER / "alerts.yml"]


def targets() -> list[tuple[str, str]]:
    """Return what the panels of the dashboard read, and what they write beside it."""
    panels = json.loads(BOARD.read_text())["panels"]
    return [(it["expr"], it["legendFormat"]) for panel in panels for it in panel["targets"]]


@pytest.mark.parametrize(("expr", "legend"), targets())
def test_each_panel_reads_series_that_exist(expr: str, legend: str) -> None:
    series = known()
    read = list(selectors(expr))

    assert read
    for name, chosen in read:
        assert chosen <= series[name] | {"instance"}
    labels = set(re.findall(r"{{(\w+)}}", legend)) - {"instance"}
    assert labels <= set.union(*(series[name] for name, _ in read))


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(BOARD.read_text())["panels"]:
        x, y, w, h = (panel["gridPos"][it] for it in "xywh")
        cells = {(x + i, y + j) for i in range(w) for j in range(h)}
        assert x + w <= 24
        assert not cells & taken
        taken |= cells
