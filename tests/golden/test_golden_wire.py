"""One frame of each word that crosses between nodes, and of each heartbeat, octet for octet."""

import importlib
import pkgutil

import pytest

from actors import protocol
from actors.protocol import blocks, common, grants, peers, relay, routes, sessions
from actors.protocol.doors import ANSWERS, DOORS
from tests.golden import vectors
from transport.codec import decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message, doors
from transport.session import Beat

FILE = "wire.json"
HERE, THERE = "kms-1", "kms-2"
BIG = (1 << 62) - 1

HEAD = blocks.Head(
    mine=(1 << 61) + 1, yours=(1 << 61) + 2, number=3, random=(1 << 40) + 4, seq=70_005
)
SEGMENTS = (blocks.SegmentId(holder=0, batch=4096), blocks.SegmentId(holder=1, batch=BIG))
RUNS = (blocks.Run(first=7, last=19), blocks.Run(first=21, last=70_000))
PIECES = (
    grants.Piece(holder=0, batch=4096, offset=65_504, length=32),
    grants.Piece(holder=1, batch=6, offset=0, length=300),
)
ID, OTHER_ID = bytes(range(12)), bytes(range(12, 24))
GRANT = grants.Grant(
    id=ID,
    pieces=PIECES,
    size=32,
    number=10,
    master="sae-1",
    slaves=("sae-2", "sae-4"),
    mode="confirmed",
    remaining=3599.5,
)
SEALED = grants.Grant(
    id=OTHER_ID,
    pieces=PIECES[1:],
    size=16,
    number=1,
    master="sae-1",
    slaves=("sae-2",),
    mode="sealed",
    remaining=60.25,
)
LOAD = grants.Load(master="sae-1", slave="sae-2", octets=320, of_slave=640, room=4_000_000)
SESSION = relay.SessionId(origin="kms-1", number=(1 << 60) + 9)
CHUNKS = (
    relay.ChunkId(session=SESSION, share=0, epoch=bytes(range(16)), seq=11),
    relay.ChunkId(
        session=relay.SessionId(origin="kms-3", number=5),
        share=1,
        epoch=bytes(range(16, 32)),
        seq=BIG,
    ),
)
TAG, SIGNATURE = bytes(range(100, 116)), bytes(range(128, 192))
LINKS = (
    routes.LinkLoad(peer="kms-2", stock=21, rate=17),
    routes.LinkLoad(peer="kms-4", stock=0, rate=3),
)
STATES = (routes.LinkState(origin="kms-1", seq=70_001, links=LINKS, signature=SIGNATURE),)
KNOWN = (routes.Known(origin="kms-1", seq=70_001), routes.Known(origin="kms-9", seq=0))
WORDS, INTERFACES = ("blocks.held/1", "relay.carry/1"), ("etsi014",)
WHO = {"id": "kme-1", "name": "kms-1", "version": "0.1.0"}

