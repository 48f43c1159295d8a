"""The log tells each device that is refused once a minute, within bounds."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog import get_logger
from structlog.testing import capture_logs

from etsi.http.identity import claims
from etsi.http.servers.refusals import AGAIN_S, DEVICES, NAMES_OF_ONE, Refusals
from protokms.node.meter import MemoryMeter
from tests.kit.authority import Authority

EXPIRED = "certificate has expired"


class Bench:
    def __init__(self) -> None:
        self.now, self.meter = 0.0, MemoryMeter()
        self.told: list[str] = []
        self.refusals = Refusals(get_logger(), self.meter, lambda: self.now, self.told.append)

    def lines(self, *devices: tuple[str, str]) -> list[Any]:
        """Refuse devices of these addresses and names; return what is logged."""
        with capture_logs() as found:
            for address, name in devices:
                self.refusals.note("handshake", EXPIRED, address, name, "CN=ca")
        return list(found)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_each_device_has_a_line_of_its_own(bench: Bench) -> None:
    first, second, third = bench.lines(("::1", "a"), ("::1", "b"), ("::2", "a"), ("::1", "a"))

    assert (first["name"], second["name"], third["address"]) == ("a", "b", "::2")
    assert first["why"] == EXPIRED
    assert len(bench.told) == 3
    assert bench.told[0] == f"handshake of ::1 (a): {EXPIRED}"
    assert first["issuer"] == "CN=ca"
    assert bench.meter.value("protokms_http_refused", reason="handshake") == 4


def test_a_device_is_told_again_after_a_minute(bench: Bench) -> None:
    bench.lines(("::1", "a"))
    bench.now = AGAIN_S - 1
    before = bench.lines(("::1", "a"))
    bench.now = AGAIN_S

    assert (len(before), len(bench.lines(("::1", "a")))) == (0, 1)


def test_one_address_takes_no_more_than_its_share_of_the_log(bench: Bench) -> None:
    liar = bench.lines(*(("::1", f"name {n}") for n in range(1_000)))

    assert len(liar) == NAMES_OF_ONE
    assert len(bench.lines(("::2", "honest"))) == 1
    bench.now = AGAIN_S
    (more, again) = bench.lines(("::1", "name 0"))
    assert (more["event"], more["more"]) == ("connections_refused", 1_000 - NAMES_OF_ONE)
    assert again["event"] == "connection_refused"


def test_many_addresses_fill_neither_log_nor_memory(bench: Bench) -> None:
    found = bench.lines(*((f"::{n:x}", "a") for n in range(2 * DEVICES)))

    assert len(found) == DEVICES


def test_what_a_certificate_claims_is_short_and_printable(tmp_path: Any) -> None:
    authority = Authority(tmp_path)

    def told(**names: Any) -> tuple[str, str]:
        return claims(authority.issue("sae-1", **names).public_bytes(Encoding.DER))

    assert told() == ("sae-1", "CN=ca")
    assert told(common="a\x07b\n" + "c" * 60)[0] == "a?b?" + "c" * 60
    assert told(common=None, dns=("device.example",))[0] == "device.example"
    assert told(common=None, uris=("urn:" + "x" * 500,))[0] == "urn:" + "x" * 76
    assert told(common=None) == ("", "CN=ca")
    assert claims(b"noise") == claims(b"") == ("", "")
