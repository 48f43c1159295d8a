"""Seats: how many requests or connections are open, in all and for each SAE."""


class Seats:
    """Counts what is open against two limits; used by one thread, that of the HTTP loop."""

    __slots__ = ("_most", "_most_each", "_taken", "total")

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._taken: dict[str, int] = {}
        self.total = 0

    def take(self, sae: str) -> bool:
        """Take a seat for this SAE; False, and nothing taken, when a limit is reached."""
        mine = self._taken.get(sae, 0)
        if self.total >= self._most or mine >= self._most_each:
            return False
        self._taken[sae] = mine + 1
        self.total += 1
        return True

    def leave(self, sae: str) -> None:
        """Give back a seat that was taken for this SAE."""
        mine = self._taken[sae] - 1
        if mine:
            self._taken[sae] = mine
        else:
            del self._taken[sae]  # or SAEs that never come back would fill the dict
        self.total -= 1
