"""Two applications of a lab get the same key: `python two_saes.py LAB`, while the lab runs."""

import json
import sys
from pathlib import Path

from protokms.client import SaeClient


def client(lab: Path, name: str) -> SaeClient:
    """Make the client of an SAE of a lab; of a real one you know the URL and the three files."""
    made = json.loads((lab / "lab.json").read_text())
    sae = next(it for it in made["saes"] if it["id"] == name)
    kme = next(it for it in made["nodes"] if it["name"] == sae["node"])
    files = lab / made["ca"], lab / sae["cert"], lab / sae["key"]
    return SaeClient(kme["etsi014"], *files, patience_s=30.0)


def main(lab: Path) -> None:
    """Let sae-1 make a key for sae-2, and both have it."""
    with client(lab, "sae-1") as master, client(lab, "sae-2") as slave:
        (mine,) = master.enc_keys("sae-2", size=256)
        # Only the key_ID goes from one application to the other; it is no secret.
        (same,) = slave.dec_keys("sae-1", [mine.key_id])
        assert mine.key.reveal() == same.key.reveal()
        print(f"both have key {mine.key_id} of {8 * len(mine.key.reveal())} bits")  # noqa: T201 -- a script


if __name__ == "__main__":
    main(Path(sys.argv[1]))
