"""The state of two ends of a stream of bits: plain classes, no actor, no clock, no I/O."""
