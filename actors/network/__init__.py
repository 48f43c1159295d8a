"""Who is in the network and how to get there: peers, link states, paths."""
