"""Nodes of this version start on the folders of earlier ones, and lose nothing."""

import hashlib
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from itertools import groupby
from pathlib import Path

import pytest

from protokms.client import SaeClient, SaeError, SaeKey
from tests.golden import old_lab
from tests.golden.old_lab import OldKey
from tests.processes.real_lab import RealLab, eventually, has_keys

pytestmark = pytest.mark.slow

VERSIONS = ("0.1.0",)
PAIRS = (("sae-1", "sae-2"), ("sae-2", "sae-1"), ("sae-4", "sae-3"), ("sae-1", "sae-3"))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


@pytest.fixture
def bench(tmp_path: Path, version: str) -> Iterator[RealLab]:
    old_lab.unpack(version, tmp_path / "lab")
    made = RealLab(tmp_path / "lab")
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_every_key_that_waits_in_an_old_lab_is_fetched(bench: RealLab, version: str) -> None:
    known = [key for key in old_lab.keys_of(version) if not key.fetched]

    for (master, slave), keys in groupby(known, key=lambda key: (key.master, key.slave)):
        with bench.client(slave) as client:
            for key in keys:
                (found,) = eventually(partial(fetch, client, key), f"{master} for {slave}: a key")
                assert (found.key_id, digest(found)) == (key.key_id, key.sha256)


def test_a_key_fetched_from_an_old_lab_is_not_there_any_more(bench: RealLab, version: str) -> None:
    gone = [key for key in old_lab.keys_of(version) if key.fetched]
    assert gone

    for key in gone:
        with (
            bench.client(key.slave) as client,
            pytest.raises(SaeError, match="not found on KME") as why,
        ):
            client.dec_keys(key.master, [key.key_id])
        assert why.value.status == HTTPStatus.BAD_REQUEST


def test_new_keys_are_given_in_an_old_lab(bench: RealLab, version: str) -> None:
    old = {key.sha256 for key in old_lab.keys_of(version)}

    for master, slave in PAIRS:
        with bench.client(master) as near, bench.client(slave) as far:
            eventually(partial(has_keys, near, slave, 8), f"keys of {master} for {slave}")
            sent = near.enc_keys(slave, 8)
            got = far.dec_keys(master, [key.key_id for key in sent])
            assert got == sent
            assert not {digest(key) for key in got} & old


def fetch(client: SaeClient, key: OldKey) -> list[SaeKey]:
    """Ask for a key; nothing while its node has not heard of it yet, or is not in step."""
    try:
        return client.dec_keys(key.master, [key.key_id])
    except SaeError:
        return []


def digest(key: SaeKey) -> str:
    return hashlib.sha256(key.key.reveal()).hexdigest()
