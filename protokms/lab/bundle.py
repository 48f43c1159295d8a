"""What one node, or one process of it, needs on another host: a tar file, made and unpacked here.

Its first member, `bundle.json`, says whose it is and the SHA-256 of each of the others. That tells
damage, and no more: who could write the file could write another. What a bundle is taken for is
proved by the CA's signature of the directory in it.
"""

import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from protokms import release
from protokms.config import directory
from protokms.config.keyfiles import read_file, write_secret
from protokms.config.load import load, load_any, load_process
from protokms.config.sections import CORE, EdgeConfig, NodeConfig
from protokms.config.tables import ConfigError
from protokms.lab import lab
from protokms.lab.lab import Lab, LabError

NOTE = "bundle.json"
FILES_MAX = 10_000
OCTETS_MAX = 256 << 20
"""Octets of all files of a bundle; a directory of a million SAEs takes 23 to 40 MB."""
_NAME_MAX = 255
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE_ANEW = "export it anew, and carry it again"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What `bundle.json` says; `process` is "" for all of a node, `config` the file to run.

    `folders` are made there, empty.
    """

    release: str
    node: str
    process: str
    config: str
    sha256: dict[str, str]
    folders: list[str] = []


@dataclass(frozen=True, slots=True)
class Joined:
    """What was unpacked: whose it is, its configuration, and the command that starts it."""

    node: str
    process: str
    config: Path
    start: str


def export(folder: Path, name: str, out: Path | None = None, process: str = "") -> Path:
    """Bundle what one node needs on another host: its own secrets and nobody else's.

    With `process`, what that one process of the node needs: `core`, or one beside it. A folder that
    the options of another package name is bundled without what is in it, which may be key of a
    device; one outside `folder` is left out. The tar file has mode 0600; `join` unpacks it.
    """
    known = lab.read(folder)
    node = known.node(name)
    out = out or Path(f"{name}-{process}.tar" if process else f"{name}.tar")
    config = folder / node.config
    files: list[Path] = []
    members: dict[str, bytes] = {}
    if process in {"", CORE}:
        made = load(config)
        alone = msgspec.structs.replace(node, has_store=False)  # it stays here
        members = {lab.FILE: lab.octets(Lab(ca=known.ca, nodes=[alone], saes=[]))}
        files = lab.files_of(made)
        edges = lab.here(made, files=True) if not process else []
    else:
        edges = [load_process(config, process)]
        config = edges[0].path
    files += [file for edge in edges for file in lab.files_of(edge)]
    folders = [path for path in files if path.is_dir()]
    plain = [path for path in files if path not in folders]
    members |= {_inside(folder, it): read_file(it, directory.FILE_OCTETS_MAX) for it in plain}
    empty = [_inside(folder, path) for path in folders if _lies_in(folder, path)]
    note = Note(
        release=release.VERSION,
        node=name,
        process=process,
        config=_inside(folder, config),
        sha256={path: _digest(octets) for path, octets in members.items()},
        folders=[name for name in empty if _is_plain(name)],
    )
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise LabError(f"{out} exists; move it away, nothing is overwritten") from None
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        _add(tar, NOTE, msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
        for path, octets in members.items():
            _add(tar, path, octets)
    return out


def join(file: Path, folder: Path, *, node: str = "", ca: Path | None = None) -> Joined:
    """Unpack a bundle into an absent or empty folder, which has mode 0700 then.

    All of it is checked first, and `LabError` leaves nothing behind: owner and mode of the bundle,
    names and digests of what is in it, the configuration with every file that it names, and the
    signature of the directory, if there is one. With `node` it must be that of this node; with
    `ca` its directory must be signed by that key (`ca/signing.pub` of the lab).
    """
    lab.check_empty(folder)
    note, members = _read(file)
    if node and note.node != node:
        raise LabError(f"{file} is for {note.node}, not {node}; take the bundle of {node}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        for name, octets in members.items():
            path = beside / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(path, octets)  # whatever it is called, it may be one
        for name in note.folders:
            (beside / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        _prove(note, beside, file, ca)
        beside.replace(folder)
    except ConfigError as why:
        there = str(why).replace(str(beside), str(folder))
        raise LabError(f"{file} makes no node:\n{there}") from None
    except (FileExistsError, NotADirectoryError) as why:
        raise _damaged(file, "one path of it is a file and a folder") from why
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    config = folder / note.config
    start = f"protokms node {config}" if _is_edge(note) else f"protokms lab up {folder}"
    return Joined(note.node, note.process, config, start)


def _prove(note: Note, home: Path, file: Path, ca: Path | None) -> None:
    """Check the configuration as a start does, and that it is of whom the bundle says."""
    made = load_any(home / note.config)
    if isinstance(made, EdgeConfig):
        whose, process = made.process.node, made.process.name
    else:
        whose, process = made.node.name, note.process if note.process == CORE else ""
        lab.read(home).node(note.node)
        lab.here(made, files=True)
    if (whose, process) != (note.node, note.process):
        raise LabError(f"{file} has a configuration of {whose}/{process or CORE}: {_MAKE_ANEW}")
    if ca is None:
        return
    if not isinstance(made, NodeConfig):
        raise LabError(f"{file} has no directory, which core alone needs; leave --ca out")
    if read_file(made.directory.ca).strip() != read_file(ca).strip():
        raise LabError(f"{file} has a directory of another CA than {ca}: it is not of this network")


def _read(file: Path) -> tuple[Note, dict[str, bytes]]:
    """Read all of a bundle, or raise `LabError`."""
    try:
        with file.open("rb") as opened:
            _check_owner(file, os.fstat(opened.fileno()))
            members = dict(_members(file, opened))
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as why:
        raise _damaged(file, str(why)) from why
    except OSError as why:
        raise LabError(f"{file} cannot be read: {why.strerror or why}") from why
    if NOTE not in members:
        raise LabError(f"{file} has no {NOTE}: it is no bundle of `protokms lab export`")
    try:
        note = msgspec.json.decode(members.pop(NOTE), type=Note)
    except (ValueError, RecursionError) as why:
        raise _damaged(file, f"{NOTE}: {why}") from why
    wrong = sorted(
        name
        for name in {*members, *note.sha256}
        if name not in members or _digest(members[name]) != note.sha256.get(name)
    )
    wrong += [name for name in note.folders if not _is_plain(name) or name in members]
    if len(note.folders) > FILES_MAX or wrong or note.config not in members:
        raise _damaged(file, f"{(wrong or [note.config])[0]} is not as it was exported")
    return note, members


def _check_owner(file: Path, found: os.stat_result) -> None:
    if found.st_uid not in {os.geteuid(), 0}:
        raise LabError(f"{file} belongs to another user; copy it as {file.name} of your own")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise LabError(f"{file} has mode {mode:04o}: others can open it; chmod 600 {file}")


def _members(file: Path, opened: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield what is in it; nothing but plain files with plain names below the folder."""
    left, seen = OCTETS_MAX, set[str]()
    with tarfile.open(fileobj=opened, mode="r:") as tar:
        for member in tar:
            name = member.name
            left -= member.size
            if not member.isreg() or member.issparse():
                raise LabError(f"{file} has {name[:80]!r}, which is no plain file: not unpacked")
            if not _is_plain(name):
                raise LabError(f"{file} has {name[:80]!r}, which is no path in it: not unpacked")
            if name in seen:
                raise _damaged(file, f"{name} is in it twice")
            if left < 0 or len(seen) == FILES_MAX:
                raise LabError(
                    f"{file} is larger than {FILES_MAX} files or {OCTETS_MAX} octets: not unpacked"
                )
            seen.add(name)
            content = tar.extractfile(member)
            assert content, "it is a plain file"
            yield name, content.read()


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    steps = name.split("/")
    return (
        name.isprintable()
        and len(name) <= _NAME_MAX
        and not path.is_absolute()
        and not {"", ".", ".."} & set(steps)
    )


def _is_edge(note: Note) -> bool:
    return note.process not in {"", CORE}


def _damaged(file: Path, why: str) -> LabError:
    return LabError(f"{file} is damaged: {why}; {_MAKE_ANEW}")


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def _inside(folder: Path, path: Path) -> str:
    if not _lies_in(folder, path):
        raise LabError(f"{path} lies outside {folder}; copy it by hand")
    return str(_plain_path(path).relative_to(_plain_path(folder)))


def _lies_in(folder: Path, path: Path) -> bool:
    return _plain_path(path).is_relative_to(_plain_path(folder))


def _plain_path(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _add(tar: tarfile.TarFile, name: str, octets: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.size = 0o600, len(octets)
    tar.addfile(member, io.BytesIO(octets))
