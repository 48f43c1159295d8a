"""Reloads and dates of a node in this process: each part acts, whatever is wrong with another."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from protokms.client import SaeClient, SaeError
from protokms.config.load import load, needs_restart, reread
from protokms.lab import lab, topology
from protokms.node.node import Node
from tests.doors.forge import Forge, serial
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.checked import find_problems
from tests.kit.in_process import eventually

Start = Callable[[str], Node]


class House:
    """A lab of two, kms-1 with a revocation list, and what is known of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "kms-1/node.toml"
        lab.init(folder, topology.parse("chain:2"))
        self.made = lab.read(folder)
        self.lists = folder / "kms-1/lists.pem"
        self.write('crl = "lists.pem"')
        self.revoke()

    def write(self, line: str, table: str = "etsi014") -> None:
        """Write a line at the beginning of a table, in place of what had its key."""
        key = line.partition(" = ")[0] + " = "
        head, mark, rest = self.file.read_text().partition(f"[{table}]\n")
        kept = [old for old in rest.splitlines(keepends=True) if not old.startswith(key)]
        self.file.write_text(f"{head}{mark}{line}\n{''.join(kept)}")

    def revoke(self, *saes: str) -> None:
        """Write the list of the lab's CA."""
        serials = [serial(self.folder / "saes" / f"{sae}.crt") for sae in saes]
        Forge(self.folder, self.folder / "ca").revoke(serials, self.lists)

    def trust(self, *cas: Authority) -> None:
        """Let kms-1 believe other CAs beside that of the lab."""
        mine = (self.folder / "ca/ca.crt").read_bytes()
        (self.folder / "kms-1/bundle.pem").write_bytes(mine + b"".join(ca.pem for ca in cas))
        self.write('client_ca = "bundle.pem"')
        self.write('server_ca = "../ca/ca.crt"')

    def client(self, crt: Path | None = None) -> SaeClient:
        """Be sae-1, or whoever has this certificate."""
        found = crt or self.folder / "saes/sae-1.crt"
        ca = self.folder / self.made.ca
        url = self.made.node("kms-1").etsi014
        return SaeClient(url, ca, found, found.with_suffix(".key"))

    def served(self, crt: Path | None = None) -> bool:
        """Tell whether a new connection is let in."""
        with self.client(crt) as client:
            try:
                return bool(client.status("sae-2"))
            except SaeError:
                return False


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "lab")


@pytest.fixture
def start(house: House) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(name: str) -> Node:
            deaths: list[str] = []
            config = load(house.folder / name / "node.toml")
            node = Node(config, deaths.append, new=not config.node.data.exists())
            node.start()
            stack.callback(node.stop)
            return node

        yield begin


def reloaded(node: Node) -> tuple[list[str], dict[str, Any]]:
    """Reload; return what was refused, and the line that tells of it all."""
    with capture_logs() as lines:
        node.reload()
    (told,) = [line for line in lines if line["event"] == "reloaded"]
    return [line["why"] for line in lines if line["event"] == "reload_refused"], dict(told)


SPOILT = {
    "certificate": ('certificate = "gone.pem"', "etsi014", "gone.pem"),
    "key": ('key = "../kms-2/tls.key"', "etsi014", "is not the key of"),
    "client_ca": ('client_ca = "gone.pem"', "etsi014", "gone.pem"),
    "a number": ("max_connections = -1", "etsi014", "max_connections"),
    "an unknown key": ("max_conections = 5", "etsi014", "max_conections"),
    "the directory": ('file = "gone.json"', "directory", "gone.json"),
    "the store": ('mode = "both"', "store", "store.mode"),
    "an empty entry of deny": ('deny = ["{}", ""]', "etsi014", "deny[1]"),
    "a number in deny": ('deny = ["{}", 5]', "etsi014", "deny[1]"),
}
BAD_LISTS = {
    "an empty entry": '["sae-1", ""]',
    "the good one last": '["", [], "sae-1"]',
    "no list": '"sae-1"',
    "too long": "[" + '"sae-1", ' * 100_001 + "]",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SPOILT)
