"""ETSI GS QKD 015: the node as a controller sees and configures it, over RESTCONF."""
