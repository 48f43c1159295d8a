"""One frame of each word between a front end of controllers and `intent`, octet for octet."""

import pytest

from actors.protocol import intent
from tests.golden import vectors
from transport.codec import decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message

FILE = "intent.json"
NODE = "kms-1"
FRONT, CORE = Address("etsi015", NODE), Address(intent.NAME, NODE)
ID, OTHER = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c001", "0b9a3f7e-55c1-4a0e-8a3d-6d1a4f1f9d01"
PHYS_ID, VIRT_ID = "10e7bed9-cbbc-555f-95d5-76205a26d4e8", "a4f0f8f1-cb5d-59e6-9c01-bf7728e35603"
APPLICATION_ID = "aec11a66-4642-5caf-9374-065b4e8b2d21"
NOTES = (intent.Note("phys_channel_att", "9.250"),)

PHYS = intent.Link(
    kind=intent.PHYS, local=NODE, remote="kms-2", interface=1, peer_interface=2, notes=NOTES
)
VIRT = intent.Link(
    kind=intent.VIRT,
    local=NODE,
    remote="kms-3",
    prev="kms-0",
    hops=("kms-2", "kms-3"),
    bandwidth=256,
    enabled=False,
    applications=(OTHER,),
    paths=((NODE, "kms-2", "kms-3"),),
    n=1,
    low_bits=70_000,
    high_bits=900_000,
    weight=7,
)
APPLICATION = intent.Application(
    master="sae-1",
    slaves=("sae-2", "sae-3"),
    priority=3,
    expires=1_740_900_000.5,
    max_bandwidth=4096,
    min_bandwidth=256,
    jitter_ms=20,
    ttl_s=3600,
    shared_path=True,
    shared_keys=True,
    links=(ID,),
    local=NODE,
    remote="kms-3",
    notes=NOTES,
)
POLICY = intent.Policy(
    order=10,
    masters=("node:kms-1", "sae-7"),
    slaves=("*",),
    allow=False,
    max_bandwidth=4096,
    stock_bits=1 << 40,
    ttl_s=60,
    priority=2,
    paths=2,
)
SETTINGS = intent.Settings(location="x", link_stats=False, application_stats=False, notes=NOTES)
FACTS = intent.Facts(
    status=intent.ACTIVE,
    why="none",
    created=1_740_823_200.25,
    skr=2000,
    eskr=1488,
    consumption=512,
    stock_bits=1 << 40,
    qber=2.125,
    consumed=(intent.Consumed(1_740_823_200.0, 1_740_823_230.0, 76_800),),
)
ENTRY = intent.Entry(
    kind=intent.LINK,
    id=ID,
    owner="controller-1",
    revision=7,
    changed=1_740_823_200.0,
    facts=FACTS,
    link=PHYS,
)
INTERFACE = intent.Entry(
    kind=intent.INTERFACE,
    id="1",
    owner=intent.FILE,
    revision=0,
    changed=0.0,
    facts=intent.Facts(status=intent.ENABLED),
    interface=intent.Interface(1, "emulated", "QT-1", "kms-2", NOTES),
)
ME = intent.Named(NODE, "7c0a1f5e-2d0b-4a7b-9c55-1f2a7d3e0a01")

ASKED: tuple[Message, ...] = (
    intent.Read(kinds=(intent.LINK, intent.APPLICATION), ids=(ID,), after="link/0"),
    intent.ReadNodes(after="kms-0"),
    intent.Write(
        owner="controller-1",
        edits=(
            intent.Edit(intent.CREATE, intent.LINK, ID, link=VIRT, if_revision=0),
            intent.Edit(intent.PUT, intent.APPLICATION, OTHER, application=APPLICATION),
            intent.Edit(intent.PUT, intent.POLICY, "guests", policy=POLICY),
            intent.Edit(
                intent.MERGE,
                intent.SETTINGS,
                intent.SETTINGS_ID,
                settings=SETTINGS,
                fields=("location",),
            ),
            intent.Edit(intent.REMOVE, intent.LINK, OTHER, if_revision=6),
        ),
        if_revision=70_000,
    ),
    intent.Subscribe(),
)
ANSWERED: tuple[Message, ...] = (
    intent.Rows(
        revision=7,
        changed=1_740_823_200.0,
        node=ME,
        version="0.3.0",
        entries=(INTERFACE, ENTRY),
        next="link/" + ID,
    ),
    intent.Nodes(nodes=(ME,), next="kms-1"),
    intent.Written(revision=8, changed=1_740_823_201.0, created=(True, False)),
    intent.Denied(code="access_denied", why="the row is the file's", edit=3, owner=intent.FILE),
    intent.Subscribed(number=12),
)
TOLD = intent.Happened(
    number=12,
    at=1_740_823_202.0,
    event="link_down",
    kind=intent.LINK,
    id=ID,
    text="the module is away",
    severity=intent.MAJOR,
    entry=ENTRY,
)


class Unsealed:
    """There is no key material in these words."""

    def seal(self, octets: bytes) -> bytes:
        raise AssertionError

    def open(self, octets: bytes) -> bytes:
        raise AssertionError


ENVELOPES = (
    *(Envelope(FRONT, CORE, body, 70_000, False, "9f2c") for body in ASKED),
    *(Envelope(CORE, FRONT, body, 70_000, True, "9f2c") for body in ANSWERED),
    Envelope(CORE, FRONT, TOLD, 0, False, "9f2c"),
)


def made() -> dict[str, str]:
    """Encode one frame of each word."""
    return {it.body.word: encode(it, Unsealed()).hex() for it in ENVELOPES}


def test_every_frame_is_as_it_always_was() -> None:
    assert vectors.differing(FILE, made()) == []
    assert vectors.read(FILE).keys() == made().keys()


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda it: it.body.word)
def test_a_frame_written_long_ago_is_read(envelope: Envelope) -> None:
    kept = bytes.fromhex(str(vectors.read(FILE)[envelope.body.word]))

    assert decode(kept, NODE, Unsealed()) == envelope


def test_ids_that_a_node_gives_itself_are_the_same_for_ever() -> None:
    here, there = ME.id, "7c0a1f5e-2d0b-4a7b-9c55-1f2a7d3e0a02"
    phys = intent.link_id(intent.PHYS, here, there)

    assert phys == intent.link_id(intent.PHYS, there.upper(), here) == PHYS_ID
    assert intent.link_id(intent.VIRT, here, there) == VIRT_ID
    assert intent.link_id(intent.VIRT, there, here) != VIRT_ID
    assert intent.application_id("sae-1", ("sae-3", "sae-2")) == APPLICATION_ID
    assert intent.application_id("sae-1", ("sae-2", "sae-3")) == APPLICATION_ID
