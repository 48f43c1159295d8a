"""Changes of a lab that exists: who is enrolled, renewed, revoked, removed, while its nodes run.

Files first: certificates, a list of the CA, a directory with a larger serial. Then each node that
runs is told to read them. Nobody else's files are touched.
"""

import itertools
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from etsi.http.options import SaeIdFrom, id_fault
from protokms.config.keyfiles import read_file, write_public, write_secret
from protokms.config.load import load
from protokms.config.sections import NodeConfig
from protokms.config.tables import ConfigError
from protokms.enrol import directories, pki
from protokms.lab import lab as lab_lab
from protokms.lab import plan as lab_plan
from protokms.lab.lab import DIRECTORY, Lab, LabError, LabNode, LabSae
from protokms.lab.lock import only_one
from protokms.lab.topology import MAX_NODES, RESERVED, LinkPlan, NodePlan, Topology
from protokms.manage import client as manage_client
from protokms.manage import words
from protokms.manage.client import ManageFailed
from protokms.node import ports
from transport.envelope import is_node

_CLIENT_CA = re.compile(r'^client_ca = "\.\./ca/ca\.crt".*$', re.MULTILINE)
_CRL_LINE = f'crl = "../ca/{pki.CRL}"'


@dataclass(slots=True)
class Told:
    """Which nodes have read what is new: all that run, but for those in `trouble` (node: why).

    Those in `away` do not run here, and read it at their next start. What changed of those in
    `restart` is not taken by a reload.
    """

    reloaded: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)
    trouble: dict[str, list[str]] = field(default_factory=dict)


class _Pair(NamedTuple):
    cert: Path
    key: Path


def add_sae(folder: Path, sae: str, node: str) -> Told:
    """Enrol an SAE at a node; `LabError` or `Explained` if that cannot be, and nothing is done."""
    with only_one(folder):
        lab = lab_lab.read(folder)
        lab.node(node)
        _check_sae(folder, lab, sae)
        authority = pki.Authority.load(folder / "ca")
        made = lab_lab.write_sae(folder, node, sae, authority, _source(folder, lab, sae))
        with _undone(folder / made.cert, folder / made.key):
            _direct(folder, directories.add_saes(node, [sae]))
        lab_lab.save(folder, structs.replace(lab, saes=[*lab.saes, made]))
        return _tell(folder, lab.nodes)


def renew(folder: Path, who: str = "", *, rekey: bool = False) -> Told:
    """Renew the certificate of an SAE, a node or the controller; of all, without a name.

    The keys stay, unless `rekey` or the old certificate is revoked.
    """
    with only_one(folder):
        lab = lab_lab.read(folder)
        authority, crl = pki.Authority.load(folder / "ca"), folder / "ca" / pki.CRL
        for pair in [_find(folder, lab, who)] if who else _everyone(folder, lab):
            lost = pki.is_revoked(crl, authority.read_own(pair.cert))
            if who or not lost:  # whoever is revoked is let in by name alone
                authority.renew(pair.cert, pair.key, rekey=rekey or lost)
        if crl.exists():
            authority.revoke(crl)
        return _tell(folder, lab.nodes)


def revoke(folder: Path, who: str) -> Told:
    """Let an SAE, or the controller, in no more; `renew` gives it another key and certificate."""
    with only_one(folder):
        lab = lab_lab.read(folder)
        _no_node(folder, lab, who)
        _revoke(folder, lab, [_find(folder, lab, who)])
        return _tell(folder, lab.nodes)


def remove_sae(folder: Path, sae: str) -> Told:
    """Revoke an SAE, take it out of the directory, and delete its files."""
    with only_one(folder):
        lab = lab_lab.read(folder)
        _no_node(folder, lab, sae)
        row = lab.sae(sae)
        _revoke(folder, lab, [_pair(folder, row)])
        _direct(folder, directories.remove_saes([sae]))
        left = structs.replace(lab, saes=[it for it in lab.saes if it.id != sae])
        lab_lab.save(folder, left)
        for path in _pair(folder, row):
            path.unlink(missing_ok=True)
        return _tell(folder, lab.nodes)


