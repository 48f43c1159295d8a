"""How messages travel: declared words, octets, ZeroMQ sockets; it knows no message by name."""
