"""The tree of ETSI GS QKD 015 V2.1.1, as a table: another edition is another table.

Where it differs from the published module:
- A `when` there compares a type with a name without its module, which no data can satisfy; here it
  means what it says.
- `qkdl_status` may be written there; here it is what is so, and `qkdl_enable` what is wanted.
"""

from typing import Final

from etsi.gs015.model.leaves import (
    Boolean,
    DateTime,
    Decimal,
    Identity,
    Number,
    Sae,
    Text,
    Uuid,
)
from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Node

MODULE, TYPES = "etsi-qkd-sdn-node", "etsi-qkd-node-types"
NAMESPACES = {MODULE: "urn:etsi:qkd:yang:etsi-qkd-node", TYPES: f"urn:etsi:qkd:yang:{TYPES}"}
REVISION = "2022-01-30"

UINT32, TEXT, DECIBEL = Number(), Text(), Decimal(3)
_UUID, _BOOL, _SAE, _TIME = Uuid(), Boolean(), Sae(), DateTime()
_CHANNEL = "[1-9][0-9]{0,3}"
WAVELENGTH = Text(_CHANNEL, "write the number of a WDM channel, 1 to 9999")
WAVELENGTHS = Text(
    f"{_CHANNEL}(-{_CHANNEL})?(,{_CHANNEL}(-{_CHANNEL})?)*",
    "write WDM channels in ascending order, like '1,12-20'",
)


def _one_of(*names: str) -> Identity:
    return Identity(names, TYPES)


TECHNOLOGY = _one_of("CV-QKD", "DV-QKD", "DV-QKD-COW", "DV-QKD-2Ws")
NODE_STATUS = _one_of("NEW", "OPERATING", "DOWN", "FAILURE", "OUT")
LINK_TYPE = _one_of("VIRT", "PHYS")
ROLE = _one_of("TRANSMITTER", "RECEIVER", "TRANSCEIVER")
APP_TYPE = _one_of("CLIENT", "INTERNAL")
PERF_TYPE = _one_of("QBER", "SNR")
LINK_STATUS = _one_of("ACTIVE", "PASSIVE", "PENDING", "OFF")
INTERFACE_STATUS = _one_of("ENABLED", "DISABLED", "FAILED")
APP_STATUS = _one_of("ON", "DISCONNECTED", "OUT-OF-TIME", "ZOMBIE")
SEVERITY = _one_of("MAJOR", "MINOR")

_VIRT, _PHYS = ("qkdl_type", "VIRT"), ("qkdl_type", "PHYS")

# Applications

_PRIORITY = Leaf("app_priority", UINT32, default=0)
_APP_DETAILS: tuple[Node, ...] = (
    Leaf("app_type", APP_TYPE),
    Leaf("server_app_id", _SAE),
    LeafList("client_app_id", _SAE),
    _PRIORITY,
)
_APP_QOS = Container(
    "app_qos",
    (
        Leaf("max_bandwidth", UINT32, units="bit/s"),
        Leaf("min_bandwidth", UINT32, units="bit/s"),
        Leaf("jitter", UINT32, units="ms"),
        Leaf("ttl", UINT32, units="s"),
        Leaf("clients_shared_path_enable", _BOOL, default=False),
        Leaf("clients_shared_keys_required", _BOOL, default=False),
    ),
)
_APP_ID, _APP_STATUS = Leaf("app_id", _UUID), Leaf("app_status", APP_STATUS, config=False)
_STATISTICS = List(
    "statistics",
    ("end_time",),
    (
        Leaf("end_time", _TIME, config=False),
        Leaf("start_time", _TIME, config=False),
        Leaf("consumed_bits", UINT32, config=False, units="bits"),
    ),
    config=False,
)
APP = List(
    "qkd_app",
    ("app_id",),
    (
        _APP_ID,
        _APP_STATUS,
        *_APP_DETAILS,
        Leaf("creation_time", _TIME, config=False),
        Leaf("expiration_time", _TIME),
        Container("app_statistics", (_STATISTICS,)),
        _APP_QOS,
        LeafList("backing_qkdl_id", _UUID),
        Leaf("local_qkdn_id", _UUID),
        Leaf("remote_qkdn_id", _UUID),
    ),
)

# Interfaces

_INTERFACE_ID = Leaf("qkdi_id", UINT32)
_INTERFACE: tuple[Node, ...] = (
    _INTERFACE_ID,
    Leaf("qkdi_model", TEXT),
    Leaf("qkdi_type", TECHNOLOGY),
    Container("qkdi_att_point", (Leaf("device", TEXT), Leaf("port", UINT32))),
    Container(
        "qkdi_capabilities",
        (
            Leaf("role_support", ROLE),
            Leaf("wavelength_range", WAVELENGTHS),
            Leaf("max_absorption", DECIBEL, units="dB"),
        ),
    ),
)
_INTERFACE_STATUS = Leaf("qkdi_status", INTERFACE_STATUS, config=False)
INTERFACE = List("qkd_interface", ("qkdi_id",), (*_INTERFACE, _INTERFACE_STATUS))

