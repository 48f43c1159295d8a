"""Checks of the files that a configuration names: there, readable, secret, and fit together."""

import base64
import os
import stat
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.protocol import peers
from etsi.gs015.options import Gs015Options
from protokms.config import directory, interfaces, modules, own_actors
from protokms.config.keyfiles import BadFile, key_octets, read_key, read_secret
from protokms.config.link_tables import KINDS
from protokms.config.plugins import OPTIONS
from protokms.config.sections import (
    AGENT,
    FRONTS,
    QUANTUM_LINK,
    DirectoryFiles,
    EdgeCore,
    EdgeProcess,
    Link,
    Node,
    NodeKey,
    PolicyRow,
    Process,
    Transport,
)
from protokms.config.tables import Report, attempt
from transport import curve
from transport.message import Secret


def check(values: Mapping[str, Any], report: Report) -> None:
    """Check the files of all sections that could be read."""
    node = cast(Node | None, values.get("node"))
    transport = cast(Transport | None, values.get("transport"))
    public = signing = None
    if node:
        _check_data(node.data, report)
        node_key(node.node_key, "node.node_key", report)
        signing = attempt(lambda: _signing_public(node.signing_key), "node.signing_key", report)
    if transport:
        public = attempt(lambda: curve_public(transport.curve), "transport.curve", report)
    for link in cast(list[Link], values.get("links", [])):
        check_link(link, report)
    interfaces.check(values, node.name if node else "", report)
    own_actors.check_made(values, report)
    processes = cast(list[Process], values.get("processes", []))
    _check_seals(processes, report)
    for one in processes:
        if public and one.public == public:
            remedy = "write that of the process: `public` in the file of its own key"
            report.add(f"{report.key(one)}.public", "is the key of core itself", remedy)
    if values.get("manage"):
        _check_socket(values["manage"].socket, report)
    _check_front(values, report)
    if values.get("directory"):
        _check_directory(values, public, signing, report)


def check_edge(values: Mapping[str, Any], report: Report) -> None:
    """Check the files of an edge: those that the sections of its own file name."""
    process = cast(EdgeProcess | None, values.get("process"))
    core = cast(EdgeCore | None, values.get("core"))
    if process:
        public = attempt(lambda: curve_public(process.curve), "process.curve", report)
        attempt(lambda: read_key(process.seal), "process.seal", report)
        if core and public == core.public:
            remedy = "make a key for this process; core's stays with core"
            report.add("process.curve", "is the key of core itself", remedy)
    for link in cast(list[Link], values.get("links", [])):
        check_link(link, report)
    interfaces.check(values, process.node if process else "", report)
    _check_front(values, report)


def _check_front(values: Mapping[str, Any], report: Report) -> None:
    for table in FRONTS:
        if etsi := values.get(table):
            from protokms.config import tls  # noqa: PLC0415 -- only where HTTP is served

            tls.check(etsi, report, table)


def _check_seals(processes: Sequence[Process], report: Report) -> None:
    seen: dict[bytes, str] = {}
    for one in processes:
        key = f"{report.key(one)}.seal"
        octets = attempt(partial(read_key, one.seal), key, report)
        if octets in seen:
            report.add(key, f"is the same as {seen[octets]}", "make one for each process")
        elif octets:
            seen[octets] = key


def check_link(link: Link, report: Report) -> None:
    """Check the secret of one link, or what it shows to its device, or what its module looks at."""
    key = report.key(link)
    if secret := link.secret:
        attempt(lambda: read_key(secret), f"{key}.secret", report)
    for name, table in link.devices:
        from protokms.config import tls as config_tls  # noqa: PLC0415 -- only where HTTP is spoken

        config_tls.check_client(table, f"{key}.{name}", report)
    if link.module not in KINDS and not any(it.key.startswith(key) for it in report.problems):
        modules.own_of(link, link.module, f"{key}.{OPTIONS}", report)


def node_key(source: NodeKey, key: str, report: Report) -> Secret | None:
    """Read the node key (32 octets), or report what hinders it and return None."""
    if source.file is not None:
        path = source.file
        octets = attempt(lambda: read_key(path), f"{key}.file", report)
    elif source.env is not None:
        octets = _from_environment(source.env, f"{key}.env", report)
    elif source.credential is not None:
        octets = _from_credential(source.credential, f"{key}.credential", report)
    else:
        octets = None
    return Secret(octets) if octets else None


def _from_environment(name: str, key: str, report: Report) -> bytes | None:
    text = os.environ.get(name)
    if text is None:
        report.add(key, f"there is no environment variable {name}", "set it to 32 octets, base64")
        return None
    return attempt(lambda: key_octets(text.encode(), Path(name)), key, report)


