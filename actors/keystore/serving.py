"""Whether a store serves at all (its node stops, its disk is full), and which SAEs it knows."""

from collections.abc import Callable, Mapping

from actors.base import Context, Part, handles
from actors.protocol.common import Drain, Drained, Refused


class Serving(Part):
    """Asked by every part that hands something out; `behind` says whether too much waits."""

    def __init__(self, context: Context, behind: Callable[[], bool]) -> None:
        self._system, self._behind = context.system, behind
        self._draining = False

    @handles(Drain)
    def drain(self, _: Drain) -> Drained:
        """Refuse new requests from now on."""
        self._draining = True
        return Drained()

    @property
    def draining(self) -> bool:
        """Whether the node is being stopped."""
        return self._draining

    @property
    def stopped(self) -> bool:
        """Whether nothing is handed out for a while: for a status."""
        return self._draining or self._system.disk_full

    def check(self) -> None:
        """Refuse while the node is being stopped, or its disk takes nothing."""
        if self._draining:
            raise Refused("not_ready", "the node is stopping")
        if self._system.disk_full:
            raise Refused("not_ready", "the disk is full")
        if self._behind():
            raise Refused("busy", "the disk does not keep up")


class Homes:
    """Which SAE is at which KMS: what the peer manager last said, a map that all stores share (P5).

    False before it has said anything.
    """

    def __init__(self) -> None:
        self._kms: Mapping[str, str] = {}

    def replace(self, kms: Mapping[str, str]) -> None:
        """Take another map, KMS name by SAE id."""
        self._kms = kms

    def get(self, sae: str) -> str | None:
        """Return the KMS of an SAE; None if the directory names no such SAE."""
        return self._kms.get(sae)

    def __bool__(self) -> bool:
        return bool(self._kms)
