"""Labs: a folder with everything that a network of nodes needs, made by one command.

lab.json                      what is here; paths in it are relative to the folder
directory.json, .sig          who is who, signed by the CA
ca/                           ca.crt, ca.key, signing.pub, signing.key
NODE/                         node.toml and the secrets of one node; log and pid when it runs
saes/                         certificate and key of every SAE; lab.json tells which are whose
controllers/                  certificate and key of the controller, if there is one
"""

import hashlib
import itertools
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from actors.protocol import peers
from etsi.http.options import SaeIdFrom
from protokms.config import addresses, directory, interfaces, plugins
from protokms.config.addresses import Place
from protokms.config.keyfiles import BadFile, read_file, write_public, write_secret
from protokms.config.link_tables import KINDS
from protokms.config.load import AnyConfig, load, load_any
from protokms.config.sections import AGENT, EdgeConfig, NodeConfig
from protokms.config.tables import ConfigError
from protokms.enrol import directories, pki
from protokms.lab import plan as lab_plan
from protokms.lab import topology
from protokms.node import ports
from transport import curve
from transport.endpoint import Endpoint

FILE = "lab.json"
DIRECTORY = "directory.json"
_LIMIT = 1 << 22  # octets of lab.json
_SIBLINGS = 64
_NAMED = 16  # SAEs in a message
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # begins with no "_", as a hash does here
_ANY = ("0.0.0.0", "::")  # noqa: S104  # to recognise, not to bind


class LabError(Exception):
    """The lab is not as it must be; the text says what is wrong and what to do."""


class LabNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node: `pid` is the file that holds the id of its process while it runs.

    `etsi014` and `etsi015` are https URLs, `metrics` a http URL; the second is for controllers,
    if it is to have one. `has_store` once its store has been made: one that is missing from then
    on is lost, and not made again. `interfaces` are those that the fibres to neighbours lead to.
    """

    name: str
    id: str
    config: str
    etsi014: str
    metrics: str
    pid: str
    has_store: bool = False
    etsi015: str | None = None
    interfaces: dict[str, int] = {}


class LabSae(msgspec.Struct, frozen=True, kw_only=True):
    """One SAE, the node that serves it, and its certificate."""

    id: str
    node: str
    cert: str
    key: str


class LabController(msgspec.Struct, frozen=True, kw_only=True):
    """The controller that may write to every node, and its certificate."""

    id: str
    cert: str
    key: str


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """What `lab.json` says."""

    ca: str
    nodes: list[LabNode]
    saes: list[LabSae]
    controller: LabController | None = None

    def node(self, name: str) -> LabNode:
        """Return a node by its name, or raise `LabError`."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"there is no node {name} here; there are {known}")

    def sae(self, id_: str) -> LabSae:
        """Return an SAE by its id, or raise `LabError`."""
        for sae in self.saes:
            if sae.id == id_:
                return sae
        known = ", ".join(sae.id for sae in self.saes[:_NAMED]) or "none"
        raise LabError(f"there is no SAE {id_[:80]} here; there are {known}")


class Access(NamedTuple):
    """Where the KME of an SAE is, and with which files it is asked; those are PEM."""

    url: str
    ca: Path
    cert: Path
    key: Path


def read(folder: Path) -> Lab:
    """Read `lab.json`, or raise `LabError`."""
    try:
        return msgspec.json.decode(read_file(folder / FILE, _LIMIT), type=Lab)
    except BadFile as why:
        raise LabError(f"{folder} holds no lab: {why}") from why
    except (ValueError, RecursionError) as why:
        raise LabError(f"{folder / 'lab.json'} is damaged: {why}; make the lab anew") from why


def init(
    folder: Path, shape: topology.Topology, *, bare: bool = False, controller: bool = False
) -> Lab:
    """Make a lab in an empty or absent folder; on an error nothing is left in it.

    `LabError` tells why not; `topology.parse` makes the shape. The nodes of a `bare` lab know the
    directory, and have interfaces; each fibre of the shape has its key, and none has a link. A
    bare lab has a `controller`, and so has one with a front end for it in its shape.
    """
    check_empty(folder)
    key = str(folder.absolute())
    try:
        known = ports.free(key, ports_of_siblings(folder))
        wanted = controller or bare or any(map(_has_agent, shape.nodes))
        name = _controller_id(shape) if wanted else ""
        placed = lab_plan.place(shape, known, bare=bare, controller=name)
    except (ports.NoPorts, StopIteration) as why:
        raise LabError(str(why) or "a node's ports pass 65535; choose a lower first port") from why
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lab = _write(folder, placed)
        for node in placed:
            own = any(link.is_own for link in node.links)  # whose files are not there yet
            here(load(folder / node.name / "node.toml", files=not own), files=not own)
    except ConfigError as why:
        _clear(folder, existed)
        raise LabError(f"that topology makes no lab:\n{why}") from why
    except BaseException:
        _clear(folder, existed)
        raise
    return lab


