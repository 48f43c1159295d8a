"""The configuration of a node: read, checked, every error told at once."""
