"""Which actors an edge runs, as its file says. An edge imports what it runs, and nothing else.

It has a `supervisor/<process>` of its own; all others are in the composition of the node, which
the process `core` runs.
"""

from dataclasses import dataclass
from functools import partial

from msgspec import structs

from actors.protocol.roles import GREETER, PROCESS
from actors.protocol.roles import SUPERVISOR as ROOT
from actors.protocol.trees import Child
from actors.runtime.futures import EDGE
from actors.runtime.supervisor import GiveUp, Supervisor
from etsi.gs014.options import Gs014Options
from etsi.gs015.options import Gs015Options
from etsi.http.options import portion
from protokms.config.sections import (
    AGENT,
    CORE,
    FRONTS,
    INTERFACE,
    QUANTUM_LINK,
    EdgeConfig,
)

HTTP = "/http"
"""Behind the name of a front end: who asks for its SAEs, and is no actor."""


@dataclass(frozen=True, slots=True)
class EdgePlacement:
    """Reads the file of an edge: what it runs; all others live in core, as far as it knows."""

    config: EdgeConfig
    end: GiveUp

    def root(self) -> Child:
        """Return the supervisor of this process and all below it."""
        name, makes, children = f"{ROOT}/{self.config.process.name}", None, []
        links, waiting = self.config.links, self.config.interfaces
        if links or waiting:
            from protokms.node.interfaces import FileInterfaces, link_child  # noqa: PLC0415

            children = [link_child(link) for link in links]
            makes = FileInterfaces(links, waiting, holder=lambda _: name)
        if etsi := self.config.etsi014:  # core knows, and says, whether an SAE may be its own slave
            options = structs.replace(etsi, **portion(structs.asdict(etsi), self.config.fronts))
            children.append(front(self.config.front, options, loopback=True))
        if self.config.etsi015:
            children.append(agent(self.config.etsi015))
        return Child(name, partial(Supervisor, interfaces=makes), (tuple(children), self.end))

    def placed(self, name: str) -> str:
        """Return the process where an actor of this node lives."""
        kind, _, process = name.partition("/")
        if kind in {ROOT, EDGE, PROCESS, GREETER}:
            return process or CORE
        # A link that was stopped at run time is still this process's: its timers lead nowhere.
        own = kind == QUANTUM_LINK or actor(name) in self.config.actors
        return self.config.process.name if own else CORE

    def outside(self) -> list[str]:
        """Return the actors elsewhere that this process answers for."""
        return []

    def own(self) -> list[str]:
        """Return the actors that this process tells others of."""
        return [it for it in self.config.actors if it.partition("/")[0] != INTERFACE]


def actor(name: str) -> str:
    """Return the actor that a name stands for: who asks for a front end's SAEs goes along."""
    return name.removesuffix(HTTP) if name.partition("/")[0] in FRONTS else name


def front(name: str, options: Gs014Options, *, loopback: bool) -> Child:
    """Return the front end for SAEs; `loopback`: it lets an SAE be its own slave."""
    from etsi.gs014.frontend import Gs014Frontend  # noqa: PLC0415 -- only where HTTP is served
    from etsi.http.servers.thin_server import ThinServer  # noqa: PLC0415
    from etsi.http.service import Memory  # noqa: PLC0415

    return Child(name, Gs014Frontend, (options, loopback, ThinServer, Memory()))


def agent(options: Gs015Options) -> Child:
    """Return the front end for controllers."""
    from etsi.gs015.frontend import Gs015Frontend  # noqa: PLC0415 -- only where HTTP is served
    from etsi.http.servers.aiohttp_server import AiohttpServer  # noqa: PLC0415
    from etsi.http.service import Memory  # noqa: PLC0415

    return Child(AGENT, Gs015Frontend, (options, AiohttpServer, Memory()))
