"""Who acts: each actor owns its state and takes one message at a time."""
