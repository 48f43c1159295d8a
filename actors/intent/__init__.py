"""What is wanted of a node: links, sessions, applications, policies; kept, and made so."""
