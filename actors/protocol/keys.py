"""What a front end says to the key store that shares bits with the other SAE's KMS.

Sizes are in octets. One grant holds `number` keys of `size` octets; the key_ID of key `index`
is the grant id and the index, laid out as a UUID (`key_id`, `parse_key_id`).
"""

import re

from actors.protocol.common import Refused
from actors.protocol.limits import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX
from transport.message import Message, Secret, local, part

ID_OCTETS = 12
_INDEX_OCTETS = 4
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def key_id(grant: bytes, index: int) -> str:
    """Lay out a grant id (12 octets) and an index as the text of a UUID."""
    text = grant.hex() + index.to_bytes(_INDEX_OCTETS, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_key_id(text: str) -> "KeyName":
    """Read a key_ID, in either case; `Refused("malformed")` if it is no UUID."""
    if not _UUID.fullmatch(text):  # uuid.UUID() would take braces, URNs and stray hyphens too
        raise Refused("malformed", "key_ID is not a UUID")
    octets = bytes.fromhex(text.replace("-", ""))
    return KeyName(octets[:ID_OCTETS], int.from_bytes(octets[ID_OCTETS:], "big"))


@part
class KeyName:
    """One key of a grant."""

    grant: bytes
    index: int


@part
class Via:
    """Where `octets` of the keys of a grant came from (the extension `protokms_provenance`).

    `paths` are names of nodes from one end to the other, more than one if each octet is an XOR of
    shares or a batch came over several; none: a quantum link. `age` is the seconds since both
    ends had them, -1 if it is not known.
    """

    octets: int
    paths: tuple[tuple[str, ...], ...]
    age: float


@local
class GetKey(Message):
    """Allocate keys for the SAE `master` and the SAEs `slaves`, all at the peer's KMS (014 6.2).

    Keys that could not be answered `within` so many seconds are taken back: nobody waits longer.
    """

    master: str
    slaves: tuple[str, ...]
    number: int
    size: int
    provenance: bool = False
    within: float = 3600.0


@local
class Keys(Message):
    """The keys of one grant: `number` times `size` octets, one after the other.

    `provenance` in the order of the octets, if it was asked for.
    """

    grant: bytes
    size: int
    octets: Secret
    provenance: tuple[Via, ...] = ()


@local
class AskWait(Message):
    """A request for so many octets was refused for want of bits: when will there be enough?"""

    octets: int


@local
class Wait(Message):
    """In so many seconds, as it looks; 0: soon, or nobody knows."""

    seconds: float


@local
class AskTurn(Message):
    """When may these have so many octets? Answered with `Wait`, or `Refused("not_permitted")`.

    To a key store, of slaves at its peer; or to `multicast`, which knows no rates, of any slaves.
    """

    master: str
    slaves: tuple[str, ...]
    octets: int


@local
class CheckRate(Message):
    """May these have so many octets now? `multicast` asks before bits are spent at other stores.

    Answered with `WithinRate`, or refused for the reason that `Prepare` would be by rows. `ahead`
    are octets of requests before it, for which the store has not been asked yet.
    """

    master: str
    slaves: tuple[str, ...]
    octets: int
    ahead: int = 0


@local
class WithinRate(Message):
    """They may."""


@local
class GetMulticast(Message):
    """Allocate the same keys for SAEs at several KMSs; to `multicast`, answered with `Keys`."""

    master: str
    slaves: tuple[str, ...]
    number: int
    size: int


@local
class Prepare(Message):
    """Bring these keys under this id to `slaves`, all at the peer's KMS, one-time-padded.

    Answered with `Prepared` once the peer holds them durably; until `Settle`, `Abort` is heard.
    """

    grant: bytes
    master: str
    slaves: tuple[str, ...]
    number: int
    size: int
    octets: Secret


@local
class Prepared(Message):
    """The peer holds them."""

    grant: bytes


@local
class Settle(Message):
    """The master has been answered with a grant that was given: it stands."""

    grant: bytes


@local
class Abort(Message):
    """Void a grant that was to be given: its master is not answered, and never will be."""

    grant: bytes


@local
class GetKeyWithIds(Message):
    """Hand these keys of `master` to the SAE `slave`: all of them or none (014 6.4)."""

    master: str
    slave: str
    names: tuple[KeyName, ...]


@local
class KeysWithIds(Message):
    """The keys in the order asked for; tell `Written` or `Broken` with this `receipt` after."""

    octets: tuple[Secret, ...]
    receipt: int


@local
class Written(Message):
    """The response that carried the keys of this receipt was written: they are delivered."""

    receipt: int


@local
class Broken(Message):
    """The connection broke before the response was out: the keys may be asked for again."""

    receipt: int


@local
class GetStatus(Message):
    """What could be handed out now for this pair, in keys of `size` octets?"""

    master: str
    slave: str
    size: int


@local
class Stock(Message):
    """Keys that can be handed out, and the most there could be (P9)."""

    stored: int
    capacity: int


def check_status(ask: GetStatus) -> None:
    """Refuse a size that no key has."""
    if not 0 < ask.size <= KEY_OCTETS_MAX:
        raise Refused("malformed", "no such size of a key")


def check_request(ask: "GetKey | Prepare | GetMulticast") -> None:
    """Refuse what no grant could be."""
    if not (0 < ask.number <= KEYS_MAX and 0 < ask.size <= KEY_OCTETS_MAX):
        raise Refused("malformed", "too many keys, too large, or none")
    if not 0 < len(set(ask.slaves)) == len(ask.slaves) <= SLAVES_MAX:
        raise Refused("malformed", "no slave SAE, too many, or one twice")
