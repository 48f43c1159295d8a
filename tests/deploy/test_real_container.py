"""The image is built, and three nodes run in it.

Needs root, buildah and debootstrap, and packages from wherever this host has them:
`pytest -m soak tests/deploy/test_real_container.py`. CONTAINER_BASE names an image to build on;
without it, one is made of the distribution of this host.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/container/Containerfile"
PATIENCE_S = 1_800.0
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
OF_HOST = ("/etc/ssl/certs", "/etc/pip.conf")
"""What this host trusts, and where it has packages from."""


class Builder:
    """Images below one folder, which is all that is left to take away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        where = (f"--root={folder / 'store'}", f"--runroot={folder / 'run'}")
        self._command = ("buildah", "--storage-driver=vfs", *where)

    def run(self, *args: str) -> str:
        """Run buildah; return what it says."""
        done = subprocess.run(
            [*self._command, *args], capture_output=True, check=False, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr[-4_000:]
        return done.stdout

    def base(self) -> str:
        """Return the image to build on."""
        if named := os.environ.get("CONTAINER_BASE"):
            return named
        root = self._folder / "base"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)]
        if mirror := os.environ.get("DEBIAN_MIRROR"):
            command.append(mirror)
        subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
        empty = self.run("from", "scratch").strip()
        self.run("copy", "--quiet", empty, str(root), "/")
        self.run("commit", "--quiet", empty, "localhost/base")
        return "localhost/base"


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    missing = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]
    if missing or os.geteuid():
        pytest.skip(f"needs root, buildah and debootstrap; missing: {missing or 'root'}")
    yield Builder(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.soak
@pytest.mark.timeout(2 * PATIENCE_S)
def test_nodes_run_in_the_image(builder: Builder) -> None:
    base = builder.base()
    mounts = [f"--volume={path}:{path}:ro" for path in OF_HOST if Path(path).exists()]
    chroot = "--isolation=chroot"
    builder.run(
        *("bud", chroot, f"--build-arg=BASE={base}", *mounts, "--tag=protokms"),
        *(f"--file={FILE}", str(ROOT)),
    )
    made = builder.run("from", "localhost/protokms").strip()

    who = builder.run("run", chroot, made, "--", "id", "-u")
    told = builder.run("run", chroot, made, "--", "/opt/protokms/bin/protokms", "demo")

    assert who.strip() == "10001"
    assert "of it is gone now" in told
    assert "differs" not in told