def access(folder: Path, id_: str) -> Access:
    """Return what an SAE of a lab needs to ask its KME, or raise `LabError`."""
    made = read(folder)
    sae = made.sae(id_)
    url = made.node(sae.node).etsi014
    return Access(url, folder / made.ca, folder / sae.cert, folder / sae.key)


def _has_agent(node: topology.NodePlan) -> bool:
    return any(AGENT in process.actors for process in node.processes)


def _controller_id(shape: topology.Topology) -> str:
    """Return the id of the controller: no SAE has it."""
    saes = {sae for node in shape.nodes for sae in node.saes}
    names = (f"controller-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in saes)


def is_new(node: LabNode, made: NodeConfig) -> bool:
    """Tell whether a node has never run: it has no store, and `lab.json` knows of none."""
    return not node.has_store and not made.node.data.exists()


def note_stores(folder: Path, names: Collection[str]) -> None:
    """Note in `lab.json` that these nodes have a store; whoever calls lets nobody else write."""
    lab = read(folder)
    nodes = [
        msgspec.structs.replace(node, has_store=node.has_store or node.name in names)
        for node in lab.nodes
    ]
    if nodes != lab.nodes:
        save(folder, msgspec.structs.replace(lab, nodes=nodes))


def save(folder: Path, lab: Lab) -> None:
    """Write `lab.json` anew; whoever calls lets nobody else write."""
    pki.replace_file(folder / FILE, octets(lab), write_public)


def octets(lab: Lab) -> bytes:
    """Lay out what `lab.json` says."""
    return msgspec.json.format(msgspec.json.encode(lab), indent=2) + b"\n"


def files_of(made: AnyConfig) -> list[Path]:
    """Return every file that a configuration names and that exists before the process runs.

    What the options of other packages name may be folders.
    """
    found = [made.path]
    if isinstance(made, NodeConfig):
        found += [made.directory.file, directory.signature_path(made.directory.file)]
        found += [made.directory.ca, made.node.signing_key, made.transport.curve]
        found += [made.node.node_key.file] if made.node.node_key.file else []
        found += [one.seal for one in made.processes]
        for own in made.actors:
            found += plugins.files(own.kind, own.options, plugins.ACTORS, made.path)
    else:
        found += [made.process.curve, made.process.seal]
    for etsi in filter(None, (made.etsi014, made.etsi015)):
        found += [etsi.certificate, etsi.key, etsi.client_ca]
        found += [path for path in (etsi.server_ca, etsi.crl) if path]
    links = list(made.links)
    for one in made.interfaces:
        files = interfaces.fibres(one)
        found += files
        links += [interfaces.read_link(one, file.stem) for file in files]
    found += [link.secret for link in links if link.secret]
    for device in [table for link in links for _, table in link.devices]:
        found += [device.certificate, device.key, device.ca]
    for link in links:
        if link.module not in KINDS:
            found += plugins.files(link.module, link.options, plugins.MODULES, made.path)
    return list(dict.fromkeys(found))


def here(made: NodeConfig, *, files: bool = False) -> list[EdgeConfig]:
    """Return the processes beside core whose files are here: those that a lab runs."""
    there = [one.config for one in made.processes if one.config and one.config.exists()]
    found = [load_any(config, files=files) for config in there]
    return [edge for edge in found if isinstance(edge, EdgeConfig)]


def _write(folder: Path, placed: list[lab_plan.PlacedNode]) -> Lab:
    controller = next((node.controller for node in placed if node.etsi015), "")
    folders = ("ca", "saes", *(["controllers"] if controller else []))
    for name in (*folders, *(node.name for node in placed)):
        (folder / name).mkdir(mode=0o700)
    authority = pki.Authority.create(folder / "ca")
    pki.draw_signing_key(folder / "ca/signing.key", folder / "ca/signing.pub")
    rows = tuple(write_node(folder / node.name, node, authority) for node in placed)
    _write_link_secrets(folder, placed)
    directories.make(folder / DIRECTORY, folder / "ca/signing.key", rows)
    saes = [
        write_sae(folder, node.name, sae, authority, node.sae_id_from)
        for node in placed
        for sae in node.plan.saes
    ]
    lab = Lab(
        ca="ca/ca.crt",
        nodes=[row_of(node) for node in placed],
        saes=saes,
        controller=_write_controller(folder, controller, authority) if controller else None,
    )
    write_public(folder / FILE, octets(lab))
    return lab


def write_node(home: Path, node: lab_plan.PlacedNode, authority: pki.Authority) -> peers.Kms:
    """Make keys, certificate and configuration of a node; return its row of the directory."""
    pair = curve.create(home / "curve.key")
    publics = {}
    for process in node.plan.processes:
        publics[process.name] = curve.create(home / f"{process.name}.curve.key").public
        pki.draw_key(home / f"{process.name}.seal.key")
        text = lab_plan.edge_text(node, process, pair.public)
        write_public(home / f"{process.name}.toml", text.encode())
    pki.draw_key(home / "node.key")
    signing = pki.draw_signing_key(home / "signing.key")
    served = [*node.plan.front, *node.plan.place(AGENT)]
    hosts = [host for host in dict.fromkeys([node.plan.host, *served]) if host not in _ANY]
    hosts += ["localhost"] if node.address.is_loopback and "localhost" not in hosts else []
    authority.server(home / "tls.crt", home / "tls.key", node.name, node.id, hosts)
    write_public(home / "node.toml", lab_plan.config_text(node, publics).encode())
    return peers.Kms(
        name=node.name,
        id=node.id,
        address=str(node.address),
        curve=pair.public,
        signing=signing,
        saes=tuple(node.plan.saes),
    )


def _write_link_secrets(folder: Path, placed: list[lab_plan.PlacedNode]) -> None:
    for node in placed:
        (folder / node.name / "links").mkdir(mode=0o700)
    for node in placed:
        for link in node.links:
            mine = folder / node.name / "links" / f"{link.peer}.key"
            if not mine.exists():
                pki.draw_key(mine)
                theirs = folder / link.peer / "links" / f"{node.name}.key"
                write_secret(theirs, read_file(mine))
            if node.bare:
                fibre = mine.with_suffix(interfaces.SUFFIX)
                write_public(fibre, lab_plan.fibre_text(link).encode())


def write_sae(
    folder: Path, node: str, sae: str, authority: pki.Authority, source: SaeIdFrom
) -> LabSae:
    """Make key and certificate of an SAE of a node."""
    stem = f"saes/{_file_name(sae)}"
    made = LabSae(id=sae, node=node, cert=f"{stem}.crt", key=f"{stem}.key")
    authority.client(folder / made.cert, folder / made.key, sae, source)
    return made


def _write_controller(folder: Path, id_: str, authority: pki.Authority) -> LabController:
    stem = f"controllers/{id_}"
    made = LabController(id=id_, cert=f"{stem}.crt", key=f"{stem}.key")
    authority.client(folder / made.cert, folder / made.key, id_)
    return made


def _file_name(sae: str) -> str:
    """Name the files of an SAE: by its id if that is a plain word, else by a hash of it."""
    if _PLAIN.fullmatch(sae):
        return sae
    return "_" + hashlib.sha256(sae.encode()).hexdigest()[:16]


def row_of(node: lab_plan.PlacedNode) -> LabNode:
    """Return what `lab.json` says of a node."""
    https = Endpoint(node.plan.front[0], node.etsi014.port)
    agent = node.plan.place(AGENT)[0]
    host = node.plan.host if node.metrics.host in _ANY else node.metrics.host
    return LabNode(
        name=node.name,
        id=node.id,
        config=f"{node.name}/node.toml",
        etsi014=f"https://{https}",
        metrics=f"http://{Endpoint(host, node.metrics.port)}",
        pid=f"{node.name}/pid",
        etsi015=f"https://{Endpoint(agent, node.etsi015.port)}" if node.etsi015 else None,
        interfaces={link.peer: link.number for link in node.links},
    )


def check_empty(folder: Path) -> None:
    """Raise `LabError` unless the folder is absent or empty."""
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is no folder; choose another")
    if folder.is_dir() and any(folder.iterdir()):
        raise LabError(f"{folder} is not empty; choose another, nothing is overwritten")


def _clear(folder: Path, existed: bool) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not existed:
        folder.rmdir()


def ports_of_siblings(folder: Path) -> set[int]:
    """Find the ports of labs next to this one: those may be down now and up later."""
    taken: set[int] = set()
    try:
        found = sorted(folder.absolute().parent.glob("*/lab.json"))[:_SIBLINGS]
    except OSError:
        return taken
    for file in found:
        try:
            for node in read(file.parent).nodes:
                made = load(file.parent / node.config, files=False)
                taken |= {end.port for end, _ in endpoints_of(made)}
        except (LabError, ConfigError, OSError):
            continue  # somebody else's trouble
    return taken


def endpoints_of(made: NodeConfig) -> list[tuple[Endpoint, str]]:
    """Return all addresses that a node binds here, with the key that says so."""
    return [(place.end, place.key) for place in places_of(made)]


def places_of(made: NodeConfig) -> list[Place]:
    """Return all addresses that the processes of a node bind here."""
    return [place for one in (made, *here(made)) for place in addresses.places(structs.asdict(one))]
