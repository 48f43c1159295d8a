"""`make yang YANG=DIR`: libyang and yangson judge what the agent tells, by the official modules."""

import sys
import tempfile
from pathlib import Path

from tests.kit.wanted import VIRT_ID, A
from tests.yang.judges import Libyang, Yangson
from tests.yang.modules import Unfit, corrected
from tests.yang.table import DEVIATIONS, differences
from tests.yang.trees import notifications, trees

_LINK = {"qkdl_id": VIRT_ID, "qkdl_type": "etsi-qkd-node-types:VIRT"}


def _wrong(**leaves: object) -> dict[str, object]:
    links = {"qkd_link": [{**_LINK, **leaves}]}
    return {"etsi-qkd-sdn-node:qkd_node": {"qkdn_id": A, "qkd_links": links}}


WRONG = (
    _wrong(qkdl_type="VIRT"),
    _wrong(qkdl_enable="true"),
    _wrong(virt_bandwidth="1"),
    _wrong(phys_channel_att="1.0"),
    _wrong(something=1),
)
"""What a judge has to refuse, or it is none."""


def main(official: str) -> int:
    """Judge; return how many faults there are."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corrected(Path(official), folder)
        libyang, yangson = Libyang(folder), Yangson(folder)
        differing = set(differences(yangson.model))
        faults += sorted(f"the tree: {text}" for text in differing ^ DEVIATIONS)
        judged = 0
        for judge in (libyang, yangson):
            faults += [f"{judge.name} takes {wrong}" for wrong in WRONG if not judge.refuses(wrong)]
        for what, data in (*trees(), *notifications()):
            of_015 = all(name.startswith("etsi-qkd-sdn-node:") for name in data)
            for judge in (libyang, yangson) if of_015 else (libyang,):
                judged += 1
                if why := judge.refuses(data):
                    faults.append(f"{judge.name} refuses {what}: {why}")
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    names = f"{libyang.name} and {yangson.name}"
    sys.stdout.write(f"{judged} judgements of {names}, {len(faults)} faults\n")
    return min(len(faults), 1)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: make yang YANG=DIR, a folder with the two modules of ETSI GS QKD 015")
    try:
        sys.exit(main(sys.argv[1]))
    except Unfit as why:
        sys.exit(str(why))
