"""Who a certificate names, whom a gate turns away, which files and options are usable."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from etsi import tls
from etsi.identity import Caller, Gate, denied, read
from etsi.options import Options, SaeIdFrom, address
from tests.etsi.authority import DAY, NOW, Authority
from tests.etsi.site import options


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(authority: Authority, **changes: Any) -> Options:
    """Make options of a server whose certificate was issued here."""
    folder = authority.folder
    values = {
        "bind": "127.0.0.1:0",
        "certificate": str(folder / "kme.crt"),
        "key": str(folder / "kme.key"),
        "client_ca": str(authority.path),
    }
    return Options(**(values | changes))


@pytest.mark.parametrize(
    ("source", "issue", "sae"),
    [
        ("cn", {}, "sae-1"),
        ("cn", {"common": "größe/1"}, "größe/1"),
        ("san_uri", {"uris": ("urn:sae:1",)}, "urn:sae:1"),
        ("san_uri", {"uris": ("urn:sae:1",), "dns": ("host",)}, "urn:sae:1"),
        ("san_dns", {"dns": ("sae-1.example",), "common": None}, "sae-1.example"),
    ],
)
def test_the_sae_id_is_read_where_the_operator_says(
    authority: Authority, source: SaeIdFrom, issue: dict[str, Any], sae: str
) -> None:
    certificate = authority.issue("sae-1", **issue)

    caller = read(certificate.public_bytes(Encoding.DER), source)

    assert (caller.sae, caller.trouble) == (sae, "")
    assert caller.serial == certificate.serial_number
    assert caller.not_after == certificate.not_valid_after_utc.timestamp()


def test_the_fingerprint_is_an_sae_id_too(authority: Authority) -> None:
    der = authority.issue("sae-1").public_bytes(Encoding.DER)

    caller = read(der, "fingerprint")

    assert len(caller.sae) == 64
    assert caller.sae == caller.fingerprint == caller.sae.lower()


@pytest.mark.parametrize(
    ("source", "issue", "trouble"),
    [
        ("cn", {"common": None}, "the client certificate holds 0 CNs instead of one"),
        ("cn", {"common": "a\x07b"}, "the CN of the client certificate is no SAE ID"),
        ("san_uri", {}, "the client certificate holds 0 URIs instead of one"),
        ("san_uri", {"uris": ("a:1", "a:2")}, "the client certificate holds 2 URIs instead of one"),
        ("san_dns", {"uris": ("a:1",)}, "the client certificate holds 0 DNS names instead of one"),
    ],
)
def test_a_certificate_that_names_nobody_says_why(
    authority: Authority, source: SaeIdFrom, issue: dict[str, Any], trouble: str
) -> None:
    certificate = authority.issue("sae-1", **issue)

    assert read(certificate.public_bytes(Encoding.DER), source).trouble == trouble


@pytest.mark.parametrize("der", [None, b"", b"noise", b"\x30\x82\xff\xff"])
def test_noise_is_trouble_and_no_crash(der: bytes | None) -> None:
    assert read(der, "cn").trouble


def test_a_deny_list_takes_fingerprints_however_they_are_written() -> None:
    print_ = "AB:" * 31 + "CD"

    gate = Gate(denied(("sae-9", print_)))

    assert gate.objection(Caller("x", fingerprint="ab" * 31 + "cd"), 0)
    assert gate.objection(Caller("sae-9"), 0)
    assert not gate.objection(Caller("sae-8"), 0)


def test_a_revocation_list_shuts_the_gate_for_whom_it_names(authority: Authority) -> None:
    good, bad = authority.issue("sae-1"), authority.issue("sae-2")
    settings = files(authority, crl=str(authority.revoke(bad)))

    gate = tls.gate(settings, ("sae-9",))

    callers = [read(one.public_bytes(Encoding.DER), "cn") for one in (good, bad)]
    assert [gate.objection(caller, 0) for caller in callers] == [
        "",
        "the client certificate is revoked",
    ]
    assert gate.objection(Caller("sae-9"), 0)


def test_a_revocation_list_of_a_stranger_is_unusable(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    settings = files(authority, crl=str(stranger.revoke()))

    with pytest.raises(tls.Unusable, match="not in client_ca"):
        tls.gate(settings, ())


def test_a_forged_revocation_list_is_unusable(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    forger = Authority(tmp_path / "other")  # the same name, another key
    settings = files(authority, crl=str(forger.revoke()))

    with pytest.raises(tls.Unusable):
        tls.gate(settings, ())


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca", "crl"])
def test_a_file_that_cannot_be_used_is_named(authority: Authority, missing: str) -> None:
    authority.issue("kme")
    path = authority.folder / "none.pem"
    settings = files(authority, **{missing: str(path)})

    with pytest.raises(tls.Unusable, match=r"none\.pem.*: No such file"):
        tls.server_context(settings)


def test_a_key_of_another_certificate_is_unusable(authority: Authority) -> None:
    authority.issue("kme")
    authority.issue("other")

    with pytest.raises(tls.Unusable, match="MISMATCH"):
        tls.server_context(files(authority, key=str(authority.folder / "other.key")))


def test_the_expiry_of_the_server_certificate_is_known(authority: Authority) -> None:
    authority.issue("kme", not_after=NOW + 7 * DAY)

    found = tls.expiry(files(authority))

    assert found == int((NOW + 7 * DAY).timestamp())


@pytest.mark.parametrize(
    "changes",
    [
        {"min_key_size_bits": 512},
        {"max_key_size_bits": 128},
        {"key_size_bits": 250},
        {"min_key_size_bits": 0},
        {"max_keys_per_request": 0},
        {"max_body_octets": 1 << 31},
        {"request_timeout_s": 0},
        {"idle_timeout_s": float("nan")},
    ],
)
def test_options_that_contradict_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        options(**changes)


@pytest.mark.parametrize(
    ("bind", "parts"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:0", ("::1", 0)),
        ("host:65536", None),
        ("host", None),
        (":1", None),
        ("host:x", None),
        ("host:²", None),
    ],
)
def test_a_bind_address_is_host_and_port(bind: str, parts: tuple[str, int] | None) -> None:
    if parts:
        assert address(bind) == parts
    else:
        with pytest.raises(ValueError, match="write host:port"):
            address(bind)
