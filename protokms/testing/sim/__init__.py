"""Whole networks under seeded faults, and the decision whether a promise was broken."""
