"""Whole networks in one thread on a manual clock, for your tests and ours."""
