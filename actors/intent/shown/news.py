"""What has happened between two looks at rows and alarms, as events; no actor."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from actors.intent.shown.telling import Telling
from actors.intent.wanted import other_end
from actors.protocol import alarms, intent
from actors.protocol.intent import Application, Entry, Facts

CHANGED = 0.25
"""A rate is news when it has changed by such a part since it was last told."""
OVERLOADED_S = 60.0
"""A link is overloaded when more is wanted than comes, and its stock lasts no longer than that."""

Key = tuple[str, str]

_QOS = (
    *("max_bandwidth", "min_bandwidth", "jitter_ms", "ttl_s"),
    *("shared_path", "shared_keys", "priority"),
)
_MODULES = ("link_not_ready", "link_quiet")
_MINOR = ("expires_soon",)


class News:
    """Compares what is with what was told last, and tells what differs."""

    def __init__(self, telling: Telling, wall: Callable[[], float]) -> None:
        self._telling, self._wall = telling, wall
        self._told: dict[Key, Entry] = {}
        self._alarms: dict[Key, Key] = {}
        """What each alarm that stands was told of."""

    def look(self, entries: Iterable[Entry], kinds: Collection[str]) -> None:
        """Tell what has changed; `entries` are all of these kinds."""
        now = {(entry.kind, entry.id): entry for entry in entries}
        before = {key: entry for key, entry in self._told.items() if key[0] in kinds}
        self._told = {key: it for key, it in self._told.items() if key[0] not in kinds}
        for key, entry in now.items():
            was = before.get(key)
            self._told[key] = entry
            if entry.kind == intent.LINK:
                self._link(was, entry)
            elif entry.kind == intent.APPLICATION:
                self._application(was, entry)
            else:
                self._interface(was, entry)
        for key, entry in before.items():
            if key not in now and key[0] == intent.APPLICATION and is_on(entry):
                self._say("application_disconnected", key)

    def interfaces(self, had: Collection[int], entries: Iterable[Entry]) -> None:
        """Tell which of these were not there, and which are no more."""
        there = {entry.id: entry for entry in entries}
        for id_, entry in there.items():
            if int(id_) not in had:
                self._say("interface_new", (entry.kind, id_), entry=entry)
        for number in sorted(number for number in had if str(number) not in there):
            self._say("interface_out", (intent.INTERFACE, str(number)))

    def _link(self, was: Entry | None, entry: Entry) -> None:
        before = was.facts if was else None
        for event, text in news_of(before, entry.facts):
            severity = intent.MINOR if event == "event" else ""
            self._say(event, (entry.kind, entry.id), text, severity, entry)
        if before and not moved(before, entry.facts):  # so that slow changes are told as well
            rates = replace(entry.facts, skr=before.skr, consumption=before.consumption)
            if overloaded(rates) is overloaded(entry.facts):
                self._told[entry.kind, entry.id] = replace(entry, facts=rates)

    def _application(self, was: Entry | None, entry: Entry) -> None:
        key = entry.kind, entry.id
        if was is None and entry.owner == intent.NODE:
            self._say("application_new", key, entry=entry)
        if was and is_on(was) and not is_on(entry):
            self._say("application_disconnected", key, entry.facts.why, entry=entry)
        qos = _qos(was.application) if was else None
        if qos and entry.owner != intent.NODE and qos != _qos(entry.application):
            self._say("application_qos_update", key, entry=entry)

    def _interface(self, was: Entry | None, entry: Entry) -> None:
        key, failed = (entry.kind, entry.id), entry.facts.status == intent.FAILED
        had_failed = was is not None and was.facts.status == intent.FAILED
        if failed and not had_failed:
            self._say("interface_down", key, entry.facts.why, entry=entry)
        elif had_failed and not failed:
            self._say("event", key, "it works again", intent.MINOR, entry)

    def look_at_alarms(self, standing: Mapping[Key, str], node: str) -> None:
        """Tell which alarms are new, and which are over."""
        for key in [key for key in self._alarms if key not in standing]:
            about = self._alarms.pop(key)
            text = f"{key[0]} is over"
            self._say("event", about, text, intent.MINOR, self._told.get(about))
        for key, text in standing.items():
            if key not in self._alarms:
                about = self._alarms[key] = self._about(*key, node)
                entry = self._told.get(about)
                self._say("alarm", about, f"{key[0]}: {text}", severity_of(key[0]), entry)

    def _about(self, id_: str, subject: str, node: str) -> Key:
        """Return which row an alarm is about; none if it is about the node, or a file."""
        links = [it for it in self._told.values() if it.link]
        of_peer = [it for it in links if it.link and other_end(it.link, node) == subject]
        of_peer.sort(key=lambda it: it.link is not None and it.link.kind != intent.PHYS)
        if not of_peer or not subject:
            return "", ""
        link = of_peer[0]
        if id_ in _MODULES and link.link and link.link.interface:
            return intent.INTERFACE, str(link.link.interface)
        return link.kind, link.id

    def _say(
        self, event: str, key: Key, text: str = "", severity: str = "", entry: Entry | None = None
    ) -> None:
        self._telling.happened(self._wall(), event, key, text=text, severity=severity, entry=entry)


def news_of(before: Facts | None, after: Facts) -> list[tuple[str, str]]:
    """Return what has happened to a link between two looks: events, and their texts."""
    found = []
    if before and before.status == intent.ACTIVE != after.status:
        found.append(("link_down", after.why or "no bits come any more"))
    if after.status == intent.PENDING and after.why and (before is None or before.why != after.why):
        found.append(("event", after.why))
    if before and moved(before, after):
        found.append(("link_perf_update", ""))
    if overloaded(after) and not (before and overloaded(before)):
        found.append(("link_overloaded", ""))
    return found


def overloaded(facts: Facts) -> bool:
    """Whether a link cannot cope with what is expected of it."""
    short = facts.stock_bits < OVERLOADED_S * facts.consumption
    return facts.consumption > facts.eskr and short


def moved(before: Facts, after: Facts) -> bool:
    """Whether rates of a link have changed so much that it is news."""
    pairs = (before.skr, after.skr), (before.consumption, after.consumption)
    return any(abs(new - old) > CHANGED * max(new, old) for old, new in pairs)


def is_on(entry: Entry) -> bool:
    """Whether an application may have keys."""
    return entry.facts.status == intent.ON


def severity_of(alarm: str) -> str:
    """Return how bad an alarm is: what ends by time alone, or is yet to come, is minor."""
    kind = alarms.KINDS.get(alarm)
    return intent.MINOR if alarm in _MINOR or (kind and kind.fades_s) else intent.MAJOR


def _qos(app: Application | None) -> tuple[object, ...]:
    return tuple(getattr(app, name) for name in _QOS)
