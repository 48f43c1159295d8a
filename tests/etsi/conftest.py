"""Fixtures of the front end tests."""

from collections.abc import Iterator

import pytest

from tests.kit.site import Site, options


@pytest.fixture
def site() -> Iterator[Site]:
    """A front end as it is by default, called by sae-1 of kms-1."""
    made = Site(options())
    yield made
    made.close()


@pytest.fixture
def loopback() -> Iterator[Site]:
    """A front end that allows an SAE to talk to itself."""
    made = Site(options(), allow_loopback_pairs=True)
    yield made
    made.close()