# Links

_LINK_ID, _LINK_STATUS = Leaf("qkdl_id", _UUID), Leaf("qkdl_status", LINK_STATUS, config=False)
_END: tuple[Node, ...] = (Leaf("qkdn_id", _UUID), Leaf("qkdi_id", UINT32))
_RATES: tuple[Node, ...] = (
    Leaf("expected_consumption", UINT32, config=False, units="bit/s"),
    Leaf("skr", UINT32, config=False, units="bit/s"),
    Leaf("eskr", UINT32, config=False, units="bit/s"),
)
_PHYS_PERF = List(
    "phys_perf",
    ("perf_type",),
    (Leaf("perf_type", PERF_TYPE, config=False), Leaf("value", DECIBEL, config=False)),
    config=False,
)
LINK = List(
    "qkd_link",
    ("qkdl_id",),
    (
        _LINK_ID,
        _LINK_STATUS,
        Leaf("qkdl_enable", _BOOL, default=True),
        Container("qkdl_local", _END),
        Container("qkdl_remote", _END),
        Leaf("qkdl_type", LINK_TYPE),
        LeafList("qkdl_applications", _UUID),
        Leaf("virt_prev_hop", _UUID, when=_VIRT),
        LeafList("virt_next_hop", _UUID, when=_VIRT),
        Leaf("virt_bandwidth", UINT32, units="bit/s", when=_VIRT),
        Leaf("phys_channel_att", DECIBEL, units="dB", when=_PHYS),
        Leaf("phys_wavelength", WAVELENGTH, when=_PHYS),
        Leaf("phys_qkd_role", ROLE, when=_PHYS),
        Container("qkdl_performance", (*_RATES, _PHYS_PERF)),
    ),
)

# The node

QKD_NODE: Final = Container(
    "qkd_node",
    (
        Leaf("qkdn_id", _UUID, mandatory=True),
        Leaf("qkdn_status", NODE_STATUS, config=False),
        Leaf("qkdn_version", TEXT),
        Leaf("qkdn_location_id", TEXT, default=""),
        Container(
            "qkdn_capabilities",
            (
                Leaf("link_stats_support", _BOOL, default=True),
                Leaf("application_stats_support", _BOOL, default=True),
                Leaf("key_relay_mode_enable", _BOOL, default=True),
            ),
        ),
        Container("qkd_applications", (APP,)),
        Container("qkd_interfaces", (INTERFACE,)),
        Container("qkd_links", (LINK,)),
    ),
    module=MODULE,
)

# Notifications

_MESSAGE: tuple[Node, ...] = (Leaf("message", TEXT), Leaf("severity", SEVERITY))
_REASON = Leaf("reason", TEXT)
_TROUBLE: tuple[Node, ...] = (
    Container("link", (_LINK_ID, _LINK_STATUS, *_MESSAGE)),
    Container("interface", (_INTERFACE_ID, _INTERFACE_STATUS, *_MESSAGE)),
    Container("application", (_APP_ID, _APP_STATUS, *_MESSAGE)),
)


def _notification(name: str, *children: Node) -> Container:
    return Container(name, children, module=MODULE)


def _of(name: str, *children: Node) -> Container:
    return Container(name, children)


NOTIFICATIONS: Final = {
    made.name: made
    for made in (
        _notification(
            "sdqkdn_application_new",
            _of("qkd_application", *_APP_DETAILS, Leaf("local_qkdn_id", _UUID), _APP_QOS),
        ),
        _notification(
            "sdqkdn_application_qos_update",
            _of("qkd_application", _APP_ID, _APP_QOS, _PRIORITY),
        ),
        _notification("sdqkdn_application_disconnected", _of("qkd_application", _APP_ID)),
        _notification("sdqkdn_interface_new", _of("qkd_interface", *_INTERFACE)),
        _notification("sdqkdn_interface_down", _of("qkd_interface", _INTERFACE_ID, _REASON)),
        _notification("sdqkdn_interface_out", _of("qkd_interface", _INTERFACE_ID)),
        _notification("sdqkdn_link_down", _of("qkd_link", _LINK_ID, _REASON)),
        _notification(
            "sdqkdn_link_perf_update",
            _of("qkd_link", _LINK_ID, _of("performance", *_RATES, _PHYS_PERF)),
        ),
        _notification(
            "sdqkdn_link_overloaded", _of("qkd_link", _LINK_ID, _of("performance", *_RATES))
        ),
        _notification("alarm", *_TROUBLE),
        _notification("event", *_TROUBLE),
    )
}
"""The eleven notifications, by name."""
