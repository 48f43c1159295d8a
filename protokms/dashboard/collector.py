"""What the page shows, from what `lab status` finds: names, states and sizes, never a key."""

from collections.abc import Sequence
from typing import Any

from protokms.lab.run import NodeState


def picture(states: Sequence[NodeState]) -> dict[str, Any]:
    """Return nodes, links (each once; `bits` of stock as the first of its ends says) and sessions.

    Only what is named here reaches the page, whatever else nodes may say.
    """
    links: dict[tuple[str, str], int] = {}
    for state in states:
        for peer, bits in state.links.items():
            one, other = sorted((state.name, peer))
            links.setdefault((one, other), bits)
    return {
        "nodes": [{"name": s.name, "running": s.running, "ready": s.ready} for s in states],
        "links": [{"ends": list(ends), "bits": bits} for ends, bits in sorted(links.items())],
        "sessions": [
            {
                "from": state.name,
                "to": str(row.get("destination", "")),
                "state": str(row.get("state", "")),
                "paths": [[str(node) for node in path] for path in row.get("paths", ())],
            }
            for state in states
            for row in state.sessions
        ],
    }
