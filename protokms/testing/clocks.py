"""The clocks of the nodes of a cluster: they start at a boot, drift apart, and jump."""

from protokms.testing.agenda import Agenda


class NodeClock:
    """The boot clock of one host: seconds since boot, `rate` of them in each of the cluster's.

    It never goes back. A jump is what a suspended host sees when it wakes: its clock went on,
    its timers did not.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._at, self._read, self.rate = agenda.now, 0.0, 1.0
        self._before = 0.0

    def now(self) -> float:
        """Return the seconds since boot."""
        return self._read + (self._agenda.now - self._at) * self.rate

    def age(self) -> float:
        """Return the seconds of all boots so far."""
        return self._before + self.now()

    def drift(self, rate: float) -> None:
        """Run so fast from now on."""
        self._turn(self.now())
        self.rate = rate

    def jump(self, seconds: float) -> None:
        """Be so many seconds later at once."""
        self._turn(self.now() + seconds)

    def boot(self) -> None:
        """Begin at zero, at the right rate."""
        self._before += self.now()
        self._turn(0.0)
        self.rate = 1.0

    def _turn(self, read: float) -> None:
        self._at, self._read = self._agenda.now, read
