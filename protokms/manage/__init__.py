"""The management socket: its words, who serves it, who asks."""
