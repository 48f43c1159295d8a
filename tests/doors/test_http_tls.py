"""Certificates that prove nothing, and TLS that is broken, old, or none."""

import asyncio
import random
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protokms.client import SaeError
from tests.doors.forge import DAY, NOW, Forge
from tests.doors.https import ENC, HUNG_S, Attacker, request
from tests.doors.tally import Tally
from tests.doors.town import THIEF, VICTIM, Town

pytestmark = pytest.mark.slow

DOOR = "HTTP"
SEED = 443
FLIPS = 400
STRANGE = (
    *(
        "sae-1 ",
        " sae-1",
        "SAE-1",
        "sae-1\0",
        "sae-1\n",
        "\u0455ae-1",
        "sae-1\u200b",
        "\u202esae-1",
    ),
    *("\uff53ae-1", "sae-2", "sae-9", "*", "", "a" * 64, "kms-1", "sae-1,CN=sae-1", "../sae-1"),
)


def outcome(attacker: Attacker, crt: Path | None, key: Path | None) -> str:
    """Ask for a key with this certificate: the status, or "cut"."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if crt:
        context.load_cert_chain(crt, key)
    attacker.context = context
    try:
        return attacker.volley([request("GET", ENC)])[0].outcome
    except (ssl.SSLError, OSError):
        return "cut"


def test_a_certificate_that_proves_nothing_opens_no_door(
    town: Town, tally: Tally, tmp_path: Path
) -> None:
    home, away = Forge(tmp_path, town.folder / "ca"), Forge(tmp_path, None)
    tried: dict[str, tuple[Path | None, Path | None]] = {
        "none": (None, None),
        "of another CA": away.issue(["sae-1"]),
        "signed by itself": home.issue(["sae-1"], itself=True),
        "expired": home.issue(["sae-1"], until=NOW - DAY / 2),
        "not valid yet": home.issue(["sae-1"], since=NOW + DAY / 2),
        "of the CA itself": (town.folder / "ca/ca.crt", town.folder / "ca/ca.key"),
        "of a server": (town.folder / VICTIM / "tls.crt", town.folder / VICTIM / "tls.key"),
    }

    for kind, pair in tried.items():
        found = outcome(Attacker(town), *pair)
        tally.note(DOOR, f"certificate {kind}", found)
        assert found == "cut", kind


def test_a_certificate_with_a_strange_name_is_nobody_s(
    town: Town, tally: Tally, tmp_path: Path
) -> None:
    home = Forge(tmp_path, town.folder / "ca")
    names = [[name] for name in STRANGE if name] + [["sae-1", "sae-1b"], ["sae-1", "sae-1"], []]

    for each in names:
        found = outcome(Attacker(town), *home.issue(each))
        tally.note(DOOR, "certificate with a strange name", found)
        assert found == "401", each


@pytest.mark.parametrize("by", ["deny", "crl"])
def test_a_certificate_is_revoked_while_its_connections_live(
    town: Town, tally: Tally, by: str
) -> None:
    with town.client("sae-1c") as live:
        live.status("sae-2")
        if by == "deny":
            town.configure("etsi014", VICTIM, deny=["sae-1c"])
        else:
            town.revoke("sae-1c")
        town.reload(VICTIM)
        with pytest.raises(SaeError) as no:
            live.enc_keys("sae-2")
        with town.client("sae-1c") as anew, pytest.raises(SaeError) as nor:
            anew.enc_keys("sae-2")

    assert {no.value.status, nor.value.status} <= {0, 401}
    tally.note(DOOR, f"certificate revoked by {by}", "cut or 401", 2)
    town.configure("etsi014", VICTIM, deny=[])
    town.revoke()
    town.reload(VICTIM)
    with town.client("sae-1c") as back:
        assert back.status("sae-2")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_of_tls_are_refused(town: Town, tally: Tally, version: str) -> None:
    attacker = Attacker(town)
    made = attacker.context
    made.minimum_version = made.maximum_version = ssl.TLSVersion[version]
    made.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises((ssl.SSLError, ConnectionError)):
        attacker.volley([request()])

    tally.note(DOOR, f"{version} offered", "cut")


def test_nobody_renegotiates(town: Town, tally: Tally) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "install openssl: Python's TLS cannot ask for a renegotiation"
    attacker = Attacker(town)
    row = next(row for row in town.made.saes if row.id == THIEF)
    files = ["-cert", str(town.folder / row.cert), "-key", str(town.folder / row.key)]
    place = ["-connect", f"{attacker.host}:{attacker.port}"]

    done = subprocess.run(
        [openssl, "s_client", "-tls1_2", *place, *files],
        input=b"R\n",
        capture_output=True,
        timeout=HUNG_S,
        check=False,
    )

    said = done.stdout + done.stderr
    tally.note(DOOR, "renegotiation", "cut")
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said, said[-2000:]


def hello() -> bytes:
    """The first octets of a client, as OpenSSL writes them."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(into, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def broken() -> Iterator[tuple[str, bytes]]:
    """Handshakes that are cut off, spoilt, or something else."""
    whole, dice = hello(), random.Random(SEED)
    for n in range(0, len(whole), 2):
        yield "handshakes cut off", whole[:n]
    for _ in range(FLIPS):
        spoilt = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        yield "handshakes spoilt", bytes(spoilt)
    for n in (0, 1, 5, 100, 20_000):
        for kind in (0, 20, 21, 22, 23, 24, 128, 255):
            yield (
                "TLS records of noise",
                bytes([kind, 3, 1]) + n.to_bytes(2, "big") + dice.randbytes(n),
            )
    yield "handshakes doubled", whole * 2
    yield "handshakes doubled", whole * 200
    yield "SSL 2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + dice.randbytes(37)
    yield "plain HTTP", request()
    for n in (1, 100, 70_000):
        yield "noise instead of TLS", dice.randbytes(n)


def test_handshakes_that_are_broken_are_cut_in_time(town: Town, tally: Tally) -> None:
    host, port = town.https_of(VICTIM)
    inputs = list(broken())

    async def send(octets: bytes) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(octets)
            writer.write_eof()
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def volley() -> None:
        room = asyncio.Semaphore(40)

        async def one(octets: bytes) -> None:
            async with room, asyncio.timeout(HUNG_S):
                await send(octets)

        await asyncio.gather(*(one(octets) for _, octets in inputs))

    asyncio.run(volley())

    for kind, _ in inputs:
        tally.note(DOOR, kind, "cut")
    assert town.metric(VICTIM, "protokms_http_refused_total", reason="handshake") > 0
