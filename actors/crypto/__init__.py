"""Compositions of primitives, argued in docs/decisions/0003 and 0011."""
