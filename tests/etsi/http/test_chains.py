"""Chains of client certificates: refused in real TLS as `openssl verify` refuses them."""

import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from etsi.http import credentials, handshake, tls
from etsi.http.call import Caller
from etsi.http.options import HttpOptions
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.handshakes import V12, V13, caller, client, shake
from transport.endpoint import Endpoint

VERSIONS = [V12, V13]


class Pki:
    """root -> issuing -> sae-1, and a second root with sae-2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Authority(folder, "root")
        self.issuing = Authority(folder, "issuing", self.root)
        self.other = Authority(folder, "other")
        self.root.issue("kme", dns=("localhost",))
        self.leaf = self.issuing.issue("sae-1")
        self.issuing.issue("sent", common="sae-1", above=self.issuing.pem)
        self.other.issue("sae-2")

    def options(self, *cas: Authority, lists: tuple[Path, ...] = (), **more: Any) -> HttpOptions:
        bundle, crl = self.folder / "bundle.pem", self.folder / "lists.pem"
        bundle.write_bytes(b"".join(ca.pem for ca in cas))
        crl.write_bytes(b"".join(path.read_bytes() for path in lists))
        values: dict[str, Any] = {
            "bind": Endpoint("127.0.0.1", 0),
            "certificate": self.folder / "kme.crt",
            "key": self.folder / "kme.key",
            "client_ca": bundle,
            "crl": crl if lists else None,
        }
        return HttpOptions(**(values | more))

    def client(self, name: str, version: ssl.TLSVersion = V13) -> ssl.SSLContext:
        return client(self.root.path, self.folder / f"{name}.crt", version)

    def call(self, options: HttpOptions, name: str, version: ssl.TLSVersion = V13) -> str:
        """Shake hands and ask; return the objection, or nothing when the client is served."""
        made, _ = credentials.read(options)
        try:
            who = caller(tls.context_of(made), self.client(name, version))
        except ssl.SSLCertVerificationError as why:
            return why.verify_message
        return tls.deny_list(made, ()).objection(who, time.time())


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["sae-1", "sent"])
def test_a_revoked_issuing_ca_is_refused(pki: Pki, name: str, version: ssl.TLSVersion) -> None:
    clean = (pki.root.revoke(), pki.issuing.revoke())
    before = pki.call(pki.options(pki.root, pki.issuing, lists=clean), name, version)
    lists = (pki.root.revoke(pki.issuing.certificate), pki.issuing.revoke())

    after = pki.call(pki.options(pki.root, pki.issuing, lists=lists), name, version)

    assert (before, after) == ("", "certificate revoked")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("revoked", ["nothing", "leaf", "issuing"])
def test_the_root_alone_is_enough_when_clients_send_their_issuing_ca(
    pki: Pki, revoked: str, version: ssl.TLSVersion
) -> None:
    sent = pki.issuing.issue("sent", common="sae-1", above=pki.issuing.pem)
    of_root = pki.root.revoke(*[pki.issuing.certificate] * (revoked == "issuing"))
    of_issuing = pki.issuing.revoke(*[sent] * (revoked == "leaf"))

    found = pki.call(pki.options(pki.root, lists=(of_root, of_issuing)), "sent", version)

    assert found == ("" if revoked == "nothing" else "certificate revoked")


def test_a_missing_list_is_told(pki: Pki) -> None:
    found = pki.call(pki.options(pki.root, lists=(pki.root.revoke(),)), "sent")

    assert found == "unable to get certificate CRL"


@pytest.mark.parametrize("listed", [False, True])
def test_an_issuing_ca_alone_lets_its_clients_in(pki: Pki, listed: bool) -> None:
    lists = (pki.issuing.revoke(),) if listed else ()
    options = pki.options(pki.issuing, lists=lists)

    assert pki.call(options, "sae-1") == pki.call(options, "sent") == ""
    assert "unable to get local issuer" in pki.call(options, "sae-2")


def test_an_issuing_ca_alone_is_refused_when_a_list_here_revokes_it_or_its_client(
    pki: Pki,
) -> None:
    of_leaf = pki.options(pki.issuing, lists=(pki.issuing.revoke(pki.leaf),))
    found = [pki.call(of_leaf, "sae-1")]
    lists = (pki.issuing.revoke(), pki.root.revoke(pki.issuing.certificate))

    found.append(pki.call(pki.options(pki.issuing, lists=lists), "sae-1"))

    assert found == ["certificate revoked", "a CA of the client certificate is revoked"]


@pytest.mark.parametrize("revoked", [False, True])
def test_beside_an_issuing_ca_alone_a_sent_one_is_still_checked(pki: Pki, revoked: bool) -> None:
    alone = Authority(pki.folder, "alone", pki.other)
    of_root = pki.root.revoke(*[pki.issuing.certificate] * revoked)
    lists = (of_root, pki.issuing.revoke(), alone.revoke())

    found = pki.call(pki.options(pki.root, alone, lists=lists), "sent")

    assert found == ("a CA of the client certificate is revoked" if revoked else "")


def test_beside_an_issuing_ca_alone_a_missing_list_still_refuses(pki: Pki) -> None:
    alone = Authority(pki.folder, "alone", pki.other)
    lists = (pki.issuing.revoke(), alone.revoke())

    found = pki.call(pki.options(pki.root, alone, lists=lists), "sent")

    assert found == "there is no valid revocation list of a CA of the client certificate"


@pytest.mark.parametrize("late", ["root", "issuing"])
def test_a_list_that_is_out_of_date_refuses(pki: Pki, late: str) -> None:
    due = {late: NOW - DAY / 2}
    lists = (
        pki.root.revoke(due=due.get("root", NOW + DAY)),
        pki.issuing.revoke(due=due.get("issuing", NOW + DAY)),
    )

    assert pki.call(pki.options(pki.root, pki.issuing, lists=lists), "sae-1") == "CRL has expired"


@pytest.mark.parametrize("revoked", ["nothing", "leaf", "issuing", "list missing", "list late"])
@pytest.mark.parametrize("name", ["sae-1", "sent"])
def test_openssl_verify_says_the_same(pki: Pki, name: str, revoked: str) -> None:
    leaf = pki.issuing.issue(name, common="sae-1", above=pki.issuing.pem if name == "sent" else b"")
    of_root = pki.root.revoke(
        *[pki.issuing.certificate] * (revoked == "issuing"),
        due=NOW - DAY / 2 if revoked == "list late" else NOW + DAY,
    )
    of_issuing = pki.issuing.revoke(*[leaf] * (revoked == "leaf"))
    lists = (of_issuing,) if revoked == "list missing" else (of_root, of_issuing)
    options = pki.options(pki.root, pki.issuing, lists=lists)
    files = ["-CAfile", str(options.client_ca), "-CRLfile", str(options.crl)]
    command = ["openssl", "verify", "-crl_check_all", "-purpose", "sslclient", *files]

    judged = subprocess.run(
        [*command, str(pki.folder / f"{name}.crt")], capture_output=True, text=True, check=False
    )

    found = pki.call(options, name)
    assert bool(found) == bool(judged.returncode)
    assert found in judged.stderr


def test_a_session_that_is_resumed_has_the_chain_that_was_proved(pki: Pki) -> None:
    context = tls.server_context(pki.options(pki.root))
    asking = pki.client("sent", V12)
    first, theirs = shake(context, asking)
    chain = first.proved()

    again, _ = shake(context, asking, theirs.session)

    assert again.session_reused
    assert again.proved() == chain
    assert len(chain) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_records_of_an_established_connection_are_looked_at_by_no_python(
    pki: Pki, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(handshake, "_look", lambda *told: seen.append(told[1]))
    ours, theirs = shake(tls.server_context(pki.options(pki.root)), pki.client("sent", version))
    assert "read" in seen
    seen.clear()

    theirs.write(b"question")
    assert ours.read() == b"question"
    ours.write(b"answer")

    assert theirs.read() == b"answer"
    assert seen == []


def test_what_is_no_ca_is_not_trusted_because_of_partial_chains(pki: Pki) -> None:
    options = pki.options(pki.issuing)
    with options.client_ca.open("ab") as file:
        file.write((pki.folder / "sae-2.crt").read_bytes())

    assert pki.call(options, "sae-1") == ""
    assert "unable to get local issuer" in pki.call(options, "sae-2")


def test_all_verify_flags_are_written_out(pki: Pki) -> None:
    def flags(options: HttpOptions) -> int:
        return int(tls.server_context(options).verify_flags)

    first, partial = int(ssl.VERIFY_X509_TRUSTED_FIRST), int(ssl.VERIFY_X509_PARTIAL_CHAIN)
    both = (pki.root.revoke(), pki.issuing.revoke())
    assert flags(pki.options(pki.root, pki.issuing)) == first
    assert flags(pki.options(pki.issuing)) == first | partial
    assert flags(pki.options(pki.root, lists=both)) == first | int(ssl.VERIFY_CRL_CHECK_CHAIN)
    leaf = first | partial | int(ssl.VERIFY_CRL_CHECK_LEAF)
    assert flags(pki.options(pki.issuing, lists=both)) == leaf


def test_a_caller_ends_with_the_first_of_its_chain(pki: Pki) -> None:
    soon = Authority(pki.folder, "soon", pki.root, not_after=NOW + DAY / 4)
    soon.issue("brief", above=soon.pem)

    who = caller(tls.server_context(pki.options(pki.root)), pki.client("brief"))

    assert who.not_after == soon.certificate.not_valid_after_utc.timestamp()
    assert isinstance(who, Caller)


# Reading again: each part stands alone


@pytest.mark.parametrize("file", ["certificate", "key", "client_ca"])
@pytest.mark.parametrize("octets", [None, b"noise", b""])
def test_a_list_acts_whatever_else_is_bad(pki: Pki, file: str, octets: bytes | None) -> None:
    lists = (pki.root.revoke(), pki.issuing.revoke())
    options = pki.options(pki.root, pki.issuing, lists=lists)
    before, _ = credentials.read(options)
    bad: Path = getattr(options, file)
    if octets is None:
        bad.unlink()
    else:
        bad.write_bytes(octets)
    assert options.crl
    options.crl.write_bytes(lists[0].read_bytes() + pki.issuing.revoke(pki.leaf).read_bytes())

    made, kept = credentials.read(options, before)

    assert len(kept) == 1
    assert str(bad) in kept[0]
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(tls.context_of(made), pki.client("sae-1"))


@pytest.mark.parametrize("spoilt", ["noise", "gone", "of a stranger", "half"])
def test_a_bad_list_keeps_the_last_one_of_that_ca_and_no_other(pki: Pki, spoilt: str) -> None:
    lists = (pki.root.revoke(), pki.issuing.revoke(pki.leaf))
    options = pki.options(pki.root, pki.issuing, lists=lists)
    before, _ = credentials.read(options)
    folder = pki.folder / "away"
    folder.mkdir()
    stranger = Authority(folder, "issuing").revoke()  # the same name, another key
    bad = {
        "noise": b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        "gone": b"",
        "of a stranger": stranger.read_bytes(),
        "half": lists[1].read_bytes()[:200],
    }[spoilt]
    assert options.crl
    options.crl.write_bytes(pki.root.revoke(pki.issuing.certificate).read_bytes() + bad)

    made, kept = credentials.read(options, before)

    assert any("no good list of CN=issuing" in why for why in kept)
    found = tls.deny_list(made, ()).revoked
    assert {serial for _, serial in found} == {
        pki.leaf.serial_number,
        pki.issuing.certificate.serial_number,
    }


def test_a_file_of_lists_that_is_gone_keeps_all_of_them(pki: Pki) -> None:
    options = pki.options(pki.issuing, lists=(pki.issuing.revoke(pki.leaf),))
    before, _ = credentials.read(options)
    assert options.crl
    options.crl.unlink()

    made, kept = credentials.read(options, before)

    assert made.lists == before.lists
    assert len(kept) == 1


def test_nothing_of_a_key_is_left_on_a_disk_or_in_a_repr(pki: Pki) -> None:
    made, _ = credentials.read(pki.options(pki.root))

    assert "PRIVATE" not in repr(made)
    with credentials.as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
    assert not Path(path).exists()
