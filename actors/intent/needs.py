"""Whether there is what applications are to have at least, by what quantum links bring."""

from collections import Counter
from collections.abc import Iterable, Iterator

from actors.intent.rows import Body, Kept
from actors.intent.scene import Scene
from actors.protocol import intent
from actors.protocol.intent import Application


def too_much(before: Iterable[Kept], after: Iterable[Kept], scene: Scene) -> dict[str, str]:
    """Return for which peers a write wants more than there is, and why it may not be.

    Refused is only by a rate that was measured, and only what makes it worse.
    """
    then, now = (_wanted(rows, scene) for rows in (before, after))
    return {
        peer: f"{bits:,} bit/s would be kept for SAEs at {peer}, and {rate:,} bit/s come"
        for peer, bits in now.items()
        if (rate := scene.rates.get(peer)) is not None and bits > max(rate, then[peer])
    }


def unsure(body: Body, scene: Scene) -> str:
    """Return why it is not known whether there is what an application is to have, if it is not."""
    unknown = [peer for peer in peers_of(body, scene) if peer not in scene.rates]
    if not unknown:
        return ""
    return f"min_bandwidth is kept of what comes: no rate to {unknown[0]} was measured"


def _wanted(rows: Iterable[Kept], scene: Scene) -> Counter[str]:
    """Return the bit/s that are to be kept for SAEs at each peer."""
    found = Counter[str]()
    for kept in rows:
        for peer in peers_of(kept.body, scene):
            assert isinstance(kept.body, Application), "nobody else has peers here"
            found[peer] += kept.body.min_bandwidth or 0
    return found


def peers_of(body: Body, scene: Scene) -> Iterator[str]:
    """Return at which other nodes an application that begins here is to have bits."""
    if not isinstance(body, Application) or body.kind != intent.CLIENT or not body.min_bandwidth:
        return
    if scene.homes.get(body.master) == scene.node:
        homes = dict.fromkeys(scene.homes.get(slave) for slave in body.slaves)
        yield from (peer for peer in homes if peer and peer != scene.node)
