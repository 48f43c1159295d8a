"""An SAE that asks for all it can get, in a process of its own: it delays no other client.

`python -m protokms.bench.greedy URL CA CERT KEY CONNECTIONS SECONDS PATH` prints its score as JSON.
"""

import json
import sys
from pathlib import Path

import uvloop

from protokms.bench import loader
from transport.https import client_context


def main() -> None:
    """Ask on so many connections for so long, over and over; each refused request at once again."""
    url, ca, cert, key, connections, seconds, path = sys.argv[1:]
    tls = client_context(Path(ca), Path(cert), Path(key))
    work = loader.load(url, tls, int(connections), float(seconds), loader.get(path))
    score = uvloop.run(work)
    told = {
        "answered": len(score.seconds),
        "refused": score.refused,
        "p50_ms": round(1e3 * score.quantile(0.5), 1),
        "seconds": score.ended - score.began,
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
