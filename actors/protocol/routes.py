"""Signed link-state: who has a quantum link to whom, with how much in store; and paths."""

from transport.message import Message, local, part, wire


@part
class LinkLoad:
    """One quantum link as its one end sees it, in coarse steps: powers of two, 0 is none.

    `stock` is the step of its own octets in store, `rate` of the octets per second that come in.
    """

    peer: str
    stock: int
    rate: int


@part
class LinkState:
    """What `origin` says of its links; `seq` grows, over restarts too; `signature` is Ed25519."""

    origin: str
    seq: int
    links: tuple[LinkLoad, ...]
    signature: bytes


@wire("routes.states/1")
class LinkStates(Message):
    """News, or what the reader was found to lack."""

    states: tuple[LinkState, ...]


@part
class Known:
    """The newest state of an origin that the sender has."""

    origin: str
    seq: int


@wire("routes.known/1")
class KnownStates(Message):
    """All that the sender has: said when a neighbour is up (again), answered with what lacks."""

    known: tuple[Known, ...]


@local
class LinkLevel(Message):
    """How a store with a quantum link stands: own octets, octets per second coming in, in step."""

    peer: str
    stock: int
    rate: float
    ready: bool


@local
class FindPaths(Message):
    """`n` node-disjoint paths to `to`, none over `avoid`; `keep` are in use and preferred.

    `avoid` are nodes, `broken` links (pairs of nodes) that are not to be used.
    """

    to: str
    n: int
    avoid: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    keep: tuple[tuple[str, ...], ...] = ()


@local
class Paths(Message):
    """Node names from here to there, the best first; fewer when there are no more."""

    paths: tuple[tuple[str, ...], ...]


@local
class AskPathRate(Message):
    """What does the slowest link of these paths bring, by what both ends of each say?"""

    paths: tuple[tuple[str, ...], ...]


@local
class PathRate(Message):
    """Octets a second, at the lower end of its step; 0: not known."""

    rate: int


@local
class AskLinks(Message):
    """Which quantum links are there among these nodes, as far as this node knows?"""

    nodes: tuple[str, ...]


@local
class KnownLinks(Message):
    """Pairs of these nodes that share a link, by what both ends say, each once.

    `linked` are those of the nodes that have any link, whoever is at its other end: of others
    nothing is known.
    """

    links: tuple[tuple[str, str], ...]
    linked: tuple[str, ...]


@local
class RoutesChanged(Message):
    """The picture of the network has changed: sessions may look for better paths."""


@local
class FindRoute(Message):
    """For people: the path from one node to another, as this node would choose it."""

    start: str
    end: str


@local
class Route(Message):
    """The path, its cost, and the steps of each link on it."""

    path: tuple[str, ...]
    cost: float
    links: tuple[LinkLoad, ...]
