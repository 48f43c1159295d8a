"""Labs: a folder with everything that a network of nodes needs, made by one command.

lab.json                      what is here; paths in it are relative to the folder
directory.json, .sig          who is who, signed by the CA
ca/                           ca.crt, ca.key, signing.pub, signing.key
NODE/                         node.toml and the secrets of one node; log and pid when it runs
saes/                         certificate and key of every SAE
"""

import io
import os
import shutil
import tarfile
from pathlib import Path

import msgspec

from actors.protocol import peers
from protokms import config, directory, lab_plan, pki, ports, topology
from protokms.endpoint import Endpoint
from protokms.keyfiles import BadFile, read_file, read_key, write_public, write_secret
from protokms.sections import NodeConfig
from protokms.tables import ConfigError
from transport import curve

_LIMIT = 1 << 22  # octets of lab.json
_SIBLINGS = 64
_ANY = ("0.0.0.0", "::")  # noqa: S104  # to recognise, not to bind


class LabError(Exception):
    """The lab is not as it must be; the text says what is wrong and what to do."""


class LabNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node: `pid` is the file that holds the id of its process while it runs.

    `etsi014` is an https URL, `metrics` a http URL.
    """

    name: str
    id: str
    config: str
    etsi014: str
    metrics: str
    pid: str


class LabSae(msgspec.Struct, frozen=True, kw_only=True):
    """One SAE, the node that serves it, and its certificate."""

    id: str
    node: str
    cert: str
    key: str


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """What `lab.json` says."""

    ca: str
    nodes: list[LabNode]
    saes: list[LabSae]

    def node(self, name: str) -> LabNode:
        """Return a node by its name, or raise `LabError`."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"there is no node {name} here; there are {known}")


def read(folder: Path) -> Lab:
    """Read `lab.json`, or raise `LabError`."""
    try:
        return msgspec.json.decode(read_file(folder / "lab.json", _LIMIT), type=Lab)
    except BadFile as why:
        raise LabError(f"{folder} holds no lab: {why}") from why
    except (ValueError, RecursionError) as why:
        raise LabError(f"{folder / 'lab.json'} is damaged: {why}; make the lab anew") from why


def init(folder: Path, shape: topology.Topology) -> Lab:
    """Make a lab in an empty or absent folder; on an error nothing is left in it.

    `LabError` tells why not; `topology.parse` makes the shape.
    """
    _check_empty(folder)
    key = str(folder.absolute())
    try:
        placed = lab_plan.place(shape, ports.free(key, _ports_of_siblings(folder)))
    except (ports.NoPorts, StopIteration) as why:
        raise LabError(str(why) or "a node's ports pass 65535; choose a lower first port") from why
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lab = _write(folder, placed)
        for node in placed:
            config.load(folder / node.name / "node.toml")
    except ConfigError as why:
        _clear(folder, existed)
        raise LabError(f"that topology makes no lab:\n{why}") from why
    except BaseException:
        _clear(folder, existed)
        raise
    return lab


def export(folder: Path, name: str, out: Path | None = None) -> Path:
    """Bundle what one node needs on another host: its own secrets and nobody else's.

    The tar file (mode 0600) is unpacked into an empty folder, which is a lab of one node then.
    """
    lab = read(folder)
    node = lab.node(name)
    out = out or Path(f"{name}.tar")
    made = config.load(folder / node.config)
    alone = msgspec.json.encode(Lab(ca=lab.ca, nodes=[node], saes=[]))
    members = {"lab.json": msgspec.json.format(alone, indent=2) + b"\n"}
    members |= {_inside(folder, path): read_file(path, 1 << 24) for path in files_of(made)}
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise LabError(f"{out} exists; move it away, nothing is overwritten") from None
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for path, octets in members.items():
            _add(tar, path, octets)
    return out


def files_of(made: NodeConfig) -> list[Path]:
    """Return every file that a configuration names and that exists before the node runs."""
    found = [made.path, made.directory.file, directory.signature_path(made.directory.file)]
    found += [made.directory.ca, made.node.signing_key]
    found += [made.transport.curve, made.transport.process_key]
    found += [made.node.node_key.file] if made.node.node_key.file else []
    if etsi := made.etsi014:
        found += [etsi.certificate, etsi.key, etsi.client_ca]
        found += [path for path in (etsi.server_ca, etsi.crl) if path]
    found += [link.secret for link in made.links] + [one.curve for one in made.processes]
    return list(dict.fromkeys(found))