def _from_credential(name: str, key: str, report: Report) -> bytes | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder and report.outside:
        why = f"the credential {name} is there under systemd alone"
        report.unchecked.append(f"{key}: the node key, and what it opens; {why}")
        return None
    if not folder:
        remedy = f"start under systemd with LoadCredential={name}:/path, or use file or env"
        report.add(key, "CREDENTIALS_DIRECTORY is not set", remedy)
        return None
    path = Path(folder) / name
    return attempt(lambda: key_octets(read_secret(path, ours=False), path), key, report)


def _check_socket(path: Path, report: Report) -> None:
    folder = path.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is no folder to write in"
        report.add("manage.socket", reason, "make it, or correct the path")
    elif os.path.exists(path) and not path.is_socket():
        report.add("manage.socket", "is there already, and no socket", "correct the path", path)


def _check_data(data: Path, report: Report) -> None:
    folder = data.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        report.add(
            "node.data", f"{folder} is no folder to write in", "make it, or correct the path"
        )
        return
    try:
        found = data.lstat()
    except FileNotFoundError:
        return  # the store makes it
    except OSError as why:
        report.add("node.data", f"cannot be opened: {why.strerror}", "correct the path")
        return
    if not stat.S_ISREG(found.st_mode):
        report.add("node.data", "is no plain file", "give the path of a file", data)
    elif found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        report.add("node.data", "can be opened by others", f"chmod 600 {data}", data)


def _check_policies(policies: list[PolicyRow], known: peers.Directory, report: Report) -> None:
    """A name that nobody has would leave a rule without effect, one that denies too."""
    good = {"*", *(f"node:{kms.name}" for kms in known.kmss)}
    good.update(sae for kms in known.kmss for sae in kms.saes)
    for policy in policies:
        for side, names in (("masters", policy.masters), ("slaves", policy.slaves)):
            for row, name in enumerate(names):
                if name not in good:
                    key = f"{report.key(policy)}.{side}[{row}]"
                    remedy = "name an SAE of the directory, 'node:NAME' of a KMS, or '*'"
                    report.add(key, f"{name[:64]!r} is nobody of the directory", remedy)


def _check_directory(
    values: Mapping[str, Any], public: str | None, signing: str | None, report: Report
) -> None:
    files = cast(DirectoryFiles, values["directory"])
    known = attempt(lambda: directory.read(files.file, files.ca), "directory.file", report)
    if known is None:
        return
    by_name = {kms.name: kms for kms in known.kmss}
    wanted = [(f"{report.key(link)}.peer", link.peer) for link in values.get("links", [])]
    for one in values.get("processes", []):
        rows = [(row, actor.partition("/")) for row, actor in enumerate(one.actors)]
        key = f"{report.key(one)}.actors"
        wanted += [(f"{key}[{at}]", peer) for at, (kind, _, peer) in rows if kind == QUANTUM_LINK]
    for key, peer in wanted:
        if peer not in by_name:
            names = ", ".join(sorted(by_name))[:200]
            remedy = f"correct the name, or have the CA add it; known are {names}"
            report.add(key, f"{peer} is not in the directory", remedy)
    _check_policies(cast(list[PolicyRow], values.get("policies", [])), known, report)
    if etsi := cast(Gs015Options | None, values.get(AGENT)):
        saes = {sae for kms in known.kmss for sae in kms.saes}
        for row, one in enumerate(etsi.controllers):
            if one.id in saes:
                remedy = "give the controller another id, and a certificate with it"
                report.add(f"{AGENT}.controller[{row}].id", f"{one.id} is an SAE", remedy)
    node = cast(Node | None, values.get("node"))
    if node is None:
        return
    me = by_name.get(node.name)
    if me is None:
        remedy = "correct the name, or have the CA add this node"
        report.add("node.name", f"{node.name} is not in the directory", remedy, files.file)
        return
    _compare(me, node, public, signing, report)


def _compare(
    me: peers.Kms, node: Node, public: str | None, signing: str | None, report: Report
) -> None:
    remedy = "correct it, or have the CA sign a directory that says the same"
    if me.id != node.id:
        report.add("node.id", f"the directory says {me.id}", remedy)
    if public and me.curve != public:
        report.add("transport.curve", "the directory has another CURVE key of this node", remedy)
    if signing and base64.b64decode(me.signing) != base64.b64decode(signing):
        report.add("node.signing_key", "the directory has another signing key", remedy)


def _signing_public(path: Path) -> str:
    private = Ed25519PrivateKey.from_private_bytes(read_key(path))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def curve_public(path: Path) -> str:
    """Read the public half of the key in a file, or raise `BadFile`."""
    try:
        return curve.load(path).public
    except curve.CurveError as why:
        reason = str(why).removeprefix(f"{path}: ")
        raise BadFile(path, reason, "see there, or make the key anew") from why
