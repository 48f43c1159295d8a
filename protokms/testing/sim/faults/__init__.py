"""What goes wrong in a simulated network, when, and for how long: what one seed means."""
