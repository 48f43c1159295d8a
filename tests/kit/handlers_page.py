"""The table in docs/protocol.md that says which class handles each wire word.

`python -m tests.kit.handlers_page` writes it anew.
"""

from pathlib import Path

from actors.base import Actor
from actors.keystore.key_store import KeyStore
from actors.network.peer_manager import PeerManager
from actors.network.router import Router
from actors.protocol.doors import ANSWERS, DOORS
from actors.relay.relay import Relay
from actors.sessions.sessions import SessionManager
from transport.message import doors

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- The table of handlers begins. -->\n", "<!-- The table of handlers ends. -->\n"
ACTORS: dict[str, type[Actor]] = {
    "key_store/{peer}": KeyStore,
    "peer_manager": PeerManager,
    "relay/{peer}": Relay,
    "router": Router,
    "sessions": SessionManager,
}
"""Who stands behind each door."""


def handler(word: str) -> type:
    """Return the class that handles a wire word, in the one actor that hears it."""
    return ACTORS[DOORS[word]].handled_by()[doors()[word]]


def table() -> str:
    """Lay out one line for each wire word: by actor, then in the order of declaration."""
    lines = ["| word | message | actor | handled by | in |", "|---|---|---|---|---|"]
    for word, name in DOORS.items():
        kind, by = doors()[word].__name__, handler(word)
        file = by.__module__.replace(".", "/") + ".py"
        actor = name.format(peer="<peer>")
        lines.append(f"| `{word}` | `{kind}` | `{actor}` | `{by.__name__}` | `{file}` |")
    for word in sorted(ANSWERS):
        kind, heard = doors()[word].__name__, "an answer, to the actor that has asked"
        lines.append(f"| `{word}` | `{kind}` | {heard} | | |")
    return "\n".join(lines) + "\n"


def parts_of(page: str) -> tuple[str, str, str]:
    """Return what stands before the table, the table, and what stands after it."""
    before, _, rest = page.partition(BEGIN)
    found, _, after = rest.partition(END)
    return before, found, after


if __name__ == "__main__":
    first, _, last = parts_of(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(first + BEGIN + table() + END + last, encoding="utf-8")
