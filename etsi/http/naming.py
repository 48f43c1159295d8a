"""Who may speak for whom: which certificate stands for which SAE, and which CA may say so."""

from collections.abc import Iterable, Iterator, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from etsi.http.credentials import issued
from etsi.http.identity import Plain, alternative_names, plain_print
from etsi.http.options import AuthorityRow, HttpOptions, SaeRow, id_fault

_KINDS = ("fingerprint", "subject", "san_dns", "san_uri")
_OVERRIDES = {"emailAddress": NameOID.EMAIL_ADDRESS, "serialNumber": NameOID.SERIAL_NUMBER}

Key = tuple[str, str | x509.Name]


class Table:
    """Names certificates by `[[etsi014.sae]]`, all others as `sae_id_from` says.

    An SAE in the table is named by nothing else. `[[etsi014.authority]]` holds for both.
    """

    def __init__(self, options: HttpOptions, authorities: Sequence[x509.Certificate]) -> None:
        """Raise `ValueError` with a sentence if the rows cannot be meant."""
        self._plain = Plain(options.sae_id_from)
        self._above = _ancestors(authorities)
        cas = _Cas(authorities)
        self._ids = {row.id for row in options.saes}
        self._rows: dict[Key, list[tuple[str, frozenset[str]]]] = {}
        for row in options.saes:
            self._add(_key(row), row, cas.of_sae(row))
        self._bound: dict[str, list[AuthorityRow]] = {}
        for bound in options.authorities:
            for ca in cas.find(bound.ca):
                self._bound.setdefault(ca, []).append(bound)

    def name(
        self, certificate: x509.Certificate, fingerprint: str, cas: Sequence[str]
    ) -> tuple[str, str]:
        """Return the id of the SAE, and why there is none."""
        above = frozenset(cas).union(*(self._above.get(ca, ()) for ca in cas))
        found = set(self._listed(certificate, fingerprint, above)) if self._rows else set()
        if len(found) > 1:
            return "", "the client certificate stands for several SAEs"
        if found:
            sae = found.pop()
        else:
            sae, trouble = self._plain.name(certificate, fingerprint, cas)
            if trouble:
                return "", trouble
            if sae in self._ids:
                return "", "another certificate stands for this SAE"
        return (sae, "") if self._may_name(above, sae) else ("", "its CA may not name this SAE")

    def _add(self, key: Key, row: SaeRow, cas: frozenset[str]) -> None:
        if fault := id_fault(row.id):
            raise ValueError(f"the row of {row.id[:80]!a}: the id {fault}")
        rows = self._rows.setdefault(key, [])
        for other, theirs in rows:
            if other != row.id and (key[0] == "fingerprint" or cas & theirs):
                raise ValueError(f"the rows of {other} and {row.id} are for the same certificate")
        rows.append((row.id, cas))

    def _listed(
        self, certificate: x509.Certificate, fingerprint: str, above: frozenset[str]
    ) -> Iterator[str]:
        keys: list[Key] = [("fingerprint", fingerprint), ("subject", certificate.subject)]
        dns = alternative_names(certificate, "san_dns")
        keys += [("san_dns", name.lower()) for name in dns]
        keys += [("san_uri", name) for name in alternative_names(certificate, "san_uri")]
        for key in keys:
            for sae, cas in self._rows.get(key, ()):
                if cas & above or (key[0] == "fingerprint" and not cas):
                    yield sae

    def _may_name(self, above: frozenset[str], sae: str) -> bool:
        """A CA in the rows names what stands there; what stands there is named by no other."""
        confined = [self._bound[ca] for ca in above if ca in self._bound]
        if confined:
            return all(any(_covers(row, sae) for row in rows) for rows in confined)
        return not any(_covers(row, sae) for rows in self._bound.values() for row in rows)


class _Cas:
    """Finds client CAs by what an operator calls them."""

    def __init__(self, authorities: Sequence[x509.Certificate]) -> None:
        self._known = [(ca.subject, _print(ca)) for ca in authorities]

    def find(self, called: str) -> frozenset[str]:
        """Return fingerprints. One that is written out may be of a CA that clients send."""
        if found := plain_print(called):
            return frozenset({found})
        name = _name(called, "ca")
        made = frozenset(fingerprint for subject, fingerprint in self._known if subject == name)
        if not made:
            raise ValueError(f"no CA of client_ca has the name {called}; give a fingerprint")
        return made

    def of_sae(self, row: SaeRow) -> frozenset[str]:
        if row.fingerprint is not None:
            return frozenset() if row.ca is None else self.find(row.ca)
        if row.ca is None:
            raise ValueError(f"the row of {row.id} names no ca: any could issue such a certificate")
        return self.find(row.ca)


def _key(row: SaeRow) -> Key:
    given = [kind for kind in _KINDS if getattr(row, kind) is not None]
    if len(given) != 1:
        raise ValueError(f"the row of {row.id} has {len(given)} of {', '.join(_KINDS)}: write one")
    kind, text = given[0], str(getattr(row, given[0]))
    if kind == "fingerprint":
        found = plain_print(text)
        if not found:
            raise ValueError(f"the row of {row.id}: {text} is no SHA-256 fingerprint")
        return kind, found
    if kind == "subject":
        return kind, _name(text, f"the row of {row.id}")
    return kind, text.lower() if kind == "san_dns" else text


def _name(text: str, where: str) -> x509.Name:
    try:
        return x509.Name.from_rfc4514_string(text, _OVERRIDES)
    except ValueError as why:
        raise ValueError(
            f"{where}: {text} is neither a name like 'CN=a,O=b' nor a SHA-256"
        ) from why


def _covers(row: AuthorityRow, sae: str) -> bool:
    return any(
        sae.startswith(each[:-1]) if each.endswith("*") else sae == each for each in row.saes
    )


def _ancestors(authorities: Iterable[x509.Certificate]) -> dict[str, frozenset[str]]:
    """Return for each CA those of the bundle that stand above it: chains may end below them."""
    cas = list(authorities)
    parents = {
        _print(ca): {_print(above) for above in cas if above is not ca and issued(ca, above)}
        for ca in cas
    }
    found: dict[str, frozenset[str]] = {}
    for ca, nearest in parents.items():
        seen: set[str] = set()
        rest = list(nearest)
        while rest:
            above = rest.pop()
            if above not in seen:
                seen.add(above)
                rest += parents[above]
        found[ca] = frozenset(seen)
    return found


def _print(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()
