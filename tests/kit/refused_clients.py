"""Clients that a front end refuses at the handshake: what they hear, what the log says."""

from typing import NamedTuple


class Refused(NamedTuple):
    """Who is refused: the alert in the words of `openssl s_client`, TLS 1.2 and 1.3; the log."""

    why: str
    alert: str
    alert_1_3: str = ""

    @property
    def alerts(self) -> tuple[str, str]:
        """Return the alert of TLS 1.2, and that of TLS 1.3."""
        return self.alert, self.alert_1_3 or self.alert


CLIENTS = {
    "expired": Refused("certificate has expired", "certificate expired"),
    "early": Refused("certificate is not yet valid", "bad certificate"),
    "foreign": Refused("unable to get local issuer certificate", "unknown ca"),
    "nobody": Refused(
        "PEER_DID_NOT_RETURN_A_CERTIFICATE", "handshake failure", "certificate required"
    ),
    "revoked": Refused("certificate revoked", "certificate revoked"),
    "late-list": Refused("CRL has expired", "certificate expired"),
    "early-list": Refused("CRL is not yet valid", "bad certificate"),
    "no-list": Refused("unable to get certificate CRL", "unknown ca"),
}
"""By the common name of their certificate. `*-list`: of a CA whose list is so."""
