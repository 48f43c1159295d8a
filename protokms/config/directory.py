"""The signed directory: who is who in the network.

A JSON file, and beside it `<file>.sig`: the base64 of an Ed25519 signature over its exact
octets. Nothing in the file is looked at before the signature has been verified.
"""

import base64
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from actors.protocol import peers
from etsi.http.options import ID_OCTETS_MAX, Text, id_too_long
from protokms.config.keyfiles import BadFile, key_octets, read_file
from protokms.config.tables import in_words
from transport.curve import check_public
from transport.endpoint import TcpEndpoint
from transport.envelope import is_node

FILE_OCTETS_MAX = 64 << 20
"""Octets of the file: a million SAEs take 23 to 40 MB, laid out as `octets_of` does it."""
SAES_MAX = 1 << 20
KMSS_MAX = 10_000
"""What neighbours say to each other of all KMSs fits a frame up to 13,000 of the longest names."""

_SIGNATURE_OCTETS = 64


class _Kms(msgspec.Struct, forbid_unknown_fields=True):
    name: Text
    id: Text
    address: Text
    curve: Text
    signing: Text
    saes: list[Text]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    serial: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    kms: list[_Kms]


def signature_path(file: Path) -> Path:
    """Return where the signature of a directory lies."""
    return file.with_name(file.name + ".sig")


def octets_of(directory: peers.Directory) -> bytes:
    """Lay a directory out as the JSON text that is signed."""
    rows = [
        _Kms(kms.name, kms.id, kms.address, kms.curve, kms.signing, list(kms.saes))
        for kms in directory.kmss
    ]
    text = msgspec.json.encode(_File(directory.serial, rows))
    return msgspec.json.format(text, indent=2) + b"\n"


def sign(octets: bytes, private: bytes) -> bytes:
    """Return the base64 signature of a directory under a raw Ed25519 private key."""
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(octets)
    return base64.b64encode(signature) + b"\n"


def read(file: Path, ca: Path) -> peers.Directory:
    """Read and verify a directory under the public key in `ca`, or raise `BadFile`."""
    octets = read_file(file, FILE_OCTETS_MAX)
    verify(file, octets, read_file(signature_path(file)), key_octets(read_file(ca), ca))
    return parse(file, octets)


def verify(file: Path, octets: bytes, signature: bytes, public: bytes) -> None:
    """Check a signature over exactly these octets, or raise `BadFile`."""
    beside = signature_path(file)
    raw = key_octets(signature, beside, _SIGNATURE_OCTETS)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, octets)
    except (InvalidSignature, ValueError) as why:
        remedy = "fetch directory and signature again from whoever runs the CA, and check the CA"
        raise BadFile(file, "its signature does not verify under the CA's key", remedy) from why


def parse(file: Path, octets: bytes) -> peers.Directory:
    """Read what was verified; `BadFile` if it is no directory or contradicts itself."""
    try:
        made = msgspec.json.decode(octets, type=_File)
        _not_too_many("KMSs", len(made.kms), KMSS_MAX)
        _not_too_many("SAEs", sum(len(kms.saes) for kms in made.kms), SAES_MAX)
        for kms in made.kms:
            _check(kms)
        _no_twins("KMS name", [kms.name for kms in made.kms])
        _no_twins("KME id", [kms.id for kms in made.kms])
        _no_twins("CURVE key", [kms.curve for kms in made.kms])
        _no_twins("address", [kms.address for kms in made.kms])
        _no_twins("SAE", [sae for kms in made.kms for sae in kms.saes])
    except (ValueError, RecursionError) as why:  # msgspec's errors are ValueErrors
        reason = f"is no directory: {in_words(str(why))[:200]}"
        raise BadFile(file, reason, "have the CA write and sign it anew") from why
    rows = tuple(
        peers.Kms(kms.name, kms.id, kms.address, kms.curve, kms.signing, tuple(kms.saes))
        for kms in made.kms
    )
    return peers.Directory(serial=made.serial, kmss=rows)


def _check(kms: _Kms) -> None:
    if not is_node(kms.name):
        raise ValueError(f"{kms.name!r:.80} is no name of a KMS")
    for name in filter(_is_long, (kms.id, *kms.saes)):
        if fault := id_too_long(name):
            raise ValueError(f"the id {name[:40]!r}... {fault}")
    try:
        TcpEndpoint.parse(kms.address)
    except ValueError as why:
        raise ValueError(f"{kms.name}: its address {why}") from why
    try:
        check_public(kms.curve)
    except ValueError as why:
        raise ValueError(f"{kms.name}: {why}") from why
    try:
        key_octets(kms.signing.encode(), Path())
    except BadFile as why:
        raise ValueError(f"{kms.name}: its signing key {why.reason}") from why


def _is_long(name: str) -> bool:
    """Whether a name may have too many octets (4 a character at most); a million take long."""
    return len(name) > ID_OCTETS_MAX // 4


def _not_too_many(what: str, there: int, most: int) -> None:
    if there > most:
        raise ValueError(f"it names {there:,} {what}, and at most {most:,} are taken")


def _no_twins(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twin, _ = Counter(names).most_common(1)[0]
        raise ValueError(f"{what} {twin!r:.80} is there twice")
