"""A QKD device, or a KME of another vendor, behind ETSI GS QKD 014: keys with a key_ID each."""