def _write(folder: Path, placed: list[lab_plan.PlacedNode]) -> Lab:
    for name in ("ca", "saes", *(node.name for node in placed)):
        (folder / name).mkdir(mode=0o700)
    authority = pki.Authority.create(folder / "ca")
    pki.draw_signing_key(folder / "ca/signing.key", folder / "ca/signing.pub")
    rows = tuple(_write_node(folder / node.name, node, authority) for node in placed)
    _write_link_secrets(folder, placed)
    text = directory.octets_of(peers.Directory(serial=1, kmss=rows))
    file = folder / "directory.json"
    write_public(file, text)
    signed = directory.sign(text, read_key(folder / "ca/signing.key"))
    write_public(directory.signature_path(file), signed)
    saes = [
        _write_sae(folder, node.name, sae, authority) for node in placed for sae in node.plan.saes
    ]
    lab = Lab(ca="ca/ca.crt", nodes=[_lab_node(node) for node in placed], saes=saes)
    write_public(
        folder / "lab.json", msgspec.json.format(msgspec.json.encode(lab), indent=2) + b"\n"
    )
    return lab


def _write_node(home: Path, node: lab_plan.PlacedNode, authority: pki.Authority) -> peers.Kms:
    pair = curve.create(home / "curve.key")
    for process in node.plan.processes:
        curve.create(home / f"{process.name}.curve.key")
    pki.draw_key(home / "node.key")
    pki.draw_key(home / "process.key")
    signing = pki.draw_signing_key(home / "signing.key")
    hosts = [node.plan.host, *(["localhost"] if node.address.is_loopback else [])]
    authority.server(home / "tls.crt", home / "tls.key", node.name, node.id, hosts)
    write_public(home / "node.toml", lab_plan.config_text(node).encode())
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


def _write_sae(folder: Path, node: str, sae: str, authority: pki.Authority) -> LabSae:
    made = LabSae(id=sae, node=node, cert=f"saes/{sae}.crt", key=f"saes/{sae}.key")
    authority.client(folder / made.cert, folder / made.key, sae)
    return made


def _lab_node(node: lab_plan.PlacedNode) -> LabNode:
    https = Endpoint(node.plan.host, node.etsi014.port)
    host = node.plan.host if node.metrics.host in _ANY else node.metrics.host
    return LabNode(
        name=node.name,
        id=node.id,
        config=f"{node.name}/node.toml",
        etsi014=f"https://{https}",
        metrics=f"http://{Endpoint(host, node.metrics.port)}",
        pid=f"{node.name}/pid",
    )


def _check_empty(folder: Path) -> None:
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


def _ports_of_siblings(folder: Path) -> set[int]:
    """Find the ports of labs next to this one: those may be down now and up later."""
    taken: set[int] = set()
    try:
        found = sorted(folder.absolute().parent.glob("*/lab.json"))[:_SIBLINGS]
    except OSError:
        return taken
    for file in found:
        try:
            for node in read(file.parent).nodes:
                made = config.load(file.parent / node.config, files=False)
                taken |= {end.port for end, _ in endpoints_of(made)}
        except (LabError, ConfigError, OSError):
            continue  # somebody else's trouble
    return taken


def endpoints_of(made: NodeConfig) -> list[tuple[Endpoint, str]]:
    """Return all addresses that a node binds, with the key that says so."""
    found: list[tuple[Endpoint, str]] = [
        (made.transport.bind, "transport.bind"),
        (made.metrics.bind, "metrics.bind"),
    ]
    found += [(made.etsi014.bind, "etsi014.bind")] if made.etsi014 else []
    found += [(one.bind, f"process {one.name}: bind") for one in made.processes]
    return found + [(link.bind, f"link to {link.peer}: bind") for link in made.links]


def _inside(folder: Path, path: Path) -> str:
    try:
        return str(Path(os.path.normpath(path)).relative_to(os.path.normpath(folder.absolute())))
    except ValueError:
        raise LabError(f"{path} lies outside {folder}; copy it by hand") from None


def _add(tar: tarfile.TarFile, name: str, octets: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.size = 0o600, len(octets)
    tar.addfile(member, io.BytesIO(octets))
