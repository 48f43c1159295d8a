"""`[[actor]]`: actors of other packages, by the name under which each is found."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from protokms.config import plugins
from protokms.config.plugins import ACTORS, OPTIONS
from protokms.config.sections import OwnActorTable
from protokms.config.tables import ConfigError, Report

if TYPE_CHECKING:
    from actors.runtime.own import OwnActor


def check(values: Mapping[str, Any], report: Report) -> None:
    """Check that each can be imported, and its options."""
    seen: set[str] = set()
    for one in cast(list[OwnActorTable], values.get("actors", [])):
        key = report.key(one)
        if one.name in seen:
            report.add(f"{key}.name", f"{one.name} is there twice", "take one out")
        seen.add(one.name)
        plugins.read(one.kind, one.options, ACTORS, (f"{key}.kind", f"{key}.{OPTIONS}"), report)


def check_made(values: Mapping[str, Any], report: Report) -> None:
    """Make each as a start would, and check what peers could say to it."""
    actors = cast(list[OwnActorTable], values.get("actors", []))
    if not any(it.key.startswith("actor[") for it in report.problems):
        _made([(report.key(one), one) for one in actors], report)


def made(actors: Sequence[OwnActorTable], file: Path) -> "Mapping[str, OwnActor]":
    """Return them by name, or raise `ConfigError`."""
    report = Report(file)
    found = _made([(f"actor[{row}]", one) for row, one in enumerate(actors)], report)
    if report.problems:
        raise ConfigError(report.problems)
    return found


def _made(actors: Sequence[tuple[str, OwnActorTable]], report: Report) -> "dict[str, OwnActor]":
    if not actors:
        return {}
    from actors.runtime.own import OwnActor, tells  # noqa: PLC0415 -- every word of a peer

    found: dict[str, OwnActor] = {}
    for key, one in actors:
        keys = (f"{key}.kind", f"{key}.{OPTIONS}")
        known = plugins.read(one.kind, one.options, ACTORS, keys, report)
        if known is None:
            continue
        factory, options = known
        actor = plugins.call(one.kind, keys[1], report, partial(factory, options))
        if actor is not None and not isinstance(actor, OwnActor):
            report.add(keys[0], f"{one.kind} gives no OwnActor", "tell its author")
        elif actor is not None:
            found[one.name] = actor
            if plugins.call(one.kind, keys[0], report, partial(tells, found)) is None:
                del found[one.name]
    return found
