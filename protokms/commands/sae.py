"""`protokms sae`: a client of ETSI GS QKD 014 for people; it hides keys unless told otherwise."""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.commands.terminal import cell, say
from protokms.lab import lab
from protokms.lab.lab import Access

app = typer.Typer()

_OR_LAB = "or name a lab with --lab and --as"
Url = Annotated[
    str | None,
    typer.Option(envvar="SAE_URL", help=f"The KME of this SAE, https; {_OR_LAB}."),
]
Ca = Annotated[
    Path | None, typer.Option(envvar="SAE_CA", help="CA that signed the KME's certificate, PEM.")
]
Cert = Annotated[Path | None, typer.Option(envvar="SAE_CERT", help="Certificate of this SAE, PEM.")]
Key = Annotated[Path | None, typer.Option(envvar="SAE_KEY", help="Private key of this SAE, PEM.")]
Folder = Annotated[Path | None, typer.Option("--lab", help="Folder of a lab; say --as, too.")]
As = Annotated[str | None, typer.Option("--as", help="Id of an SAE of that lab, to be it.")]
Peer = Annotated[str, typer.Option(help="Id of the other SAE.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Print the keys themselves.")]


@app.command()
def status(  # noqa: PLR0917 -- see enc
    peer: Peer,
    folder: Folder = None,
    sae: As = None,
    url: Url = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask how many keys there are for this SAE and another.

    Example: `protokms sae status --lab lab --as sae-1 --peer sae-2`
    """
    with _client(_access(folder, sae, url, ca, cert, key)) as client:
        found = client.status(peer)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("field", "value")
    for name, value in found.items():
        text = json.dumps(value) if isinstance(value, dict | list) else str(value)
        table.add_row(cell(name), cell(text))  # an id may look like markup
    Console().print(table)


@app.command()
def enc(  # noqa: PLR0917 -- options are given by name
    peer: Peer,
    folder: Folder = None,
    sae: As = None,
    url: Url = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    number: Annotated[int, typer.Option(min=1, help="How many keys.")] = 1,
    size: Annotated[int | None, typer.Option(help="Bits of each key.")] = None,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Get fresh keys to share with another SAE; tell it the key_IDs.

    With --json and --reveal it is the key container of the standard.

    Example: `protokms sae enc --lab lab --as sae-1 --peer sae-2 --number 2`

    Without a lab: `protokms sae enc --url https://kme.example:443 --ca ca.crt
    --cert sae-1.crt --key sae-1.key --peer sae-2`
    """
    with _client(_access(folder, sae, url, ca, cert, key)) as client:
        _print(client.enc_keys(peer, number, size), reveal=reveal, as_json=as_json)


@app.command()
def dec(  # noqa: PLR0917 -- see enc
    key_ids: Annotated[list[str], typer.Argument(help="The key_IDs the other SAE told.")],
    peer: Peer,
    folder: Folder = None,
    sae: As = None,
    url: Url = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Get the keys another SAE got; each is handed out once.

    Example: `protokms sae dec --lab lab --as sae-2 --peer sae-1 KEY_ID`
    """
    with _client(_access(folder, sae, url, ca, cert, key)) as client:
        _print(client.dec_keys(peer, key_ids), reveal=reveal, as_json=as_json)


def _access(  # noqa: PLR0917 -- the options of each command, as they come
    folder: Path | None,
    sae: str | None,
    url: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
) -> Access:
    """Return whom to ask, and as whom; what is missing is misuse."""
    if folder or sae:
        if not (folder and sae):
            raise typer.BadParameter("--lab and --as go together: a lab, and an SAE of it")
        try:
            return lab.access(folder, sae)
        except lab.LabError as why:
            say(str(why), err=True)
            raise typer.Exit(1) from None
    if not (url and ca and cert and key):
        raise typer.BadParameter("say --lab and --as, or all of --url, --ca, --cert and --key")
    return Access(url, ca, cert, key)


@contextmanager
def _client(access: Access) -> Iterator[SaeClient]:
    """Open a client; what goes wrong with it ends the command with 1, and says why."""
    for file in access[1:]:
        if not file.is_file():
            say(f"{file} is no file that can be read", err=True)
            raise typer.Exit(1)
    try:
        with SaeClient(*access) as client:
            yield client
    except SaeError as no:
        say(f"{no.status}: {no}" if no.status else str(no), err=True)
        raise typer.Exit(1) from None
    except OSError as why:
        say(f"a certificate or key cannot be used: {why}", err=True)
        raise typer.Exit(1) from None


def _print(keys: Sequence[SaeKey], *, reveal: bool, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for one in keys:
        row: dict[str, Any] = {"key_ID": one.key_id}
        if reveal:
            row["key"] = base64.b64encode(one.key.reveal()).decode()
        rows.append(row)
    if as_json:
        typer.echo(json.dumps({"keys": rows}, indent=2))
        return
    for row, one in zip(rows, keys, strict=True):  # plain: what is copied must not be cut
        said = [row["key_ID"], f"{8 * len(one.key)} bits", *([row["key"]] if reveal else [])]
        say("  ".join(said))
    if not reveal:
        say("keys are hidden; --reveal shows them")
