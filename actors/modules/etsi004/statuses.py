"""The status numbers of ETSI GS QKD 004, in a table for each edition: the next renumbers them."""

from collections.abc import Mapping
from enum import Enum


class Status(Enum):
    """What a status says, whatever its number; the value is for an operator."""

    SUCCESS = "success"
    NO_PEER_YET = "success, and its peer is not connected yet"
    INSUFFICIENT = "there is not enough key"
    NO_PEER = "the peer application is not connected"
    NO_CONNECTION = "there is no QKD connection"
    IN_USE = "the stream id is in use"
    TIMEOUT = "the time that the stream allows is over"
    QOS = "the quality of service asked for cannot be met"
    METADATA = "there is more metadata than asked for"


EDITIONS: Mapping[int, Mapping[int, Status]] = {
    2: dict(enumerate(Status)),  # V2.1.1 (2020-08), table 2, in this order from 0
}
"""What the numbers mean, by edition; another edition is another row, and nothing else."""
