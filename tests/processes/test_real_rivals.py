"""Two bare nodes, and those who trouble a controller: rivals, thieves, readers that vanish."""

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protokms.controller import diff, rows, run
from protokms.controller.desired import Application, Desired, Link, Node
from protokms.controller.restconf import Agent, Identity, Refused
from protokms.lab import topology
from tests.processes.real_lab import ROOT, RealLab, eventually, protokms

pytestmark = pytest.mark.slow

RIVALS, ROUNDS = 6, 5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    made = RealLab(folder, topology.parse("chain:2"), bare=True)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def nodes(pair: RealLab) -> list[Node]:
    return list(run.of_lab(pair.folder)[0].nodes)


def agent(pair: RealLab, stack: ExitStack, identity: Identity | None = None) -> Agent:
    """A connection to kms-1, as the controller or as somebody else."""
    known, own = run.of_lab(pair.folder)
    tls = (identity or own).context()
    return stack.enter_context(Agent("kms-1", known.nodes[0].url, tls))


def test_of_rivals_one_wins_each_round_and_the_others_have_done_nothing(
    pair: RealLab, nodes: list[Node]
) -> None:
    """Each wants another application of the same SAEs, and all have read before any writes."""
    others = pair.made.node("kms-2").id
    with ExitStack() as stack:
        rivals = [agent(pair, stack) for _ in range(RIVALS)]
        meet = threading.Barrier(RIVALS, timeout=30.0)
        for round_ in range(ROUNDS):
            won: list[int] = []
            refused: list[str] = []

            def compete(number: int, wins: list[int], no: list[str], base: int) -> None:
                app = Application(master="sae-1", slaves=["sae-2"], priority=base + number)
                state = Desired(nodes=nodes, applications=[app])
                told = rivals[number].told()
                wanted = rows.rows_of(state, {"kms-1": told.id, "kms-2": others})
                here = rows.Wanted({"kms-1": wanted.rows["kms-1"]}, wanted.names)
                (request,) = diff.requests(here, {"kms-1": told})
                meet.wait()
                try:
                    rivals[number].put(request)
                except Refused as refusal:
                    no.append(str(refusal))
                else:
                    wins.append(base + number)

            base = 1 + RIVALS * round_
            threads = [
                threading.Thread(target=compete, args=(number, won, refused, base))
                for number in range(RIVALS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            entries = rivals[0].told().config[rows.APPLICATIONS].values()
            assert len(won) == 1, refused
            assert [entry["app_priority"] for entry in entries] == won
            assert len(refused) == RIVALS - 1
            assert all("412 operation-failed: " in text for text in refused)


def test_a_stolen_certificate_of_an_sae_opens_nothing_and_the_refusal_says_whose_it_is(
    pair: RealLab,
) -> None:
    sae = pair.made.saes[0]
    files = [str(pair.folder / it) for it in (pair.made.ca, sae.cert, sae.key)]
    own = [word for pair_ in zip(("--ca", "--cert", "--key"), files, strict=True) for word in pair_]

    said = protokms("controller", "apply", "chain:2", "--lab", str(pair.folder), *own)

    assert said.returncode == 1
    assert b"kms-1: 401 access-denied: 'sae-1' is no controller of this node" in said.stderr
    with ExitStack() as stack:
        assert agent(pair, stack).told().config[rows.LINKS] == {}
        with pytest.raises(Refused, match="401 access-denied"):
            next(agent(pair, stack, Identity(*map(Path, files))).events())


def test_readers_that_vanish_are_forgotten_and_nobody_waits_for_them(
    pair: RealLab, nodes: list[Node]
) -> None:
    with ExitStack() as stack:
        tls = run.of_lab(pair.folder)[1].context()
        host, _, port = nodes[0].url.removeprefix("https://").rpartition(":")
        readers = []
        for _ in range(8):
            plain = socket.create_connection((host, int(port)), timeout=30.0)
            readers.append(tls.wrap_socket(plain, server_hostname=host))
            readers[-1].sendall(
                b"GET /restconf/streams/NETCONF HTTP/1.1\r\nHost: kms\r\n"
                b"Accept: text/event-stream\r\n\r\n"
            )
            assert readers[-1].recv(1) == b"H"  # it is read no further
        assert pair.facts("kms-1", "etsi015")["requests"] == "8"

        for number in range(3):
            link = Link(a="kms-1", b="kms-2", enabled=bool(number % 2))
            state = Desired(nodes=nodes, links=[link])
            with run.Network(nodes, run.of_lab(pair.folder)[1]) as network:
                assert network.bring(state, 0.0, lambda _: None).requests
        for reader in readers:  # as a host that was switched off and answers with a reset
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reader.close()

        eventually(lambda: pair.facts("kms-1", "etsi015")["requests"] == "0", "they are forgotten")
        assert agent(pair, stack).told().config[rows.LINKS]


def test_watch_prints_what_happens_at_all_nodes(pair: RealLab, nodes: list[Node]) -> None:
    args = ["controller", "watch", "--lab", str(pair.folder), "--json", "--timeout", "100"]
    with subprocess.Popen(
        [sys.executable, "-m", "protokms", *args], stdout=subprocess.PIPE, cwd=ROOT
    ) as watching:
        assert watching.stdout
        try:
            for name in pair.nodes:
                eventually(
                    lambda name=name: pair.facts(name, "etsi015")["requests"] != "0",  # type: ignore[misc]
                    "its stream is open",
                )
            both = Desired(nodes=nodes, links=[Link(a="kms-1", b="kms-2")])
            with run.Network(nodes, run.of_lab(pair.folder)[1]) as network:
                network.bring(both, 0.0, lambda _: None)
            told = set[str]()
            while told != set(pair.nodes):
                row = json.loads(watching.stdout.readline())
                assert row["ended"] == ""
                assert row["notification"]["eventTime"]
                told.add(row["node"])
        finally:
            watching.kill()