def test_who_is_denied_or_revoked_is_refused_whatever_else_is_wrong(
    house: House, start: Start, what: str
) -> None:
    node = start("kms-1")
    line, table, named = SPOILT[what]
    with house.client() as live:
        live.status("sae-2")
        house.write(line.format("sae-4"), table)
        house.revoke("sae-1")

        refused, _ = reloaded(node)

        assert any(named in why for why in refused)
        with pytest.raises(SaeError):
            live.status("sae-2")
    assert not house.served()
    house.revoke()
    reloaded(node)
    assert house.served()
    house.write(line.format("sae-1") if "deny" in line else 'deny = ["sae-1"]')
    reloaded(node)
    assert not house.served()
    assert node.meter.value("protokms_reloads", result="refused") == 3


@pytest.mark.slow
def test_a_list_acts_though_the_configuration_cannot_be_read(house: House, start: Start) -> None:
    node = start("kms-1")
    text = house.file.read_text()
    house.file.write_text("[[[")
    house.revoke("sae-1")

    refused, _ = reloaded(node)

    assert len(refused) == 1
    assert not house.served()
    house.file.write_text(text.replace("deny = []", 'deny = ["sae-2"'))
    house.revoke()
    reloaded(node)
    assert house.served()


@pytest.mark.slow
def test_a_ca_that_expires_stops_no_denial_and_is_named(
    house: House, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write('crl = "lists.pem"  # none of the second CA')
    second = Authority(house.folder, "second", not_after=NOW + DAY)
    house.trust(second)
    house.lists.write_bytes(house.lists.read_bytes() + second.revoke().read_bytes())
    node = start("kms-1")
    assert house.served()
    house.write('deny = ["sae-1"]')
    later = (NOW + 2 * DAY).timestamp()
    monkeypatch.setattr("etsi.http.service.time.time", lambda: later)

    with capture_logs() as lines:
        node.reload()

    late = [line["why"] for line in lines if line["event"] == "out_of_date"]
    assert any("CN=second has expired on" in why for why in late)
    assert not any("reload_refused" in line["event"] for line in lines)
    assert not house.served()


@pytest.mark.slow
@pytest.mark.parametrize("late", ["ca of the bundle", "list of it"])
def test_a_node_starts_with_what_is_out_of_date_and_serves_the_others(
    house: House, start: Start, late: str
) -> None:
    ca = late == "ca of the bundle"
    second = Authority(house.folder, "second", not_after=NOW - DAY if ca else NOW + DAY)
    crl = second.revoke(due=NOW + DAY if ca else NOW - DAY / 2)
    second.issue("sae-1x", common="sae-1")
    house.trust(second)
    house.lists.write_bytes(house.lists.read_bytes() + crl.read_bytes())

    node = start("kms-1")

    assert house.served()
    assert not house.served(house.folder / "sae-1x.crt")
    warnings = [str(problem) for problem in node.config.warnings]
    assert any("CN=second" in warning for warning in warnings)
    assert find_problems(house.file) == []


@pytest.mark.slow
def test_while_everybody_is_refused_the_rest_of_the_node_goes_on(
    house: House, start: Start
) -> None:
    late = Authority(house.folder, "late", not_after=NOW - DAY)
    (house.folder / "kms-1/bundle.pem").write_bytes(late.pem)
    house.write('client_ca = "bundle.pem"')
    house.write('server_ca = "../ca/ca.crt"')
    house.lists.write_bytes(late.revoke().read_bytes())
    problems = find_problems(house.file)

    node = start("kms-1")
    start("kms-2")

    eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 1)
    assert node.meter.value("protokms_http_closed") == 1
    assert [problem.key for problem in problems] == ["etsi014.client_ca"]
    house.trust()
    house.revoke()
    assert reloaded(node)[0] == []
    assert node.meter.value("protokms_http_closed") == 0
    assert house.served()


@pytest.mark.slow
def test_a_file_of_lists_that_was_not_there_at_the_start_is_taken(
    house: House, start: Start
) -> None:
    text = house.file.read_text()
    house.file.write_text(text.replace('crl = "lists.pem"\n', ""))
    node = start("kms-1")
    assert house.served()
    house.file.write_text(text)
    house.revoke("sae-1")

    refused, told = reloaded(node)

    assert (refused, told["needs_restart"]) == ([], [])
    assert not house.served()


