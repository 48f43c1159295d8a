"""The tables of docs/configuration.md; `python -m tests.kit.config_page` writes them.

What may be written and what is the default is in the structs that a configuration is read into;
what it means is said beside each key in the example files in deploy/.
"""

import json
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from protokms.config import sections
from protokms.config.tables import Loose

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/configuration.md"
HEAD = "| key | what to write | default | meaning |\n|---|---|---|---|\n"
FILES: dict[str, tuple[type[Struct], str]] = {
    "node.toml": (sections.Tables, "deploy/node.toml"),
    "edge.toml": (sections.EdgeTables, "deploy/edge.toml"),
    "fibre.toml": (sections.Fibre, "deploy/fibre.toml"),
}
"""What each of the three kinds of file may hold, and the example that says what it means."""


CLEAR = {
    ("node.node_key", "file"): "a file of mode 0600 with 32 octets in base64; one of these three",
    ("node.node_key", "env"): "the name of a variable that holds them",
    ("node.node_key", "credential"): "the name of a credential of systemd that holds them",
    ("transport", "process_key"): "is ignored: each pair of processes has a seal of its own",
    ("etsi014", "max_in_flight_per_sae"): "the same of one SAE",
    ("etsi014", "max_connections"): "connections",
    ("etsi014", "max_connections_per_sae"): "the same of one SAE",
    ("etsi014", "min_key_size_bits"): "of the smallest key that an SAE may ask for",
    ("etsi014", "max_key_size_bits"): "of the largest key that an SAE may ask for",
    ("etsi014.sae", "fingerprint"): "SHA-256 of its certificate; exactly one of these four",
    ("etsi014.sae", "subject"): "the subject of its certificate",
    ("etsi014.sae", "san_dns"): "a DNS name in its certificate",
    ("etsi014.sae", "san_uri"): "a URI in its certificate",
    ("etsi014.sae", "ca"): "the CA that has issued it, by name or fingerprint",
    ("etsi014.authority", "ca"): "a CA, by name or fingerprint",
    ("link", "loss_db_km"): "loss of the fibre",
    ("link", "extra_loss_db"): "loss of plugs and splices",
    ("link", "rate_bit_s"): "instead of round_s: bits on average",
    ("link", "block_octets"): "with block_s: so many at once",
    ("link", "block_s"): "with block_octets: so often",
    ("link", "duplication"): "share of datagrams that come twice",
    ("link", "reordering"): "share of datagrams that come late",
    ("link", "corruption"): "share of datagrams that come damaged",
    ("link", "peer"): "the name of the neighbour",
    ("link", "options"): "what a module of another package is told",
    ("link.etsi014", "url"): "where the device is",
    ("link.etsi004", "url"): "where the device is",
    ("link.etsi004", "priority"): "as the device has it; 0: as it likes",
    ("etsi014.sae", "id"): "the SAE that the certificate stands for",
    ("etsi014.authority", "saes"): "which SAEs it may name; `abc*`: all that begin like that",
    ("etsi015", "certificate"): "ours, PEM, with its chain",
    ("etsi015", "key"): "mode 0600, not encrypted",
    ("etsi015", "max_connections_per_sae"): "the same of one controller",
    ("etsi015.sae", "id"): "the controller that the certificate stands for",
    ("etsi015.controller", "dialect"): "how it speaks: as the standards say, or as TeraFlowSDN",
    ("link", "fibre_km"): 'with module = "physical": length of the fibre, must be there then',
    ("link", "protocol"): "of the devices at its ends",
    ("link", "drift"): "so large a share more goes wrong at worst, every drift_s",
    ("link", "seed"): "the same number: the same trouble again",
    ("link", "module"): "emulated, physical, etsi014, etsi004, or that of another package",
    ("link", "remote"): "where the other end listens (UDP)",
    ("link.etsi004", "source"): "our application, as the devices know it",
    ("link.etsi004", "destination"): "that of the other end, as the devices know it",
    ("link.etsi004", "max_bit_s"): "what is asked of the stream; 0: as the device likes",
    ("link.etsi004", "min_bit_s"): "an offer of less is refused",
    ("policy", "name"): "of the rule, each once",
    ("policy", "paths"): "over which bits of a pair have to come; else 503",
    ("process", "name"): "of the process, each once in a node",
    ("process", "actors"): "what lives there; all else lives in core",
    ("interface", "module"): "emulated, physical, or that of another package",
    ("actor", "options"): "what the actor is told",
    ("process", "start_wait_s"): "for an address that this host does not have yet; then it ends",
    ("process.front", "number"): "which of the front ends this is",
    ("process.front", "of"): "how many there are",
}
"""What an example leaves to the lines around a key."""

_LINE = re.compile(r"(?:# )?([a-z_][a-z0-9_]*) = [^#]*(?:\"[^\"]*\"[^#]*)*(?:  ?# (.*))?$")
_TABLE = re.compile(r"(?:# )?\[\[?([a-z0-9_.]+)\]\]?(?:\s+#.*)?$")
_MORE = re.compile(r"#? {20,}# (.*)$")
_UNIT = re.compile(r"write a number of (.*) between (\S+) and (\S+)$")
_NO_UNIT = {"no unit", "any kind", "as the device has it", "an order", "an interface"}


