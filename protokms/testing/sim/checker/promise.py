"""What a run ends with when it goes wrong."""


class BrokenPromise(AssertionError):
    """A promise or a rule was broken; `promise` is its name: `P2`, `R11`, `LIVE`, ..."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise
        self.at = 0.0
        """When, in seconds of the run."""
