"""Peers: the directory, capabilities, what is up; and how peers come and go at run time."""

from transport.message import Message, local, part, wire


@part
class Kms:
    """One KMS as the signed directory knows it: keys are text, `curve` Z85, `signing` base64."""

    name: str
    id: str
    address: str
    curve: str
    signing: str
    saes: tuple[str, ...]


@local
class Directory(Message):
    """Who is who in the network, as signed by the lab's CA or the controller."""

    serial: int
    kmss: tuple[Kms, ...]


@wire("peers.capabilities/1")
class Capabilities(Message):
    """Who I am and what I speak; may confirm the directory, never change it."""

    id: str
    name: str
    version: str
    words: tuple[str, ...]
    interfaces: tuple[str, ...]


@wire("peers.capabilities_reply/1")
class CapabilitiesReply(Message):
    """The same of the one who was asked."""

    id: str
    name: str
    version: str
    words: tuple[str, ...]
    interfaces: tuple[str, ...]


@local
class PeerUp(Message):
    """The transport hears this peer (again): ask where the stores stand."""

    peer: str


@local
class PeerDown(Message):
    """The transport has not heard this peer for three heartbeats.

    `idle`: nothing of the kind; a connection that nobody used was closed, the next word opens one.
    """

    peer: str
    idle: bool = False


@local
class Linked(Message):
    """With these peers this node has a quantum link, up or down; for who watches the network."""

    peers: tuple[str, ...]


@local
class Located(Message):
    """Which KMS serves which SAE: pairs of SAE id and KMS name; for the front ends."""

    serial: int
    here: str
    saes: tuple[tuple[str, str], ...]
    ids: tuple[tuple[str, str], ...]


@local
class Subscribe(Message):
    """Tell me `Located` now and whenever it changes."""


@local
class AddQuantumPeer(Message):
    """Start a quantum link to this peer; `options` are the keys of a `[[link]]` table, as JSON."""

    peer: str
    options: str


@local
class RemoveQuantumPeer(Message):
    """Stop the quantum link to this peer; the key store and what it holds stay."""

    peer: str


@local
class Done(Message):
    """It is so now."""


@local
class ListPeers(Message):
    """Which peers are there?"""


@part
class PeerState:
    """One peer: is it up, what it said it is, what is wrong with it."""

    name: str
    up: bool
    version: str
    trouble: str


@local
class Peers(Message):
    """All of them, by name."""

    peers: tuple[PeerState, ...]
