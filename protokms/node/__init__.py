"""One node as a process: made of actors, observed, managed, stopped."""