def add_node(folder: Path, name: str, peers: Sequence[str], saes: Sequence[str] = ()) -> Told:
    """Enrol a node with links to these, and with SAEs; it is not started.

    Its neighbours are those in `restart`: a node takes a new `[[link]]` at its start.
    """
    with only_one(folder):
        lab = lab_lab.read(folder)
        if not is_node(name) or name in RESERVED or (folder / name).exists():
            raise LabError(f"a node {name[:80]} cannot be added: take another name")
        if len(lab.nodes) == MAX_NODES:
            raise LabError(f"a lab has {MAX_NODES} nodes at most")
        if twins := {sae for sae in saes if saes.count(sae) > 1}:
            raise LabError(f"SAE {min(twins)} is named twice")
        for sae in saes:
            _check_sae(folder, lab, sae)
        authority = pki.Authority.load(folder / "ca")
        links = [LinkPlan(a=name, b=peer) for peer in dict.fromkeys(peers)]
        placed = _placed(folder, lab, [NodePlan(name=name, saes=list(saes))], links)
        node = replace(placed[name], sae_id_from=_source(folder, lab, *saes))
        (folder / name).mkdir(mode=0o700)
        rows: list[LabSae] = []
        try:
            (folder / name / "links").mkdir(mode=0o700)
            row = lab_lab.write_node(folder / name, node, authority)
            for sae in saes:
                rows.append(lab_lab.write_sae(folder, name, sae, authority, node.sae_id_from))
            _direct(folder, directories.add_kms(row))
        except BaseException:
            shutil.rmtree(folder / name)
            for one in rows:
                for path in _pair(folder, one):
                    path.unlink()
            raise
        _join(folder, placed, links, written={name})
        known = structs.replace(lab, nodes=[*lab.nodes, lab_lab.row_of(node)])
        known = _numbered(known, placed, links, {name})
        lab_lab.save(folder, structs.replace(known, saes=[*lab.saes, *rows]))
        return _tell(folder, lab.nodes, restart=[link.b for link in links])


def add_link(folder: Path, one: str, other: str) -> Told:
    """Let an emulated quantum link join two nodes, from their next start."""
    with only_one(folder):
        lab = lab_lab.read(folder)
        if one == other:
            raise LabError("a link joins two nodes")
        links = [LinkPlan(a=one, b=other)]
        placed = _placed(folder, lab, [], links)
        if other in _config(folder, lab.node(one)).neighbours:
            raise LabError(f"{one} and {other} have a link")
        _join(folder, placed, links, written=set())
        lab_lab.save(folder, _numbered(lab, placed, links, set()))
        return _tell(folder, lab.nodes, restart=[one, other])


def _placed(
    folder: Path, lab: Lab, new: Sequence[NodePlan], links: Sequence[LinkPlan]
) -> dict[str, lab_plan.PlacedNode]:
    """Find ports for new nodes and for both ends of links; of known nodes only these are new."""
    ends = dict.fromkeys(end for link in links for end in (link.a, link.b))
    plans = {node.name: node for node in new}
    configs: dict[str, NodeConfig] = {}
    for name in ends:
        if name not in plans:
            configs[name] = made = _config(folder, lab.node(name))
            if made.interfaces:
                raise LabError(f"{name} has interfaces: next: protokms link add, at both ends")
            if not made.transport.bind.is_loopback:
                raise LabError(f"{name} is not on loopback: add the link to its configuration")
            plans[name] = NodePlan(name=name)
    controller = lab.controller.id if lab.controller else ""
    free = ports.free(str(folder.absolute()), lab_lab.ports_of_siblings(folder))
    shape = Topology(nodes=list(plans.values()), links=list(links))
    try:
        return {it.name: it for it in lab_plan.place(shape, free, controller=controller)}
    except (ports.NoPorts, StopIteration) as why:
        raise LabError(str(why) or "there is no free port") from why


def _join(
    folder: Path,
    placed: dict[str, lab_plan.PlacedNode],
    links: Sequence[LinkPlan],
    written: set[str],
) -> None:
    """Give both ends of links their key, and those that are not `written` their `[[link]]`."""
    for link in links:
        mine, theirs = (
            folder / name / "links" / f"{peer}.key"
            for name, peer in ((link.a, link.b), (link.b, link.a))
        )
        for path in (mine, theirs):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.unlink(missing_ok=True)  # of a link that was taken away
        pki.draw_key(mine)
        write_secret(theirs, read_file(mine))
    for name in dict.fromkeys(end for link in links for end in (link.a, link.b)):
        if name in written:
            continue
        file = folder / name / "node.toml"
        text = file.read_text()
        for end in _renumbered(folder, placed[name]):
            text += "\n" + lab_plan.link_text(end, core=True)
        pki.replace_file(file, text.encode(), write_public)


def _renumbered(folder: Path, node: lab_plan.PlacedNode) -> Iterator[lab_plan.LinkEnd]:
    lab = lab_lab.read(folder)
    taken = set(lab.node(node.name).interfaces.values())
    free = (number for number in itertools.count(1) if number not in taken)
    for end, number in zip(node.links, free, strict=False):
        yield replace(end, number=number)


def _numbered(
    lab: Lab,
    placed: dict[str, lab_plan.PlacedNode],
    links: Sequence[LinkPlan],
    written: set[str],
) -> Lab:
    """Note the interfaces of known nodes that new links lead to."""
    ends = {end for link in links for end in (link.a, link.b)} - written
    nodes = []
    for node in lab.nodes:
        known = dict(node.interfaces)
        for end in placed[node.name].links if node.name in ends else ():
            known[end.peer] = max(known.values(), default=0) + 1
        nodes.append(structs.replace(node, interfaces=known))
    return structs.replace(lab, nodes=nodes)


