"""Whom a process of a node talks to: its inbox, its siblings, the other KMSs, and their keys.

Core talks to other KMSs and to every edge of its node; an edge talks to core, and to nobody else.
"""

from actors.protocol.peers import Directory
from protokms.config.keyfiles import read_key
from protokms.config.sections import CORE, EdgeConfig, NodeConfig
from transport import curve
from transport.codec import Sealer
from transport.outbox import Peer
from transport.post import PostOptions
from transport.sealing import ProcessSealer


def inbox(config: NodeConfig | EdgeConfig) -> PostOptions:
    """Return where a process is reached, and the key it shows."""
    if isinstance(config, EdgeConfig):
        own = config.process
        key = curve.load(own.curve)
        beat_s = own.sibling_heartbeat_s
        return PostOptions(own.node, own.name, str(own.bind), key, sibling_heartbeat_s=beat_s)
    return PostOptions(
        node=config.node.name,
        process=CORE,
        bind=str(config.transport.bind),
        key=curve.load(config.transport.curve),
        heartbeat_s=config.transport.heartbeat_s,
        sibling_heartbeat_s=config.transport.sibling_heartbeat_s,
        idle_s=config.transport.idle_s,
    )


def others(config: NodeConfig | EdgeConfig, directory: Directory | None) -> list[Peer]:
    """Return whom the post may know: of an edge core, of core every KMS and the edges.

    There are always connections with neighbours; with other KMSs when there is something to say.
    """
    if isinstance(config, EdgeConfig):
        return [Peer(config.process.node, CORE, str(config.core.address), config.core.public)]
    node, near = config.node.name, set(config.neighbours)
    kmss = [kms for kms in directory.kmss if kms.name != node] if directory else []
    peers = [Peer(it.name, CORE, it.address, it.curve, it.name not in near) for it in kmss]
    return peers + [Peer(node, it.name, str(it.address), it.public) for it in config.processes]


def sealers(config: NodeConfig | EdgeConfig) -> dict[str, Sealer]:
    """Return what seals key bits on their way to each other process that this one talks to."""
    if isinstance(config, EdgeConfig):
        own = config.process
        return {CORE: ProcessSealer(read_key(own.seal), own.name, CORE)}
    return {one.name: ProcessSealer(read_key(one.seal), CORE, one.name) for one in config.processes}
