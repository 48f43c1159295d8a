"""The rules of each kind of module between the keys of a `[[link]]`, and what is made of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs

from protokms.config import plugins
from protokms.config.link_tables import DEVICE, INTERFACE_KINDS, KINDS, PHYSICAL, STREAM, Glass
from protokms.config.plugins import MODULES, OPTIONS
from protokms.config.sections import EmulatedLink, Interface, Link, OwnFibre
from protokms.config.tables import Loose, Report

if TYPE_CHECKING:
    from actors.modules.etsi004.device import Options as StreamOptions
    from actors.modules.etsi014.device import Options
    from actors.modules.module import Module
    from actors.modules.physical import Physical

_PACES = ("round_s", "rate_bit_s", "block_octets", "block_s")
_ENDS = ("bind", "remote", "secret")
_OCTET = 8


def check(link: Link, report: Report) -> None:
    """Check what stands in a link against the kind of its module."""
    key = report.key(link)
    for name, _ in link.devices:
        if name != link.module:
            _alien(f"{key}.{name}", name, report)
    if link.options and link.module in KINDS:
        report.add(f"{key}.{OPTIONS}", "is for a module of another package", "take it out")
    if link.module in _DEVICES:
        _check_device(link, key, report)
    elif link.module not in KINDS:
        _no_ends(link, key, link.module, report)
        plugins.read(
            link.module, link.options, MODULES, (f"{key}.module", f"{key}.{OPTIONS}"), report
        )
    else:
        for name in _ENDS:
            if getattr(link, name) is None:
                report.add(f"{key}.{name}", "is missing", "add it")
        if link.role == "both":
            report.add(f"{key}.role", "is for a device", "write sender or receiver")
        check_glass(link, link.module, f"{key}.", report)


def check_interface(one: Interface, report: Report) -> None:
    """Check the kind of an interface, and what goes with it."""
    key = report.key(one)
    if one.module in INTERFACE_KINDS:
        if one.bind is None:
            report.add(f"{key}.bind", "is missing", "add it")
        return
    if one.module in KINDS:
        remedy = f"write one of {', '.join(INTERFACE_KINDS)}, or a [[link]]"
        report.add(f"{key}.module", "is for a link that is bound for good", remedy)
        return
    if one.bind is not None:
        report.add(f"{key}.bind", f'has no meaning with module = "{one.module}"', "take it out")
    try:
        plugins.find(one.module, MODULES)
    except plugins.NotThere as why:
        report.add(f"{key}.module", why.reason, why.remedy)


def check_plan(link: EmulatedLink, module: str, own: Loose | None, report: Report) -> None:
    """Check what a topology says of the module at both ends of a link."""
    key = report.key(link)
    if module in INTERFACE_KINDS:
        if own:
            report.add(f"{key}.{OPTIONS}", "is for a module of another package", "take it out")
        check_glass(link, module, f"{key}.", report)
    elif module in KINDS:
        remedy = "leave it out here, and write it into the files of the two nodes"
        report.add(f"{key}.module", "is for a device, which each node has its own of", remedy)
    else:
        _no_ends(link, key, module, report)
        plugins.read(module, own, MODULES, (f"{key}.module", f"{key}.{OPTIONS}"), report)


def check_glass(link: EmulatedLink, module: str, key: str, report: Report) -> None:
    """Check what is said of a fibre; `key` goes before the name of each key."""
    if module != PHYSICAL:
        for name in given(link, Glass):
            _alien(f"{key}{name}", PHYSICAL, report)
        return
    for name in set(given(link, EmulatedLink)) & set(_PACES):
        report.add(f"{key}{name}", "excludes a fibre, which makes the pace", "take it out")
    if link.fibre_km is None:
        report.add(f"{key}fibre_km", "is missing", "write the length of the fibre in km")
        return
    try:
        physical_of(link)
    except ValueError as why:
        report.add(f"{key}block_gates", f"does not fit: {why}", "correct it, or gates_hz")


def _check_device(link: Link, key: str, report: Report) -> None:
    _no_ends(link, key, link.module, report)
    if link.module not in dict(link.devices):
        report.add(f"{key}.{link.module}", "is missing", f"write a table [link.{link.module}]")
        return
    key = f"{key}.{link.module}"
    if link.module == DEVICE:
        _check_keys(link, key, report)
    else:
        _check_stream(link, key, report)
    try:
        _DEVICES[link.module](link)
    except ValueError as why:
        if not any(problem.key.startswith(key) for problem in report.problems):
            report.add(f"{key}.url", str(why), "correct it")


def _check_keys(link: Link, key: str, report: Report) -> None:
    """Check what is said of a device behind ETSI 014."""
    assert link.etsi014, "checked"
    if link.etsi014.key_bits and link.etsi014.key_bits % _OCTET:
        report.add(f"{key}.key_bits", "is not a multiple of 8", "keys are whole octets")
    from actors.modules.etsi014.quirks import QUIRKS  # noqa: PLC0415 -- only where it is used

    for row, name in enumerate(link.etsi014.quirks):
        if name not in QUIRKS:
            where, known = f"{key}.quirks[{row}]", ", ".join(QUIRKS)
            report.add(where, f"{name[:80]} is no quirk", f"write some of {known}")


def _check_stream(link: Link, key: str, report: Report) -> None:
    """Check what is said of a device behind ETSI 004: what contradicts itself."""
    assert link.etsi004, "checked"
    from actors.modules.etsi004.statuses import EDITIONS  # noqa: PLC0415 -- only where it is used

    said = link.etsi004
    if said.max_bit_s and said.min_bit_s > said.max_bit_s:
        report.add(f"{key}.min_bit_s", "is more than max_bit_s", "make it smaller")
    if said.source == said.destination:
        reason = "is the application at this end too"
        report.add(f"{key}.destination", reason, "write that of the other end")
    if said.edition not in EDITIONS:
        known = ", ".join(map(str, EDITIONS))
        report.add(f"{key}.edition", "is not known", f"write one of {known}")


def _no_ends(link: EmulatedLink, key: str, module: str, report: Report) -> None:
    """Report what an emulated link has, and one over a module of this kind has not."""
    ends = [name for name in _ENDS if getattr(link, name, None) is not None]
    for name in (*ends, *given(link, EmulatedLink)):
        report.add(f"{key}.{name}", f'has no meaning with module = "{module}"', "take it out")


def own_of(
    link: Link | OwnFibre, module: str, key: str, report: Report
) -> "Callable[[], Module] | None":
    """Return what makes the module of another package; None if the report says why not.

    `key` is that of its options.
    """
    found = plugins.read(module, link.options, MODULES, (key, key), report)
    if found is None:
        return None
    factory, options = found
    made: Any = plugins.call(module, key, report, partial(factory, link.role, options))
    if made is not None and not callable(made):
        report.add(key, f"{module} gives nothing that makes modules", "tell its author")
        return None
    return made  # type: ignore[no-any-return]


def physical_of(link: EmulatedLink) -> "Physical":
    """Return what befalls the fibre of a link; `ValueError` for what makes no sense."""
    from actors.modules.glass import Glass as Fibres  # noqa: PLC0415 -- only where it is used
    from actors.modules.physical import Physical  # noqa: PLC0415

    said = {name: getattr(link, name) for name in given(link, Glass)}
    if "eavesdropping" in said:
        said["eavesdropping"] = tuple(map(tuple, said["eavesdropping"]))
    ours = {field.name for field in fields(Physical)}
    of_fibre = {name: value for name, value in said.items() if name not in ours}
    around = {name: value for name, value in said.items() if name in ours}
    return Physical(glass=Fibres(**of_fibre), **around)


def device_of(link: Link) -> "Options":
    """Return the options of the module of a link to a device; `ValueError` if they are wrong."""
    from actors.modules.etsi014.client import Access  # noqa: PLC0415 -- only where it is used
    from actors.modules.etsi014.device import Options  # noqa: PLC0415

    assert link.etsi014, "checked"
    known: dict[str, Any] = structs.asdict(link.etsi014)
    bits, quirks = known.pop("key_bits") or 0, tuple(known.pop("quirks"))
    known |= {name: known[name] or "" for name in ("sae", "server_name")}
    return Options(role=link.role, access=Access(**known), key_bits=bits, quirks=quirks)


def stream_of(link: Link) -> "StreamOptions":
    """Return the same for a device of key streams; `ValueError` if they are wrong."""
    from actors.modules.etsi004.client import Access  # noqa: PLC0415 -- only where it is used
    from actors.modules.etsi004.device import Options  # noqa: PLC0415
    from actors.modules.etsi004.wire import Qos  # noqa: PLC0415

    said = link.etsi004
    assert said, "checked"
    access = Access(
        url=said.url,
        source=said.source,
        destination=said.destination,
        certificate=said.certificate,
        key=said.key,
        ca=said.ca,
        qos=Qos(
            said.chunk_octets,
            said.max_bit_s,
            said.min_bit_s,
            priority=said.priority,
            ttl=said.ttl_s,
        ),
        edition=said.edition,
        server_name=said.server_name or "",
        timeout_s=said.timeout_s,
    )
    return Options(role=link.role, access=access)


_DEVICES: Mapping[str, Callable[[Link], Any]] = {DEVICE: device_of, STREAM: stream_of}
"""Kinds whose bits come from a device, and what makes their options; its table has their name."""


def given(link: EmulatedLink, kind: type[Glass]) -> Iterator[str]:
    """Return the keys of such a table that say something else than their default."""
    nothing = kind()
    for field in structs.fields(kind):
        if getattr(link, field.name) != getattr(nothing, field.name):
            yield field.name


def _alien(key: str, module: str, report: Report) -> None:
    remedy = f'write module = "{module}", or take it out'
    report.add(key, f'is for a link with module = "{module}"', remedy)
