"""Rules between the keys of a configuration; no file is opened here."""

import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, cast

from actors.keystore.options import StoreOptions
from actors.sessions.options import SessionOptions
from etsi.gs014.options import Gs014Options
from etsi.gs015.options import Gs015Options
from etsi.http.options import id_fault, id_too_long
from protokms.config import fronts, modules, own_actors, placements
from protokms.config.sections import (
    AGENT,
    CORE,
    FRONT,
    FRONTS,
    INTERFACE,
    LONGEST_ROUND_S,
    QUANTUM_LINK,
    SHORTEST_ROUND_S,
    Fibre,
    Interface,
    Link,
    Manage,
    Node,
    PolicyRow,
    Process,
    Transport,
)
from protokms.config.tables import Report
from protokms.manage.words import NAME_LIMIT
from transport.endpoint import Endpoint

_OCTET = 8
MAY_LIVE_APART = re.compile(
    rf"{fronts.PLACE}|{AGENT}|{QUANTUM_LINK}/[a-z0-9][a-z0-9_.-]{{0,63}}"
    rf"|{INTERFACE}/[1-9][0-9]{{0,4}}"
)
_WHERE = (
    f"only {FRONT}, {AGENT}, {QUANTUM_LINK}/<neighbour> and {INTERFACE}/<id> may live in a process"
    " beside it"
)

REQUEST_BITS = 1 << 20
"""Most key bits of one request: as many as a key store leases ahead."""


def check(values: Mapping[str, Any], report: Report) -> None:
    """Check all rules between those sections of core's file that could be read."""
    node = cast(Node | None, values.get("node"))
    processes = cast(list[Process], values.get("processes", []))
    if node:
        _check_node_key(node, report)
        if fault := id_too_long(node.id):
            report.add("node.id", fault, "choose a shorter one, for this node and the directory")
        if values.get(AGENT) or any(AGENT in one.actors for one in processes):
            _check_node_id(node, report)
    if (transport := values.get("transport")) and transport.process_key:
        reason = "is ignored: each process beside core has a seal of its own"
        report.warn("transport.process_key", reason, "take it out, and delete the file")
    check_shared(values, node.name if node else "", report)
    if values.get("manage"):
        _check_manage(values["manage"], report)
    _check_store(values.get("store", StoreOptions()), values.get("etsi014"), report)
    _check_relay(values.get("relay", SessionOptions()), report)
    _no_twins([(f"{report.key(one)}.name", one.name) for one in processes], report)
    policies = cast(list[PolicyRow], values.get("policies", []))
    _no_twins([(f"{report.key(one)}.name", one.name) for one in policies], report)
    _check_placement(processes, values, report)
    own_actors.check(values, report)


def check_shared(values: Mapping[str, Any], node: str, report: Report) -> None:
    """Check what may stand in any file of a node: the front end, links, and what is bound."""
    links = cast(list[Link], values.get("links", []))
    waiting = cast(list[Interface], values.get("interfaces", []))
    if values.get("etsi014"):
        check_etsi(values["etsi014"], report)
    if values.get(AGENT):
        check_agent(values[AGENT], report)
    for link in links:
        check_link(link, report)
        if link.peer == node:
            report.add(f"{report.key(link)}.peer", "is this node itself", "name a neighbour")
    _no_twins([(f"{report.key(link)}.peer", link.peer) for link in links], report)
    for one in waiting:
        modules.check_interface(one, report)
        if one.bind:
            _check_clear(f"{report.key(one)}.bind", one.bind, one.allow_insecure_emulation, report)
    numbers = [(f"{report.key(it)}.interface", it.interface) for it in links if it.interface]
    numbers += [(f"{report.key(one)}.id", one.id) for one in waiting]
    _no_twins([(key, str(number)) for key, number in numbers], report)
    binds = [
        (f"{name}.bind", values[name].bind)
        for name in ("transport", "process", *FRONTS, "metrics")
        if values.get(name)
    ]
    _no_clash(binds, report)
    ends = [(f"{report.key(link)}.bind", link.bind) for link in links if link.bind]
    ends += [(f"{report.key(one)}.bind", one.bind) for one in waiting if one.bind]
    _no_clash(ends, report)


def check_process(key: str, name: str, report: Report) -> None:
    """Check the name of a process beside core."""
    if name == CORE:
        report.add(f"{key}.name", "'core' is where the rest lives", "choose another name")


