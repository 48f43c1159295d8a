"""The pytest plugin: networks in one thread as fixtures.

It is loaded by every pytest run in an environment that has protokms, so it imports nothing of
it until a test asks for a fixture.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from protokms.testing.cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--kms-seed`: the seed of every cluster that a test does not give one of its own."""
    parser.addoption(
        "--kms-seed", type=int, default=0, help="seed of the simulated networks of protokms"
    )


@pytest.fixture
def kms_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this run: 0, or what `--kms-seed` says."""
    return int(request.config.getoption("--kms-seed"))


@pytest.fixture
def cluster(kms_seed: int) -> "Iterator[Callable[..., Cluster]]":
    """Make clusters: `cluster("a-b b-c", recipe)`; the arguments are those of `Cluster`.

    At the end of the test every node is killed, so that nothing of it outlives the test.
    """
    from protokms.testing.cluster import Cluster  # noqa: PLC0415 -- see the top of this file

    made = []

    def make(*args: Any, **options: Any) -> "Cluster":
        made.append(Cluster(*args, **{"seed": kms_seed, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()