@pytest.mark.slow
def test_a_certificate_for_clients_alone_is_refused_and_the_old_one_serves(
    house: House, start: Start
) -> None:
    node = start("kms-1")
    crt, key = Forge(house.folder, house.folder / "ca").issue(["kms-1"])
    key.chmod(0o600)
    house.write(f'certificate = "{crt}"')
    house.write(f'key = "{key}"')

    refused, told = reloaded(node)

    assert len(refused) == 1
    assert "CN=kms-1 is refused by clients: " in refused[0]
    assert "purpose" in refused[0]
    assert told["applied"] == []
    assert house.served()


@pytest.mark.slow
def test_what_needs_a_restart_is_told(house: House, start: Start) -> None:
    node = start("kms-1")
    house.write("ttl_s = 60", "store")
    house.file.write_text(house.file.read_text().replace("round_s = 0.01", "round_s = 0.5"))
    house.write('deny = ["sae-9"]')
    house.write("max_connections = 9")
    house.write("request_timeout_s = 9.0")

    refused, told = reloaded(node)

    assert refused == []
    assert told["needs_restart"] == ["etsi014.request_timeout_s", "link[0].round_s", "store.ttl_s"]
    assert told["serial"] == 1


@pytest.mark.slow
def test_policies_count_from_the_reload_on(house: House, start: Start) -> None:
    node = start("kms-1")
    before = house.file.read_text()
    rule = '[[policy]]\nname = "none"\nmasters = ["*"]\nslaves = ["*"]\nallow = false\n'
    with house.client() as live:
        live.status("sae-2")
        house.file.write_text(before + rule)

        refused, told = reloaded(node)

        assert (refused, told["applied"], told["needs_restart"]) == ([], ["policy"], [])
        with pytest.raises(SaeError, match="policy none denies"):
            live.status("sae-2")
        house.file.write_text(before)
        assert reloaded(node)[1]["applied"] == ["policy"]
        live.status("sae-2")


def test_nothing_needs_a_restart_when_nothing_has_changed(house: House) -> None:
    config = load(house.file)

    assert needs_restart(config, load(house.file)) == []
    assert needs_restart(config, structs.replace(config, links=[])) == ["link"]


def test_of_a_table_that_is_half_wrong_the_good_half_is_there(house: House) -> None:
    house.write("max_connections = -1")
    house.write('deny = ["sae-4"]')
    house.write("crl = 5")

    found = reread(house.file)

    assert found.config is None
    assert found.fronts["etsi014"]["deny"] == ("sae-4",)
    assert not {"max_connections", "crl"} & set(found.fronts["etsi014"])
    assert {problem.key for problem in found.problems} == {"etsi014.max_connections", "etsi014.crl"}


@pytest.mark.parametrize("what", BAD_LISTS)
def test_of_a_deny_list_that_is_bad_the_good_entries_are_there(house: House, what: str) -> None:
    house.write(f"deny = {BAD_LISTS[what]}")

    found = reread(house.file)

    assert set(found.fronts["etsi014"]["deny"]) == {"sae-1"}
    assert [problem.key.partition("[")[0] for problem in found.problems] == ["etsi014.deny"]


def test_limits_that_do_not_fit_each_other_stay_as_they_were_together(house: House) -> None:
    house.write("max_keys_per_request = 64")
    house.write("key_size_bits = 128")
    house.write("min_key_size_bits = 256")
    house.write("max_in_flight = 9")
    house.write("max_in_flight_per_sae = 8")

    found = reread(house.file)

    assert [problem.key for problem in found.problems] == ["etsi014.key_size_bits"]
    sizes = {"max_keys_per_request", "key_size_bits", "min_key_size_bits", "max_key_size_bits"}
    assert not sizes & set(found.fronts["etsi014"])
    assert (
        found.fronts["etsi014"]["max_in_flight"],
        found.fronts["etsi014"]["max_in_flight_per_sae"],
    ) == (9, 8)


