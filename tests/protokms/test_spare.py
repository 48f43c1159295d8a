"""What a process of a node imports is what it runs."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import etsi
from protokms import spare
from protokms.client import SaeError
from protokms.lab import demo, lab, topology
from protokms.lab.run import READY_S
from protokms.node import ports
from tests.kit.in_process import eventually, processes

CONTROLLERS, OPTIONS = Path(etsi.__file__).parent / "gs015", ("__init__", "options")

NEITHER = (
    # Commands, and what they show
    *("rich.console", "rich.traceback", "typer", "click", "pygments", "networkx"),
    *("protokms.commands.check", "protokms.commands.main", "protokms.lab", "protokms.bench"),
    *("protokms.testing", "protokms.config.brainpool", "protokms.config.limits"),
    # Metrics
    *("prometheus_client", "protokms.node.observe", "protokms.node.metric_help"),
    # What core runs
    *("sqlite3", "protokms.node.composition", "protokms.node.placement", "protokms.manage.server"),
    *("actors.crypto", "actors.intent", "actors.ledger", "actors.network", "actors.relay"),
    *("actors.sync", "actors.keystore.key_store", "actors.keystore.allocation"),
    *("actors.sessions.sessions", "actors.sessions.origin", "actors.storage.file"),
    *("actors.storage.writer", "actors.links.virtual_link"),
    # What is said to peers, and to controllers
    *("actors.protocol.doors", "actors.protocol.routes", "actors.protocol.pads"),
    "actors.protocol.intent",
    *(f"etsi.gs015.{it.stem}" for it in CONTROLLERS.glob("*.py") if it.stem not in OPTIONS),
)
FRONT = ("actors.links", "actors.modules", "protokms.node.interfaces", "aiohttp")
LINKS = (
    *(
        "aiohttp",
        "_ssl",
        "importlib.metadata",
        "tempfile",
        "uvloop",
        "cryptography.x509",
        "cryptography.hazmat.backends",
    ),
    *("etsi.gs014.api", "etsi.gs014.frontend", "etsi.http.service", "etsi.http.tls"),
    *("etsi.http.credentials", "protokms.config.tls"),
    *("actors.protocol.keys", "actors.protocol.sessions", "actors.protocol.relay"),
    *("actors.protocol.blocks", "actors.protocol.grants"),
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2")))
    return tmp_path / "lab/kms-1"


@pytest.fixture
def edges(home: Path) -> Path:
    """The same with metrics of the links, and a process that has no file."""
    file = home / "links.toml"
    (home / "observed.toml").write_text(f'{file.read_text()}\n[metrics]\nbind = "127.0.0.1:1"\n')
    (home / "bad.toml").write_text("[[[")
    return home


@pytest.mark.parametrize(
    ("args", "spared"),
    [
        (["links.toml"], True),
        (["node.toml", "--process", "links"], True),
        (["front.toml"], False),
        (["node.toml", "--process", "front"], False),
        (["node.toml"], False),
        (["node.toml", "--process", "core"], False),
        (["node.toml", "--process", "nobody"], False),
        (["observed.toml"], False),
        (["links.toml", "--check"], False),
        (["--process", "links", "node.toml"], False),
        (["bad.toml"], False),
        (["nowhere.toml"], False),
        ([], False),
    ],
)
def test_a_process_without_http_has_no_tls(edges: Path, args: list[str], spared: bool) -> None:
    named = [str(edges / it) if it.endswith(".toml") else it for it in args]

    assert spare._serves_http(named) is not spared


def test_tls_that_is_loaded_already_stays() -> None:
    import ssl  # noqa: PLC0415

    spare.spare_tls(["nowhere.toml"])

    assert sys.modules["ssl"] is ssl


@pytest.mark.slow
def test_a_process_without_http_hashes_without_openssl(edges: Path) -> None:
    code = (
        "import sys; from protokms import spare; spare.spare_tls(sys.argv[1:])\n"
        "import hashlib, hmac\n"
        "print(*(it for it in ('ssl', '_hashlib') if it in sys.modules))\n"
        "print(hashlib.sha256(b'abc').hexdigest()[:8], hmac.compare_digest(b'a', b'a'))"
    )

    python = [sys.executable, "-c", code, str(edges / "links.toml")]
    done = subprocess.run(python, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["", "ba7816bf True"]


class Edges:
    """The processes of a node; each tells what it imports, on its standard error."""

    def __init__(self, home: Path, stop: list[subprocess.Popen[bytes]]) -> None:
        self._home, self._stop = home, stop

    def start(self, name: str, *args: str) -> None:
        python = [sys.executable, "-P", "-X", "importtime", "-m", "protokms", "node"]
        env = {**os.environ, "PYTHONPATH": str(Path(spare.__file__).parents[1])}
        with (self._home / f"{name}.err").open("wb") as err:
            made = subprocess.Popen([*python, *args], stderr=err, env=env)
        self._stop.append(made)

    def imported(self, name: str) -> set[str]:
        lines = (self._home / f"{name}.err").read_text(errors="replace").splitlines()
        rows = [line.rpartition("|") for line in lines if line.startswith("import time:")]
        return {module.strip() for _, _, module in rows}


@pytest.fixture
def running(home: Path) -> Iterator[Edges]:
    started: list[subprocess.Popen[bytes]] = []
    yield Edges(home, started)
    for one in started:
        one.terminate()
    for one in started:
        one.wait(READY_S)


def needless(found: set[str], barred: tuple[str, ...]) -> list[str]:
    return sorted(it for it in found if any(it == no or it.startswith(f"{no}.") for no in barred))


@pytest.mark.slow
def test_an_edge_imports_what_it_runs(home: Path, running: Edges) -> None:
    folder = home.parent
    made = lab.read(folder)
    running.start("core", str(home / "node.toml"), "--new")
    for name in ("front", "links"):
        running.start(name, str(home / "node.toml"), "--process", name)
    with processes(folder / "kms-2/node.toml") as begin:
        begin("core")
        begin("links")
        sae = next(it for it in made.saes if it.node == "kms-1")
        eventually(lambda: _has_a_key(folder, made, sae))

    for name, barred in (("front", FRONT), ("links", LINKS)):
        found = running.imported(name)
        assert "protokms.node.edge_placement" in found
        assert needless(found, NEITHER + barred) == []
    assert "etsi.gs014.frontend" in running.imported("front")
    assert "actors.modules.udp" in running.imported("links")
    assert "sqlite3" in running.imported("core")


@pytest.mark.slow
def test_metrics_of_links_bring_neither_aiohttp_nor_x509(home: Path, running: Edges) -> None:
    port = next(ports.free(str(home), set()))
    file = home / "links.toml"
    file.write_text(f'{file.read_text()}\n[metrics]\nbind = "127.0.0.1:{port}"\n')

    running.start("links", str(file))
    eventually(lambda: _metrics(port).startswith(b"HTTP/1.1 200 "))

    found = running.imported("links")
    assert "prometheus_client" in found
    assert needless(found, ("aiohttp", "cryptography.x509")) == []


def _metrics(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as caller:
            caller.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return caller.recv(4096)
    except ConnectionError:
        return b""


def _has_a_key(folder: Path, made: lab.Lab, sae: lab.LabSae) -> bool:
    """Whether one is made: a busy core may be away for a moment, for its front end."""
    try:
        with demo.client(folder, made, sae) as client:
            return bool(client.enc_keys("sae-2"))
    except (OSError, SaeError):
        return False
