"""The shapes of labs that a command takes by name."""

from enum import StrEnum


class Shape(StrEnum):
    """How the quantum links of a lab lie."""

    chain = "chain"
    ring = "ring"
    star = "star"
    mesh = "mesh"
