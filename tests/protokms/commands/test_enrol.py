"""`protokms ca`, `directory` and `keys make` as people type them."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from protokms.commands.main import app
from protokms.enrol import pki


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def good(*args: str | Path) -> str:
    said = run(*args)
    assert said.exit_code == 0, said.output
    return said.stdout.strip()


def bad(*args: str | Path) -> str:
    said = run(*args)
    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 1
    return said.stderr


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    good("ca", "init", tmp_path / "ca")
    return tmp_path / "ca"


@pytest.fixture
def signed(ca: Path, tmp_path: Path) -> Path:
    file = tmp_path / "directory.json"
    add_kms(file, ca, "kms-1", "tcp://127.0.0.1:7000", "sae-1")
    return file


def add_kms(file: Path, ca: Path, name: str, address: str, sae: str) -> None:
    home = file.parent / name
    home.mkdir()
    public = good("keys", "make", "curve", home / "curve.key")
    signing = good("keys", "make", "signing", home / "signing.key")
    good(
        *("directory", "add", file, "--key", ca / "signing.key", "--kms", name, "--sae", sae),
        *("--id", f"id of {name}", "--address", address, "--curve", public, "--signing", signing),
    )


@pytest.mark.parametrize("kind", ["signing", "curve", "process", "link", "node"])
def test_a_key_is_secret_and_never_overwritten(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "some.key"
    good("keys", "make", kind, file)
    before = file.read_bytes()

    assert "exists" in bad("keys", "make", kind, file)
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_ca_issues_renews_and_revokes(ca: Path, tmp_path: Path) -> None:
    crt, key = tmp_path / "sae-1.crt", tmp_path / "sae-1.key"
    good("ca", "issue-sae", ca, "sae-1", "--out", tmp_path)
    first, secret = pki.read_certificate(crt), key.read_bytes()
    good("ca", "renew", ca, crt)
    second = pki.read_certificate(crt)
    assert (second.subject, key.read_bytes()) == (first.subject, secret)
    assert second.serial_number != first.serial_number

    good("ca", "revoke", ca, crt)
    assert pki.is_revoked(ca / "ca.crl", second)
    good("ca", "crl", ca)
    assert pki.is_revoked(ca / "ca.crl", second)

    good("ca", "renew", ca, crt)
    assert not pki.is_revoked(ca / "ca.crl", pki.read_certificate(crt))
    assert key.read_bytes() != secret, "a revoked one gets another key"


def test_the_certificate_of_a_node_keeps_its_names(ca: Path, tmp_path: Path) -> None:
    good("ca", "issue-node", ca, "kms-1", "--host", "192.0.2.1", "--out", tmp_path)
    before = pki.read_certificate(tmp_path / "tls.crt")
    good("ca", "renew", ca, tmp_path / "tls.crt", "--rekey")

    after = pki.read_certificate(tmp_path / "tls.crt")
    kind = x509.SubjectAlternativeName
    names = [one.extensions.get_extension_for_class(kind) for one in (before, after)]
    assert names[0] == names[1]
    assert before.public_key() != after.public_key()


def test_a_ca_without_its_key_or_past_its_time_signs_nothing(
    ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ca / "ca.key").rename(tmp_path / "away")
    assert "do this where the key of the CA is kept" in bad("ca", "issue-sae", ca, "sae-1")

    good("ca", "init", tmp_path / "old")
    late = datetime.now(UTC) + timedelta(days=pki.CA_DAYS)
    monkeypatch.setattr(pki, "_now", lambda: late)
    assert "expired" in bad("ca", "issue-sae", tmp_path / "old", "sae-1")


def test_another_ca_neither_renews_nor_revokes(ca: Path, tmp_path: Path) -> None:
    good("ca", "init", tmp_path / "other")
    good("ca", "issue-sae", tmp_path / "other", "sae-1", "--out", tmp_path)

    assert "not of this CA" in bad("ca", "revoke", ca, tmp_path / "sae-1.crt")
    assert "not of this CA" in bad("ca", "renew", ca, tmp_path / "sae-1.crt")
    assert "exists" in bad("ca", "init", ca)


def test_a_directory_grows_and_shrinks(ca: Path, signed: Path) -> None:
    key = ca / "signing.key"
    add_kms(signed, ca, "kms-2", "tcp://127.0.0.1:7001", "sae-2")
    good("directory", "add", signed, "--key", key, "--kms", "kms-2", "--sae", "sae-3")
    good("directory", "remove", signed, "--key", key, "--sae", "sae-1")

    shown = json.loads(good("directory", "show", signed, "--ca", ca / "signing.pub", "--json"))
    assert shown["serial"] == 4
    assert [row["saes"] for row in shown["kms"]] == [[], ["sae-2", "sae-3"]]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--kms", "kms-1", "--sae", "sae-1"), "at home at kms-1 already"),
        (("--kms", "kms-9", "--sae", "sae-9"), "names no KMS kms-9"),
        (("--kms", "kms-1"), "nothing to add"),
        (("--kms", "kms-9", "--id", "x"), "needs all of"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    ca: Path, signed: Path, args: tuple[str, ...], why: str
) -> None:
    before = signed.read_bytes()

    assert why in bad("directory", "add", signed, "--key", ca / "signing.key", *args)
    assert signed.read_bytes() == before


def test_a_directory_by_hand_needs_a_larger_serial(ca: Path, signed: Path, tmp_path: Path) -> None:
    new, key = tmp_path / "new.json", ca / "signing.key"
    row = json.loads(signed.read_text())
    new.write_text(json.dumps(row))
    assert "serial 2 or more" in bad("directory", "sign", new, "--key", key, "--over", signed)

    new.write_text(json.dumps(row | {"serial": 2}))
    good("directory", "sign", new, "--key", key, "--over", signed)
    assert good("directory", "show", signed, "--ca", ca / "signing.pub").startswith("serial 2")


def test_a_directory_that_the_ca_has_not_signed_is_not_changed(ca: Path, signed: Path) -> None:
    signed.write_bytes(signed.read_bytes() + b" ")
    args = ("--key", ca / "signing.key", "--kms", "kms-1", "--sae", "sae-7")

    assert "does not verify" in bad("directory", "add", signed, *args)
