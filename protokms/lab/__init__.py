"""Networks of nodes on one machine: planned, made, run."""
