"""RESTCONF over any such table: paths, JSON, queries, edits, conditions, events."""
