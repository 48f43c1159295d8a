"""The model of ETSI GS QKD 015, and of what an agent says of itself, as tables."""
