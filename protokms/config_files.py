"""Checks of the files that a configuration names: there, readable, secret, and fit together."""

import base64
import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.protocol import peers
from protokms import config_tls, directory
from protokms.keyfiles import BadFile, key_octets, read_key, read_secret
from protokms.sections import DirectoryFiles, Link, Node, NodeKey, Process, Transport
from protokms.tables import Report, attempt
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
        public = attempt(lambda: _curve_public(transport.curve), "transport.curve", report)
        attempt(lambda: read_key(transport.process_key), "transport.process_key", report)
    for link in cast(list[Link], values.get("links", [])):
        check_link(link, report)
    for one in cast(list[Process], values.get("processes", [])):
        attempt(partial(_curve_public, one.curve), f"{report.key(one)}.curve", report)
    if values.get("manage"):
        _check_socket(values["manage"].socket, report)
    if values.get("etsi014"):
        config_tls.check(values["etsi014"], report)
    if values.get("directory"):
        _check_directory(values, public, signing, report)


def check_link(link: Link, report: Report) -> None:
    """Check the secret of one link."""
    attempt(lambda: read_key(link.secret), f"{report.key(link)}.secret", report)


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


def _check_directory(
    values: Mapping[str, Any], public: str | None, signing: str | None, report: Report
) -> None:
    files = cast(DirectoryFiles, values["directory"])
    known = attempt(lambda: directory.read(files.file, files.ca), "directory.file", report)
    if known is None:
        return
    by_name = {kms.name: kms for kms in known.kmss}
    for link in values.get("links", []):
        if link.peer not in by_name:
            names = ", ".join(sorted(by_name))[:200]
            report.add(
                f"{report.key(link)}.peer",
                f"{link.peer} is not in the directory",
                f"correct the name, or have the CA add it; known are {names}",
            )
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


def _curve_public(path: Path) -> str:
    try:
        return curve.load(path).public
    except curve.CurveError as why:
        reason = str(why).removeprefix(f"{path}: ")
        raise BadFile(path, reason, "see there, or make the key anew") from why
