"""The front door: puts a node together and runs it."""
