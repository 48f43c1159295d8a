"""`bench relay --netns`: what distance costs, beside loopback; bad arguments are refused."""

import copy
from typing import Any

import pytest
from typer.testing import CliRunner

from protokms.bench import distance
from protokms.commands.bench import app
from protokms.lab import netns
from protokms.lab.lab import LabError
from protokms.lab.wire import Conditions
from tests.processes.real_netns import need_hosts, network

LOOPBACK = {"keys_s": 4_000, "confirmed": {"p50_ms": 2.0}, "local": {"p50_ms": 1.0}}
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
    ("confirmed_ms", "local_ms", "pays"),
    [
        (102.3, 1.1, (False, False)),
        (102.5, 1.1, (True, False)),
        (102.3, 1.3, (False, True)),
    ],
)
def test_a_median_may_be_a_fifth_more_and_one_round_trip_in_confirmed_alone(
    confirmed_ms: float, local_ms: float, pays: tuple[bool, bool]
) -> None:
    row: dict[str, Any] = {"rtt_ms": 100.0, "keys_s": 3_000}
    row |= {"confirmed": {"p50_ms": confirmed_ms}, "local": {"p50_ms": local_ms}}

    distance.compare(row, LOOPBACK, copy.deepcopy(LOOPBACK))

    assert tuple(row[mode]["pays_for_distance"] for mode in distance.MODES) == pays
    assert [row[mode]["p50_may_be_ms"] for mode in distance.MODES] == [102.4, 1.2]
    assert row["keys_s_by_loopback"] == 0.75


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
    for part in (row, row["confirmed"], row["local"]):
        assert part["tcp"]["segments"] > part["tcp"]["retransmitted"] >= 0
    assert min(row["keys_s"], made["loopback"]["after"]["keys_s"]) > 0
    assert {row[mode]["requests"] for mode in distance.MODES} == {10}
