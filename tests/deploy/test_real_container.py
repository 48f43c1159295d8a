"""The image is built, and three nodes run in it; of a file with a mistake neither is so.

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
CHROOT = "--isolation=chroot"
PACKAGES = "python3,python3-venv,ca-certificates"
OF_HOST = ("/etc/ssl/certs", "/etc/pip.conf")
"""What this host trusts, and where it has packages from."""


class Builder:
    """Images below one folder, which is all that is left to take away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        where = (f"--root={folder / 'store'}", f"--runroot={folder / 'run'}")
        self._command = ("buildah", "--storage-driver=vfs", *where)

    def said(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """Run buildah, whatever comes of it."""
        return subprocess.run(
            [*self._command, *args], capture_output=True, check=False, text=True, timeout=PATIENCE_S
        )

    def run(self, *args: str) -> str:
        """Run buildah; return what it says."""
        done = self.said(*args)
        assert done.returncode == 0, done.stderr[-4_000:]
        return done.stdout

    def build(self, file: Path, base: str, tag: str) -> "subprocess.CompletedProcess[str]":
        """Build the image that a file says, on a base."""
        mounts = [f"--volume={path}:{path}:ro" for path in OF_HOST if Path(path).exists()]
        args = ("bud", CHROOT, f"--build-arg=BASE={base}", *mounts, f"--tag={tag}")
        return self.said(*args, f"--file={file}", str(ROOT))

    def demo(self, tag: str) -> "subprocess.CompletedProcess[str]":
        """Run three nodes in a container of an image, as its user."""
        made = self.run("from", f"localhost/{tag}").strip()
        return self.said("run", CHROOT, made, "--", "/opt/protokms/bin/protokms", "demo")

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


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    missing = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]
    if missing or os.geteuid():
        pytest.skip(f"needs root, buildah and debootstrap; missing: {missing or 'root'}")
    folder = tmp_path_factory.mktemp("images")
    yield Builder(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def base(builder: Builder) -> str:
    return builder.base()


def broken(folder: Path, old: str, new: str) -> Path:
    """Write a copy of the file with a mistake."""
    text = FILE.read_text()
    assert old in text
    made = folder / FILE.name
    made.write_text(text.replace(old, new))
    return made


@pytest.mark.soak
@pytest.mark.timeout(2 * PATIENCE_S)
def test_nodes_run_in_the_image(builder: Builder, base: str) -> None:
    built = builder.build(FILE, base, "protokms")
    assert built.returncode == 0, built.stderr[-4_000:]

    made = builder.run("from", "localhost/protokms").strip()
    who = builder.run("run", CHROOT, made, "--", "id", "-u")
    told = builder.demo("protokms")

    assert who.strip() == "10001"
    assert told.returncode == 0, told.stderr[-4_000:]
    assert "of it is gone now" in told.stdout
    assert "differs" not in told.stdout


@pytest.mark.soak
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("COPY transport transport", "COPY transports transport", "transports"),
        ("bin/pip install", "bin/pip instal", "unknown command"),
    ],
)
def test_a_file_with_a_mistake_makes_no_image(
    builder: Builder, base: str, tmp_path: Path, old: str, new: str, said: str
) -> None:
    built = builder.build(broken(tmp_path, old, new), base, "mistaken")

    assert built.returncode != 0
    assert said in built.stdout + built.stderr


@pytest.mark.soak
@pytest.mark.timeout(2 * PATIENCE_S)
def test_no_node_runs_in_an_image_that_lacks_a_part(
    builder: Builder, base: str, tmp_path: Path
) -> None:
    built = builder.build(broken(tmp_path, "COPY etsi etsi\n", ""), base, "partial")
    assert built.returncode == 0, built.stderr[-4_000:]

    told = builder.demo("partial")

    assert told.returncode != 0
    assert "etsi" in told.stdout + told.stderr
