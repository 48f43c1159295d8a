"""A QKD device, or another vendor's KMS, behind ETSI GS QKD 004: streams of key, read by index."""