def test_a_row_that_is_bad_keeps_who_is_who_as_it_was(house: House) -> None:
    row = '[[etsi014.sae]]\nid = "sae-7"\nfingerprint = "{}"\n'
    text = house.file.read_text() + row.format("ab" * 32)
    house.file.write_text(text + row.format("cd" * 32) + "san_dns = 5\n")
    house.write('sae_id_from = "san_dns"')
    house.write('deny = ["sae-4"]')

    found = reread(house.file)

    assert not {"saes", "authorities", "sae_id_from"} & set(found.fronts["etsi014"])
    assert found.fronts["etsi014"]["deny"] == ("sae-4",)


def test_with_an_unknown_key_what_is_left_out_stays_as_it_was(house: House) -> None:
    house.write('deny = ["sae-4"]')
    house.file.write_text(house.file.read_text().replace("deny =", "denny ="))

    found = reread(house.file)

    assert "deny" not in found.fronts["etsi014"]
    assert found.fronts["etsi014"]["crl"] == house.lists


@pytest.mark.slow
def test_a_second_ca_that_names_an_sae_of_the_first_is_refused_where_cas_are_bound(
    house: House, start: Start
) -> None:
    second = Authority(house.folder, "second")
    second.issue("impostor", common="sae-1")
    impostor = house.folder / "impostor.crt"
    house.trust(second)
    house.lists.write_bytes(house.lists.read_bytes() + second.revoke().read_bytes())
    node = start("kms-1")
    assert house.served(impostor)
    with house.client(impostor) as live:
        live.status("sae-2")
        rows = '[[etsi014.authority]]\nca = "CN=second"\nsaes = ["sae-9"]\n'
        house.file.write_text(house.file.read_text() + rows)

        refused, told = reloaded(node)

        assert (refused, told["needs_restart"]) == ([], [])
        with pytest.raises(SaeError):
            live.status("sae-2")
    assert not house.served(impostor)
    assert house.served()
    house.file.write_text(house.file.read_text().replace("CN=second", "CN=nobody"))
    refused, _ = reloaded(node)
    assert any("no CA of client_ca has the name CN=nobody" in why for why in refused)
    assert not house.served(impostor)


@pytest.mark.slow
def test_a_certificate_with_many_names_gets_the_sae_of_its_row(house: House, start: Start) -> None:
    second = Authority(house.folder, "second")
    second.issue("box", common=None, dns=("a.example", "b.example"))
    house.trust(second)
    house.lists.write_bytes(house.lists.read_bytes() + second.revoke().read_bytes())
    row = '[[etsi014.sae]]\nid = "sae-1"\nsan_dns = "b.example"\nca = "CN=second"\n'
    house.file.write_text(house.file.read_text() + row)

    start("kms-1")

    assert house.served(house.folder / "box.crt")
    assert not house.served()  # the certificate of the lab stands for it no more


CHAINS: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool, bool]] = {
    # the CAs of client_ca; those with a list; is the issuing CA revoked; is its SAE served
    "the root's list revokes the issuing CA": (
        ("root", "issuing"),
        ("root", "issuing"),
        True,
        False,
    ),
    "the same, with the root alone": (("root",), ("root", "issuing"), True, False),
    "the root, and lists of both": (("root",), ("root", "issuing"), False, True),
    "the issuing CA alone": (("issuing",), ("issuing",), False, True),
    "the same, revoked": (("issuing",), ("root", "issuing"), True, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_over_an_issuing_ca_is_served_unless_it_is_revoked(
    house: House, start: Start, case: str
) -> None:
    named, listed, revoked, served = CHAINS[case]
    root = Authority(house.folder, "root")
    issuing = Authority(house.folder, "issuing", root)
    issuing.issue("device", common="sae-1", above=issuing.pem)
    of_root = root.revoke(*[issuing.certificate] * revoked)
    cas, lists = {"root": root, "issuing": issuing}, {"root": of_root, "issuing": issuing.revoke()}
    house.trust(*(cas[name] for name in named))
    texts = [house.lists.read_bytes(), *(lists[name].read_bytes() for name in listed)]
    house.lists.write_bytes(b"".join(texts))

    problems = find_problems(house.file)
    start("kms-1")

    told = ["etsi014.client_ca"] * (revoked and "issuing" in named)
    assert [one.key for one in problems] == told
    assert house.served(house.folder / "device.crt") == served
    assert house.served()
