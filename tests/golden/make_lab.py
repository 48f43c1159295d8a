"""Makes the golden lab of a version: `python -m tests.golden.make_lab 0.1.0` writes two files.

`lab-0.1.0.tar.xz` is a lab of two nodes that were stopped with keys nobody has fetched; their
certificates and grants last as long as they can. `lab-0.1.0.json` lists these keys by id, with
the SHA-256 of each. Neither is ever overwritten. They are test keys, and used for nothing else.
"""

import datetime
import hashlib
import json
import lzma
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.enrol import pki
from protokms.lab import processes
from protokms.lab.topology import LinkPlan, NodePlan, Topology
from tests.processes.real_lab import RealLab, eventually, has_keys

FOLDER = Path(__file__).parent
RUNNER = FOLDER / "other_boot.py"
DAYS, BEFORE = 36_500, datetime.timedelta(days=3_650)
BITS = 1_000_000
"""What each store holds when the nodes are stopped, about."""
LEFT_OUT = ("log", "pid", "store.db.lock", "manage.sock", "boot")

SHAPE = Topology(
    nodes=[
        NodePlan(name="kms-1", saes=["sae-1", "sae-3"]),
        NodePlan(name="kms-2", saes=["sae-2", "sae-4"]),
    ],
    links=[LinkPlan(a="kms-1", b="kms-2", rate_bit_s=250_000)],
)
REQUESTS: Sequence[tuple[str, tuple[str, ...], int, int]] = (
    ("sae-1", ("sae-2",), 1, 256),
    ("sae-1", ("sae-2",), 20, 256),
    ("sae-1", ("sae-2", "sae-4"), 5, 128),
    ("sae-3", ("sae-4",), 3, 1024),
    ("sae-2", ("sae-1",), 20, 256),
    ("sae-4", ("sae-3", "sae-1"), 4, 512),
    ("sae-1", ("sae-3",), 6, 256),
    ("sae-1", ("sae-2", "sae-3"), 4, 256),
)
"""Master, slaves, number and size in bits: with the neighbour both ways, and keys drawn at the
node: for an SAE of its own, and for SAEs at both nodes."""


def main() -> None:
    """Make both files, or refuse."""
    version = sys.argv[1]
    bundle, listing = (FOLDER / f"lab-{version}.{end}" for end in ("tar.xz", "json"))
    if bundle.exists() or listing.exists():
        raise SystemExit(f"{bundle} or {listing} is there: a golden lab is never rewritten")
    pki.CA_DAYS = pki.LEAF_DAYS = DAYS
    pki._EARLIER = BEFORE
    with tempfile.TemporaryDirectory() as name:
        bench = RealLab(Path(name) / "lab", SHAPE)
        bench.configure("store", max_bits=1 << 21, ttl_s=31_536_000, erase_s=1)
        rows = _run(bench)
        _pack(bench.folder, bundle)
    listing.write_text(json.dumps({"made_by": version, "keys": rows}, indent=1) + "\n")


def _run(bench: RealLab) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    try:
        _start(bench)
        eventually(partial(_filled, bench), "the stores hold so many bits", 120.0)
        for request in REQUESTS:
            rows += _request(bench, *request)
        _fetch_some(bench, rows)
        _until_erased(bench)
        assert bench.down() == []
        bench.configure("store", mode="local")
        _start(bench)
        rows += _unheard(bench)
        bench.configure("store", mode="confirmed")
    finally:
        bench.down()
    return rows


def _start(bench: RealLab) -> None:
    boot = bench.folder / "boot"
    boot.write_text("0f1e2d3c-golden-lab\n")
    for node in bench.nodes:
        home = bench.folder / node
        args = [sys.executable, "-P", str(RUNNER), str(boot), "node", str(home / "node.toml")]
        args += ["--new"] * (not bench.store(node).exists())
        processes.start(args, home / "log", home / "pid")
    bench.up()
    bench.await_keys()


def _filled(bench: RealLab) -> bool:
    return bench.bits("kms-1", "kms-2", "stored") >= BITS


def _request(
    bench: RealLab, master: str, slaves: tuple[str, ...], number: int, size: int
) -> Iterable[dict[str, Any]]:
    with bench.client(master) as client:
        eventually(partial(has_keys, client, slaves[0], number), "keys to hand out")
        made = client.enc_keys(slaves[0], number, size, also=slaves[1:])
    return [row for slave in slaves for row in _rows(master, slave, made)]


def _rows(master: str, slave: str, made: Iterable[SaeKey]) -> list[dict[str, Any]]:
    return [
        {
            "key_ID": key.key_id,
            "master": master,
            "slave": slave,
            "sha256": hashlib.sha256(key.key.reveal()).hexdigest(),
            "fetched": False,
        }
        for key in made
    ]


def _fetch_some(bench: RealLab, rows: list[dict[str, Any]]) -> None:
    """Fetch keys in the middle of the second grant: that one is held for the rest."""
    some = [row for row in rows if (row["master"], row["slave"]) == ("sae-1", "sae-2")][8:12]
    with bench.client("sae-2") as client:
        client.dec_keys("sae-1", [row["key_ID"] for row in some])
    for row in some:
        row["fetched"] = True


def _until_erased(bench: RealLab) -> None:
    eventually(lambda: not bench.metric("kms-2", "protokms_erasures_owed"), "all is erased")


def _unheard(bench: RealLab) -> list[dict[str, Any]]:
    """Get keys that the peer has not heard of when both nodes are killed."""
    with bench.client("sae-1") as client, bench.client("sae-2") as far:
        eventually(partial(has_keys, client, "sae-2", 8), "keys to hand out")
        _hear_loads(client, far)
        with bench.frozen("kms-2"):
            made = client.enc_keys("sae-2", 7, 256)
            bench.kill("kms-1")
            bench.kill("kms-2")
    return _rows("sae-1", "sae-2", made)


def _hear_loads(near: SaeClient, far: SaeClient) -> None:
    """Let a first grant in `local` mode go all the way, and be fetched."""
    made = near.enc_keys("sae-2", 1)
    eventually(partial(_fetch, far, made), "the peer holds it")


def _fetch(far: SaeClient, made: list[SaeKey]) -> list[SaeKey]:
    try:
        return far.dec_keys("sae-1", [key.key_id for key in made])
    except SaeError:
        return []


def _pack(folder: Path, bundle: Path) -> None:
    with lzma.open(bundle, "wb", preset=9) as out, tarfile.open(fileobj=out, mode="w") as tar:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in LEFT_OUT:
                member = tarfile.TarInfo(str(file.relative_to(folder)))
                member.mode, member.size = file.stat().st_mode & 0o777, file.stat().st_size
                with file.open("rb") as octets:
                    tar.addfile(member, octets)


if __name__ == "__main__":
    main()
