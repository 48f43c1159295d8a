"""Streams of events, and the eleven notifications in them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from actors.protocol import intent
from etsi.gs015.model.tree import NOTIFICATIONS
from etsi.gs015.notifications import event_of
from etsi.gs015.restconf import events
from etsi.gs015.restconf.bodies import write
from etsi.gs015.restconf.events import EVENTS_MAX, OCTETS_MAX, Streams
from tests.kit.agent import Agent, request
from tests.kit.wanted import APP_ID, AT, NODES, PHYS_ID, VIRT_ID, A, rows

ROWS = {(row.kind, row.id): row for row in rows()}
IDS = {node.name: node.id for node in NODES}
T = "etsi-qkd-node-types:"


def welcome() -> bool:
    return False


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 10))


def texts(octets: bytes) -> list[Any]:
    """Return what the events of a piece hold."""
    rows = octets.decode().split("\n\n")
    return [json.loads(row.removeprefix("data: ")) for row in rows if row.startswith("data: ")]


def message(octets: bytes) -> str:
    """Return the text of the last event of a piece, which is about the stream."""
    found = texts(octets)[-1]["ietf-restconf:notification"]["etsi-qkd-sdn-node:event"]
    return str(found["link"]["message"])


async def reading(streams: Streams) -> AsyncGenerator[bytes, None]:
    """Begin to read; the first piece is a comment."""
    stream = streams.read(welcome)
    assert await anext(stream) == b":\n\n"
    return stream


def test_all_readers_hear_all_events_in_order() -> None:
    async def story() -> None:
        streams = Streams()
        one, other = await reading(streams), await reading(streams)
        streams.publish(events.event(1))
        streams.publish(events.event(2))

        assert texts(await anext(one)) == texts(await anext(other)) == [1, 2]
        streams.publish(events.event(3))
        assert texts(await anext(one)) == [3]
        assert streams.readers == 2
        await one.aclose()
        assert streams.readers == 1

    run(story)


def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "COMMENT_S", 0.0)

    async def story() -> None:
        stream = await reading(Streams())
        assert [await anext(stream) for _ in range(2)] == [b":\n\n"] * 2

    run(story)


@pytest.mark.parametrize(
    ("size", "fits"), [(10, EVENTS_MAX), (OCTETS_MAX // 4, 4), (OCTETS_MAX + 1, 0)]
)
def test_a_reader_that_is_too_slow_hears_so_and_no_more(size: int, fits: int) -> None:
    async def story() -> None:
        streams = Streams()
        slow = await reading(streams)
        for _ in range(fits):
            streams.publish(b"x" * size)
        assert streams.readers == 1
        streams.publish(b"x" * size)

        assert streams.readers == 0
        streams.publish(b"x" * size)
        assert "too many events" in message(await anext(slow))
        assert await anext(slow, None) is None

    run(story)


def test_a_slow_reader_holds_up_no_other() -> None:
    async def story() -> None:
        streams = Streams()
        await reading(streams)
        quick = await reading(streams)
        for number in range(EVENTS_MAX + 1):
            streams.publish(events.event(number))
            assert texts(await anext(quick)) == [number]
        assert streams.readers == 1

    run(story)


@pytest.mark.parametrize(("end", "text"), [("lost", "are lost"), ("close", "being stopped")])
def test_a_stream_that_ends_says_why(end: str, text: str) -> None:
    async def story() -> None:
        streams = Streams()
        stream = await reading(streams)
        streams.publish(events.event(1))
        getattr(streams, end)()

        assert text in message(await anext(stream))
        assert await anext(stream, None) is None
        assert streams.readers == 0

    run(story)


def test_after_the_end_nobody_reads() -> None:
    async def story() -> None:
        streams = Streams()
        streams.close()
        assert [piece async for piece in streams.read(welcome)] == []

    run(story)


def test_a_reader_that_is_denied_meanwhile_hears_no_more() -> None:
    async def story() -> None:
        streams, denied = Streams(), False
        stream = streams.read(lambda: denied)
        await anext(stream)
        denied = True
        streams.publish(events.event(1))
        assert await anext(stream, None) is None

    run(story)


# Over HTTP


def test_events_come_as_server_sent_events(agent: Agent) -> None:
    async def story() -> None:
        reader, writer = await agent.connect("reader")
        writer.write(request("GET", "/restconf/streams/NETCONF", None, "Accept: text/event-stream"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200 ")
        assert "Content-Type: text/event-stream\r\n" in head
        assert await reader.readexactly(8) == b"3\r\n:\n\n\r\n"
        agent.api.streams.publish(b"data: 1\n\n")
        assert await reader.readuntil(b"data: 1\n\n")
        agent.unwelcome = "this SAE is denied"
        agent.api.streams.publish(b"data: 2\n\n")
        assert await reader.read() == b"\r\n0\r\n\r\n"
        writer.close()

    agent.run(story())
    assert agent.api.streams.readers == 0
    assert agent.pipeline.in_flight.total == 0


def test_a_reader_that_has_gone_is_forgotten(agent: Agent) -> None:
    async def story() -> None:
        reader, writer = await agent.connect("reader")
        writer.write(request("GET", "/restconf/streams/NETCONF"))
        await reader.readuntil(b":\n\n")
        writer.transport.abort()
        while agent.api.streams.readers:
            agent.api.streams.publish(b"data: 1\n\n")
            await asyncio.sleep(0)

    agent.run(story())


def test_who_cannot_read_events_hears_406(agent: Agent) -> None:
    answer = agent.do("GET", "/restconf/streams/NETCONF", None, "Accept: application/json")

    assert (answer.status, answer.tag) == (406, "invalid-value")
    assert agent.do("HEAD", "/restconf/streams/NETCONF").status == 200
    assert agent.do("GET", "/restconf/streams/NETCONF?start-time=x").status == 400


# The eleven

LINK, VIRT = ROWS["link", PHYS_ID], ROWS["link", VIRT_ID]
APP, INTERFACE = ROWS["application", APP_ID], ROWS["interface", "1"]
QOS = {
    "max_bandwidth": 4_096,
    "min_bandwidth": 256,
    "ttl": 3_600,
    "clients_shared_path_enable": False,
    "clients_shared_keys_required": False,
}
RATES = {"expected_consumption": 512, "skr": 2_000, "eskr": 1_488}

TOLD: list[tuple[str, intent.Entry, str, dict[str, Any]]] = [
    (
        "application_new",
        APP,
        "sdqkdn_application_new",
        {
            "qkd_application": {
                "app_type": f"{T}CLIENT",
                "server_app_id": "urn:protokms:sae:sae-1",
                "client_app_id": ["urn:protokms:sae:sae-3"],
                "app_priority": 3,
                "local_qkdn_id": A,
                "app_qos": QOS,
            }
        },
    ),
    (
        "application_qos_update",
        APP,
        "sdqkdn_application_qos_update",
        {"qkd_application": {"app_id": APP_ID, "app_qos": QOS, "app_priority": 3}},
    ),
    (
        "application_disconnected",
        APP,
        "sdqkdn_application_disconnected",
        {"qkd_application": {"app_id": APP_ID}},
    ),
    (
        "interface_new",
        INTERFACE,
        "sdqkdn_interface_new",
        {
            "qkd_interface": {
                "qkdi_id": 1,
                "qkdi_model": "emulated",
                "qkdi_type": f"{T}DV-QKD",
                "qkdi_att_point": {"device": "osw-a", "port": 12},
                "qkdi_capabilities": {"role_support": f"{T}TRANSCEIVER", "max_absorption": "24.5"},
            }
        },
    ),
    (
        "interface_down",
        INTERFACE,
        "sdqkdn_interface_down",
        {"qkd_interface": {"qkdi_id": 1, "reason": "because"}},
    ),
    ("interface_out", INTERFACE, "sdqkdn_interface_out", {"qkd_interface": {"qkdi_id": 1}}),
    (
        "link_down",
        LINK,
        "sdqkdn_link_down",
        {"qkd_link": {"qkdl_id": PHYS_ID, "reason": "because"}},
    ),
    (
        "link_perf_update",
        LINK,
        "sdqkdn_link_perf_update",
        {
            "qkd_link": {
                "qkdl_id": PHYS_ID,
                "performance": {
                    **RATES,
                    "phys_perf": [{"perf_type": f"{T}QBER", "value": "2.125"}],
                },
            }
        },
    ),
    (
        "link_overloaded",
        LINK,
        "sdqkdn_link_overloaded",
        {"qkd_link": {"qkdl_id": PHYS_ID, "performance": RATES}},
    ),
    (
        "alarm",
        VIRT,
        "alarm",
        {
            "link": {
                "qkdl_id": VIRT_ID,
                "qkdl_status": f"{T}PENDING",
                "message": "because",
                "severity": f"{T}MAJOR",
            }
        },
    ),
    (
        "event",
        INTERFACE,
        "event",
        {
            "interface": {
                "qkdi_id": 1,
                "qkdi_status": f"{T}ENABLED",
                "message": "because",
                "severity": f"{T}MAJOR",
            }
        },
    ),
]


def happened(event: str, entry: intent.Entry) -> intent.Happened:
    severity = "major" if event in ("alarm", "event") else ""
    return intent.Happened(
        number=1,
        at=AT + 0.25,
        event=event,
        kind=entry.kind,
        id=entry.id,
        text="because",
        severity=severity,
        entry=entry,
    )


@pytest.mark.parametrize(("event", "entry", "name", "content"), TOLD, ids=lambda it: str(it)[:24])
def test_what_happens_is_told_in_the_words_of_015(
    event: str, entry: intent.Entry, name: str, content: dict[str, Any]
) -> None:
    told = event_of(happened(event, entry), IDS)

    assert told is not None
    assert texts(told) == [
        {
            "ietf-restconf:notification": {
                "eventTime": "2027-01-15T08:00:00.250000Z",
                f"etsi-qkd-sdn-node:{name}": content,
            }
        }
    ]


def test_there_are_eleven_and_each_can_be_told() -> None:
    assert [row[0] for row in TOLD] == list(intent.EVENTS)
    assert [row[2] for row in TOLD] == list(NOTIFICATIONS)
    for name, container in NOTIFICATIONS.items():
        assert write(container, {}) == {}, name


@pytest.mark.parametrize("event", intent.EVENTS)
@pytest.mark.parametrize("entry", [LINK, APP, INTERFACE, ROWS["settings", "node"]])
def test_an_event_without_its_row_harms_nobody(event: str, entry: intent.Entry) -> None:
    news = replace(happened(event, entry), entry=None)

    told = event_of(news, IDS)

    assert told is None or len(texts(told)) == 1


def test_what_015_has_no_word_for_is_not_told() -> None:
    assert event_of(happened("something", LINK), IDS) is None
    assert event_of(happened("link_down", ROWS["settings", "node"]), IDS) is None
