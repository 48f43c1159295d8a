"""Runs of simulated networks: who asks for what, how a run ends, many runs."""
