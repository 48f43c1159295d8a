"""The interfaces of one process: what makes quantum links of them, for good and at run time."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from actors.links.quantum_link import QuantumLink
from actors.modules import udp
from actors.modules.adversity import Adversity
from actors.modules.module import Module
from actors.protocol.common import Refused
from actors.protocol.trees import Child
from protokms.config import interfaces, modules, plugins
from protokms.config.keyfiles import BadFile, read_key
from protokms.config.link_tables import DEVICE, KINDS, PHYSICAL, STREAM
from protokms.config.plugins import OPTIONS
from protokms.config.sections import QUANTUM_LINK, Interface, Link
from protokms.config.tables import ConfigError, Report
from transport.envelope import is_node
from transport.message import Secret


class FileInterfaces:
    """Those of the file of a process; `actors.runtime.link_runner.Interfaces`.

    The files of a folder `secrets` are read when a link is started: a new one needs no restart.
    `holder(peer)` names the supervisor below which a link runs.
    """

    def __init__(
        self,
        links: Iterable[Link],
        waiting: Iterable[Interface],
        holder: Callable[[str], str],
    ) -> None:
        self.fixed: Mapping[str, int] = {link.peer: link.interface or 0 for link in links}
        self._waiting = {one.id: one for one in waiting}
        self._holder = holder

    def holder(self, peer: str) -> str:
        """Return the supervisor that takes a link to this peer as its child."""
        return self._holder(peer)

    def link(self, peer: str, interface: int) -> Child:
        """Make a link, or raise `Refused`."""
        one = self._waiting.get(interface)
        if one is None:
            known = ", ".join(str(it) for it in sorted(self._waiting)) or "none"
            raise Refused("no_such_interface", f"{interface}; this process has {known}")
        file = interfaces.fibre_file(one, peer)
        if not (is_node(peer) and os.path.exists(file)):
            why = f"there is no {file}: no pre-shared key, and no address of {peer}"
            raise Refused("unknown_peer", why)
        try:
            return link_child(interfaces.read_link(one, peer))
        except (BadFile, ConfigError, OSError, ValueError) as why:
            raise Refused("malformed", str(why)) from why


def link_child(link: Link) -> Child:
    """Return how to make a quantum link; `BadFile` if its key cannot be read."""
    return Child(f"{QUANTUM_LINK}/{link.peer}", QuantumLink, (link.peer, _module(link)))


def _module(link: Link) -> Callable[[], Module]:
    if link.module == DEVICE:
        from actors.modules.etsi014 import device  # noqa: PLC0415 -- only where there is one

        return device.factory(modules.device_of(link))
    if link.module == STREAM:
        from actors.modules.etsi004 import device as stream  # noqa: PLC0415

        return stream.factory(modules.stream_of(link))
    if link.module not in KINDS:
        report = Report(Path(f"link to {link.peer}"))
        return plugins.whole(report, modules.own_of(link, link.module, OPTIONS, report))  # type: ignore[no-any-return]
    glass = modules.physical_of(link) if link.module == PHYSICAL else None
    return udp.factory(_udp(link), glass)


def _udp(link: Link) -> udp.Options:
    assert link.role != "both", "checked"
    assert link.secret, "checked"
    adversity = Adversity(
        loss=link.loss,
        duplication=link.duplication,
        reordering=link.reordering,
        corruption=link.corruption,
        outages=tuple(link.outages),
        seed=link.seed,
    )
    return udp.Options(
        peer=link.peer,
        role=link.role,
        bind=str(link.bind),
        remote=str(link.remote),
        secret=Secret(read_key(link.secret)),
        round_s=link.round_s,
        rate_bit_s=link.rate_bit_s,
        block_octets=link.block_octets,
        block_s=link.block_s,
        max_bytes=link.max_bytes,
        adversity=adversity,
        allow_insecure_emulation=link.allow_insecure_emulation,
    )
