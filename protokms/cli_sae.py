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

from protokms.sae import SaeClient, SaeError, SaeKey

app = typer.Typer(no_args_is_help=True)

Url = Annotated[str, typer.Option(help="The KME of this SAE: etsi014 of its node in lab.json.")]
Ca = Annotated[Path, typer.Option(help="CA that signed the KME's certificate, PEM.")]
Cert = Annotated[Path, typer.Option(help="Certificate of this SAE, PEM.")]
Key = Annotated[Path, typer.Option(help="Private key of this SAE, PEM.")]
Peer = Annotated[str, typer.Option(help="Id of the other SAE.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Print the keys themselves.")]


@app.command()
def status(  # noqa: PLR0917 -- see enc
    url: Url, ca: Ca, cert: Cert, key: Key, peer: Peer, as_json: Json = False
) -> None:
    """Ask how many keys there are for this SAE and another.

    Example: `protokms sae status --url https://127.0.0.1:PORT --ca lab/ca/ca.crt
    --cert lab/saes/sae-1.crt --key lab/saes/sae-1.key --peer sae-2`
    """
    with _client(url, ca, cert, key) as client:
        found = client.status(peer)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("field", "value")
    for name, value in found.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)


@app.command()
def enc(  # noqa: PLR0917 -- options are given by name
    url: Url,
    ca: Ca,
    cert: Cert,
    key: Key,
    peer: Peer,
    number: Annotated[int, typer.Option(min=1, help="How many keys.")] = 1,
    size: Annotated[int | None, typer.Option(help="Bits of each key.")] = None,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Get fresh keys to share with another SAE; tell it the key_IDs.

    Example: `protokms sae enc --url https://127.0.0.1:PORT --ca lab/ca/ca.crt
    --cert lab/saes/sae-1.crt --key lab/saes/sae-1.key --peer sae-2 --number 2`
    """
    with _client(url, ca, cert, key) as client:
        _print(client.enc_keys(peer, number, size), reveal=reveal, as_json=as_json)


@app.command()
def dec(  # noqa: PLR0917 -- see enc
    key_ids: Annotated[list[str], typer.Argument(help="The key_IDs the other SAE told.")],
    url: Url,
    ca: Ca,
    cert: Cert,
    key: Key,
    peer: Peer,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Get the keys another SAE got; each is handed out once.

    Example: `protokms sae dec --url https://127.0.0.1:PORT --ca lab/ca/ca.crt
    --cert lab/saes/sae-2.crt --key lab/saes/sae-2.key --peer sae-1 KEY_ID`
    """
    with _client(url, ca, cert, key) as client:
        _print(client.dec_keys(peer, key_ids), reveal=reveal, as_json=as_json)


@contextmanager
def _client(url: str, ca: Path, cert: Path, key: Path) -> Iterator[SaeClient]:
    """Open a client; what goes wrong with it ends the command with 1, and says why."""
    try:
        with SaeClient(url, ca, cert, key) as client:
            yield client
    except SaeError as no:
        typer.echo(f"{no.status}: {no}" if no.status else str(no), err=True)
        raise typer.Exit(1) from None
    except OSError as why:
        typer.echo(f"a certificate or key cannot be used: {why}", err=True)
        raise typer.Exit(1) from None


def _print(keys: Sequence[SaeKey], *, reveal: bool, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for one in keys:
        row: dict[str, Any] = {"key_ID": one.key_id, "bits": 8 * len(one.key)}
        if reveal:
            row["key"] = base64.b64encode(one.key.reveal()).decode()
        rows.append(row)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:  # plain lines: what is to be copied must not be cut to a width
        typer.echo("  ".join(str(value) for value in row.values()))
    if not reveal:
        typer.echo("keys are hidden; --reveal shows them")
