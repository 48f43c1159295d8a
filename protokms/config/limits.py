"""Which limits of the range a configuration reaches: what `protokms node --check` says of size.

A limit that is reached breaks nothing: it is where requests, sessions or clients are refused.
"""

import math
from collections.abc import Iterator

import msgspec
from msgspec import structs

from actors.keystore.options import STORE_BITS_MIN, least_batch
from actors.protocol import peers
from etsi.gs014.options import Gs014Options
from etsi.http.options import portion
from protokms.config import directory
from protokms.config.keyfiles import BadFile
from protokms.config.sections import EdgeConfig, Link, NodeConfig
from transport.codec import MAX_FRAME

_KEY_BITS = 256
_ASKED_OCTETS = len('{"key_ID":""},') + 36
"""Octets of a `dec_keys` request for each key that it names."""

_FRAME_KEY_OCTETS = 64
"""Octets of a frame around each key, from the store to a front end in a process of its own."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: the key that sets it, its value, and how much the configuration asks of it.

    `asked` is None where only a running node can tell.
    """

    key: str
    what: str
    limit: int
    asked: int | None = None
    then: str = ""

    @property
    def reached(self) -> bool:
        """Whether what is asked goes past the limit."""
        return self.asked is not None and self.asked > self.limit

    def as_dict(self) -> dict[str, str | int | bool | None]:
        """Return plain data, for JSON."""
        return {**msgspec.structs.asdict(self), "reached": self.reached}

    def __str__(self) -> str:
        asked = "" if self.asked is None else f", {self.asked:,} asked"
        more = f": {self.then}" if self.reached else ""
        return f"{self.key}: at most {self.limit:,} {self.what}{asked}{more}"


def limits(config: NodeConfig | EdgeConfig) -> list[Limit]:
    """Return every limit with what this configuration, and the directory it names, ask of it."""
    found = [*_sessions(config), *_store(config)] if isinstance(config, NodeConfig) else []
    for number, link in enumerate(config.links):
        found += _link(number, link)
    if etsi := config.etsi014:
        found += _clients(structs.replace(etsi, **portion(structs.asdict(etsi), config.fronts)))
    return found


def _directory(config: NodeConfig) -> peers.Directory | None:
    try:
        return directory.read(config.directory.file, config.directory.ca)
    except BadFile:
        return None  # which is told as a problem


def _sessions(config: NodeConfig) -> Iterator[Limit]:
    known, relay = _directory(config), config.relay
    neighbours = set(config.neighbours)
    if known:
        file = config.directory.file
        octets, saes = file.stat().st_size, sum(len(kms.saes) for kms in known.kmss)
        most = directory.FILE_OCTETS_MAX
        yield Limit(key="directory.file", what="octets", limit=most, asked=octets)
        yield Limit(key="directory", what="KMSs", limit=directory.KMSS_MAX, asked=len(known.kmss))
        yield Limit(key="directory", what="SAEs", limit=directory.SAES_MAX, asked=saes)
    distant = len({kms.name for kms in known.kmss} - neighbours) - 1 if known else None
    lanes = distant * relay.paths if distant is not None else None
    yield Limit(
        key="relay.max_distant_peers",
        what="KMSs beyond the neighbours with a store here",
        limit=relay.max_distant_peers,
        asked=distant,
        then="not all of the directory can have keys with this node at a time",
    )
    yield Limit(
        key="relay.max_sessions",
        what="sessions that begin here",
        limit=relay.max_sessions,
        asked=distant,
        then="further ones are refused with 503",
    )
    each = min(relay.max_lanes, relay.max_lanes_per_origin) * max(1, len(neighbours))
    yield Limit(
        key="relay.max_lanes_per_origin",
        what=f"shares of sessions from here over {len(neighbours)} links",
        limit=each,
        asked=lanes,
        then="further ones are refused with 503 (share_full), as at every node on the path",
    )


def _link(number: int, link: Link) -> Iterator[Limit]:
    """For how long the first bits of a least batch wait, where the configuration can tell."""
    key, waits = f"link[{number}].rate_bit_s", None
    least_bits, least_s = least_batch()
    if link.block_octets is not None and link.block_s is not None:
        more = math.ceil(least_bits / (8 * link.block_octets)) - 1
        key, waits = f"link[{number}].block_s", more * link.block_s
    elif link.rate_bit_s is not None:
        waits = least_bits / link.rate_bit_s
    if waits is not None:
        yield Limit(
            key=key,
            what=f"seconds until {least_bits:,} bits have come, which make a batch",
            limit=least_s,
            asked=math.ceil(waits),
            then="this link gives no keys: what comes is dropped before it is a batch",
        )


def _store(config: NodeConfig) -> Iterator[Limit]:
    store, etsi = config.store, config.etsi014
    bits = etsi.key_size_bits if etsi else _KEY_BITS
    largest = etsi.max_key_size_bits * etsi.max_keys_per_request if etsi else None
    yield Limit(
        key="store.max_bits",
        what="bits kept with one peer",
        limit=store.max_bits,
        asked=max(STORE_BITS_MIN, largest or 0),
        then="the largest request that is allowed never has bits enough",
    )
    pair, sae = store.max_undelivered_bits_per_pair, store.max_undelivered_bits_per_sae
    for key, most in (("pair", pair), ("sae", sae)):
        yield Limit(
            key=f"store.max_undelivered_bits_per_{key}",
            what=f"bits undelivered, that is {most // bits:,} keys of {bits} bits",
            limit=most,
            asked=largest,
            then="the largest request that is allowed is refused",
        )


def _clients(etsi: Gs014Options) -> Iterator[Limit]:
    yield Limit(
        key="etsi014.max_connections",
        what="connections of clients",
        limit=etsi.max_connections,
        asked=etsi.max_connections_per_sae,
        then="one SAE can take them all",
    )
    yield Limit(
        key="etsi014.max_in_flight",
        what="requests in flight",
        limit=etsi.max_in_flight,
        asked=etsi.max_in_flight_per_sae,
        then="one SAE can take them all",
    )
    yield Limit(
        key="etsi014.max_handshakes", what="TLS handshakes at a time", limit=etsi.max_handshakes
    )
    keys = etsi.max_keys_per_request
    yield Limit(
        key="etsi014.max_body_octets",
        what="octets of a request",
        limit=etsi.max_body_octets,
        asked=keys * _ASKED_OCTETS,
        then="the keys of the largest answer cannot be fetched with one request",
    )
    yield Limit(
        key="etsi014.max_keys_per_request",
        what="octets of a frame between processes",
        limit=MAX_FRAME,
        asked=keys * (etsi.max_key_size_bits // 8 + _FRAME_KEY_OCTETS),
        then="the largest answer does not fit; lower it, or max_key_size_bits",
    )
