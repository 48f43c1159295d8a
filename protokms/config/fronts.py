"""Several front ends of a node: each in a process of its own, all on one address (`etsi014/2`)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from protokms.config.placements import Placed
from protokms.config.sections import FRONT, FRONTS_MAX, EdgeConfig, EdgeProcess
from protokms.config.tables import Problem, Report

PLACE = rf"{FRONT}(?:/[1-9][0-9]{{0,2}})?"
"""The name of a front end: the only one, or one of several by its number."""


def is_front(actor: str) -> bool:
    """Tell a front end from other actors."""
    return re.fullmatch(PLACE, actor) is not None


def check(processes: Sequence[Placed], values: Mapping[str, Any], report: Report) -> None:
    """Check which processes have a front end: the only one of the node, or the numbers 1 to N."""
    found = [
        (f"{one.key}.actors[{row}]", actor)
        for one in processes
        for row, actor in enumerate(one.actors)
        if is_front(actor)
    ]
    several = [(where, actor) for where, actor in found if actor != FRONT]
    if not several:
        return
    numbers = sorted({int(actor.partition("/")[2]) for _, actor in several})
    wanted = f"number them {FRONT}/1 to {FRONT}/{len(numbers)}"
    for where, actor in found:
        if actor == FRONT:
            report.add(where, f"stands beside {several[0][1]}", wanted)
    for where, actor in several:
        number = int(actor.partition("/")[2])
        if values.get("etsi014"):
            remedy = f"take [{FRONT}] out here: each front end has it in its own file"
            report.add(where, f"{actor} is apart, and core has a front end too", remedy)
        if number > len(numbers):
            report.add(where, f"{actor} is one of {len(numbers)} front ends", wanted)
    if len(numbers) > FRONTS_MAX:
        report.add("process", f"has {len(numbers)} front ends", f"write at most {FRONTS_MAX}")
    for key, rows in Counter(where.rpartition("[")[0] for where, _ in found).items():
        if rows > 1:
            report.add(key, f"are {rows} front ends", "a process runs one at most")


def check_edge(values: Mapping[str, Any], report: Report) -> None:
    """Check what the file of a process says of its place among several."""
    process = cast(EdgeProcess | None, values.get("process"))
    if process is None or process.front is None:
        return
    if process.front.number > process.front.of:
        reason = f"is {process.front.number}, of {process.front.of} front ends"
        report.add("process.front.number", reason, "write 1 to that number")
    if not values.get("etsi014") and "" not in values:
        report.add("process.front", f"has no [{FRONT}] to go with", "add it, or take this out")


def compare(total: int, edges: Mapping[str, EdgeConfig], file: Path) -> list[Problem]:
    """Compare the files of front ends with core's, which names so many of them, and one another.

    `edges` are those that are on this host, by their keys in core's file.
    """
    problems, bind = [], None
    for key, edge in edges.items():
        if not (edge.etsi014 and edge.process.front):
            continue
        if edge.fronts != total:
            reason = f"{edge.path} says that it is one of {edge.fronts} front ends, not of {total}"
            problems.append(Problem(str(file), f"{key}.actors", reason, "let both say the same"))
        bind = bind or edge.etsi014.bind
        if edge.etsi014.bind != bind:
            reason = f"{edge.path} binds {edge.etsi014.bind}, another front end {bind}"
            remedy = f"let all front ends on one host have the same {FRONT}.bind"
            problems.append(Problem(str(file), f"{key}.config", reason, remedy))
    return problems
