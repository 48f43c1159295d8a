"""How links are, from what stores and modules have said; no actor. Sizes are bits."""

from dataclasses import dataclass, field, replace
from types import MappingProxyType

from actors.intent.scene import Scene
from actors.protocol import intent
from actors.protocol.intent import Application, Facts, Link
from actors.protocol.rights import Rights
from actors.protocol.usage import Usage
from actors.rights.right import right_of

NOTHING = Usage(skr=0.0, eskr=0.0, measured=0.0, comes=False, stock_bits=0, why="", pairs=())


@dataclass(slots=True)
class Store:
    """What a key store has last said of itself, and the module of its quantum link.

    `qber` is in percent; None: no module has told one. `silent`: the link does not answer.
    """

    usage: Usage = NOTHING
    why: str = ""
    qber: float | None = None
    silent: bool = False


def link_facts(link: Link, store: Store | None, why: str, consumption: float) -> Facts:
    """Return how a link is: `why` it does not run, if it does not; `store` None: there is none."""
    usage = store.usage if store else NOTHING
    why = why or ("" if link.enabled else "it is switched off")
    why = why or (store.why or usage.why if store else "")
    if usage.comes and link.enabled:
        status, why = intent.ACTIVE, ""
    elif usage.stock_bits:
        status = intent.PASSIVE
    elif link.enabled:
        status = intent.PENDING
    else:
        status = intent.OFF
    phys = link.kind == intent.PHYS
    return Facts(
        status=status,
        why=why[: intent.TEXT_MAX],
        skr=_rate(usage.skr),
        eskr=_rate(usage.eskr),
        consumption=_rate(consumption),
        stock_bits=usage.stock_bits,
        qber=store.qber if store and phys else None,
    )


def _rate(bits: float) -> int:
    return min(int(bits), intent.BANDWIDTH_MAX)


def crossed(link: Link, first: tuple[str, ...]) -> set[str]:
    """Return the neighbours over whose quantum links a virtual link is to have its bandwidth.

    `first` are the nodes after this one on paths that were found for it here.
    """
    if link.kind != intent.VIRT or not link.enabled or not link.bandwidth:
        return set()
    given = (*link.hops[:1], *(path[1] for path in link.paths))
    return {link.prev, *(given or first)} - {""}


@dataclass(slots=True)
class Denials:
    """Why applications may have no keys here, by rights and a directory that seldom change."""

    rights: Rights
    scene: Scene
    _found: dict[tuple[Application, bool], str] = field(default_factory=dict)

    def of(self, app: Application, *, registered: bool) -> str:
        """Return why an application may have none; empty if it may, or its master asks elsewhere.

        Of one that somebody registered policies have to deny every slave: its own limits are as
        they are wanted. One that nobody did is as it asks: for all its slaves together.
        """
        if app.kind != intent.CLIENT or self.scene.homes.get(app.master) != self.scene.node:
            return ""
        key = app, registered
        if key not in self._found:
            self._found[key] = self._of(app, registered=registered)
        return self._found[key]

    def _of(self, app: Application, *, registered: bool) -> str:
        rights = self.rights
        if registered:
            rights = replace(rights, controlled=False, entitled=MappingProxyType({}))
        home = self.scene.homes.get
        found = [right_of(rights, app.master, slave, home).no for slave in app.slaves]
        enough = all if registered else any
        return next(filter(None, found)) if enough(found) else ""


def application_facts(
    app: Application, scene: Scene, *, now: float, created: float, denied: str = ""
) -> Facts:
    """Return how an application is at this time of day; `denied` is why it may have no keys."""
    gone = [sae for sae in (app.master, *app.slaves) if sae not in scene.homes]
    if app.expires is not None and app.expires <= now:
        return Facts(status=intent.OUT_OF_TIME, why="its time is over", created=created)
    if gone and app.kind == intent.CLIENT:
        why = f"{gone[0]} is not in the directory"
        return Facts(status=intent.DISCONNECTED, why=why, created=created)
    if denied:
        why = denied[: intent.TEXT_MAX]
        return Facts(status=intent.DISCONNECTED, why=why, created=created)
    return Facts(status=intent.ON, created=created)
