"""Why an address cannot be had, in words that say what to do."""

import errno
import socket

import pytest

from transport.binding import CannotBind, cannot_bind, find_trouble
from transport.endpoint import Endpoint, TcpEndpoint

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
ELSEWHERE = "192.0.2.1"  # RFC 5737: of documents, and of no host


@pytest.mark.parametrize("kind", [TCP, UDP])
def test_an_address_of_no_interface_here_may_come_yet(kind: socket.SocketKind) -> None:
    why = find_trouble(Endpoint(ELSEWHERE, 18001), kind)

    assert why
    assert why.passes
    assert why.reason == f"{ELSEWHERE}:18001 is not an address of this host"
    assert str(why).startswith(f"{why.reason}; correct it, or bring its interface up")


@pytest.mark.parametrize("kind", [TCP, UDP])
def test_an_occupied_address_stays_so(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == TCP:
            taken.listen()
        port = taken.getsockname()[1]
        why = find_trouble(Endpoint("127.0.0.1", port), kind)
    free = find_trouble(Endpoint("127.0.0.1", port), kind)

    assert why
    assert not why.passes
    assert why.reason == f"127.0.0.1:{port} is occupied by another process"
    assert free is None


def test_a_name_is_bound_if_one_of_its_addresses_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object, **__: object) -> list[object]:
        hosts = [ELSEWHERE, "127.0.0.1"]
        return [(socket.AF_INET, TCP, 0, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", found)

    assert find_trouble(Endpoint("two", 7), TCP) is None


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "whatever")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    why = find_trouble(Endpoint("kms.example", 7), TCP)

    assert why
    assert why.passes
    assert "the name kms.example does not resolve here; write the address in numbers" in str(why)


def test_a_name_that_no_name_service_could_hold_does_not_resolve() -> None:
    why = find_trouble(Endpoint("a" * 70, 7), TCP)

    assert why
    assert "does not resolve here" in str(why)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_low_port_needs_a_capability_and_is_not_called_occupied(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(number, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbid)

    why = find_trouble(Endpoint("127.0.0.1", 443), TCP)

    assert why
    assert not why.passes
    assert "port 443 needs CAP_NET_BIND_SERVICE" in str(why)
    assert "occupied" not in str(why)


def test_where_zeromq_binds_a_name_is_that_of_an_interface() -> None:
    _, there = socket.if_nameindex()[0]

    why = find_trouble(TcpEndpoint("localhost", 17001), TCP)

    assert why
    assert "this host has no interface localhost; write the address in numbers" in str(why)
    assert find_trouble(TcpEndpoint(there, 17001), TCP) is None


def test_what_is_not_known_is_told_in_the_words_of_the_system() -> None:
    why = cannot_bind("[::1]:7", OSError(errno.ENOBUFS, "No buffer space available"))

    assert str(why) == "[::1]:7 cannot be bound: No buffer space available; correct it"
    assert isinstance(why, OSError)
    assert why.errno == errno.ENOBUFS
    assert cannot_bind("elsewhere:7", why) is why


def test_the_text_is_all_that_is_shown() -> None:
    assert str(CannotBind("a", "b", errno.EADDRINUSE, passes=False)) == "a; b"
