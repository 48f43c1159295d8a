"""Items of several users in turns by what they cost: deficit round robin (Shreedhar, Varghese).

A plain structure without a clock. Each user has a queue of its own, and its items keep their
order. A user whose turn comes may spend a quantum more; what it does not spend it keeps as long
as it has items. So a user with large items waits some rounds for each, and users with small ones
do not wait for them.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _User(Generic[T]):
    items: deque[tuple[int, T]] = field(default_factory=deque)
    """Cost and item, the oldest first."""
    credit: int = 0
    weight: int = 1


class FairQueue(Generic[T]):
    """At most `most` items wait for one user; costs and `quantum` have one unit, as octets.

    A user of `weight` n has n quanta when its turn comes.
    """

    def __init__(self, quantum: int, most: int) -> None:
        self._quantum, self._most = quantum, most
        self._users: OrderedDict[Hashable, _User[T]] = OrderedDict()
        """In the order of their turns."""
        self._granted = False
        """Whether the first of them has its quantum of this turn."""
        self._items = 0

    def __len__(self) -> int:
        return self._items

    def __iter__(self) -> Iterator[T]:
        return (item for user in self._users.values() for _, item in user.items)

    def full(self, user: Hashable) -> bool:
        """Whether no more items of this user may wait."""
        return user in self._users and len(self._users[user].items) >= self._most

    def put(self, user: Hashable, cost: int, item: T, weight: int = 1) -> None:
        """Let an item wait; the caller has asked `full`. From now on its user has this weight."""
        waits = self._users.setdefault(user, _User())
        waits.items.append((cost, item))
        waits.weight = weight
        self._items += 1

    def head(self) -> T | None:
        """Return the item whose turn it is; it stays so until it is taken, or dropped."""
        while self._users:
            name, user = next(iter(self._users.items()))
            if not self._granted:
                user.credit += self._quantum * user.weight
                self._granted = True
            cost, item = user.items[0]
            if user.credit >= cost:
                return item
            self._users.move_to_end(name)
            self._granted = False
        return None

    def take(self) -> T:
        """Take out the item that `head` has returned."""
        return self._take(next(iter(self._users)))

    def take_other(self, fits: Callable[[int], bool]) -> T | None:
        """Take out the next item of another user than that of `head`, if its cost fits.

        It is paid for: its user has so much less credit when its turn comes.
        """
        others = iter(self._users.items())
        next(others, None)
        for name, user in others:
            if fits(user.items[0][0]):
                return self._take(name)
        return None

    def drop(self, late: Callable[[T], bool]) -> list[T]:
        """Take out what is late at the head of each user's queue."""
        dropped: list[T] = []
        for name in list(self._users):
            while name in self._users and late(self._users[name].items[0][1]):
                cost = self._users[name].items[0][0]
                self._users[name].credit += cost  # it was not served
                dropped.append(self._take(name))
        return dropped

    def clear(self) -> None:
        """Forget all items."""
        self._users.clear()
        self._granted = False
        self._items = 0

    def _take(self, name: Hashable) -> T:
        user = self._users[name]
        cost, item = user.items.popleft()
        self._items -= 1
        user.credit -= cost
        if not user.items:
            self._granted = self._granted and next(iter(self._users)) != name
            del self._users[name]  # credit is not saved up by those who want nothing
        return item
