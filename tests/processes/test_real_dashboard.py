"""The page of a lab in a real browser: a node is killed with the keyboard, a session re-routes."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine: apt install chromium"
    ),
]
PROTOKMS = (sys.executable, "-m", "protokms")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    lab = tmp_path / "lab"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    subprocess.run([*PROTOKMS, "lab", "init", lab, "--topology", "ring:5"], check=True)
    try:
        subprocess.run([*PROTOKMS, "lab", "up", lab], check=True)
        of = ("--config", lab / "kms-1" / "node.toml")
        subprocess.run([*PROTOKMS, "session", "add", "kms-3", *of], check=True)
        with subprocess.Popen(
            [*PROTOKMS, "lab", "dashboard", lab, "--port", str(port)],
            stdout=subprocess.PIPE,
            text=True,
        ) as served:
            try:
                assert served.stdout is not None
                assert "until interrupted" in served.stdout.readline()
                yield f"http://127.0.0.1:{port}/"
            finally:
                served.send_signal(signal.SIGINT)
    finally:
        subprocess.run([*PROTOKMS, "lab", "down", lab], check=True)


def test_a_killed_node_is_gone_round(address: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    said: list[str] = []

    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda line: said.append(line.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        sessions = page.locator("#sessions")
        api.expect(sessions).to_contain_text("kms-1 → kms-2 → kms-3", timeout=20_000)
        page.focus("#node-kms-2 button")
        page.keyboard.press("Enter")

        api.expect(page.locator("#node-kms-2")).to_contain_text("down", timeout=20_000)
        api.expect(sessions).to_contain_text("kms-5 → kms-4 → kms-3", timeout=20_000)
        browser.close()

    assert said == []
