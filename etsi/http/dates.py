"""What of a front end's TLS is out of date, or soon will be, and whether that keeps everybody out.

Dates decide over no start and no reload: OpenSSL refuses what is out of date, one chain at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from etsi.http import revocation
from etsi.http.credentials import Credentials, is_root, issued, trusted
from etsi.http.tls import is_partial

SOON_S, VERY_SOON_S = 30 * 86_400.0, 7 * 86_400.0
"""Seconds before something expires when a warning is due, at most a quarter of its life."""


@dataclass(frozen=True, slots=True)
class Span:
    """When something holds, in seconds since 1970; `file` is the key of the configuration."""

    file: str
    name: str
    since: float
    until: float

    def trouble(self, now: float) -> str:
        """Say why it does not hold now, or nothing."""
        if now > self.until:
            how = "is out of date since" if self.file == "crl" else "has expired on"
            return f"{self.name} {how} {_day(self.until)}"
        if now < self.since:
            return f"{self.name} is not valid before {_day(self.since)}"
        return ""

    def level(self, now: float) -> int:
        """Tell how urgent it is: 0 not yet, 1 soon, 2 very soon, 3 it does not hold."""
        if self.trouble(now):
            return 3
        left, quarter = self.until - now, (self.until - self.since) / 4
        return (left < min(SOON_S, quarter)) + (left < min(VERY_SOON_S, quarter / 2))


def spans(made: Credentials) -> list[Span]:
    """Return when each certificate and list that was read holds."""
    found = [_span("certificate", one) for one in made.pair.chain]
    found += [_span("client_ca", one) for one in made.authorities]
    lists = made.lists or ()
    return found + [Span("crl", f"the list of {one.name}", one.since, one.due) for one in lists]


def ends(made: Credentials) -> dict[str, float]:
    """Return when the first thing in each file expires; a list may do so never."""
    first: dict[str, float] = {}
    for one in spans(made):
        first[one.file] = min(first.get(one.file, one.until), one.until)
    return first


def closed(made: Credentials, now: float) -> list[str]:
    """Say why everybody is refused, or nothing."""
    reasons = [
        f"the server certificate: {why}"
        for one in made.pair.chain
        if (why := _span("certificate", one).trouble(now))
    ]
    cas = trusted(made.authorities)
    broken = [why for ca in cas if (why := _broken(ca, cas, made.lists, now))]
    if len(broken) == len(cas):
        told = "; ".join(dict.fromkeys(broken)) or "client_ca holds no CA"
        reasons.append(f"no client is let in: {told}")
    return reasons


def _broken(
    ca: x509.Certificate,
    cas: Sequence[x509.Certificate],
    lists: revocation.Lists | None,
    now: float,
) -> str:
    """Say why no chain over this CA holds, or nothing."""
    troubles = [
        [why for one in path if (why := _unfit(one, lists, now))]
        for path in _paths(ca, cas, partial=is_partial(cas))
    ]
    return "" if not all(troubles) else troubles[0][0]


def _unfit(ca: x509.Certificate, lists: revocation.Lists | None, now: float) -> str:
    if why := _span("client_ca", ca).trouble(now):
        return why
    if lists is None:
        return ""
    if revocation.names(lists, ca):
        return f"{_name(ca)} is revoked"
    own = [one for one in lists if one.issuer == ca.subject.public_bytes()]
    if not own:
        return f"there is no revocation list of {_name(ca)}"
    held = [Span("crl", f"the list of {one.name}", one.since, one.due) for one in own]
    troubles = [one.trouble(now) for one in held]
    return troubles[0] if all(troubles) else ""


def _paths(
    ca: x509.Certificate, cas: Sequence[x509.Certificate], *, partial: bool
) -> Iterator[list[x509.Certificate]]:
    """Yield the chains from a CA upwards: to a root, or, when chains may be partial, itself."""
    if partial or is_root(ca):
        yield [ca]
        return
    for above in cas:
        if above is not ca and issued(ca, above):
            for rest in _paths(above, [one for one in cas if one is not ca], partial=False):
                yield [ca, *rest]


def _span(file: str, certificate: x509.Certificate) -> Span:
    since = certificate.not_valid_before_utc.timestamp()
    return Span(file, _name(certificate), since, certificate.not_valid_after_utc.timestamp())


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200] or f"number {certificate.serial_number:x}"


def _day(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%F %T} UTC"
