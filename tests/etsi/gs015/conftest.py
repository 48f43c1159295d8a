"""Fixtures of the tests of the agent of controllers."""

from collections.abc import Iterator

import pytest

from tests.kit.agent import Agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """An agent with a row of each kind; most is asked by controller-1, who may write."""
    made = Agent()
    yield made
    made.close()
