"""What operators are told of trouble: who raises an alarm, who asks which there are.

Any actor of the node may raise one, in whichever process it lives: `told(node)` is who keeps them.
An alarm has an id out of `KINDS` and a subject, the peer or file it is about; the same again is
the same alarm.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from transport.envelope import Address
from transport.message import Message, local, part

NAME = "alarms"
"""The actor that keeps them."""

ALARMS_MAX = 256
"""Alarms that are kept; the oldest makes room, and is counted."""

TEXT_MAX = 512
"""Characters of a text, at most; what is over is cut off."""

SUBJECT_MAX = 128

HOUR_S = 3_600.0

ITSELF, HAND = "itself", "hand"


class Kind(NamedTuple):
    """What an id means, and what to do; `{subject}` in the remedy stands for the subject.

    `clears` is `itself` when whoever has raised the alarm ends it, or it ends because it was not
    raised again for `fades_s` seconds; `hand` when only an operator ends it.
    """

    meaning: str
    remedy: str
    clears: str = ITSELF
    fades_s: float = 0.0


_LEAVE = "then `protokms alarm clear {id} {{subject}}`"


def _by_hand(id_: str, meaning: str, remedy: str) -> Kind:
    return Kind(meaning, f"{remedy}, {_LEAVE.format(id=id_)}", HAND)


KINDS = {
    "bad_bits": Kind(
        "bits of the quantum link failed a health test here; nothing of it is taken",
        "look at the QKD module, then `protokms link clear {subject}`",
        HAND,
    ),
    "bad_tag": _by_hand(
        "bad_tag",
        "frames of relayed keys from the neighbour were changed on their way",
        "see who is on the line to {subject} with `protokms peer list`",
    ),
    "forged": _by_hand(
        "forged",
        "sealed keys from the peer did not verify, three times",
        "see who speaks for {subject} with `protokms peer list`",
    ),
    "local_grant_refused": _by_hand(
        "local_grant_refused",
        "the peer refuses keys that SAEs here have already; they are of no use to the other SAE",
        "compare [store] of both nodes with `protokms node FILE --check`",
    ),
    "rolled_back": _by_hand(
        "rolled_back",
        "a store was put back from an old copy; both ends have destroyed what they shared",
        "find out who has put back the store, here or at {subject}",
    ),
    "overlap": Kind(
        "the peer has named bits twice; the store shared with it is frozen",
        "stop the node, `protokms store reset {subject} --config FILE`, start it",
    ),
    "out_of_step": Kind(
        "the peer is heard, and does not agree where both stand; no keys with it meanwhile",
        "see what is wrong with `protokms link list`, at both ends",
    ),
    "peer_conflict": Kind(
        "name or id that a peer and the directory say are not the same",
        "look at directory and keys of both nodes; see `protokms peer list`",
    ),
    "key_refused": Kind(
        "the peer does not know our key: it, or this node, has an old directory",
        "give both the newest directory, then `protokms node reload FILE`",
    ),
    "other_mode": Kind(
        "the peer gives out keys in another mode than this node",
        "set [store] mode to one value for all nodes; see `protokms peer list`",
    ),
    "other_version": Kind(
        "the peer does not know words that this node says",
        "bring both nodes to one version; see `protokms peer list`",
    ),
    "peer_left": Kind(
        "the directory names a peer no more, and there is a store that is shared with it",
        "none if it is to go: stop the node, `protokms store reset {subject} --config FILE`",
    ),
    "peer_given_up": Kind(
        "actors of this peer have died too often, and were stopped; it ends with the process",
        "see actor_died in the log; stop the node, `protokms store check {subject} --config FILE`",
    ),
    "actor_given_up": Kind(
        "an actor of another package has died too often, and was stopped; it ends with the process",
        "see actor_died of own/{subject} in the log; start the node anew, or take the [[actor]] out"
        " and see `protokms node FILE --check`",
    ),
    "link_not_ready": Kind(
        "the QKD module of the link does not open",
        "look at the module and its other end; see `protokms link list`",
    ),
    "link_quiet": Kind(
        "the QKD module of the link gives no key: too many errors or loss, or a device fails",
        "look at the device, or the fibre to {subject} and who is on it; see `protokms link list`",
    ),
    "link_state_forged": Kind(
        "a link state that its node has not signed came from the neighbour",
        "look at {subject}; give all nodes one directory, then `protokms node reload FILE`",
        fades_s=HOUR_S,
    ),
    "link_state_jump": Kind(
        "a signed link state with a number far beyond the last came from the neighbour",
        "a signing key is stolen: make a new one for its node; see `protokms route show`",
        fades_s=HOUR_S,
    ),
    "link_state_lost": Kind(
        "the network knows a later link state of this node than its own store",
        "none if a store was put back; else see `protokms store check PEER --config FILE`",
        fades_s=HOUR_S,
    ),
    "serial_lost": Kind(
        "a neighbour knows a later number of our session refreshes than our own store",
        "none if a store was put back; else see `protokms store check PEER --config FILE`",
        fades_s=HOUR_S,
    ),
    "no_store": Kind(
        "the store for a distant KMS did not start",
        "see no_store in the log; add the session again with `protokms session add {subject}`",
        fades_s=HOUR_S,
    ),
    "disk_full": Kind(
        "commits wait for room on the disk; SAEs are answered 503",
        "free the disk; see `protokms store check PEER --config FILE` when the node is stopped",
    ),
    "erasure_late": Kind(
        "dropped key bits are not erased within [store] erase_s",
        "see what else reads the file of the store, and the disk; see `protokms node FILE --check`",
    ),
    "process_down": Kind(
        "another process of this node is not heard",
        "start its unit, or `protokms node FILE --process {subject}`",
    ),
    "process_refuses_key": Kind(
        "another process of this node does not know our key",
        "give both the same files, see `protokms node FILE --check`, and start both anew",
    ),
    "reload_refused": Kind(
        "something was wrong at the last reload and keeps its value, or a process was not reached",
        "correct it, see `protokms node FILE --check`, then `protokms node reload FILE`",
    ),
    "out_of_date": Kind(
        "a certificate or a revocation list does not hold now",
        "replace {subject}, then `protokms node reload FILE`",
    ),
    "expires_soon": Kind(
        "a certificate or a revocation list expires soon",
        "replace {subject}, then `protokms node reload FILE`",
    ),
    "nobody_let_in": Kind(
        "certificates or lists of the front end refuse every SAE",
        "replace what is named, then `protokms node reload FILE`",
    ),
    "saes_refused": Kind(
        "connections of SAEs were refused",
        "see connection_refused in the log, and `protokms node FILE --check`",
        fades_s=HOUR_S,
    ),
    "write_refused": Kind(
        "a controller that does not look at answers has asked for what cannot be",
        "see the text in `protokms alarm list`, and correct what {subject} asks for",
        fades_s=HOUR_S,
    ),
    "frames_refused": Kind(
        "frames at the door for other KMSs were refused: an old directory, or a stranger",
        "give all nodes one directory, then `protokms node reload FILE`",
        fades_s=HOUR_S,
    ),
    "process_unfit": Kind(
        "another process of this node is of another release, or has another seal, than core",
        "give both one release, and one seal (`protokms node FILE --check`), and start both anew",
    ),
    "process_refused": Kind(
        "another process of this node said what it may not say",
        "see frame refused in the log: whoever has the keys of {subject} is not `protokms node`",
        fades_s=HOUR_S,
    ),
}
"""Every alarm there is, by id; docs/operate.md shows the same."""

_TLS = ("out_of_date", "expires_soon", "nobody_let_in", "saes_refused")

APART: Mapping[str, Collection[str]] = {
    "etsi014": _TLS,
    "etsi015": (*_TLS, "write_refused"),
    "quantum_link": ("link_not_ready", "link_quiet"),
    "node": ("reload_refused", "frames_refused", "process_refused", "process_unfit"),
}
"""What kinds of actors may raise, and end, that may live beside core: their own trouble (R19).

`node/<process>` is such a process itself.
"""

APART_MAX = 64
"""Alarms of each of these kinds; the oldest of that kind makes room."""


def told(node: str) -> Address:
    """Return who keeps the alarms of a node."""
    return Address(NAME, node)


@local
class Raised(Message):
    """Something is wrong; without a text it is what `KINDS` says of the id."""

    id: str
    subject: str = ""
    text: str = ""


@local
class Ended(Message):
    """It is over; harmless when there is no such alarm.

    Without an id: all that the sender had raised, but what an operator ends, or time.
    """

    id: str
    subject: str = ""


@local
class ListAlarms(Message):
    """Which alarms are there?"""


@part
class Alarm:
    """One of them; it was raised `since_s` seconds ago, the first time if several."""

    id: str
    subject: str
    since_s: float
    text: str
    remedy: str
    clears: str


@local
class AlarmList(Message):
    """All of them, the oldest first; `dropped` had to make room since the start."""

    alarms: tuple[Alarm, ...]
    dropped: int


@local
class ClearAlarm(Message):
    """An operator has seen to it; without a subject all alarms of this id."""

    id: str
    subject: str = ""


@local
class AlarmsCleared(Message):
    """So many are over."""

    n: int
