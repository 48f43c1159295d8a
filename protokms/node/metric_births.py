"""Counters that are there from the start, at 0: no increase is seen of one that is born at 3."""

import itertools
from collections.abc import Collection, Mapping

from actors.base import Meter

NEIGHBOURS_MAX = 64
"""Peers whose counters are made at the start: more would leave no room for what does happen."""

ALARMS = ("bad_bits", "bad_tag", "forged", "local_grant_refused", "other_mode", "rolled_back")
"""Kinds of alarms that a peer may cause."""

_Values = Mapping[str, tuple[str, ...]]
"""Values that a label has, each with each of the others."""

OF_CORE: dict[str, _Values] = {
    "protokms_alarms_dropped": {},
    "protokms_checkpoints_failed": {},
    "protokms_directory_refusals": {"reason": ("stale",)},
    "protokms_floods": {},
    "protokms_lanes_lost": {"reason": ("expired",)},
    "protokms_multicast": {"result": ("answered", "refused")},
    "protokms_reloads": {"result": ("done", "refused")},
    "protokms_session_reroutes": {"reason": ("better",)},
    "protokms_states_sent": {},
    "protokms_undeliverable": {"reason": ("mailbox_full",)},
}
"""Counters of core that are of no peer."""

OF_NEIGHBOUR: dict[str, _Values] = {
    "protokms_alarms": {"kind": ALARMS},
    "protokms_batches_bad": {},
    "protokms_batches_decided": {"decision": ("confirmed", "discarded")},
    "protokms_conflicts": {},
    "protokms_datagrams_received": {},
    "protokms_dead_letters": {"reason": ("down",)},
    "protokms_grants_expired": {},
    "protokms_grants_forged": {},
    "protokms_grants_refused": {},
    "protokms_octets_lost": {},
    "protokms_pad_octets": {"way": ("taken", "opened")},
    "protokms_relay_carried": {},
    "protokms_relay_pad_octets": {},
    "protokms_states_refused": {"reason": ("signature", "jump")},
    "protokms_words_dropped": {},
    "protokms_words_unsaid": {},
}
"""Counters of core that each neighbour has, the node at the other end of a quantum link."""


def begin(meter: Meter, neighbours: Collection[str], mode: str) -> None:
    """Make the counters of core, and those of so many of its neighbours as is sensible.

    `mode`: how keys are agreed with them, `confirmed` or `local`.
    """
    for name, labels in OF_CORE.items():
        _zero(meter, name, labels)
    issued: dict[str, _Values] = {"protokms_keys_issued": {"mode": (mode,)}}
    for peer in sorted(neighbours)[:NEIGHBOURS_MAX]:
        for name, labels in (OF_NEIGHBOUR | issued).items():
            _zero(meter, name, {**labels, "peer": (peer,)})


def _zero(meter: Meter, name: str, labels: _Values) -> None:
    for values in itertools.product(*labels.values()):
        meter.add(name, 0, **dict(zip(labels, values, strict=True)))
