"""ETSI GS QKD 014: keys for SAEs."""
