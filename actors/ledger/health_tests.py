"""Health tests of the bits of a link: NIST SP 800-90B, 4.4, over octets and over bits (R21).

Each end of a link asks them of its own copy of every batch, before the batch is confirmed. They
tell a source that is stuck or badly biased. They cannot tell good bits from those of a generator
that an attacker knows. All samples of a batch are tested, the 32 octets of its tag key too, and
nothing is remembered from one batch to the next.

A sample is taken to have full entropy, and each of the four tests gets a quarter of the false
alarms: 2^-32 for a batch of 64 KiB (2^16 octets, 2^19 bits), so 2^-30 in all.

- *Repetition count* (4.4.1): n samples of H bits have a run of c equal ones with a probability
  of at most n * 2^(-H * (c - 1)). Octets: 16 - 8 * (c - 1) <= -32 gives 7; bits:
  19 - (c - 1) <= -32 gives 52.
- *Adaptive proportion* (4.4.2): the first sample of a window of 512 octets or 1,024 bits is
  counted in it. A batch has up to 129 or 513 windows, the last one of which is aligned to its
  end; so a window may reach the cut-off with a probability of at most 2^-32 divided by these.
  The least such counts of 1 + Binomial(511, 1/256) and 1 + Binomial(1023, 1/2) are 20 and 627.
"""

import struct

BATCH_OCTETS = 1 << 16
"""The largest batch, which the cut-offs are made for."""
RUN_OCTETS = 7
RUN_BITS = 52
WINDOW_OCTETS = 512
WINDOW_BITS = 1024
COUNT_OCTETS = 20
COUNT_BITS = 627
ALIKE = 5
"""Equal octets in a row that lie in each run that is too long, of octets or of bits."""


def fault(octets: bytes) -> str:
    """Name the first test that a batch fails; empty if it passes all of them.

    `octets` are those of the batch, at most `BATCH_OCTETS`. The name is one of
    `repeated_octets`, `repeated_bits`, `octet_proportion`, `bit_proportion`; it tells nothing of
    the octets themselves.
    """
    if not octets[1:]:
        return ""
    if _may_repeat(octets):
        number = int.from_bytes(octets, "big")
        if _octets_repeat(number, len(octets)):
            return "repeated_octets"
        if _bits_repeat(number, 8 * len(octets)):
            return "repeated_bits"
    if _octet_proportion(octets):
        return "octet_proportion"
    if _bit_proportion(octets):
        return "bit_proportion"
    return ""


def _may_repeat(octets: bytes) -> bool:
    """Whether `ALIKE` octets in a row are equal, as in each run that is too long, of either kind.

    Random octets hardly ever are, and then neither run need be looked for. XOR with the next
    octet leaves a zero where two are equal; the last one has no next.
    """
    number = int.from_bytes(octets, "little")
    differ = (number ^ (number >> 8)).to_bytes(len(octets), "little")
    return differ.find(bytes(ALIKE - 1), 0, -1) >= 0


def _octets_repeat(number: int, octets: int) -> bool:
    """Whether octets repeat: XOR with the octet before leaves a zero where two are equal."""
    differ = (number ^ (number >> 8)) & ((1 << (8 * (octets - 1))) - 1)
    return bytes(RUN_OCTETS - 1) in differ.to_bytes(octets - 1, "big")


def _bits_repeat(number: int, bits: int) -> bool:
    """Whether bits repeat: ones mark equal neighbours, and are folded until a run is one bit."""
    every = (1 << (bits - 1)) - 1
    equal = ~(number ^ (number >> 1)) & every
    run = 1
    while equal and run < RUN_BITS - 1:
        step = min(run, RUN_BITS - 1 - run)
        equal &= equal >> step
        run += step
    return equal != 0


def _octet_proportion(octets: bytes) -> bool:
    return any(
        octets.count(octets[start], start, start + WINDOW_OCTETS) >= COUNT_OCTETS
        for start in _windows(len(octets), WINDOW_OCTETS)
    )


def _bit_proportion(octets: bytes) -> bool:
    size = min(WINDOW_BITS // 8, len(octets))
    windows = [*struct.unpack_from(f"{size}s" * (len(octets) // size), octets), octets[-size:]]
    ones = list(map(int.bit_count, map(int.from_bytes, windows)))
    if max(ones) < COUNT_BITS and 8 * size - min(ones) < COUNT_BITS:
        return False  # nearly always: whatever each window begins with
    return any(
        (count if window[0] & 0x80 else 8 * size - count) >= COUNT_BITS
        for window, count in zip(windows, ones, strict=True)
    )


def _windows(length: int, size: int) -> list[int]:
    """Return where windows begin; the last one ends with the batch, and may overlap another."""
    last = max(0, length - size)
    return [*range(0, last, size), last]
