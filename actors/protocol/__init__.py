"""What is said between actors, one file a conversation."""
