"""HTTP servers: each fulfils the interface in `etsi.http.server`, and its contract test."""
