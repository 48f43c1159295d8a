"""Peers: the directory, capabilities, what is up; and how peers come and go at run time."""

from collections.abc import Mapping

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


MODE = "mode/"
"""So begins the entry of `interfaces` that says in which mode a node gives keys out (R9).

`mode/confirmed` or `mode/local`; a node of 0.2 or older has no such entry.
"""


@wire("peers.capabilities/1")
class Capabilities(Message):
    """Who I am and what I speak; may confirm the directory, never change it.

    `interfaces` are what a node serves beside words to peers: `etsi014/1.1.1`, and its mode.
    """

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
class KeyRefused(Message):
    """The other end of a connection to this peer does not know the key of this node."""

    peer: str


@local
class PeerListed(Message):
    """Whether the directory names this peer; one that has left it is not heard, nor spoken to."""

    peer: str
    listed: bool


@local
class PeerSpeaks(Message):
    """Which of our own words this peer says it understands; all others it would refuse."""

    peer: str
    words: tuple[str, ...]


@local
class Linked(Message):
    """With these peers this node has a quantum link, up or down; for who watches the network."""

    peers: tuple[str, ...]


@local
class Located(Message):
    """Which KMS serves which SAE: KMS name by SAE id; for actors beside the peer manager.

    All of them share one read-only map. It is not copied, since there may be a million SAEs, and
    does not travel: a front end, which may be in another process, asks for pieces.
    """

    serial: int
    here: str
    homes: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Located(serial={self.serial}, here={self.here!r}, saes={len(self.homes)})"


@local
class Subscribe(Message):
    """Tell me `Located` now and whenever it changes; a front end hears `HomesChanged` instead."""


@local
class HomesChanged(Message):
    """The directory has this serial; so many pieces tell where its SAEs are at home."""

    serial: int
    here: str
    pieces: int


@local
class GetHomes(Message):
    """Tell one piece of the directory of this serial; `Refused("stale")` if there is another."""

    serial: int
    piece: int


@local
class Homes(Message):
    """One piece: pairs of KMS name and KME id, and of SAE id and KMS name."""

    ids: tuple[tuple[str, str], ...]
    saes: tuple[tuple[str, str], ...]


@local
class AwaitHomes(Message):
    """Answer once the directory of this serial, or a newer one, is in use at a front end."""

    serial: int


@local
class HomesInUse(Message):
    """The directory of this serial is in use."""

    serial: int


@local
class AddQuantumPeer(Message):
    """Have a quantum link to this peer over this interface; `Done` once its process runs it.

    The same again is answered alike. Refused: `no_such_peer`, `not_allowed`, and as `StartLink`
    says. Any other `Failed`: the process that has the interface is away, or late. The link stays
    wanted then: it starts when that process is back, unless `RemoveQuantumPeer` is said.
    """

    peer: str
    interface: int


@local
class RemoveQuantumPeer(Message):
    """Stop the quantum link to this peer; the key store and what it holds stay.

    `Done` if there is none; refused with `bound` if a file binds it for good. After another
    `Failed` nothing is known of the link: say it again.
    """

    peer: str


@local
class ListInterfaces(Message):
    """Which interfaces does this node have, in all its processes?"""


@part
class InterfaceState:
    """One QKD module: its number, its kind, the process that has it, and the peer it leads to.

    `peer` is empty while it waits for one; `fixed`: a file binds it for good.
    """

    number: int
    module: str
    process: str
    peer: str
    fixed: bool


@local
class Interfaces(Message):
    """All of them, by number."""

    interfaces: tuple[InterfaceState, ...]


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
