"""A controller of our own: brings a network to a desired state, over ETSI GS QKD 015 alone."""
