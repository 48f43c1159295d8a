"""Golden labs: folders that earlier versions have made, unpacked and moved to free ports."""

import json
import lzma
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

from protokms.config import directory, load
from protokms.config.keyfiles import read_key
from protokms.lab import lab
from protokms.node import ports

FOLDER = Path(__file__).parent


class OldKey(NamedTuple):
    """A key that an SAE was given: who may fetch it, and the SHA-256 of its octets."""

    key_id: str
    master: str
    slave: str
    sha256: str
    fetched: bool


def keys_of(version: str) -> list[OldKey]:
    """Return the keys that were given when its nodes ran."""
    listing = json.loads((FOLDER / f"lab-{version}.json").read_text())
    return [
        OldKey(row["key_ID"], row["master"], row["slave"], row["sha256"], row["fetched"])
        for row in listing["keys"]
    ]


def unpack(version: str, folder: Path) -> None:
    """Lay the lab of a version out in a new folder, on ports that are free now."""
    with lzma.open(FOLDER / f"lab-{version}.tar.xz") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            octets, path = tar.extractfile(member), folder / member.name
            assert octets, f"{member.name} is no file"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(octets.read())
            path.chmod(member.mode)
    _move(folder)


def _move(folder: Path) -> None:
    """Give every address a free port, and sign the directory again, as its CA would."""
    made = lab.read(folder)
    configs = [load.load(folder / node.config, files=False) for node in made.nodes]
    used = {end.port for each in configs for end, _ in lab.endpoints_of(each)}
    moved = dict(zip(sorted(used), ports.free(str(folder), ()), strict=False))
    listing = folder / "directory.json"
    for file in (listing, folder / "lab.json", *(folder / node.config for node in made.nodes)):
        old = file.read_text()
        new = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(moved[int(port[0])]), old)
        file.write_text(new)
    signature = directory.sign(listing.read_bytes(), read_key(folder / "ca/signing.key"))
    directory.signature_path(listing).write_bytes(signature)