def _check_manage(manage: Manage, report: Report) -> None:
    octets = len(os.fsencode(manage.socket.name))
    if octets > NAME_LIMIT:
        reason = f"the name of the socket has {octets} octets, more than {NAME_LIMIT}"
        report.add("manage.socket", reason, "choose a shorter one, like manage.sock")


def check_link(link: Link, report: Report) -> None:
    """Check the rules between the keys of one link."""
    key = report.key(link)
    modules.check(link, report)
    if link.bind:
        _check_clear(f"{key}.bind", link.bind, link.allow_insecure_emulation, report)
    if link.bind and link.bind == link.remote:
        report.add(f"{key}.remote", "is the same as bind", "write the neighbour's address")
    if link.bind and link.remote and not link.bind.fits(link.remote):
        reason = f"is of IPv{link.remote.version}, and bind of IPv{link.bind.version}"
        report.add(f"{key}.remote", reason, "give both ends of a link addresses of one version")
    check_fibre(link, f"{key}.", report)


def _check_clear(key: str, end: Endpoint, allowed: bool, report: Report) -> None:
    if not end.is_loopback and not allowed:
        report.add(
            key,
            f"{end} is not loopback, and an emulated link carries key bits in clear",
            "use a loopback address, or set allow_insecure_emulation = true in a lab",
        )


def check_fibre(link: Fibre | Link, key: str, report: Report) -> None:
    """Check the rules between the keys of one fibre; `key` goes before the name of each."""
    if link.remote:
        _check_clear(f"{key}remote", link.remote, link.allow_insecure_emulation, report)
    if link.round_s is not None and link.rate_bit_s is not None:
        report.add(f"{key}rate_bit_s", "excludes round_s", "write one of the two")
    if (link.block_octets is None) is not (link.block_s is None):
        report.add(f"{key}block_s", "goes with block_octets", "write both, or none")
    if link.block_s is not None and (link.round_s is not None or link.rate_bit_s is not None):
        report.add(f"{key}block_s", "excludes round_s and rate_bit_s", "write blocks alone")
    if link.rate_bit_s is not None:
        pace = _OCTET * link.max_bytes / 2 / link.rate_bit_s
        if not SHORTEST_ROUND_S <= pace <= LONGEST_ROUND_S:
            remedy = f"a round is {SHORTEST_ROUND_S:g} to {LONGEST_ROUND_S:g} s: change max_bytes"
            report.add(f"{key}rate_bit_s", f"needs a round every {pace:g} s", remedy)


def _check_node_key(node: Node, report: Report) -> None:
    source = node.node_key
    given = [name for name in ("file", "env", "credential") if getattr(source, name) is not None]
    if len(given) != 1:
        told = " and ".join(given) if given else "nothing"
        report.add(
            "node.node_key",
            f"names {told}",
            "write exactly one of file, env and credential",
        )
    if source.credential and ("/" in source.credential or source.credential in (".", "..")):
        report.add(
            "node.node_key.credential", "is not a plain name", "write the name of a credential"
        )


def check_etsi(etsi: Gs014Options, report: Report) -> None:
    """Check the rules between the keys of `[etsi014]`."""
    for name in ("key_size_bits", "min_key_size_bits", "max_key_size_bits"):
        if getattr(etsi, name) % _OCTET:
            report.add(f"etsi014.{name}", "is not a multiple of 8", "keys are whole octets")
    if not etsi.min_key_size_bits <= etsi.key_size_bits <= etsi.max_key_size_bits:
        report.add(
            "etsi014.key_size_bits",
            "is not between min_key_size_bits and max_key_size_bits",
            "make the three ascend",
        )
    if etsi.max_keys_per_request * etsi.max_key_size_bits > REQUEST_BITS:
        report.add(
            "etsi014.max_keys_per_request",
            f"times max_key_size_bits is more than the {REQUEST_BITS:,} bits of a request",
            "make one of the two smaller",
        )
    if etsi.max_in_flight_per_sae > etsi.max_in_flight:
        report.add("etsi014.max_in_flight_per_sae", "is more than max_in_flight", "make it smaller")


def check_agent(etsi: Gs015Options, report: Report) -> None:
    """Check the rules between the keys of `[etsi015]`."""
    from actors.protocol import intent  # noqa: PLC0415 -- many words, for who has controllers

    rows = [(f"{AGENT}.controller[{row}].id", one.id) for row, one in enumerate(etsi.controllers)]
    _no_twins(rows, report)
    for key, name in rows:
        if name in intent.OWNERS:
            report.add(key, f"{name} is the owner of other rows", "give it another id")
        if fault := id_fault(name):
            report.add(key, fault, "write the id that its certificate has")
    if not rows:
        reason = "names nobody: each request would be refused"
        report.add(f"{AGENT}.controller", reason, "write a [[etsi015.controller]]")
    if etsi.max_in_flight_per_sae > etsi.max_in_flight:
        report.add(
            f"{AGENT}.max_in_flight_per_sae",
            "is more than max_in_flight",
            "make it smaller",
        )


