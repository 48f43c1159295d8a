"""Figures, with the yardstick in the same run."""