MESSAGES: tuple[Message, ...] = (
    blocks.ResumeAsk(start=(1 << 61) + 1, number=3, random=1 << 40, nonce=BIG),
    blocks.Resume(start=(1 << 61) + 1, number=3, random=1 << 40, nonce=BIG, seq=70_005, seen=6),
    blocks.BlocksHeld(
        head=HEAD, batch=4096, runs=RUNS, lengths=(999, 1, 64_000), tag=TAG, credit=131_072
    ),
    blocks.BlocksHeldJudged(
        head=HEAD,
        batch=4096,
        runs=RUNS,
        lengths=(999, 1, 64_000),
        tag=TAG,
        verdict="quarantined",
        credit=131_072,
    ),
    blocks.BlocksConfirmed(head=HEAD, batch=4096),
    blocks.BlocksDiscarded(head=HEAD, batch=4097),
    blocks.BlocksSettled(head=HEAD, batch=4098, credit=131_072),
    blocks.Room(head=HEAD, credit=131_072),
    blocks.Lease(head=HEAD, segments=SEGMENTS),
    blocks.LeaseHeld(head=HEAD, segments=SEGMENTS),
    blocks.Transfer(head=HEAD, segment=SEGMENTS[0], n=2),
    blocks.TransferTaken(head=HEAD, segment=SEGMENTS[0], n=2),
    blocks.Wanted(head=HEAD, octets=65_536),
    blocks.Demand(head=HEAD, rate=12_500, most=4096),
    blocks.PathsNeeded(head=HEAD, n=2),
    blocks.PathsNeededHeld(head=HEAD, n=2),
    blocks.KeyIds(
        head=HEAD,
        epoch=bytes(range(16)),
        first=70_001,
        key_ids=("1d3bb94d-8f5b-4c7a-9f0e-0f2a5d1c7e11", "k-2"),
    ),
    blocks.SegmentClosed(head=HEAD, segment=SEGMENTS[1]),
    blocks.SegmentClosedHeld(head=HEAD, segment=SEGMENTS[1]),
    grants.GrantsAnnounced(head=HEAD, grants=(GRANT, SEALED)),
    grants.GrantSealed(head=HEAD, grant=SEALED, sealed=bytes(range(200, 216)), tag=TAG),
    grants.GrantsHeld(head=HEAD, ids=(ID, OTHER_ID), loads=(LOAD,)),
    grants.LoadQuery(head=HEAD, master="sae-1", slave="sae-2"),
    grants.GrantsRefused(head=HEAD, refusals=(grants.Refusal(id=ID, code="too_many_undelivered"),)),
    grants.GrantsVoid(
        head=HEAD,
        grants=(grants.Voided(id=ID, pieces=PIECES), grants.Voided(id=OTHER_ID, pieces=())),
    ),
    grants.GrantsVoidHeld(head=HEAD, ids=(ID, OTHER_ID)),
    grants.GrantQuery(head=HEAD, id=ID),
    grants.GrantUnknown(head=HEAD, id=ID),
    relay.Carry(head=HEAD, pieces=PIECES, chunk=CHUNKS[0], hop=1, sealed=bytes(range(40)), tag=TAG),
    relay.Carried(chunks=CHUNKS),
    relay.NotCarried(chunk=CHUNKS[1], code="lost"),
    relay.Room(session=SESSION, share=1, after=(1 << 50) + 3, octets=70_000),
    relay.Wants(session=SESSION, share=1),
    routes.LinkStates(states=STATES),
    routes.KnownStates(known=KNOWN),
    peers.Capabilities(**WHO, words=WORDS, interfaces=INTERFACES),
    peers.CapabilitiesReply(**WHO, words=WORDS, interfaces=INTERFACES),
    sessions.KeyTransportSession(
        session=SESSION,
        share=1,
        shares=2,
        path=("kms-1", "kms-2", "kms-3"),
        weight=16,
        serial=70_007,
        signature=SIGNATURE,
        hop=1,
        wait=4.5,
    ),
    sessions.KeyTransportSessionReply(established=False, code="no_route", node="kms-2"),
    sessions.KeyTransportSession2(
        session=SESSION,
        share=1,
        shares=2,
        path=("kms-1", "kms-2", "kms-3"),
        weight=16,
        serial=(7 << 32) + 9,
        signature=SIGNATURE,
        hop=1,
        wait=4.5,
    ),
    sessions.KeyTransportSessionReply2(established=True, code="", node="", together=True),
    sessions.Refresh(
        origin="kms-1",
        serial=(7 << 32) + 10,
        signature=SIGNATURE,
        lanes=SESSION.number.to_bytes(8, "big") + b"\x01",
    ),
    sessions.RefreshReply(
        lost=SESSION.number.to_bytes(8, "big") + b"\x01", serial=0, signature=b""
    ),
    sessions.SessionLost(session=SESSION, share=1, code="not_enough_bits", node="kms-2"),
    sessions.SessionEnded(session=SESSION, share=1),
    common.Failed(code="not_ready", why="the disk is full"),
)
FROM = {
    "peers.capabilities_reply/1": "peer_manager",
    "sessions.key_transport_session_reply/1": "sessions",
    "sessions.key_transport_session_reply/2": "sessions",
    "sessions.refresh_reply/1": "sessions",
    "common.failed/1": "sessions",
}
"""Which actor says what is only ever an answer."""


def envelope(body: Message) -> Envelope:
    """Put a message on its way as its sender does; the names of actors are part of the frame."""
    answer = body.word in ANSWERS
    name = FROM[body.word] if answer else DOORS[body.word]
    sender = Address(name.format(peer=THERE), HERE)
    to = Address(name.format(peer=HERE), THERE)
    return Envelope(sender, to, body, 70_000, answer, "9f2c")


def made() -> dict[str, str]:
    """Encode one frame of each word, and each heartbeat."""
    frames = {body.word: encode(envelope(body)) for body in MESSAGES}
    beats = {f"heartbeat {beat.name}": beat.value for beat in Beat}
    return {name: octets.hex() for name, octets in (frames | beats).items()}


def test_every_frame_is_as_it_always_was() -> None:
    assert vectors.differing(FILE, made()) == []


@pytest.mark.parametrize("body", MESSAGES, ids=lambda body: body.word)
def test_a_frame_written_long_ago_is_read(body: Message) -> None:
    kept = bytes.fromhex(str(vectors.read(FILE)[body.word]))

    assert decode(kept, HERE) == envelope(body)


def test_every_word_that_a_peer_may_say_has_a_frame() -> None:
    for module in pkgutil.iter_modules(protocol.__path__):
        importlib.import_module(f"{protocol.__name__}.{module.name}")
    ours = {word for word, kind in doors().items() if kind.__module__.startswith("actors.")}

    assert {body.word for body in MESSAGES} == ours
    assert {*DOORS, *ANSWERS} == ours
    assert vectors.read(FILE).keys() == {*ours, *(f"heartbeat {beat.name}" for beat in Beat)}