def _check_node_id(node: Node, report: Report) -> None:
    """Check what 015 asks of the id of a node: it is that of the tree."""
    try:
        good = str(uuid.UUID(node.id)) == node.id.lower()
    except ValueError:
        good = False
    if not good:
        remedy = "take a UUID, here and in the directory (`uuidgen` makes one)"
        report.add("node.id", "is no UUID, and ETSI GS QKD 015 knows nodes by theirs", remedy)


def _check_store(store: StoreOptions, etsi: Gs014Options | None, report: Report) -> None:
    if store.max_undelivered_bits_per_pair > store.max_undelivered_bits_per_sae:
        report.add(
            "store.max_undelivered_bits_per_pair",
            "is more than max_undelivered_bits_per_sae",
            "make it smaller",
        )
    if etsi and etsi.max_key_size_bits > store.max_undelivered_bits_per_pair:
        report.add(
            "store.max_undelivered_bits_per_pair",
            "is less than one key of etsi014.max_key_size_bits",
            "make it larger, or the keys smaller",
        )


def _check_relay(relay: SessionOptions, report: Report) -> None:
    if relay.expiry_s < 2 * relay.refresh_s:
        report.add(
            "relay.expiry_s",
            "is less than two refreshes: one that gets lost would end the session",
            "make it at least twice refresh_s",
        )
    if relay.max_sessions_per_sae > relay.max_sessions:
        report.add("relay.max_sessions_per_sae", "is more than max_sessions", "make it smaller")


def _check_placement(processes: list[Process], values: Mapping[str, Any], report: Report) -> None:
    placed = {f"{QUANTUM_LINK}/{link.peer}": report.key(link) for link in values.get("links", [])}
    placed |= {f"{INTERFACE}/{it.interface}": report.key(it) for it in values.get("links", [])}
    placed |= {f"{INTERFACE}/{one.id}": report.key(one) for one in values.get("interfaces", [])}
    placed |= {name: name for name in FRONTS if values.get(name)}
    transport, node = cast(Transport | None, values.get("transport")), values.get("node")
    ends = {str(transport.bind): "transport.bind"} if transport else {}
    keys: dict[str, str] = {}
    rows = placements.read(values, report)
    fronts.check(rows, values, report)
    for key, actors in rows:
        for row, actor in enumerate(actors):
            where = f"{key}.actors[{row}]"
            if not MAY_LIVE_APART.fullmatch(actor):
                report.add(where, f"{actor[:80]} lives in core", _WHERE)
            elif actor in placed:
                taken = placed[actor]
                report.add(where, f"{actor} is placed twice: {taken} has it too", "take one out")
            elif node and actor == f"{QUANTUM_LINK}/{node.name}":
                report.add(where, "leads to this node itself", "name a neighbour")
            placed[actor] = key
    for process in processes:
        key = report.key(process)
        if process.applications == "controlled" and AGENT not in process.actors:
            report.add(f"{key}.applications", f"goes with {AGENT}", "write it where that lives")
        check_reached(f"{key}.address", process.address, report)
        check_process(key, process.name, report)
        for name, seen in (("address", ends), ("public", keys)):
            value = str(getattr(process, name))
            if value in seen:
                report.add(f"{key}.{name}", f"is that of {seen[value]} too", "give each its own")
            seen[value] = key


def check_reached(key: str, end: Endpoint, report: Report) -> None:
    """Check an address to connect to, which may well be in another host's file."""
    if end.is_any:
        remedy = "write the address of the host where it listens; bind may be this one"
        report.add(key, f"{end.host} is no address that can be reached", remedy)


def _no_clash(binds: list[tuple[str, Endpoint]], report: Report) -> None:
    """Report each address that another key of the same kind binds already."""
    for index, (key, end) in enumerate(binds):
        for earlier, taken in binds[:index]:
            if end.overlaps(taken):
                report.add(key, f"{end.authority} is bound by {earlier}", "use another port")


def _no_twins(names: Iterable[tuple[str, str]], report: Report) -> None:
    """Report each name that is there a second time; `names` are keys and names."""
    seen: set[str] = set()
    for key, name in names:
        if name in seen:
            report.add(key, f"{name} is there twice", "take one out")
        seen.add(name)
