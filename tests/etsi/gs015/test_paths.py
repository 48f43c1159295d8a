"""Paths of data resources (RFC 8040, 3.5.3)."""

import pytest

from etsi.gs015.model.library import ROOT
from etsi.gs015.restconf.paths import read_path
from etsi.gs015.restconf.problems import Wrong
from etsi.http.reply import Problem

UUID = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c001"
NODE = "etsi-qkd-sdn-node:qkd_node"
LINK = f"{NODE}/qkd_links/qkd_link={UUID}"
APP = f"{NODE}/qkd_applications/qkd_app={UUID}"
AT = f"/{NODE}/qkd_links/qkd_link[qkdl_id='{UUID}']"

GOOD = [
    ("", "/", ""),
    (NODE, f"/{NODE}", f"/{NODE}"),
    (f"{NODE}/qkd_links", f"/{NODE}/qkd_links", f"/{NODE}/qkd_links"),
    (LINK, AT, f"/{LINK}"),
    (LINK.upper().replace(LINK[:-36].upper(), LINK[:-36]), AT, f"/{LINK}"),
    (LINK.replace("qkd_links", "etsi-qkd-sdn-node:qkd_links"), AT, f"/{LINK}"),
    (LINK.replace("-", "%2d"), AT, f"/{LINK}"),
    (LINK.replace("qkd_link=", "qkd%5Flink="), AT, f"/{LINK}"),
    (f"{LINK}/qkdl_local/qkdi_id", f"{AT}/qkdl_local/qkdi_id", f"/{LINK}/qkdl_local/qkdi_id"),
    (f"{NODE}/qkd_links/qkd_link", f"/{NODE}/qkd_links/qkd_link", f"/{NODE}/qkd_links/qkd_link"),
    (
        f"{NODE}/qkd_interfaces/qkd_interface=%31",
        f"/{NODE}/qkd_interfaces/qkd_interface[qkdi_id='1']",
        f"/{NODE}/qkd_interfaces/qkd_interface=1",
    ),
    (
        f"{LINK}/qkdl_performance/phys_perf=etsi-qkd-node-types%3AQBER/value",
        f"{AT}/qkdl_performance/phys_perf[perf_type='etsi-qkd-node-types:QBER']/value",
        f"/{LINK}/qkdl_performance/phys_perf=etsi-qkd-node-types%3AQBER/value",
    ),
    (
        f"{APP}/client_app_id=urn%3Aprotokms%3Asae%3Aa%252Cb",
        f"/{NODE}/qkd_applications/qkd_app[app_id='{UUID}']/client_app_id",
        f"/{APP}/client_app_id=urn%3Aprotokms%3Asae%3Aa%252Cb",
    ),
    (
        "ietf-yang-library:modules-state/module=ietf-restconf,2017-01-26",
        "/ietf-yang-library:modules-state/module[name='ietf-restconf'][revision='2017-01-26']",
        "/ietf-yang-library:modules-state/module=ietf-restconf,2017-01-26",
    ),
]

BAD = [
    ("qkd_node", 404),
    ("etsi-qkdn:qkd_node", 404),
    ("ietf-restconf:qkd_node", 404),
    (":qkd_node", 404),
    (f"{NODE}/", 404),
    (f"{NODE}//qkd_links", 404),
    (f"{NODE}/nothing", 404),
    (f"{NODE}/etsi-qkd-node-types:qkd_links", 404),
    (f"{NODE}/qkdn_id/x", 404),
    (f"{NODE}/qkd_links/qkd_link/qkdl_id", 404),
    (f"{LINK}/qkdl_id/{UUID}", 404),
    ("/".join([NODE] * 20), 404),
    (f"{NODE}=1", 400),
    (f"{NODE}/qkdn_id=1", 400),
    (f"{NODE}/qkd_links/qkd_link=", 400),
    (f"{NODE}/qkd_links/qkd_link=x", 400),
    (f"{LINK},{UUID}", 400),
    (f"{NODE}/qkd_links/qkd_link=%FF", 400),
    (f"{NODE}/qkd_interfaces/qkd_interface=-1", 400),
    (f"{NODE}/qkd_interfaces/qkd_interface=4294967296", 400),
    ("ietf-yang-library:modules-state/module=ietf-restconf", 400),
    ("%FF", 400),
]


@pytest.mark.parametrize(("path", "place", "url"), GOOD)
def test_a_path_leads_to_one_resource(path: str, place: str, url: str) -> None:
    found = read_path(ROOT, path.split("/") if path else [])

    assert (found.place, found.url) == (place, url)


@pytest.mark.parametrize(("path", "status"), BAD)
def test_what_leads_nowhere_is_told_so(path: str, status: int) -> None:
    with pytest.raises(Problem) as no:
        read_path(ROOT, path.split("/"))

    assert no.value.status == status
    assert no.value.code in ("invalid-value", "malformed")
    assert not isinstance(no.value, Wrong) or no.value.code == "invalid-value"
