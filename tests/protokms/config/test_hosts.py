"""Names of other hosts: which there are, and what is known of them in time."""

import socket
import threading
from types import SimpleNamespace

from actors.protocol.peers import Kms
from protokms.config import hosts
from protokms.config.hosts import Host
from transport.endpoint import Endpoint

PATIENCE_S = 5.0
NOT_KNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def kms(name: str, address: str) -> Kms:
    return Kms(name, name, address, "", "", ())


def at(host: str) -> Endpoint:
    return Endpoint(host, 17_001)


def link(
    peer: str, remote: Endpoint | None = None, device: SimpleNamespace | None = None
) -> SimpleNamespace:
    devices = [] if device is None else [(device.kind, device)]
    return SimpleNamespace(peer=peer, remote=remote, devices=devices)


def named(*names: str) -> list[Host]:
    return [Host(f"key of {name}", name) for name in names]


def only(*known: str) -> hosts.Resolve:
    def resolve(name: str, _port: int) -> object:
        if name not in known:
            raise NOT_KNOWN
        return name

    return resolve


def test_names_are_found_wherever_other_hosts_are_named_each_once() -> None:
    values = {
        "node": SimpleNamespace(name="kms-1"),
        "links": [link("kms-2", remote=at("two.example"))],
        "processes": [SimpleNamespace(name="front", address=at("front.example"))],
        "core": SimpleNamespace(address=at("127.0.0.1")),
    }
    known = [
        kms("kms-1", "tcp://one.example:1"),
        kms("kms-2", "tcp://two.example:1"),
        kms("kms-3", "tcp://[::1]:1"),
        kms("kms-4", "tcp://four.example:1"),
    ]

    assert hosts.hosts(values, known) == [
        Host("link to kms-2: remote", "two.example"),
        Host("process front: address", "front.example"),
        Host("directory: kms-4", "four.example"),
    ]


def test_of_a_link_to_a_device_the_host_of_its_url_is_looked_up() -> None:
    urls = ("https://Device-1.example:8443/base", "https://[::1]:443", "https://[::1")
    links = [
        link(f"kms-{n}", device=SimpleNamespace(kind="etsi014", url=url))
        for n, url in enumerate(urls)
    ]
    links.append(link("kms-3", device=SimpleNamespace(kind="etsi004", url="tls://stream.example")))

    found = hosts.hosts({"links": [*links, link("kms-9")]})

    assert found == [
        Host("link to kms-0: etsi014.url", "device-1.example"),
        Host("link to kms-3: etsi004.url", "stream.example"),
    ]


def test_a_name_that_does_not_resolve_is_told_with_the_reason() -> None:
    wanted = named("good.example", "bad.example", "best.example")

    found = hosts.look_up(wanted, PATIENCE_S, only("good.example", "best.example"))

    assert found.wrong == [(wanted[1], "Name or service not known")]
    assert found.unknown == []


def test_a_name_that_is_none_is_told_and_stops_no_other() -> None:
    def resolve(name: str, _port: int) -> object:
        return name.encode("idna")

    wanted = named("a" * 64 + ".example", "good.example")
    found = hosts.look_up(wanted, PATIENCE_S, resolve)

    assert [host for host, _ in found.wrong] == wanted[:1]
    assert found.unknown == []


def test_a_name_server_that_does_not_answer_holds_nobody_up() -> None:
    silent = threading.Event()

    def resolve(name: str, _port: int) -> object:
        return silent.wait(PATIENCE_S) if name == "slow.example" else name

    wanted = named("slow.example", "good.example")
    try:
        found = hosts.look_up(wanted, 0.05, resolve)
    finally:
        silent.set()

    assert found.wrong == []
    assert wanted[0] in found.unknown


def test_more_names_than_are_looked_up_are_told_as_such() -> None:
    wanted = named(*(f"host-{number}.example" for number in range(hosts.NAMES_MAX + 2)))

    found = hosts.look_up(wanted, PATIENCE_S, lambda name, _port: name)

    assert found.unknown == wanted[hosts.NAMES_MAX :]


def test_nothing_is_looked_up_where_there_are_no_names() -> None:
    assert hosts.look_up([], PATIENCE_S, only()) == ([], [])
