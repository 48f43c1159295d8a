"""Who has no right to: stolen and foreign certificates, impostors, noise at every port (P5)."""

import http.client
import signal
import socket
import ssl
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from protokms.client import SaeError
from protokms.config.load import load
from protokms.node.meter import MemoryMeter
from tests.processes.real_lab import RealLab, drawn, eventually, exchange
from transport import curve
from transport.curve import CurveKey
from transport.https import HttpsConnection
from transport.outbox import Peer
from transport.post import Post, PostOptions

pytestmark = pytest.mark.slow


def fingerprint(bench: RealLab, sae: str) -> str:
    made = x509.load_pem_x509_certificate((bench.folder / f"saes/{sae}.crt").read_bytes())
    return made.fingerprint(SHA256()).hex()


def ask(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/api/v1/keys/sae-2/enc_keys")
    return connection.getresponse().status


def reload(bench: RealLab, node: str) -> None:
    before = bench.events(node).count("reloaded")
    bench.process(node).signal(signal.SIGHUP)
    eventually(lambda: bench.events(node).count("reloaded") > before, "it reloads")


@pytest.mark.parametrize("by", ["id", "fingerprint"])
def test_a_stolen_certificate_is_denied_without_a_restart(bench: RealLab, by: str) -> None:
    with bench.client("sae-1") as thief, bench.client("sae-2") as far:
        waiting = drawn(thief, "sae-2", 2)
        bench.configure(
            "etsi014", "kms-1", deny=["sae-1" if by == "id" else fingerprint(bench, "sae-1")]
        )
        reload(bench, "kms-1")

        with pytest.raises(SaeError) as live:
            thief.enc_keys("sae-2")
        with bench.client("sae-1") as fresh, pytest.raises(SaeError) as anew:
            fresh.enc_keys("sae-2")

        assert {live.value.status, anew.value.status} <= {0, 401}
        assert anew.value.status == 401
        assert far.dec_keys("sae-1", [key.key_id for key in waiting]) == waiting
        bench.configure("etsi014", "kms-1", deny=[])
        reload(bench, "kms-1")
        with bench.client("sae-1") as owner:
            exchange(owner, far, 2)


def test_a_certificate_opens_only_what_is_its_own(bench: RealLab) -> None:
    with bench.client("sae-1") as near:
        (key,) = drawn(near, "sae-2")
        with pytest.raises(SaeError, match="not found"):
            near.dec_keys("sae-2", [key.key_id])
        with (
            bench.client("sae-1", bench.made.node("kms-2").etsi014) as away,
            pytest.raises(SaeError) as elsewhere,
        ):
            away.dec_keys("sae-1", [key.key_id])
    with bench.client("sae-2") as far:
        assert far.dec_keys("sae-1", [key.key_id]) == [key]

    assert elsewhere.value.status == 401


def test_without_a_certificate_or_without_tls_nothing_is_served(bench: RealLab) -> None:
    url = urlsplit(bench.made.node("kms-1").etsi014)
    host, port = str(url.hostname), url.port
    nobody = ssl.create_default_context(cafile=bench.folder / bench.made.ca)

    for connection in (
        HttpsConnection(host, port, timeout=30.0, context=nobody),
        http.client.HTTPConnection(host, port, timeout=30.0),
    ):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(connection)
        connection.close()

    refused = bench.metric("kms-1", "protokms_http_refused_total", reason="handshake")
    assert refused >= 2


def test_an_impostor_with_another_curve_key_is_not_taken_for_the_peer(bench: RealLab) -> None:
    made = load(bench.folder / "kms-1/node.toml")
    there = load(bench.folder / "kms-2/node.toml").transport.bind
    kms_1 = Peer("kms-1", "core", str(made.transport.bind), curve.load(made.transport.curve).public)
    bench.kill("kms-2")
    eventually(lambda: not bench.metric("kms-1", "protokms_peer_up", peer="kms-2"), "it is missed")
    heard: list[bytes] = []
    impostor = Post(
        PostOptions("kms-2", "core", str(there), CurveKey.draw(), heartbeat_s=0.2),
        receive=lambda _node, _process, octets: heard.append(octets),
        news=lambda _name, up: heard.append(b"up") if up else None,
        meter=MemoryMeter(),
        fatal=lambda why: heard.append(why.encode()),
    )

    impostor.start()
    try:
        impostor.set_peers([kms_1])
        eventually(
            lambda: bench.metric("kms-1", "protokms_frames_refused_total", peer="stranger") > 1,
            "it is turned away",
        )
        up = bench.metric("kms-1", "protokms_peer_up", peer="kms-2")
    finally:
        impostor.stop()

    assert (heard, up) == ([], 0.0)
    bench.start("kms-2")
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        exchange(near, far, 4)


def test_noise_at_every_port_changes_nothing(bench: RealLab) -> None:
    made = load(bench.folder / "kms-1/node.toml")
    assert made.etsi014
    noise = bytes(range(256)) * 8
    for end in (made.transport.bind, made.metrics.bind, made.etsi014.bind):
        for octets in (b"", noise, b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00" + noise):
            with socket.create_connection((end.host, end.port), 30.0) as plain:
                plain.sendall(octets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for end in filter(None, (made.links[0].bind, made.links[0].remote)):
            for size in (0, 1, 64, 2048):
                plain.sendto(noise[:size], (end.host, end.port))

    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        exchange(near, far, 8)
    for node in bench.nodes:
        assert bench.ready(node)
        assert "actor_crashed" not in bench.events(node)
    eventually(lambda: bench.metric("kms-2", "protokms_link_dropped_total") >= 3, "it is counted")
