"""What all attacks share: nodes that run, and the count of what was thrown at them."""

from collections.abc import Callable, Iterator

import pytest

from tests.doors.tally import TRIED, Tally
from tests.doors.town import Town


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Tally]:
    """The count of one test, which the end of the run adds to the others."""
    made = Tally()
    yield made
    record_property(TRIED, made.rows())


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Nodes that all attacks of this run are made on: each finds what the last has left."""
    made = Town(tmp_path_factory.mktemp("doors") / "town")
    try:
        made.open()
        yield made
    finally:
        made.down()


@pytest.fixture
def town(nodes: Town) -> Iterator[Town]:
    """The same nodes; after the test they serve an honest pair, and none has stumbled."""
    yield nodes
    nodes.unharmed()
