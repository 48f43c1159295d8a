"""Who a certificate names, whom a deny list names, which files are usable."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from etsi.http import credentials, tls
from etsi.http.call import Caller
from etsi.http.identity import DenyList, denied, read, sae_urn
from etsi.http.options import HttpOptions, SaeIdFrom
from tests.kit.authority import Authority
from transport.endpoint import Endpoint


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(authority: Authority, **changes: Any) -> HttpOptions:
    """Make options of a server whose certificate was issued here."""
    folder = authority.folder
    values: dict[str, Any] = {
        "bind": Endpoint("127.0.0.1", 0),
        "certificate": folder / "kme.crt",
        "key": folder / "kme.key",
        "client_ca": authority.path,
    }
    return HttpOptions(**(values | changes))


@pytest.mark.parametrize(
    ("source", "issue", "sae"),
    [
        ("cn", {}, "sae-1"),
        ("cn", {"common": "größe/1"}, "größe/1"),
        ("san_uri", {"uris": ("urn:sae:1",)}, "urn:sae:1"),
        ("san_uri", {"uris": ("urn:sae:1",), "dns": ("host",)}, "urn:sae:1"),
        ("san_uri", {"uris": ("urn:protokms:sae:a%2Fb%20gr%C3%B6%C3%9Fe",)}, "a/b größe"),
        ("san_uri", {"uris": (sae_urn("ä" * 256),)}, "ä" * 256),
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
        *(
            ("san_uri", {"uris": (uri,)}, "the URI of the client certificate is no SAE ID")
            for uri in ("urn:protokms:sae:", "urn:protokms:sae:a%00", sae_urn("ä" * 257))
        ),
        (
            "san_uri",
            {"uris": ("urn:protokms:sae:%ff",)},
            "the client certificate cannot be read",
        ),
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

    deny_list = DenyList(denied(("sae-9", print_)))

    assert deny_list.objection(Caller("x", fingerprint="ab" * 31 + "cd"), 0)
    assert deny_list.objection(Caller("sae-9"), 0)
    assert not deny_list.objection(Caller("sae-8"), 0)


def test_a_revocation_list_denies_whom_it_names(authority: Authority) -> None:
    good, bad, _ = (authority.issue(name) for name in ("sae-1", "sae-2", "kme"))
    settings = files(authority, crl=authority.revoke(bad))

    deny_list = tls.deny_list(credentials.read(settings)[0], ("sae-9",))

    callers = [read(one.public_bytes(Encoding.DER), "cn") for one in (good, bad)]
    assert [deny_list.objection(caller, 0) for caller in callers] == [
        "",
        "the client certificate is revoked",
    ]
    assert deny_list.objection(Caller("sae-9"), 0)


def test_a_forged_revocation_list_is_unusable(authority: Authority, tmp_path: Path) -> None:
    authority.issue("kme")
    (tmp_path / "other").mkdir()
    forger = Authority(tmp_path / "other")  # the same name, another key
    settings = files(authority, crl=forger.revoke())

    with pytest.raises(tls.Unusable, match="is not signed by the CN=ca of client_ca"):
        tls.server_context(settings)


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca", "crl"])
def test_a_file_that_cannot_be_used_is_named(authority: Authority, missing: str) -> None:
    authority.issue("kme")
    path = authority.folder / "none.pem"
    settings = files(authority, **{missing: path})

    with pytest.raises(tls.Unusable, match=r"none\.pem.*: No such file"):
        tls.server_context(settings)


def test_a_key_of_another_certificate_is_unusable(authority: Authority) -> None:
    authority.issue("kme")
    authority.issue("other")

    with pytest.raises(tls.Unusable, match="MISMATCH"):
        tls.server_context(files(authority, key=authority.folder / "other.key"))