def _check_sae(folder: Path, lab: Lab, sae: str) -> None:
    if fault := id_fault(sae) or ("is a step in a path" if sae in {".", ".."} else ""):
        raise LabError(f"the id of the SAE {fault}")
    for row in lab.saes:
        if row.id == sae:
            cert = pki.read_certificate(folder / row.cert)
            if pki.is_revoked(folder / "ca" / pki.CRL, cert):
                again = f"protokms lab renew {folder} {sae}"
                raise LabError(f"SAE {sae} is revoked; another key and certificate: {again}")
            raise LabError(f"there is an SAE {sae}, at {row.node}; take another id")
    if lab.controller and lab.controller.id == sae:
        raise LabError(f"{sae} is the controller; take another id")


def _no_node(folder: Path, lab: Lab, who: str) -> None:
    if who in {node.name for node in lab.nodes} - {sae.id for sae in lab.saes}:
        gone = f"protokms directory remove {folder / DIRECTORY} --key {folder / 'ca/signing.key'}"
        raise LabError(f"{who} is a node; end it, and name it no more: {gone} --kms {who}")


def _source(folder: Path, lab: Lab, *saes: str) -> SaeIdFrom:
    """Tell where the nodes of this lab look for the id of an SAE."""
    made = _config(folder, lab.nodes[0])
    found: SaeIdFrom = "cn"
    for etsi in (made.etsi014, *(edge.etsi014 for edge in lab_lab.here(made))):
        found = etsi.sae_id_from if etsi else found
    for sae in saes:
        if found == "cn" and not pki.fits_cn(sae):
            raise LabError("that id is longer than the CN of a certificate may be; take a shorter")
    return found


def _revoke(folder: Path, lab: Lab, pairs: Sequence[_Pair]) -> None:
    authority = pki.Authority.load(folder / "ca")
    gone = [authority.read_own(pair.cert) for pair in pairs]
    authority.revoke(folder / "ca" / pki.CRL, gone)
    for node in lab.nodes:
        for file in sorted((folder / node.config).parent.glob("*.toml")):
            text = file.read_text()
            if not re.search(r"^crl = ", text, re.MULTILINE):  # from the first time on
                new = _CLIENT_CA.sub(lambda found: f"{found[0]}\n{_CRL_LINE}", text)
                if new != text:
                    pki.replace_file(file, new.encode(), write_public)


def _find(folder: Path, lab: Lab, who: str) -> _Pair:
    for sae in lab.saes:
        if sae.id == who:
            return _pair(folder, sae)
    for node in lab.nodes:
        if node.name == who:
            return _of_node(folder, node)
    if lab.controller and lab.controller.id == who:
        return _Pair(folder / lab.controller.cert, folder / lab.controller.key)
    known = [*(node.name for node in lab.nodes), *(sae.id for sae in lab.saes)][:32]
    raise LabError(f"there is no {who[:80]} here; there are {', '.join(known)}")


def _everyone(folder: Path, lab: Lab) -> Iterator[_Pair]:
    yield from (_of_node(folder, node) for node in lab.nodes)
    yield from (_pair(folder, sae) for sae in lab.saes)
    if lab.controller:
        yield _Pair(folder / lab.controller.cert, folder / lab.controller.key)


def _of_node(folder: Path, node: LabNode) -> _Pair:
    home = (folder / node.config).parent
    return _Pair(home / "tls.crt", home / "tls.key")


def _pair(folder: Path, sae: LabSae) -> _Pair:
    return _Pair(folder / sae.cert, folder / sae.key)


def _direct(folder: Path, how: directories.Change) -> None:
    directories.change(folder / DIRECTORY, folder / "ca/signing.key", how)


def _config(folder: Path, node: LabNode) -> NodeConfig:
    try:
        return load(folder / node.config, files=False)
    except ConfigError as why:
        raise LabError(f"{node.name}: its configuration is wrong:\n{why}") from why


def _tell(folder: Path, nodes: Sequence[LabNode], restart: Sequence[str] = ()) -> Told:
    """Have each node that runs read its files again."""
    told = Told(restart=sorted(restart))
    for node in nodes:
        made = _config(folder, node)
        if made.manage is None:
            told.trouble[node.name] = ["has no [manage]; send SIGHUP to its process core"]
            continue
        try:
            answer = manage_client.ask(made.manage.socket, words.ReloadNode())
        except ManageFailed as why:
            if why.code == "not_running":
                told.away.append(node.name)
            else:
                told.trouble[node.name] = [str(why)]
            continue
        told.reloaded.append(node.name)
        wrong = [*answer.get("refused", ()), *answer.get("not_reached", ())]
        if wrong:
            told.trouble[node.name] = [str(it) for it in wrong]
    told.restart = [name for name in told.restart if name not in told.away]
    return told


@contextmanager
def _undone(*paths: Path) -> Iterator[None]:
    """Delete files again if what follows fails."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
