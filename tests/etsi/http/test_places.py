"""Servers of one address: each process has a place there, and the kernel spreads connections."""

import errno
import socket
from contextlib import ExitStack

import pytest

from etsi.http.servers.accept import listen
from transport.binding import CannotBind
from transport.endpoint import Endpoint

pytestmark = pytest.mark.slow

CONNECTIONS = 64


@pytest.fixture
def bind() -> Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Endpoint("127.0.0.1", free.getsockname()[1])


def test_both_get_connections_and_one_alone_gets_all(bind: Endpoint) -> None:
    with ExitStack() as stack:
        servers = [listen(bind, CONNECTIONS, number) for number in (1, 2)]
        for server in servers:
            for each in server:
                stack.callback(each.close)

        def connect() -> list[int]:
            for _ in range(CONNECTIONS):
                stack.enter_context(socket.create_connection((bind.host, bind.port)))
            return [accepted(server[0]) for server in servers]

        both = connect()
        for each in servers[0]:
            each.close()
        servers[:1] = []
        left = connect()

    assert sum(both) == CONNECTIONS
    assert min(both) > 0
    assert left == [CONNECTIONS]


def accepted(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return count
        connection.close()
        count += 1


def test_a_place_is_taken_by_one_process_at_a_time(bind: Endpoint) -> None:
    first = listen(bind, 1, 1)
    with pytest.raises(CannotBind, match="as front end 1 of its node") as no:
        listen(bind, 1, 1)
    for each in first:
        each.close()

    assert no.value.errno == errno.EADDRINUSE
    for each in listen(bind, 1, 1):
        each.close()


def test_who_is_alone_shares_with_nobody(bind: Endpoint) -> None:
    alone = listen(bind, 1)
    with pytest.raises(CannotBind, match="is occupied by another process"):
        listen(bind, 1, 1)
    for each in alone:
        each.close()
    with ExitStack() as stack:
        for each in listen(bind, 1, 2):
            stack.callback(each.close)
        with pytest.raises(CannotBind, match="is occupied by another process"):
            listen(bind, 1)


def test_a_place_that_is_not_listened_at_is_free_again(bind: Endpoint) -> None:
    with socket.create_server((bind.host, bind.port)), pytest.raises(CannotBind):
        listen(bind, 1, 1)

    for each in listen(bind, 1, 1):
        each.close()
