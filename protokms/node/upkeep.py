"""What operators do to the store of a stopped node: check it, reset a peer, change its key."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.base import NUMBER_OCTETS, NUMBERED, Drop, Range
from actors.storage.errors import StoreError
from actors.storage.file import StoreFile
from actors.storage.path import sync_folder
from protokms.config.keyfiles import KEY_OCTETS, BadFile, read_key, write_secret
from protokms.config.load import load, node_key
from protokms.config.tables import ConfigError
from transport.message import Secret


class UpkeepFailed(Exception):
    """It was not done; the text says why, and what to do."""


def check_store(config: Path, peer: str) -> dict[str, int]:
    """Open every row of a node's store; return how many of each kind are shared with `peer`."""
    with _opened(config) as store:
        rows = store.report().rows
        found = {kind: n for (name, kind), n in sorted(rows.items()) if name == peer}
        made = load(config, files=False)
        if not found and peer not in {made.node.name, *(link.peer for link in made.links)}:
            raise _nothing(store, peer)
    return found


def reset_store(config: Path, peer: str) -> int:
    """Destroy all that is shared with `peer`, in the log too; return how many rows it was."""
    with _opened(config) as store:
        drops = [Drop(row.store, row.kind, row.id) for row in store.load(peer)]
        for kind in NUMBERED:
            numbers = (row.number for row in store.numbered(Range(peer, kind)))
            drops += [Drop(peer, kind, n.to_bytes(NUMBER_OCTETS, "big")) for n in numbers]
        if not drops:
            raise _nothing(store, peer)
        store.apply(drops)
        if not store.checkpoint():
            raise UpkeepFailed("the rows are gone, but the log still holds them; free the disk")
    return len(drops)


def rotate_key(config: Path, new_key: Path) -> int:
    """Seal a node's store under the key in `new_key`, made when missing; return the rows."""
    with _opened(config) as store:
        if not new_key.exists():
            write_secret(new_key, base64.b64encode(os.urandom(KEY_OCTETS)) + b"\n")
        sync_folder(new_key)  # or a power cut may leave a store whose key is nowhere
        store.rotate(Secret(read_key(new_key)))
        return sum(store.report().rows.values())


def _nothing(store: StoreFile, peer: str) -> UpkeepFailed:
    names = sorted({name for name, _ in store.report().rows})
    known = ", ".join(names) or "nobody"
    return UpkeepFailed(f"nothing is shared with {peer}; there are stores of {known}")


@contextmanager
def _opened(path: Path) -> Iterator[StoreFile]:
    try:
        config = load(path, files=False)
        key = node_key(config)
        store = StoreFile.open(config.node.data, config.node.name, key)
        try:
            yield store
        finally:
            store.close()
    except (BadFile, ConfigError, StoreError, OSError) as why:
        raise UpkeepFailed(str(why)) from why
