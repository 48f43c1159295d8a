"""The key stores: one for each peer KMS, one for SAEs of this node."""
