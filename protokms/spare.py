"""What a running node does without: memory for what others load just in case."""

import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OTHERS = frozenset({"etsi014", "etsi015", "metrics"})
"""Tables of the file of an edge for which it serves HTTP."""


def spare_authorities() -> None:
    """Let nobody load the CAs of the system, about 1.6 MiB: a node trusts those in its files.

    aiohttp would, when it is imported, for clients that there are none of here; the environment
    may name other CAs, which mean as little.
    """
    os.environ["SSL_CERT_FILE"] = os.devnull


def spare_tls(args: Sequence[str]) -> None:
    """Load asyncio without TLS, and hashes without OpenSSL, if a process serves no HTTP.

    asyncio can do without these 4 MiB. The hashes are Python's own then, and spare 3 MiB more; all
    else comes from `cryptography`, which brings an OpenSSL of its own. Whoever needs TLS later
    loads it as ever.
    """
    if _serves_http(args):
        return
    absent = [name for name in ("ssl", "_hashlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    import asyncio  # noqa: F401, PLC0415
    import hashlib  # noqa: F401, PLC0415
    import hmac  # noqa: F401, PLC0415

    for name in absent:
        del sys.modules[name]


def _serves_http(args: Sequence[str]) -> bool:
    """Tell so of the process that is to run; true if that is not sure."""
    match args:
        case [file]:
            table = _read(Path(file))
        case [file, "--process", name]:
            table = _beside(Path(file), name)
        case _:
            return True
    return not isinstance(table.get("process"), Mapping) or bool(_OTHERS & table.keys())


def _beside(core: Path, name: str) -> Mapping[str, Any]:
    rows = _read(core).get("process")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row.get("name") == name and row.get("config"):
            return _read(core.parent / str(row["config"]))
    return {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # which is told when it is read in earnest
