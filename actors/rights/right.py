"""What one pair of SAEs may have, by all rows that are about it: the one place that decides.

No actor, no clock. Policies are asked first: the first that names the pair decides whether it may
have keys at all. Then the application of the pair: if applications are controlled there has to be
one, and its time must not be over. A policy never stands in for an application, nor an application
for a policy, so each can only take away what the other would give. Limits of both hold together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.protocol.intent import PER_SAE, Policy
from actors.protocol.limits import WEIGHT_MAX
from actors.protocol.rights import Entitled, Rights, Rule

Home = Callable[[str], str | None]
"""At which KMS an SAE is; None if the directory does not name it."""

ANYBODY, OF_NODE = "*", "node:"
_SHOWN = 64
"""Characters of an id in a refusal."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `rate` bit/s for all pairs whose rights have this `scope`; `rule` wants it so."""

    scope: tuple[str, ...]
    rule: str
    rate: int


@dataclass(frozen=True, slots=True)
class Most:
    """At most `octets` of keys of a pair may lie unfetched; `rule` wants it so."""

    rule: str
    octets: int


@dataclass(frozen=True, slots=True)
class Ways:
    """Only bits that came over at least `paths` disjoint paths; `rule` wants it so."""

    rule: str
    paths: int


@dataclass(frozen=True, slots=True)
class Least:
    """So many bit/s are kept for the pairs of an application."""

    application: str
    rate: int


@dataclass(frozen=True, slots=True)
class Right:
    """What a pair may have; `no` says why it may have nothing, and is empty if it may.

    Its new keys live `ttl_s` seconds at most; None: as the store wants it. While requests wait, it
    has `weight` turns for one of a pair of which nobody has said anything.
    """

    no: str = ""
    ttl_s: int | None = None
    limits: tuple[Limit, ...] = ()
    least: Least | None = None
    stock: Most | None = None
    ways: Ways | None = None
    weight: int = 1


def right_of(rights: Rights, master: str, slave: str, home: Home) -> Right:
    """Return what `master` may have of keys with `slave`."""
    rule = _rule_of(rights, master, slave, home)
    if rule and not rule.policy.allow:
        return Right(f"policy {rule.name} denies keys with SAE {slave[:_SHOWN]}")
    entitled = rights.entitled.get((master, slave))
    if entitled is None and rights.controlled:
        return Right(f"no application lets this SAE have keys with SAE {slave[:_SHOWN]}")
    if entitled and entitled.over:
        return Right(f"the time of application {entitled.id} is over")
    limits = [*_of_application(entitled), *_of_policy(rule, master, slave)]
    if none := next((it for it in limits if not it.rate), None):
        return Right(f"{none.rule} gives no bits")
    lives = [entitled.application.ttl_s if entitled else None, rule.policy.ttl_s if rule else None]
    least = entitled.application.min_bandwidth if entitled else None
    stock = rule.policy.stock_bits if rule else None
    priority = (rule.policy.priority if rule else 0) or (
        entitled.application.priority if entitled else 0
    )
    return Right(
        ttl_s=min((it for it in lives if it is not None), default=None),
        limits=tuple(limits),
        least=Least(entitled.id, least) if entitled and least else None,
        stock=Most(f"policy {rule.name}", stock // 8) if rule and stock is not None else None,
        ways=Ways(f"policy {rule.name}", rule.policy.paths) if rule and rule.policy.paths else None,
        weight=min(1 + priority, WEIGHT_MAX),
    )


def joint(rights: Sequence[Right]) -> Right:
    """Return what several pairs may have if all are given the same keys."""
    if len(rights) == 1:
        return rights[0]
    lives = [it.ttl_s for it in rights if it.ttl_s is not None]
    ways = [it.ways for it in rights if it.ways]
    return Right(
        no=next((it.no for it in rights if it.no), ""),
        ttl_s=min(lives, default=None),
        limits=tuple(dict.fromkeys(limit for it in rights for limit in it.limits)),
        ways=max(ways, key=lambda it: it.paths, default=None),
        weight=min((it.weight for it in rights), default=1),
    )


def _of_application(entitled: Entitled | None) -> list[Limit]:
    rate = entitled.application.max_bandwidth if entitled else None
    if entitled is None or rate is None:
        return []
    return [Limit(("application", entitled.id), f"application {entitled.id}", rate)]


def _of_policy(rule: Rule | None, master: str, slave: str) -> list[Limit]:
    rate = rule.policy.max_bandwidth if rule else None
    if rule is None or rate is None:
        return []
    if PER_SAE in rule.policy.masters:
        of_sae = f"policy {rule.name} for SAE {master[:_SHOWN]}"
        return [Limit(("policy", rule.name, master), of_sae, rate)]
    return [Limit(("policy", rule.name, master, slave), f"policy {rule.name}", rate)]


def _rule_of(rights: Rights, master: str, slave: str, home: Home) -> Rule | None:
    return next((it for it in rights.rules if _names(it.policy, master, slave, home)), None)


def _names(policy: Policy, master: str, slave: str, home: Home) -> bool:
    return _is_among(master, policy.masters, home) and _is_among(slave, policy.slaves, home)


def _is_among(sae: str, names: tuple[str, ...], home: Home) -> bool:
    at = home(sae)
    return ANYBODY in names or sae in names or (at is not None and f"{OF_NODE}{at}" in names)
