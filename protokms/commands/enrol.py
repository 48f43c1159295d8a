"""`protokms ca`, `directory` and `keys make`: who belongs to a network, without a lab."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from actors.protocol import peers
from etsi.http.options import id_fault
from protokms.commands.key_kinds import Kind
from protokms.commands.terminal import say_lines
from protokms.config import directory as config_directory
from protokms.enrol import directories, pki
from transport import curve
from transport.explained import Explained

ca = typer.Typer(no_args_is_help=True)
directory = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the CA.")]
Out = Annotated[Path, typer.Option("--out", help="Folder that the two files are made in.")]
Cert = Annotated[Path, typer.Argument(metavar="CERT", help="Certificate of this CA, PEM.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The directory, JSON.")]
Key = Annotated[Path, typer.Option("--key", help="Signing key of the CA, ca/signing.key.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@ca.command("init")
def ca_init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="Name of the CA.")] = "protokms CA",
    as_json: Json = False,
) -> None:
    """Make a CA: ca.crt, ca.key, signing.pub, signing.key, and ca.crl, on which nothing is yet.

    Example: `protokms ca init ca`
    """
    files = ("ca.crt", "ca.key", "signing.pub", "signing.key", pki.CRL)
    with _told():
        for file in files:
            if (folder / file).exists():
                raise Explained(f"{folder / file} exists; move it away, nothing is overwritten")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = pki.Authority.create(folder, name)
        pki.draw_signing_key(folder / "signing.key", folder / "signing.pub")
        authority.revoke(folder / pki.CRL)
    _tell(f"{folder}: {', '.join(files)}", {"files": [str(folder / it) for it in files]}, as_json)


@ca.command("issue-sae")
def ca_issue_sae(  # noqa: PLR0917 -- typer gives them by name
    folder: Folder,
    sae: Annotated[str, typer.Argument(help="Id of the SAE.")],
    out: Out = Path(),
    stem: Annotated[str, typer.Option("--name", help="Name of the files; the id by default.")] = "",
    san: Annotated[bool, typer.Option("--san", help="The id is a SAN URI, not the CN.")] = False,
    as_json: Json = False,
) -> None:
    """Make key and certificate of an SAE: ID.key and ID.crt.

    Example: `protokms ca issue-sae ca sae-1 --out saes`
    """
    stem = stem or sae
    with _told():
        if fault := id_fault(sae):
            raise Explained(f"the id of the SAE {fault}")
        if stem in {".", ".."} or "/" in stem:
            raise Explained(f"{stem[:80]} is no name of a file; write --name")
        if not san and not pki.fits_cn(sae):
            raise Explained("that id is too long for the CN of a certificate; write --san")
        crt, key = _pair(out, stem)
        pki.Authority.load(folder).client(crt, key, sae, "san_uri" if san else "cn")
    _tell(f"{crt}, {key}: of {sae}", {"cert": str(crt), "key": str(key)}, as_json)


@ca.command("issue-node")
def ca_issue_node(  # noqa: PLR0917 -- typer gives them by name
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The KMS name, like kms-1.")],
    hosts: Annotated[
        list[str], typer.Option("--host", help="Where SAEs reach it; may be repeated.")
    ],
    id_: Annotated[str, typer.Option("--id", help="Its KME ID; drawn by default.")] = "",
    out: Out = Path(),
    as_json: Json = False,
) -> None:
    """Make key and certificate of the HTTPS front end of a node: tls.key and tls.crt.

    Example: `protokms ca issue-node ca kms-1 --host 192.0.2.1 --out kms-1`
    """
    id_ = id_ or str(uuid4())
    with _told():
        crt, key = _pair(out, "tls")
        pki.Authority.load(folder).server(crt, key, name, id_, hosts)
    _tell(
        f"{crt}, {key}: of {name}, {id_}", {"cert": str(crt), "key": str(key), "id": id_}, as_json
    )


@ca.command("renew")
def ca_renew(
    folder: Folder,
    cert: Cert,
    key: Annotated[
        Path | None, typer.Option("--key", help="Its key; beside it by default.")
    ] = None,
    rekey: Annotated[bool, typer.Option("--rekey", help="Draw another key as well.")] = False,
    as_json: Json = False,
) -> None:
    """Put a certificate with the same names, and new dates, in the place of one.

    One that is on the list of the CA gets another key in any case. Afterwards the node that uses
    it reads it: `protokms node reload FILE`.

    Example: `protokms ca renew ca saes/sae-1.crt`
    """
    key = key or cert.with_suffix(".key")
    with _told():
        authority = pki.Authority.load(folder)
        lost = pki.is_revoked(folder / pki.CRL, authority.read_own(cert))
        authority.renew(cert, key, rekey=rekey or lost)
    _tell(f"{cert} is renewed", {"cert": str(cert), "rekeyed": rekey or lost}, as_json)


@ca.command("revoke")
def ca_revoke(folder: Folder, cert: Cert, as_json: Json = False) -> None:
    """Put a certificate on the list of the CA, ca.crl, and sign that anew.

    It acts once nodes have the list as `crl` of `[etsi014]` and have read it:
    `protokms node reload FILE`.

    Example: `protokms ca revoke ca saes/sae-1.crt`
    """
    with _told():
        authority = pki.Authority.load(folder)
        there = authority.revoke(folder / pki.CRL, [authority.read_own(cert)])
    _tell(f"{folder / pki.CRL}: {there} revoked", {"revoked": there}, as_json)


@ca.command("crl")
def ca_crl(folder: Folder, as_json: Json = False) -> None:
    """Sign the list of the CA anew, with new dates: it holds for a year.

    Example: `protokms ca crl ca`
    """
    with _told():
        there = pki.Authority.load(folder).revoke(folder / pki.CRL)
    _tell(f"{folder / pki.CRL}: {there} revoked", {"revoked": there}, as_json)


@directory.command("show")
def directory_show(
    file: File,
    trusted: Annotated[Path, typer.Option("--ca", help="Public signing key of the CA.")],
    as_json: Json = False,
) -> None:
    """Verify a directory, and tell who is in it.

    Example: `protokms directory show lab/directory.json --ca lab/ca/signing.pub`
    """
    with _told():
        found = config_directory.read(file, trusted)
    rows = [{"name": it.name, "address": it.address, "saes": list(it.saes)} for it in found.kmss]
    lines = [f"{it.name} at {it.address}: {', '.join(it.saes) or 'no SAE'}" for it in found.kmss]
    _tell("\n".join([f"serial {found.serial}", *lines]), _row(found, kms=rows), as_json)


@directory.command("add")
def directory_add(  # noqa: PLR0917 -- typer gives them by name
    file: File,
    key: Key,
    kms: Annotated[str, typer.Option("--kms", help="Name of the KMS, new or known.")],
    saes: Annotated[list[str] | None, typer.Option("--sae", help="An SAE that is there.")] = None,
    id_: Annotated[str, typer.Option("--id", help="Of a new KMS: its KME ID.")] = "",
    address: Annotated[str, typer.Option(help="Of a new KMS: tcp://host:port.")] = "",
    public: Annotated[str, typer.Option("--curve", help="Of a new KMS: public CURVE key.")] = "",
    signing: Annotated[str, typer.Option(help="Of a new KMS: public signing key.")] = "",
    as_json: Json = False,
) -> None:
    """Name a new KMS, or more SAEs of one, and sign with the next serial.

    A directory that is not there is made. Public keys are what `protokms keys make` prints.

    Example: `protokms directory add directory.json --key ca/signing.key --kms kms-1 --sae sae-9`
    """
    new = (id_, address, public, signing)
    with _told():
        if any(new) and not all(new):
            raise Explained("a new KMS needs all of --id, --address, --curve and --signing")
        if all(new):
            row = peers.Kms(kms, id_, address, public, signing, tuple(saes or ()))
            how = directories.add_kms(row)
            made = (
                directories.change(file, key, how)
                if file.exists()
                else directories.make(file, key, [row])
            )
        elif saes:
            made = directories.change(file, key, directories.add_saes(kms, saes))
        else:
            raise Explained("nothing to add: write --sae, or what a new KMS needs")
    _tell(f"{file}: serial {made.serial}", _row(made), as_json)


@directory.command("remove")
def directory_remove(
    file: File,
    key: Key,
    kms: Annotated[str, typer.Option("--kms", help="A KMS, and all its SAEs.")] = "",
    saes: Annotated[list[str] | None, typer.Option("--sae", help="An SAE.")] = None,
    as_json: Json = False,
) -> None:
    """Name a KMS, or SAEs, no more, and sign with the next serial.

    Example: `protokms directory remove directory.json --key ca/signing.key --sae sae-9`
    """
    with _told():
        if bool(kms) == bool(saes):
            raise Explained("write --kms or --sae")
        how = directories.remove_kms(kms) if kms else directories.remove_saes(saes or ())
        made = directories.change(file, key, how)
    _tell(f"{file}: serial {made.serial}", _row(made), as_json)


@directory.command("sign")
def directory_sign(
    file: File,
    key: Key,
    over: Annotated[
        Path | None, typer.Option("--over", help="Lay it in the place of this directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a directory that was written by hand, and sign it: FILE.sig.

    With `--over` its serial is larger than that of the one in use, or it is refused.

    Example: `protokms directory sign new.json --key ca/signing.key --over directory.json`
    """
    with _told():
        made = directories.sign(file, key, over)
    _tell(f"{over or file}: serial {made.serial}", _row(made), as_json)


def keys_make(kind: Kind, file: Path, *, as_json: bool) -> None:
    """Draw a key and write it to a new file; of `signing` and `curve` print the public half."""
    public = ""
    with _told():
        if file.exists():
            raise Explained(f"{file} exists; move it away, a key is not overwritten")
        match kind:
            case Kind.signing:
                public = pki.draw_signing_key(file)
            case Kind.curve:
                public = curve.create(file).public
            case _:
                pki.draw_key(file)
    found = {"file": str(file)} | ({"public": public} if public else {})
    _tell(public or str(file), found, as_json)


def _pair(out: Path, stem: str) -> tuple[Path, Path]:
    crt, key = out / f"{stem}.crt", out / f"{stem}.key"
    for path in (crt, key):
        if path.exists():
            raise Explained(f"{path} exists; `protokms ca renew`, or move it away")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    return crt, key


def _row(made: peers.Directory, **more: Any) -> dict[str, Any]:
    return {"serial": made.serial, **more}


def _tell(text: str, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        say_lines(text)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (Explained, OSError, ValueError) as why:
        say_lines(str(why), err=True)
        raise typer.Exit(1) from None
