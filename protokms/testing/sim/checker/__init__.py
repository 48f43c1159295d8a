"""Decides over a history whether a promise was broken; knows the words, and no actor."""
