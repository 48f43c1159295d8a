"""How rows are, and what happens to them: what who asks, or subscribes, is told."""
