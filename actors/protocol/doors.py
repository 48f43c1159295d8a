"""Which words a peer may say, and to whom: what is not here is refused at the door.

`{peer}` stands for the node that CURVE authenticated, so a peer speaks to the key store it
shares with us and to no other, whatever inbox it writes on its frames.
"""

from actors.protocol import blocks, common, grants, peers, relay, routes, sessions
from transport.message import Message, doors


def _words(*talks: object) -> list[str]:
    kinds = [kind for talk in talks for kind in vars(talk).values()]
    return [word for word, kind in doors().items() if kind in kinds]


def _word(kind: type[Message]) -> str:
    assert kind.wire, f"{kind.__name__} is no wire word"
    return kind.wire


DOORS: dict[str, str] = {
    **dict.fromkeys(_words(blocks, grants), "key_store/{peer}"),
    _word(peers.Capabilities): "peer_manager",
    **dict.fromkeys(_words(relay), "relay/{peer}"),
    **dict.fromkeys(_words(routes), "router"),
    _word(sessions.KeyTransportSession): "sessions",
    _word(sessions.KeyTransportSession2): "sessions",
    _word(sessions.Refresh): "sessions",
    _word(sessions.SessionLost): "sessions",
    _word(sessions.SessionEnded): "sessions",
}
"""Word name to the actor that hears it; these words are told or asked, never answers."""

ANSWERS: frozenset[str] = frozenset(
    {
        _word(peers.CapabilitiesReply),
        _word(sessions.KeyTransportSessionReply),
        _word(sessions.KeyTransportSessionReply2),
        _word(sessions.RefreshReply),
        _word(common.Failed),
    }
)
"""Words that come only as the answer to an open question of ours, to the one who asked."""
