"""What all attacks share: nodes that run, and the count of what was thrown at them."""

from collections.abc import Iterator

import pytest

from tests.doors.tally import Tally
from tests.doors.town import Town

TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = list(config.stash[TALLY].lines()) if TALLY in config.stash else []
    if lines:
        terminalreporter.section("inputs tried at the doors")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The count of the whole run."""
    return request.config.stash[TALLY]


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
