"""The signed directory: who is who in the network.

A JSON file, and beside it `<file>.sig`: the base64 of an Ed25519 signature over its exact
octets. Nothing in the file is looked at before the signature has been verified.
"""

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from actors.protocol import peers
from protokms.endpoint import TcpEndpoint
from protokms.keyfiles import BadFile, key_octets, read_file
from protokms.sections import Text
from transport.curve import check_public
from transport.envelope import is_node

_LIMIT = 1 << 24  # octets of the file
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
    octets = read_file(file, _LIMIT)
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
        for kms in made.kms:
            _check(kms)
        _no_twins("KMS name", (kms.name for kms in made.kms))
        _no_twins("KME id", (kms.id for kms in made.kms))
        _no_twins("CURVE key", (kms.curve for kms in made.kms))
        _no_twins("address", (kms.address for kms in made.kms))
        _no_twins("SAE", (sae for kms in made.kms for sae in kms.saes))
    except (ValueError, RecursionError) as why:  # msgspec's errors are ValueErrors
        reason = f"is no directory: {str(why)[:200]}"
        raise BadFile(file, reason, "have the CA write and sign it anew") from why
    rows = tuple(
        peers.Kms(kms.name, kms.id, kms.address, kms.curve, kms.signing, tuple(kms.saes))
        for kms in made.kms
    )
    return peers.Directory(serial=made.serial, kmss=rows)


def _check(kms: _Kms) -> None:
    if not is_node(kms.name):
        raise ValueError(f"{kms.name!r:.80} is no name of a KMS")
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


def _no_twins(what: str, names: Iterable[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise ValueError(f"{what} {twins[0]!r:.80} is there twice")
