"""Who may say what on the management socket: by user, and by group of the caller (0050).

The kernel tells user and groups of who has connected, as they were then; no caller can forge them.
"""

import grp
import os
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from protokms.manage import words

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_GROUP = struct.Struct("=I")
_PEER_GROUPS = 59  # SO_PEERGROUPS of Linux, which Python does not name
_GROUPS_OCTETS = 1_024  # as many as Python lets a socket option have: 256 groups


class Role(IntEnum):
    """What a caller may do; each may do what those before it may."""

    NOBODY = 0
    READ = 1
    OPERATE = 2
    SECURITY = 3


NEEDED: Mapping[type[words.Word], Role] = {
    words.ListSessions: Role.READ,
    words.ShowRoute: Role.READ,
    words.ListPeers: Role.READ,
    words.ListLinks: Role.READ,
    words.ListPolicies: Role.READ,
    words.ListAlarms: Role.READ,
    words.NodeStatus: Role.READ,
    words.AddSession: Role.OPERATE,
    words.RemoveSession: Role.OPERATE,
    words.AddLink: Role.OPERATE,
    words.RemoveLink: Role.OPERATE,
    words.SwitchLink: Role.OPERATE,
    words.ReloadNode: Role.OPERATE,
    words.AddPolicy: Role.SECURITY,
    words.RemovePolicy: Role.SECURITY,
    words.ClearLink: Role.SECURITY,
    words.ClearAlarm: Role.SECURITY,
}
"""What each word needs. Who has keys, and whose bits are good again, is a matter of security."""


class Caller(NamedTuple):
    """Who has connected: a process, its user, its groups."""

    pid: int
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Callers:
    """Tells the role of a caller: the user of the node and root may do all, others by group."""

    groups: Mapping[Role, frozenset[int]]

    @property
    def alone(self) -> bool:
        """Whether no group has a role: nobody else needs to open the socket."""
        return not any(self.groups.values())

    def role(self, caller: Caller) -> Role:
        """Return what a caller may do."""
        if caller.uid in (0, os.geteuid()):
            return Role.SECURITY
        has = (role for role, groups in self.groups.items() if groups & caller.groups)
        return max(has, default=Role.NOBODY)


ALONE = Callers({})
"""The user of the node and root, and nobody else."""


def callers(
    read: Collection[str] = (), operate: Collection[str] = (), security: Collection[str] = ()
) -> Callers:
    """Look up the groups of this host by their names; `ValueError` says which is not there."""
    named = {Role.READ: read, Role.OPERATE: operate, Role.SECURITY: security}
    return Callers({role: frozenset(map(_group, names)) for role, names in named.items()})


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {name} on this host") from None


def caller_at(peer: socket.socket) -> Caller:
    """Ask the kernel who is at the other end of a UNIX socket.

    Who is in more than 256 groups has its first one alone.
    """
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        more = peer.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _GROUPS_OCTETS)
    except OSError:  # there are more
        more = b""
    return Caller(pid, uid, frozenset((gid, *(each for (each,) in _GROUP.iter_unpack(more)))))
