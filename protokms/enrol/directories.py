"""Changes of the signed directory: always a larger serial, signed, laid in place of the old one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.protocol import peers
from protokms.config import directory
from protokms.config.keyfiles import BadFile, read_file, read_key, write_public
from protokms.enrol.pki import replace_file
from transport.explained import Explained

Change = Callable[[tuple[peers.Kms, ...]], tuple[peers.Kms, ...]]


class Unfit(Explained):
    """What is asked for does not fit the directory; the text says why."""


def change(file: Path, key: Path, how: Change) -> peers.Directory:
    """Change a directory that is signed by this key, and sign it with the next serial.

    `BadFile` or `Unfit` changes nothing.
    """
    private = _signing_key(key)
    octets = read_file(file, directory.FILE_OCTETS_MAX)
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    directory.verify(file, octets, read_file(directory.signature_path(file)), public)
    old = directory.parse(file, octets)
    new = replace(old, serial=old.serial + 1, kmss=how(old.kmss))
    lay(file, new, private)
    return new


def make(file: Path, key: Path, kmss: Sequence[peers.Kms] = ()) -> peers.Directory:
    """Make a directory with serial 1; `FileExistsError` if there is one."""
    private = _signing_key(key)
    made = peers.Directory(serial=1, kmss=tuple(kmss))
    octets = directory.octets_of(made)
    directory.parse(file, octets)
    write_public(file, octets)
    write_public(directory.signature_path(file), directory.sign(octets, private))
    return made


def sign(file: Path, key: Path, over: Path | None = None) -> peers.Directory:
    """Sign a file as it is; with `over` it takes the place of that directory.

    `BadFile` if its serial is not larger than that one's, or if it is no directory.
    """
    private = _signing_key(key)
    octets = read_file(file, directory.FILE_OCTETS_MAX)
    made = directory.parse(file, octets)
    if over is not None:
        old = directory.parse(over, read_file(over, directory.FILE_OCTETS_MAX))
        if made.serial <= old.serial:
            reason = f"has serial {made.serial}, and {over} has {old.serial}: nodes would refuse it"
            raise BadFile(file, reason, f"write serial {old.serial + 1} or more")
    _lay(over or file, octets, private)
    return made


def lay(file: Path, new: peers.Directory, private: bytes) -> None:
    """Check a directory, sign it, and put it in the place of the one that is there."""
    octets = directory.octets_of(new)
    directory.parse(file, octets)
    _lay(file, octets, private)


def add_kms(row: peers.Kms) -> Change:
    """Name one more KMS."""

    def how(rows: tuple[peers.Kms, ...]) -> tuple[peers.Kms, ...]:
        if any(one.name == row.name for one in rows):
            raise Unfit(f"the directory names a KMS {row.name} already; take another name")
        return (*rows, row)

    return how


def remove_kms(name: str) -> Change:
    """Name a KMS, and its SAEs, no more."""

    def how(rows: tuple[peers.Kms, ...]) -> tuple[peers.Kms, ...]:
        _find(rows, name)
        return tuple(one for one in rows if one.name != name)

    return how


def add_saes(kms: str, saes: Sequence[str]) -> Change:
    """Let SAEs be at home at a KMS."""

    def how(rows: tuple[peers.Kms, ...]) -> tuple[peers.Kms, ...]:
        _find(rows, kms)
        for sae in saes:
            for one in rows:
                if sae in one.saes:
                    raise Unfit(f"SAE {sae} is at home at {one.name} already; take another id")
        return tuple(
            replace(one, saes=(*one.saes, *saes)) if one.name == kms else one for one in rows
        )

    return how


def remove_saes(saes: Sequence[str]) -> Change:
    """Let SAEs be nowhere at home."""

    def how(rows: tuple[peers.Kms, ...]) -> tuple[peers.Kms, ...]:
        known = {sae for one in rows for sae in one.saes}
        for sae in saes:
            if sae not in known:
                raise Unfit(f"the directory names no SAE {sae}; see `protokms directory show`")
        return tuple(
            replace(one, saes=tuple(it for it in one.saes if it not in saes)) for one in rows
        )

    return how


def _find(rows: Sequence[peers.Kms], name: str) -> None:
    if not any(one.name == name for one in rows):
        known = ", ".join(one.name for one in rows[:16]) or "nobody"
        raise Unfit(f"the directory names no KMS {name}; it names {known}")


def _signing_key(key: Path) -> bytes:
    if not key.exists():
        raise BadFile(key, "does not exist", "do this where the signing key of the CA is kept")
    return read_key(key)


def _lay(file: Path, octets: bytes, private: bytes) -> None:
    replace_file(directory.signature_path(file), directory.sign(octets, private), write_public)
    replace_file(file, octets, write_public)
