"""Rules between the keys of a configuration; no file is opened here."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, cast

from protokms.endpoint import Endpoint
from protokms.manage_words import NAME_LIMIT
from protokms.sections import (
    CORE,
    LONGEST_ROUND_S,
    SHORTEST_ROUND_S,
    Etsi014,
    Link,
    Manage,
    Node,
    Process,
    Relay,
    Store,
)
from protokms.tables import Report

_OCTET = 8

REQUEST_BITS = 1 << 20
"""Most key bits of one request: as many as a key store leases ahead."""


def check(values: Mapping[str, Any], report: Report) -> None:
    """Check all rules between those sections that could be read."""
    node = cast(Node | None, values.get("node"))
    links = cast(list[Link], values.get("links", []))
    processes = cast(list[Process], values.get("processes", []))
    if node:
        _check_node_key(node, report)
    if values.get("etsi014"):
        _check_etsi(values["etsi014"], report)
    if values.get("manage"):
        _check_manage(values["manage"], report)
    _check_store(values.get("store", Store()), values.get("etsi014"), report)
    _check_relay(values.get("relay", Relay()), report)
    for link in links:
        check_link(link, report)
        if node and link.peer == node.name:
            report.add(f"{report.key(link)}.peer", "is this node itself", "name a neighbour")
    _no_twins([(f"{report.key(link)}.peer", link.peer) for link in links], report)
    _no_twins([(f"{report.key(one)}.name", one.name) for one in processes], report)
    _check_placement(processes, values, report)
    _check_binds(values, report)


def _check_manage(manage: Manage, report: Report) -> None:
    octets = len(os.fsencode(manage.socket.name))
    if octets > NAME_LIMIT:
        reason = f"the name of the socket has {octets} octets, more than {NAME_LIMIT}"
        report.add("manage.socket", reason, "choose a shorter one, like manage.sock")


def check_link(link: Link, report: Report) -> None:
    """Check the rules between the keys of one link."""
    key = report.key(link)
    for name in ("bind", "remote"):
        end = getattr(link, name)
        if not end.is_loopback and not link.allow_insecure_emulation:
            report.add(
                f"{key}.{name}",
                f"{end} is not loopback, and an emulated link carries key bits in clear",
                "use a loopback address, or set allow_insecure_emulation = true in a lab",
            )
    if link.bind == link.remote:
        report.add(f"{key}.remote", "is the same as bind", "write the neighbour's address")
    if link.round_s is not None and link.rate_bit_s is not None:
        report.add(f"{key}.rate_bit_s", "excludes round_s", "write one of the two")
    if link.rate_bit_s is not None:
        pace = _OCTET * link.max_bytes / 2 / link.rate_bit_s
        if not SHORTEST_ROUND_S <= pace <= LONGEST_ROUND_S:
            remedy = f"a round is {SHORTEST_ROUND_S:g} to {LONGEST_ROUND_S:g} s: change max_bytes"
            report.add(f"{key}.rate_bit_s", f"needs a round every {pace:g} s", remedy)


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


def _check_etsi(etsi: Etsi014, report: Report) -> None:
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


def _check_store(store: Store, etsi: Etsi014 | None, report: Report) -> None:
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


def _check_relay(relay: Relay, report: Report) -> None:
    if relay.expiry_s < 2 * relay.refresh_s:
        report.add(
            "relay.expiry_s",
            "is less than two refreshes: one that gets lost would end the session",
            "make it at least twice refresh_s",
        )
    if relay.max_sessions_per_sae > relay.max_sessions:
        report.add("relay.max_sessions_per_sae", "is more than max_sessions", "make it smaller")


def _check_placement(processes: list[Process], values: Mapping[str, Any], report: Report) -> None:
    placed: dict[str, str] = {}
    here = {f"quantum_link/{link.peer}" for link in values.get("links", [])}
    if values.get("etsi014"):
        here.add("etsi014")
    for process in processes:
        key = report.key(process)
        if process.name == CORE:
            report.add(f"{key}.name", "'core' is where the rest lives", "choose another name")
        for row, actor in enumerate(process.actors):
            where = f"{key}.actors[{row}]"
            if actor in placed:
                report.add(where, f"{actor} is placed in {placed[actor]} already", "take one out")
            elif actor not in here and "" not in values:
                report.add(where, f"there is no {actor} here", "add its table, or take it out")
            placed[actor] = key


def _check_binds(values: Mapping[str, Any], report: Report) -> None:
    tcp: list[tuple[str, Endpoint]] = [
        (f"{name}.bind", values[name].bind)
        for name in ("transport", "etsi014", "metrics")
        if values.get(name)
    ]
    tcp += [(f"{report.key(one)}.bind", one.bind) for one in values.get("processes", [])]
    udp = [(f"{report.key(link)}.bind", link.bind) for link in values.get("links", [])]
    for family in (tcp, udp):
        for index, (key, end) in enumerate(family):
            for earlier, taken in family[:index]:
                if end.overlaps(taken):
                    report.add(key, f"{end.authority} is bound by {earlier}", "use another port")


def _no_twins(names: Iterable[tuple[str, str]], report: Report) -> None:
    seen: set[str] = set()
    for key, name in names:
        if name in seen:
            report.add(key, f"{name} is there twice", "take one out")
        seen.add(name)
