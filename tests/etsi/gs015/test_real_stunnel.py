"""The requests of TeraFlowSDN's driver over stunnel, set up as the guide says, to a real front end.

The driver speaks plain HTTP and shows no certificate; stunnel shows it. Here stunnel has one end of
a socket pair in place of a port, as under inetd: nothing listens, and nobody has to wait for it.
"""

import http.client
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.protocol import intent
from tests.etsi.gs015.test_real_frontend import Node
from tests.etsi.gs015.test_teraflow import phys, virt
from tests.kit.agent import LINKS, NODE
from tests.kit.authority import Authority
from tests.kit.wanted import FILE_ID, A, B, C

STUNNEL = shutil.which("stunnel4") or shutil.which("stunnel")
GUIDE = Path(__file__).parents[3] / "docs" / "controller.md"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(STUNNEL is None, reason="there is no stunnel")]


class Driver:
    """Sends requests as the driver does; each has a tunnel of its own."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.folder = node, folder
        self._running: list[subprocess.Popen[bytes]] = []

    def settings(self, **changes: str) -> str:
        """Return the section of the guide, for this node; without what says where to listen."""
        found = re.search(r"```ini\n\[kms-1\]\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        assert found
        given = dict(line.split(" = ") for line in found[1].splitlines())
        assert given.pop("accept").startswith("127.0.0.1:")
        given["connect"] = f"127.0.0.1:{self.node.port}"
        for name in ("cert", "key", "CAfile"):
            given[name] = str(self.folder / given[name])
        given |= {"checkHost": "localhost"} | changes
        log = {"syslog": "no", "debug": "notice", "output": str(self.folder / "stunnel.log")}
        return "".join(f"{name} = {value}\n" for name, value in (log | given).items() if value)

    def ask(
        self, method: str, path: str, body: Any = None, **changes: str
    ) -> tuple[int, Mapping[str, str], Any]:
        """Send one request; `OSError` or `HTTPException` if no answer comes."""
        assert STUNNEL
        file = self.folder / "stunnel.conf"
        file.write_text(self.settings(**changes))
        near, far = socket.socketpair()
        with far:
            ends = {"stdin": far, "stdout": far, "stderr": subprocess.DEVNULL}
            self._running.append(subprocess.Popen([STUNNEL, str(file)], **ends))  # type: ignore[call-overload]
        near.settimeout(30)
        client = http.client.HTTPConnection("localhost")
        client.sock = near
        try:
            octets = None if body is None else json.dumps(body).encode()
            head = {"Accept": "*/*", "Content-Type": "application/json"}
            client.request(method, path, octets, head if octets else {"Accept": "*/*"})
            answer = client.getresponse()
            content = answer.read()
            return answer.status, dict(answer.headers), json.loads(content) if content else None
        finally:
            client.close()

    def post(self, row: dict[str, Any]) -> int:
        return self.ask("POST", f"{LINKS}/", {"qkd_links": {"qkd_link": [row]}})[0]

    def close(self) -> None:
        for one in self._running:
            one.kill()
            one.wait(30)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    node = Node(Authority(tmp_path))
    node.authority.issue("teraflow")
    node.start()
    made = Driver(node, tmp_path)
    yield made
    made.close()
    assert node.system.shutdown()
    node.stage.stop()


def test_its_requests_are_answered_as_it_reads_them(driver: Driver) -> None:
    driver.node.wanted.rows.pop(("link", FILE_ID))  # of the same pair, and not its own

    connected = driver.ask("GET", NODE)
    bare = driver.ask("GET", f"{NODE}/")
    links = driver.ask("GET", f"{LINKS}/")
    apps = driver.ask("GET", f"{NODE}/qkd_applications/")
    interfaces = driver.ask("GET", f"{NODE}/qkd_interfaces/")

    assert {it[0] for it in (connected, bare, links, apps, interfaces)} == {200}
    assert bare[1]["Content-Type"] == "application/json"
    assert (bare[2]["qkdn_id"], bare[2]["qkdn_status"]) == (A, "OPERATING")
    assert {row["qkdl_type"] for row in links[2]["qkd_links"]} == {"PHYS", "VIRT"}
    assert apps[2]["qkd_applications"]["qkd_app"][0]["app_type"] == "CLIENT"
    assert interfaces[2]["qkd_interface"][0]["qkdi_att_point"]["uuid"] == "osw-a:12"


def test_its_links_are_written_and_what_is_refused_is_a_refusal(driver: Driver) -> None:
    driver.node.wanted.rows.pop(("link", FILE_ID))

    assert driver.post(virt()) == 201
    assert driver.post(phys(qkdl_id="no uuid")) == 400

    (write,) = driver.node.wanted.writes
    assert write.owner == "teraflow"
    assert write.edits[-1].link == intent.Link("virt", A, B, hops=(C, B))


@pytest.mark.parametrize(
    "changes", [{"checkHost": "other.example"}, {"cert": "", "key": ""}], ids=["host", "no cert"]
)
def test_without_the_right_names_nothing_passes(driver: Driver, changes: dict[str, str]) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        driver.ask("GET", f"{NODE}/", **changes)

    assert driver.ask("GET", f"{NODE}/")[0] == 200
