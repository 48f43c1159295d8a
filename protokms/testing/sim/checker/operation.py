"""What an SAE asks for: invoked, and then answered, or nobody knows."""

from dataclasses import dataclass, field

from actors.protocol import keys
from transport.message import Message


@dataclass(slots=True)
class Operation:
    """One request of an SAE at a front end of `node`, about SAEs at `peer`.

    An honest SAE asks for what is its own; `end` is when the answer came, or when it was clear
    that none would.
    """

    number: int
    ask: Message
    node: str
    peer: str
    at: float
    honest: bool = True
    outcome: str = "open"
    """`open`, `answered`, or `unknown`: the node died, or said nothing in time."""
    answer: Message | None = None
    end: float = -1.0
    area: tuple[str, ...] = ()
    """The nodes whose trouble may be felt; empty: the two."""
    ages: dict[str, float] = field(default_factory=dict)
    """For keys of a master: what the clocks of these nodes had counted when it was invoked."""
    due: list[tuple[keys.KeyName, str]] = field(default_factory=list)
    """Keys (and for whom) that could not be refused when they were asked for."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where it takes place."""
        return self.area or (self.node, self.peer)

    @property
    def far(self) -> bool:
        """Whether it depends on other nodes than two neighbours."""
        return bool(self.area)
