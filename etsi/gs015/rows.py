"""Rows of intent as entries of the tree, and back: the one place that knows both.

Nodes are told by name in rows and by id in the tree, SAEs by id in rows and as URNs in the tree.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from actors.protocol import intent
from etsi.gs015.model import tree
from etsi.gs015.model.leaves import BadValue, LeafType, sae_of, written_time
from etsi.gs015.model.schema import Tree
from etsi.gs015.restconf.problems import Wrong, missing_element
from etsi.http.identity import sae_urn

Ids = Mapping[str, str]
"""Ids of nodes by name."""

_U32 = (1 << 32) - 1
_LAST_S = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_LINK_NOTES: Mapping[str, LeafType] = {
    "phys_channel_att": tree.DECIBEL,
    "phys_wavelength": tree.WAVELENGTH,
    "phys_qkd_role": tree.ROLE,
}
"""Leaves that the node only keeps, as notes of the same name, and how they are read."""

_CAPABILITIES: Mapping[str, LeafType] = {
    "role_support": tree.ROLE,
    "wavelength_range": tree.WAVELENGTHS,
    "max_absorption": tree.DECIBEL,
}
_ATTACHMENT: Mapping[str, LeafType] = {"device": tree.TEXT, "port": tree.UINT32}


# From rows


def node(rows: intent.Rows) -> tuple[Tree, Tree]:
    """Return what is configured of the node as a whole, and that with how it is."""
    told = next((it for it in rows.entries if it.kind == intent.SETTINGS), None)
    settings = (told.settings if told else None) or intent.Settings()
    config: Tree = {
        "qkdn_id": rows.node.id.lower(),
        "qkdn_version": rows.version,
        "qkdn_location_id": settings.location,
        "qkdn_capabilities": {
            "link_stats_support": settings.link_stats,
            "application_stats_support": settings.application_stats,
            "key_relay_mode_enable": True,
        },
    }
    return config, {**config, "qkdn_status": "OPERATING"}


def interface(entry: intent.Entry) -> tuple[Tree, Tree]:
    """Return an entry of `qkd_interface`: its configuration, and that with how it is."""
    found = entry.interface
    assert found is not None
    notes = {note.name: note.text for note in found.notes}
    attachment, can = _noted(notes, _ATTACHMENT), _noted(notes, _CAPABILITIES)
    config = _there(
        qkdi_id=found.number,
        qkdi_model=found.model or found.module or None,
        qkdi_type=_noted(notes, {"qkdi_type": tree.TECHNOLOGY}).get("qkdi_type"),
        qkdi_att_point=attachment or None,
        qkdi_capabilities=can or None,
    )
    return config, {**config, "qkdi_status": state(entry)}


def link(entry: intent.Entry, ids: Ids, *, stats: bool) -> tuple[Tree, Tree]:
    """Return an entry of `qkd_link`: its configuration, and that with how it is."""
    found, facts = entry.link, entry.facts
    assert found is not None
    phys = found.kind == intent.PHYS
    notes = {note.name: note.text for note in found.notes} if phys else {}
    config = _there(
        qkdl_id=entry.id,
        qkdl_enable=found.enabled,
        qkdl_local=_end(ids.get(found.local), found.interface),
        qkdl_remote=_end(ids.get(found.remote), found.peer_interface),
        qkdl_type="PHYS" if phys else "VIRT",
        qkdl_applications=found.applications or None,
        virt_prev_hop=None if phys else ids.get(found.prev),
        virt_next_hop=None if phys else _named(found.hops, ids),
        virt_bandwidth=None if phys else found.bandwidth,
        **_noted(notes, _LINK_NOTES),
    )
    now = {**config, "qkdl_status": state(entry)}
    if stats:
        now["qkdl_performance"] = performance(facts, phys=phys)
    return config, now


def performance(facts: intent.Facts, *, phys: bool) -> Tree:
    """Return the rates of a link, and what its modules measure."""
    measured = {"QBER": facts.qber, "SNR": facts.snr} if phys else {}
    perf = {
        (name,): {"perf_type": name, "value": f"{value:.3f}"}
        for name, value in measured.items()
        if value is not None
    }
    return _there(
        expected_consumption=_capped(facts.consumption),
        skr=_capped(facts.skr),
        eskr=_capped(facts.eskr),
        phys_perf=perf or None,
    )


def application(entry: intent.Entry, ids: Ids, *, stats: bool) -> tuple[Tree, Tree]:
    """Return an entry of `qkd_app`: its configuration, and that with how it is."""
    found, facts = entry.application, entry.facts
    assert found is not None
    config = _there(
        app_id=entry.id,
        app_type=found.kind.upper(),
        server_app_id=sae_urn(found.master),
        client_app_id=tuple(map(sae_urn, found.slaves)) or None,
        app_priority=found.priority,
        expiration_time=None if found.expires is None else _time(found.expires),
        app_qos=_qos(found),
        backing_qkdl_id=found.links or None,
        local_qkdn_id=ids.get(found.local),
        remote_qkdn_id=ids.get(found.remote),
    )
    created = _time(int(facts.created)) if facts.created else None
    now = {**config, "app_status": state(entry), **_there(creation_time=created)}
    if stats and facts.consumed:
        now["app_statistics"] = {"statistics": _statistics(facts.consumed)}
    return config, now


def _statistics(consumed: Iterable[intent.Consumed]) -> dict[tuple[str], Tree]:
    rows = [
        {
            "end_time": _time(int(each.end)),
            "start_time": _time(int(each.start)),
            "consumed_bits": _capped(each.bits),
        }
        for each in consumed
    ]
    return {(str(row["end_time"]),): row for row in rows}


def _qos(found: intent.Application) -> Tree:
    return _there(
        max_bandwidth=found.max_bandwidth,
        min_bandwidth=found.min_bandwidth,
        jitter=found.jitter_ms,
        ttl=found.ttl_s,
        clients_shared_path_enable=found.shared_path,
        clients_shared_keys_required=found.shared_keys,
    )


# To rows


def settings_of(config: Tree, before: intent.Settings) -> intent.Settings:
    """Return the row that this configuration of the node as a whole asks for."""
    can = config.get("qkdn_capabilities", {})
    return replace(
        before,
        location=config.get("qkdn_location_id", ""),
        link_stats=can.get("link_stats_support", True),
        application_stats=can.get("application_stats_support", True),
    )


def link_of(config: Tree, here: str, place: str, before: intent.Link | None) -> intent.Link:
    """Return the row that an entry of `qkd_link` asks for; `here` is the id of this node."""
    kind = _needed(config, place, "qkdl_type").lower()
    local, remote = config.get("qkdl_local", {}), config.get("qkdl_remote", {})
    wanted = intent.Link(
        kind=kind,
        local=local.get("qkdn_id", here),
        remote=_needed(remote, f"{place}/qkdl_remote", "qkdn_id"),
        interface=_interface(local, f"{place}/qkdl_local"),
        peer_interface=_interface(remote, f"{place}/qkdl_remote"),
        prev=config.get("virt_prev_hop", ""),
        hops=config.get("virt_next_hop", ()),
        bandwidth=config.get("virt_bandwidth"),
        enabled=config.get("qkdl_enable", True),
        applications=config.get("qkdl_applications", ()),
        notes=_notes(config, _LINK_NOTES),
    )
    if before is None:
        return wanted
    return replace(
        wanted,
        paths=before.paths,
        n=before.n,
        low_bits=before.low_bits,
        high_bits=before.high_bits,
        weight=before.weight,
    )


def application_of(
    config: Tree, place: str, before: intent.Application | None
) -> intent.Application:
    """Return the row that an entry of `qkd_app` asks for."""
    qos = config.get("app_qos", {})
    expires = config.get("expiration_time")
    return intent.Application(
        master=sae_of(_needed(config, place, "server_app_id")),
        slaves=tuple(map(sae_of, _needed(config, place, "client_app_id"))),
        kind=config.get("app_type", "CLIENT").lower(),
        priority=config.get("app_priority", 0),
        expires=None if expires is None else datetime.fromisoformat(expires).timestamp(),
        max_bandwidth=qos.get("max_bandwidth"),
        min_bandwidth=qos.get("min_bandwidth"),
        jitter_ms=qos.get("jitter"),
        ttl_s=qos.get("ttl"),
        shared_path=qos.get("clients_shared_path_enable", False),
        shared_keys=qos.get("clients_shared_keys_required", False),
        links=config.get("backing_qkdl_id", ()),
        local=config.get("local_qkdn_id", ""),
        remote=config.get("remote_qkdn_id", ""),
        notes=before.notes if before else (),
    )


def _interface(end: Tree, place: str) -> int:
    number = end.get("qkdi_id")
    if number == 0:
        text = "there is no interface 0; leave it out for any that is free"
        raise Wrong(409, "data-missing", text, f"{place}/qkdi_id")
    return number or 0


def _needed(config: Tree, place: str, name: str) -> Any:
    if name not in config:
        raise missing_element(f"{name} is missing", f"{place}/{name}")
    return config[name]


def _notes(config: Tree, leaves: Mapping[str, LeafType]) -> tuple[intent.Note, ...]:
    return tuple(intent.Note(name, str(config[name])) for name in leaves if name in config)


# Both


def _there(**values: Any) -> Tree:
    """Leave out what is None."""
    return {name: value for name, value in values.items() if value is not None}


def _noted(notes: Mapping[str, str], leaves: Mapping[str, LeafType]) -> Tree:
    """Return the notes that are leaves, and are as their types want them."""
    found: Tree = {}
    for name, type_ in leaves.items():
        value = _parsed(type_.parse, notes[name]) if name in notes else None
        if value is not None:
            found[name] = value
    return found


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    for form in (text, f"{tree.TYPES}:{text}"):  # identities are noted without their module
        try:
            return parse(form)
        except BadValue:
            continue
    return None


def _end(node_id: str | None, number: int) -> Tree:
    return _there(qkdn_id=node_id, qkdi_id=number or None)


def _named(nodes: Iterable[str], ids: Ids) -> tuple[str, ...] | None:
    return tuple(ids[name] for name in nodes if name in ids) or None


def state(entry: intent.Entry) -> str:
    """Return how a row is, as an identity."""
    return entry.facts.status.upper().replace("_", "-")


def _capped(number: int) -> int:
    """Return a number that fits a uint32: it stays at the top, and never wraps."""
    return min(max(number, 0), _U32)


def _time(seconds: float) -> str:
    """Return a time of day; the last microsecond of all, as a float, is in the year 10000."""
    return written_time(datetime.fromtimestamp(min(seconds, _LAST_S), UTC))
