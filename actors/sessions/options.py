"""What an operator may choose for sessions, and what the composition of a node tells them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from actors.protocol.limits import LANES_MAX, SHARES_MAX, WEIGHT_MAX, Switch, limit
from actors.protocol.trees import Child
from transport.message import Secret

CONTROLLED = "controlled"
"""As `accept`: of sessions of others, those that intent permits (a VIRT link of a controller)."""

Accept = Annotated[
    bool | Literal["controlled"], Meta(description="write true, false or 'controlled'")
]


class SessionOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[relay]`: keys with KMSs beyond the neighbours, over trusted nodes.

    `accept`: stores for peers who set up a session to here, `controlled`: and sessions that cross,
    as far as a controller, or the command line, permits each; `on_demand`: sessions to peers that
    an SAE here wants keys with; `max_lanes`: shares that go to one neighbour, and that come from
    it; `max_lanes_per_origin`: of those that go there, from one other KMS; `named_s`: seconds for
    which a pair is remembered, across starts, after an SAE has last asked for its keys or status.
    """

    on_demand: Switch = True
    accept: Accept = True
    paths: Annotated[int, limit(1, SHARES_MAX, "paths")] = 1
    weight: Annotated[int, limit(1, WEIGHT_MAX, "no unit")] = 1
    max_sessions: Annotated[int, limit(0, 65_536, "sessions")] = 1_024
    max_sessions_per_sae: Annotated[int, limit(0, 65_536, "sessions")] = 32
    max_distant_peers: Annotated[int, limit(0, 65_536, "peers")] = 1_024
    max_lanes: Annotated[int, limit(1, LANES_MAX, "shares of sessions")] = 4_096
    max_lanes_per_origin: Annotated[int, limit(1, LANES_MAX, "shares of sessions")] = 1_024
    max_crossing: Annotated[int, limit(0, 1_000_000, "shares of sessions")] = 16_384
    refresh_s: Annotated[float, limit(1, 600, "seconds")] = 5.0
    expiry_s: Annotated[float, limit(3, 1_800, "seconds")] = 15.0
    idle_session_s: Annotated[float, limit(60, 31_536_000, "seconds")] = 3_600.0
    named_s: Annotated[float, limit(60, 31_536_000, "seconds")] = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """What the composition of a node tells its sessions; `subtree` makes that of a distant peer."""

    signing: Secret
    subtree: Callable[[str], Child]
    options: SessionOptions
    root: str = "supervisor"
