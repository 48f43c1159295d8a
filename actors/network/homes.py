"""Where each SAE is at home, by one directory: a map that many share, and pieces of it."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from actors.protocol import peers
from actors.protocol.common import Refused

PIECE = 512
"""KMSs and SAEs told in one piece: with ids of 512 octets they fit a frame of 1 MiB."""


class DirectoryHomes:
    """A directory by SAE; never changed, so that whoever needs the map may keep it."""

    def __init__(self, directory: peers.Directory) -> None:
        self._ids = tuple((kms.name, kms.id) for kms in directory.kmss)
        self.kms: Mapping[str, str] = MappingProxyType(
            {sae: kms.name for kms in directory.kmss for sae in kms.saes}
        )
        """KMS name by SAE id."""

    @property
    def pieces(self) -> int:
        """How many pieces tell all of it."""
        return -(-max(len(self._ids), len(self.kms)) // PIECE)

    def piece(self, number: int) -> peers.Homes:
        """Return one of them, the first by number 0; `Refused` if there is no such piece."""
        if not 0 <= number < self.pieces:
            raise Refused("malformed", f"there are {self.pieces} pieces")
        some = slice(number * PIECE, (number + 1) * PIECE)
        saes = tuple((sae, self.kms[sae]) for sae in self._saes[some])
        return peers.Homes(ids=self._ids[some], saes=saes)

    @cached_property
    def _saes(self) -> tuple[str, ...]:
        return tuple(self.kms)