class Row(NamedTuple):
    """A key, and what is to be said of it; its table as it is written: `[store]`, `[[link]]`."""

    table: str
    key: str
    write: str
    default: str

    @property
    def place(self) -> tuple[str, str]:
        """Return table and key as examples are asked for them."""
        return self.table.strip("[]"), self.key


def rows(kind: type[Struct], table: str = "") -> Iterator[Row]:
    """Return every key of a struct and of the tables in it, those of each table together."""
    below: list[tuple[type[Struct], str]] = []
    for known in msgspec.structs.fields(kind):
        hint, metas = _parts(known.type)
        several = get_origin(hint) is list
        inner = get_args(hint)[0] if several else hint
        if isinstance(inner, type) and issubclass(inner, Struct):
            name = ".".join(filter(None, (table.strip("[]"), known.encode_name)))
            below.append((inner, f"[[{name}]]" if several else f"[{name}]"))
        else:
            yield Row(table, known.encode_name, _write(hint, metas), _default(known))
    for inner, name in below:
        yield from rows(inner, name)


def meanings(text: str) -> dict[tuple[str, str], str]:
    """Return what an example says of each key, by its table."""
    found: dict[tuple[str, str], str] = {}
    table, last = "", None
    for line in text.splitlines():
        if named := _TABLE.match(line):
            table, last = named[1], None
        elif key := _LINE.match(line):
            last = (table, key[1])
            if key[2] and last not in found:
                found[last] = key[2]
            else:
                last = None
        elif last and (more := _MORE.match(line)):
            found[last] += f" {more[1]}"
        else:
            last = None
    return found


def tables() -> str:
    """Return what stands below the head of the page."""
    parts: list[str] = []
    shown: set[Row] = set()
    for name, (kind, file) in FILES.items():
        said = meanings((ROOT / file).read_text())
        found = list(rows(kind))
        new = [row for row in found if _alike(row) not in shown]
        known = dict.fromkeys(f"`{_alike(row).table}`" for row in found if row not in new)
        parts.append(f"\n## {name}\n\nAn example is `{file}`.")
        parts.append(f" As in node.toml: {', '.join(known)}.\n" if known else "\n")
        for table in dict.fromkeys(row.table for row in new):
            parts.append(f"\n### {f'`{table}`' if table else 'The file itself'}\n\n{HEAD}")
            for row in (it for it in new if it.table == table):
                what = CLEAR.get(row.place) or said.get(row.place) or meaning_of(row)
                cells = (f"`{row.key}`", row.write, row.default, what)
                parts.append("| " + " | ".join(it.replace("|", "\\|") for it in cells) + " |\n")
        shown.update(map(_alike, found))
    return "".join(parts)


def meaning_of(row: Row) -> str:
    """Return what is said of a key in the tables that are like its own; else nothing."""
    every: dict[tuple[str, str], str] = {}
    for _, file in reversed(FILES.values()):
        every.update(meanings((ROOT / file).read_text()))
    every.update(CLEAR)
    table, key = row.place
    places = [table, table.replace("etsi015", "etsi014"), "link"]
    return next((every[place, key] for place in places if (place, key) in every), "")


def _alike(row: Row) -> Row:
    """Return a key of a fibre as one of a link: there it is the same."""
    return row if row.table else row._replace(table="[[link]]")


def _parts(hint: Any) -> tuple[Any, list[Meta]]:
    """Take a hint out of `Annotated` and `| None`; return it with what was said there."""
    metas: list[Meta] = []
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            metas += [it for it in more if isinstance(it, Meta)]
            continue
        kinds = [it for it in get_args(hint) if it is not types.NoneType]
        if get_origin(hint) in (Union, types.UnionType) and len(kinds) == 1:
            hint = kinds[0]
            continue
        return hint, metas


def _write(hint: Any, metas: list[Meta]) -> str:
    said = next((it.description for it in metas if it.description), "")
    if (number := _UNIT.match(said)) and number[1] in _NO_UNIT:
        return f"{_plain(number[2])} to {_plain(number[3])}"
    if number:
        return f"{_plain(number[2])} to {_plain(number[3])} {number[1]}"
    if said:
        return said.removeprefix("write ")
    if hint is int:
        return "a whole number"
    if isinstance(hint, type) and issubclass(hint, Loose):
        return "a table, as the package reads it"
    return "a list of texts"


def _plain(number: str) -> str:
    return number.removesuffix(".0")


def _default(known: Any) -> str:
    if known.required:
        return "must be there"
    made = known.default
    if made is msgspec.NODEFAULT:
        made = known.default_factory()
    if made is None:
        return "none"
    return f"`{json.dumps(made)}`"


def parts_of(page: str) -> tuple[str, str]:
    """Return what stands before the tables, and those."""
    start = page.index("\n## ")
    return page[:start], page[start:]


if __name__ == "__main__":
    before, _ = parts_of(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(before + tables(), encoding="utf-8")
