"""What fills a key store: a quantum link, or a virtual link over trusted nodes."""
