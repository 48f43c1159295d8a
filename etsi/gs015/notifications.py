"""The eleven notifications of 015, made of what intent says has happened."""

from collections.abc import Mapping
from typing import Any, Final

from actors.protocol import intent
from etsi.gs015 import rows
from etsi.gs015.model.schema import Tree
from etsi.gs015.model.tree import NOTIFICATIONS
from etsi.gs015.restconf.bodies import write
from etsi.gs015.restconf.events import event, notification

_TROUBLE: Final = ("alarm", "event")
_APP_NEW: Final = (
    *("app_type", "server_app_id", "client_app_id", "app_priority", "local_qkdn_id", "app_qos"),
)
_APP_QOS: Final = ("app_id", "app_qos", "app_priority")


def event_of(news: intent.Happened, ids: Mapping[str, str]) -> bytes | None:
    """Return what has happened as an event of a stream; None for what 015 has no word for."""
    content = _content(news, ids)
    if content is None:
        return None
    name = news.event if news.event in _TROUBLE else f"sdqkdn_{news.event}"
    return event(notification(name, write(NOTIFICATIONS[name], content), news.at))


def _content(news: intent.Happened, ids: Mapping[str, str]) -> Tree | None:
    if news.event not in intent.EVENTS:
        return None
    if news.event in _TROUBLE:
        return _trouble(news)
    if news.kind == intent.APPLICATION:
        return {"qkd_application": _application(news, ids)}
    if news.kind == intent.INTERFACE:
        return {"qkd_interface": _interface(news)}
    if news.kind == intent.LINK:
        return {"qkd_link": _link(news)}
    return None


def _trouble(news: intent.Happened) -> Tree:
    """Say what an alarm or event is about; one that is about none of the three has a text alone."""
    names = {
        intent.INTERFACE: ("interface", "qkdi_id", "qkdi_status"),
        intent.APPLICATION: ("application", "app_id", "app_status"),
    }
    container, id_, status = names.get(news.kind, ("link", "qkdl_id", "qkdl_status"))
    found: Tree = {"message": news.text}
    if news.severity:
        found["severity"] = news.severity.upper()
    if news.kind in (intent.LINK, intent.INTERFACE, intent.APPLICATION):
        found[id_] = _id(news)
        if news.entry and news.entry.facts.status:
            found[status] = rows.state(news.entry)
    return {container: found}


def _application(news: intent.Happened, ids: Mapping[str, str]) -> Tree:
    if news.entry is None or news.event == "application_disconnected":
        return {"app_id": news.id}
    config, _ = rows.application(news.entry, ids, stats=False)
    wanted = _APP_NEW if news.event == "application_new" else _APP_QOS
    return {name: config[name] for name in wanted if name in config}


def _interface(news: intent.Happened) -> Tree:
    if news.event == "interface_new" and news.entry:
        return rows.interface(news.entry)[0]
    reason = {"reason": news.text} if news.event == "interface_down" and news.text else {}
    return {"qkdi_id": _id(news), **reason}


def _link(news: intent.Happened) -> Tree:
    if news.event == "link_down":
        return {"qkdl_id": news.id, **({"reason": news.text} if news.text else {})}
    found: Tree = {"qkdl_id": news.id}
    if news.entry and news.entry.link:
        phys = news.entry.link.kind == intent.PHYS and news.event == "link_perf_update"
        found["performance"] = rows.performance(news.entry.facts, phys=phys)
    return found


def _id(news: intent.Happened) -> Any:
    return int(news.id) if news.kind == intent.INTERFACE else news.id
