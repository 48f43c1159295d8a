"""Host and port, as people write them."""

import pytest

from transport.endpoint import Endpoint, TcpEndpoint


@pytest.mark.parametrize(
    "text", ["kms_1.example:17000", "127.0.0.1:1", "[::1]:65535", "a-b.c:80", "1kms:80"]
)
def test_what_dns_and_ip_allow_is_read(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (":80", "has no host before the port"),
        ("a b:80", "has a host that holds ' ', which is in no name of a host"),
        ("a..b:80", "has a host that has nothing before or after a dot"),
        (f"{'a' * 64}:80", "has a host that has 64 characters between two dots, more than 63"),
        ("-a:80", "has a host that has '-' at the edge of a part"),
        ("größe:80", "has a host that is not ASCII: write it in its form with xn--"),
        ("_a:80", "has a host that begins with '_'"),
        ("a:0", "has no port between 1 and 65535"),
    ],
)
def test_what_they_do_not_allow_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TcpEndpoint.parse(f"tcp://{text}")
