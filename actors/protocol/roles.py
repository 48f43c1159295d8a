"""What passes between the processes of one node, by kind of sender and reader (R19).

What is not here never crosses: above all no directory, no death, no commit, and no start of a
child. A word between processes that is added anywhere adds its row here.

Words stand here as they are on their way, by their names: an edge imports those that its own
actors handle, and not those of all others for the sake of this table.
"""

from collections.abc import Collection, Mapping

FRONT, LINK, CALLER = "etsi014", "quantum_link", "edge"
"""Kinds of actors that may live apart from core, and who asks for callers that are no actors."""

CONTROLLED = "etsi015"
"""The front end of controllers; it reads and writes what is wanted of the node, and no more."""

PROCESS, GREETER = "node", "greeter"
"""What a process itself says, and who greets other processes."""

SUPERVISOR = "supervisor"
"""The root of the actors of a process: core's, or `supervisor/<process>`."""

_CARE = {
    "common.Ping": ("common.Pong",),
    "common.Health": ("common.Healthy",),
    "common.Drain": ("common.Drained",),
}
_TROUBLE: Mapping[str, Collection[str]] = {"alarms.Raised": (), "alarms.Ended": ()}

ROLES: Mapping[tuple[str, str], Mapping[str, Collection[str]]] = {
    # A front end, and the SAEs for which it speaks
    (FRONT, "key_store"): {
        "keys.GetKey": ("keys.Keys",),
        "keys.GetKeyWithIds": ("keys.KeysWithIds",),
        "keys.GetStatus": ("keys.Stock",),
        "keys.AskWait": ("keys.Wait",),
        "keys.AskTurn": ("keys.Wait",),
        "keys.Written": (),
        "keys.Broken": (),
    },
    (FRONT, "multicast"): {
        "keys.GetMulticast": ("keys.Keys",),
        "keys.AskTurn": ("keys.Wait",),
    },
    (FRONT, "sessions"): {"sessions.EnsureSession": ("sessions.SessionEnsured",)},
    (FRONT, "peer_manager"): {"peers.Subscribe": (), "peers.GetHomes": ("peers.Homes",)},
    ("peer_manager", FRONT): {"peers.HomesChanged": ()},
    # The front end of controllers, and what is wanted of the node
    (CONTROLLED, "intent"): {
        "intent.Read": ("intent.Rows",),
        "intent.ReadNodes": ("intent.Nodes",),
        "intent.Subscribe": ("intent.Subscribed",),
        "intent.Write": ("intent.Written", "intent.Denied"),
    },
    ("intent", CONTROLLED): {"intent.Happened": ()},
    # A quantum link and the store that it fills
    (LINK, "key_store"): {
        "links.AskLink": (),
        "links.Emitted": (),
        "links.EmittedKeys": (),
        "links.Received": (),
        "links.Withdrawn": (),
    },
    ("key_store", LINK): {
        "links.LinkOpened": (),
        "links.LinkClosed": (),
        "links.Credit": (),
        "links.FetchKeys": (),
    },
    # Which links a process runs, over which of its interfaces
    ("peer_manager", SUPERVISOR): {
        "trees.StartLink": ("trees.Started",),
        "trees.StopLink": ("trees.Stopped",),
    },
    # Trouble, by the ids of `alarms.APART`
    (FRONT, "alarms"): _TROUBLE,
    (CONTROLLED, "alarms"): _TROUBLE,
    (LINK, "alarms"): _TROUBLE,
    (PROCESS, "alarms"): _TROUBLE,
    # Both ways, before anything else
    (GREETER, GREETER): {"siblings.Hello": ("siblings.Welcome",)},
    # Core's care for both
    (CALLER, FRONT): {**_CARE, "peers.AwaitHomes": ("peers.HomesInUse",)},
    (CALLER, CONTROLLED): _CARE,
    (CALLER, LINK): _CARE,
    (CALLER, PROCESS): {
        "reload.ReloadProcess": ("reload.ProcessReloaded",),
        "siblings.AskProcess": ("siblings.ProcessStatus",),
    },
    # What a module measures, for who shows it
    ("intent", LINK): {"common.Health": ("common.Healthy",)},
}
"""Kind of sender and of reader -> word -> words that may answer it."""

PAIRED = frozenset({(LINK, "key_store")})
"""Kinds that talk only to the one of the same argument: `quantum_link/b` to `key_store/b`."""

CORES = frozenset({CALLER})
"""Kinds that each process has, and that are heard from core alone: no edge drains another's."""
