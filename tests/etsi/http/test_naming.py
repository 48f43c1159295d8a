"""Which certificate stands for which SAE, and which CA may say so: in real TLS."""

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from etsi.http import credentials, tls
from etsi.http.naming import Table
from etsi.http.options import AuthorityRow, HttpOptions, SaeRow, changed, packed
from tests.kit.authority import Authority
from tests.kit.handshakes import caller, client
from transport.endpoint import Endpoint

FORMS = ["name", "fingerprint", "capitals"]


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def called(ca: Authority, form: str) -> str:
    """Write a CA as an operator may."""
    if form == "name":
        return f"CN={ca.name}"
    plain = fingerprint(ca.certificate)
    pairs = [plain[at : at + 2] for at in range(0, len(plain), 2)]
    return plain if form == "fingerprint" else ":".join(pairs).upper()


class Bench:
    """A root with an issuing CA, and a vendor's CA; the front end believes root and vendor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.vendor = Authority(folder, "root"), Authority(folder, "vendor")
        self.issuing = Authority(folder, "issuing", self.root)
        self.root.issue("kme", dns=("localhost",))
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(self.root.pem + self.vendor.pem)

    def options(self, **more: Any) -> HttpOptions:
        files = {"certificate": self.folder / "kme.crt", "key": self.folder / "kme.key"}
        bind = Endpoint("127.0.0.1", 0)
        return HttpOptions(bind=bind, client_ca=self.bundle, **(files | more))

    def table(self, **more: Any) -> Table:
        options = self.options(**more)
        return Table(options, credentials.read(options)[0].authorities)

    def who(self, name: str, table: Table) -> tuple[str, str]:
        """Shake hands; tell the SAE, and why there is none."""
        asking = client(self.root.path, self.folder / f"{name}.crt")
        found = caller(tls.server_context(self.options()), asking, table)
        return found.sae, found.trouble


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_device_with_a_certificate_of_its_own_is_the_sae_of_its_row(bench: Bench) -> None:
    made = bench.vendor.issue("box", common=None, dns=("box.example", "box-7.example"))
    bench.vendor.issue("other box", common=None, dns=("else.example",))
    vendor = "CN=vendor"
    rows = [
        SaeRow(id="sae-7", fingerprint=fingerprint(made)),
        SaeRow(id="sae-8", san_dns="BOX-8.example", ca=vendor),
        SaeRow(id="sae-9", san_uri="urn:device:9", ca=vendor),
        SaeRow(id="sae/10", subject="CN=box 10", ca=vendor),
    ]
    bench.vendor.issue("8", common=None, dns=("a.example", "box-8.Example"))
    bench.vendor.issue("9", common="x", uris=("urn:device:9",))
    bench.vendor.issue("10", common="box 10")
    table = bench.table(saes=rows, sae_id_from="table")

    found = [bench.who(name, table) for name in ("box", "8", "9", "10", "other box")]

    assert found == [
        ("sae-7", ""),
        ("sae-8", ""),
        ("sae-9", ""),
        ("sae/10", ""),
        ("", "the client certificate is not in the table of SAEs"),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_only_the_ca_of_its_row_makes_a_certificate_count(bench: Bench, form: str) -> None:
    for ca in (bench.root, bench.vendor):
        ca.issue(f"by {ca.name}", common="sae-1", dns=("box.example",))
    row = SaeRow(id="sae-1", san_dns="box.example", ca=called(bench.vendor, form))
    table = bench.table(saes=[row])

    assert bench.who("by vendor", table) == ("sae-1", "")
    assert bench.who("by root", table) == ("", "another certificate stands for this SAE")


def test_a_root_in_a_row_holds_for_the_cas_below_it(bench: Bench) -> None:
    bench.issuing.issue("below", dns=("box.example",), above=bench.issuing.pem)
    table = bench.table(saes=[SaeRow(id="sae-1", san_dns="box.example", ca="CN=root")])

    assert bench.who("below", table) == ("sae-1", "")


def test_two_certificates_may_stand_for_one_sae_and_none_for_two(bench: Bench) -> None:
    old = bench.vendor.issue("old")
    bench.vendor.issue("new", dns=("a.example", "b.example"))
    rows = [
        SaeRow(id="sae-1", fingerprint=fingerprint(old)),
        SaeRow(id="sae-1", san_dns="a.example", ca="CN=vendor"),
    ]
    other = SaeRow(id="sae-2", san_dns="b.example", ca="CN=vendor")

    assert bench.who("old", bench.table(saes=rows)) == ("sae-1", "")
    assert bench.who("new", bench.table(saes=rows)) == ("sae-1", "")
    several = bench.who("new", bench.table(saes=[*rows, other]))
    assert several == ("", "the client certificate stands for several SAEs")


@pytest.mark.parametrize("form", FORMS)
def test_a_ca_names_the_saes_of_its_row_and_no_others(bench: Bench, form: str) -> None:
    for ca in (bench.root, bench.vendor):
        for sae in ("sae-1", "enc-7"):
            ca.issue(f"{sae} by {ca.name}", common=sae)
    bench.issuing.issue("enc-7 below", common="enc-7", above=bench.issuing.pem)
    bound = AuthorityRow(ca=called(bench.vendor, form), saes=["enc-*", "box"])
    table = bench.table(authorities=[bound])

    refused = ("", "its CA may not name this SAE")
    assert bench.who("enc-7 by vendor", table) == ("enc-7", "")
    assert bench.who("sae-1 by vendor", table) == refused
    assert bench.who("enc-7 by root", table) == refused
    assert bench.who("enc-7 below", table) == refused
    assert bench.who("sae-1 by root", table) == ("sae-1", "")


def test_a_ca_below_one_with_a_row_names_no_more_than_that(bench: Bench) -> None:
    bench.issuing.issue("b", common="sae-b", above=bench.issuing.pem)
    bench.issuing.issue("c", common="sae-c", above=bench.issuing.pem)
    print_of = called(bench.issuing, "fingerprint")  # of a CA that clients send
    rows = [
        AuthorityRow(ca="CN=root", saes=["sae-b", "sae-a"]),
        AuthorityRow(ca=print_of, saes=["sae-*"]),
    ]
    table = bench.table(authorities=rows)

    assert bench.who("b", table) == ("sae-b", "")
    assert bench.who("c", table) == ("", "its CA may not name this SAE")


def test_a_row_of_a_root_holds_for_chains_that_end_at_an_issuing_ca(bench: Bench) -> None:
    alone = Authority(bench.folder, "alone", Authority(bench.folder, "elsewhere"))
    bench.bundle.write_bytes(bench.root.pem + bench.issuing.pem + alone.pem)
    bench.issuing.issue("x", common="sae-x")
    table = bench.table(authorities=[AuthorityRow(ca="CN=root", saes=["sae-1"])])

    assert bench.who("x", table) == ("", "its CA may not name this SAE")


def test_a_row_of_an_sae_lets_no_ca_name_more_than_it_may(bench: Bench) -> None:
    made = bench.vendor.issue("box")
    table = bench.table(
        saes=[SaeRow(id="sae-1", fingerprint=fingerprint(made))],
        authorities=[AuthorityRow(ca="CN=vendor", saes=["enc-*"])],
    )

    assert bench.who("box", table) == ("", "its CA may not name this SAE")


BAD: list[tuple[list[SaeRow], list[AuthorityRow], str]] = [
    ([SaeRow(id="a")], [], "has 0 of"),
    ([SaeRow(id="a", fingerprint="ab" * 32, san_dns="b")], [], "has 2 of"),
    ([SaeRow(id="a", fingerprint="ab")], [], "no SHA-256"),
    ([SaeRow(id="a", subject="nobody", ca="CN=root")], [], "neither a name"),
    ([SaeRow(id="a", san_dns="b")], [], "names no ca"),
    ([SaeRow(id="a", san_dns="b", ca="CN=nobody")], [], "no CA of client_ca"),
    ([SaeRow(id="a\n", fingerprint="ab" * 32)], [], "cannot be printed"),
    ([SaeRow(id=one, fingerprint="ab" * 32) for one in "ab"], [], "the same certificate"),
    ([SaeRow(id=one, san_uri="u", ca="CN=root") for one in "ab"], [], "the same certificate"),
    ([], [AuthorityRow(ca="CN=nobody", saes=["a"])], "no CA of client_ca"),
]


@pytest.mark.parametrize(("saes", "authorities", "why"), BAD)
def test_rows_that_cannot_be_meant_are_refused_in_words(
    bench: Bench, saes: list[SaeRow], authorities: list[AuthorityRow], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        bench.table(saes=saes, authorities=authorities)


def test_rows_reach_another_process_as_they_were(bench: Bench) -> None:
    rows = [SaeRow(id="sae-1", fingerprint="ab" * 32)]
    bound = [AuthorityRow(ca="CN=root", saes=["a*"])]

    text = packed({"saes": rows, "authorities": bound, "crl": None, "sae_id_from": "table"})

    found = changed(bench.options(crl=bench.bundle), text)
    assert (found.saes, found.authorities) == (rows, bound)
    assert (found.crl, found.sae_id_from) == (None, "table")
