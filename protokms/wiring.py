"""Whom a process of a node talks to: its inbox, its siblings, the other KMSs, and their keys."""

from actors.protocol.peers import Directory
from protokms.keyfiles import read_key
from protokms.sections import CORE, NodeConfig
from transport import curve
from transport.codec import Sealer
from transport.outbox import Peer
from transport.post import PostOptions
from transport.sealing import ProcessSealer


def inbox(config: NodeConfig, process: str) -> PostOptions:
    """Return where a process is reached, and the key it shows."""
    place = next((one for one in config.processes if one.name == process), config.transport)
    return PostOptions(
        node=config.node.name,
        process=process,
        bind=str(place.bind),
        key=curve.load(place.curve),
        heartbeat_s=config.transport.heartbeat_s,
        idle_s=config.transport.idle_s,
    )


def others(config: NodeConfig, process: str, directory: Directory) -> list[Peer]:
    """Return whom the post may know: core speaks to other KMSs, every process to its siblings.

    There are always connections with neighbours; with other KMSs when there is something to say.
    """
    node, transport = config.node.name, config.transport
    places = [(CORE, transport.bind, transport.curve)]
    places += [(one.name, one.bind, one.curve) for one in config.processes]
    siblings = [
        Peer(node, name, str(bind), curve.load(key).public)
        for name, bind, key in places
        if name != process
    ]
    if process != CORE:
        return siblings
    kmss = [kms for kms in directory.kmss if kms.name != node]
    near = {link.peer for link in config.links}
    peers = [Peer(it.name, CORE, it.address, it.curve, it.name not in near) for it in kmss]
    return peers + siblings


def sealers(config: NodeConfig, process: str) -> dict[str, Sealer]:
    """Return what seals key bits on their way to each other process of this node."""
    key = read_key(config.transport.process_key)
    names = {CORE, *(one.name for one in config.processes)} - {process}
    return {name: ProcessSealer(key, process, name) for name in sorted(names)}
