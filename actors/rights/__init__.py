"""What SAEs may have: what rows come to for a pair, who waits for that, and whose turn it is."""
