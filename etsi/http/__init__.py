"""What any HTTPS front end has: TLS, limits, the bridge to actors."""
