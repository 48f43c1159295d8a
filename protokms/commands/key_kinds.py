"""What a key of a node is for, as the command line names it."""

from enum import StrEnum


class Kind(StrEnum):
    """What a key is for."""

    signing = "signing"
    curve = "curve"
    process = "process"
    link = "link"
    node = "node"
