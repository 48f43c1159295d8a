"""The `[etsi015]` table of a node: the keys of any HTTPS front end, and who may do what."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from actors.protocol.limits import Switch, limit
from etsi.http.options import File, HttpOptions, Text

Dialect = Literal["strict", "teraflow"]

Applications = Annotated[
    Literal["open", "controlled"], Meta(description="write open or controlled")
]


class ControllerRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[etsi015.controller]]`: a controller, by the id that its certificate has; may it write?

    `dialect` is how it speaks: as the standards say, or as TeraFlowSDN does.
    """

    id: Text
    write: Switch = False
    dialect: Annotated[Dialect, Meta(description="write strict or teraflow")] = "strict"


class Gs015Options(HttpOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[etsi015]`: the RESTCONF interface for controllers, and its limits.

    `applications`: "open", or "controlled": SAEs have keys by an application, and not without; core
    enforces it, and so its file says it, in `[[process]]` if the front end lives there. `yang_dir`
    is where the official modules are that may be downloaded.
    """

    applications: Applications | None = None
    yang_dir: File | None = None
    controllers: list[ControllerRow] = field(name="controller", default=[])
    max_body_octets: Annotated[int, limit(1_024, 1 << 24, "octets")] = 1 << 20
    max_in_flight: Annotated[int, limit(1, 65_536, "requests")] = 64
    max_in_flight_per_sae: Annotated[int, limit(1, 65_536, "requests")] = 32
    max_connections: Annotated[int, limit(1, 65_536, "connections")] = 64
    max_connections_per_sae: Annotated[int, limit(1, 65_536, "connections")] = 32
