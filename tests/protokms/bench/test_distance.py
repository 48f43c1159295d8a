"""`bench relay --netns`: what distance costs, beside loopback; bad arguments are refused."""

from typing import Any

import pytest
from typer.testing import CliRunner

from protokms.bench import distance
from protokms.commands.bench import app
from protokms.lab import netns
from protokms.lab.lab import LabError
from protokms.lab.wire import Conditions
from tests.processes.real_netns import need_hosts, network

SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm MaxConn OutSegs RetransSegs
Tcp: 1 -1 1200 34
Udp: InDatagrams
Udp: 7
"""


def refused(*args: str) -> tuple[int, str]:
    """Run the command; return its status, and what it says without a frame around it."""
    said = CliRunner().invoke(app, ["relay", "--netns", *args])
    return said.exit_code, " ".join(said.output.replace("│", " ").split())


def test_what_tcp_sent_and_sent_again_is_read_by_name() -> None:
    assert distance.segments(SNMP) == distance.Segments(sent=1_200, again=34)


@pytest.mark.parametrize(
    ("p50_ms", "round_trips_ms", "pays"),
    [(102.3, 100.0, False), (102.5, 100.0, True), (2.3, 0.0, False), (2.5, 0.0, True)],
)
def test_a_median_may_be_a_fifth_more_and_so_many_round_trips(
    p50_ms: float, round_trips_ms: float, pays: bool
) -> None:
    row: dict[str, Any] = {"p50_ms": p50_ms, "loopback_p50_ms": 2.0}

    distance.compare(row, round_trips_ms)

    assert row["pays_for_distance"] is pays
    assert row["p50_may_be_ms"] == 2.4 + round_trips_ms


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (("--hops", "1"), 2, "takes one number of hops, 2 or more"),
        (("--hops", "2,3"), 2, "takes one number of hops, 2 or more"),
        (("--rate", "1000"), 2, "--netns and --rate do not go together"),
        (("--delay", "5ms,fast"), 1, "--delay: 'fast' is no delay"),
        (("--loss", "100%"), 1, "--loss: '100%' is no loss"),
    ],
)
def test_what_cannot_be_measured_is_refused(args: tuple[str, ...], status: int, why: str) -> None:
    code, said = refused(*args)

    assert code == status
    assert why in said


def test_nothing_is_measured_where_no_hosts_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(_wire: str) -> None:
        raise LabError("only root makes network namespaces: run it as root")

    monkeypatch.setattr(netns, "check_tools", no)

    assert refused() == (1, "error: only root makes network namespaces: run it as root")


@pytest.mark.slow
def test_a_request_pays_one_round_trip_in_confirmed_and_none_in_local(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_hosts()
    monkeypatch.setattr(distance, "REQUESTS", 10)
    way = Conditions(delay_s=0.1, loss=0.01)

    made = distance.distances(2, [way], 1.0, lambda _: None, network()(0) + "/24")

    row = made["ways"][str(way)]
    assert row["rtt_ms"] >= 200.0
    assert row["confirmed"]["p50_ms"] >= 200.0
    assert row["local"]["p50_ms"] < 200.0
    assert max(row[mode]["loopback_p50_ms"] for mode in distance.MODES) < 200.0
    for part in (row, row["confirmed"], row["local"]):
        assert part["tcp"]["segments"] > part["tcp"]["retransmitted"] >= 0
    for chain in (row, *made["loopback"].values()):
        assert min(chain["keys_s"], chain["first_key_s"]) > 0
    assert {row[mode]["requests"] for mode in distance.MODES} == {10}
