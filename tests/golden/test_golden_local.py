"""One frame of each word that crosses between two processes of a node, octet for octet.

Secrets are sealed with a random nonce, so a frame here holds their octets as they are; the last
vector is a sealed one, which must open for ever.
"""

import pytest

from actors.protocol import alarms, common, keys, links, peers, sessions, siblings, trees
from actors.protocol.roles import ROLES
from protokms.node.reload import ProcessReloaded, ReloadProcess
from tests.golden import test_golden_intent, vectors
from transport.codec import decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret
from transport.sealing import ProcessSealer

FILE = "local.json"
NODE, PEER = "kms-1", "kms-2"
EPOCH, ID = bytes(range(16)), bytes(range(12))
KEY_ID = "1d3bb94d-8f5b-4c7a-9f0e-0f2a5d1c7e11"
OCTETS = Secret(bytes(range(64, 96)))
VIA = (("kms-1", "kms-3", "kms-2"), ("kms-1", "kms-4", "kms-2"))
SEAL, SEALED = bytes(range(32)), "a sealed octet string, from front to core"

MESSAGES: tuple[Message, ...] = (
    keys.GetKey(
        master="sae-1",
        slaves=("sae-2", "sae-4"),
        number=10,
        size=32,
        provenance=True,
        within=70_000.5,
    ),
    keys.Keys(
        grant=ID, size=32, octets=OCTETS, provenance=(keys.Via(octets=32, paths=VIA, age=1.5),)
    ),
    keys.GetKeyWithIds(
        master="sae-1",
        slave="sae-2",
        names=(keys.KeyName(grant=ID, index=0), keys.KeyName(grant=ID, index=70_001)),
    ),
    keys.KeysWithIds(octets=(OCTETS, Secret(bytes(16))), receipt=(1 << 62) + 1),
    keys.GetStatus(master="sae-1", slave="sae-2", size=32),
    keys.Stock(stored=70_001, capacity=100_000),
    keys.AskWait(octets=320),
    keys.Wait(seconds=2.5),
    keys.AskTurn(master="sae-1", slaves=("sae-2", "sae-4"), octets=320),
    keys.Written(receipt=(1 << 62) + 1),
    keys.Broken(receipt=7),
    keys.GetMulticast(master="sae-1", slaves=("sae-2", "sae-3"), number=2, size=16),
    sessions.EnsureSession(peer=PEER, sae="sae-1"),
    sessions.SessionEnsured(code="no_path", node="kms-3", limit="max_sessions"),
    peers.Subscribe(),
    peers.HomesChanged(serial=70_001, here=NODE, pieces=3),
    peers.GetHomes(serial=70_001, piece=2),
    peers.Homes(ids=((NODE, "kme-1"), (PEER, "kme-2")), saes=(("sae-1", NODE), ("sae-2", PEER))),
    peers.AwaitHomes(serial=70_001),
    peers.HomesInUse(serial=70_002),
    links.AskLink(),
    links.Emitted(epoch=EPOCH, first=70_001, payloads=(OCTETS, Secret(b"")), via=VIA),
    links.EmittedKeys(
        epoch=EPOCH, first=70_001, payloads=(OCTETS, Secret(b"")), key_ids=(KEY_ID, "k-2")
    ),
    links.FetchKeys(epoch=EPOCH, seqs=(7, 70_001), key_ids=(KEY_ID, "k-2")),
    links.Received(epoch=EPOCH, seqs=(7, 70_001), payloads=(OCTETS, Secret(b"")), via=()),
    links.Withdrawn(epoch=EPOCH),
    links.LinkOpened(epoch=EPOCH, credit=131_072),
    links.LinkClosed(),
    links.Credit(epoch=EPOCH, octets=131_072),
    trees.StartLink(peer=PEER, interface=3),
    trees.Started(),
    trees.StopLink(peer=PEER),
    trees.Stopped(),
    alarms.Raised(id="link_not_ready", subject=PEER, text="the device is away"),
    alarms.Ended(id="link_not_ready", subject=PEER),
    common.Ping(),
    common.Pong(),
    common.Health(),
    common.Healthy(
        ready=False,
        reasons=("the disk is full",),
        facts=(("role", "sender"),),
        waits=("closed: the key stores have not resumed",),
    ),
    common.Drain(),
    common.Drained(),
    siblings.Hello(
        process="front", version="0.2.0", actors=("etsi014", "quantum_link/kms-2"), seal=OCTETS
    ),
    siblings.Welcome(version="0.2.0"),
    siblings.AskProcess(),
    siblings.ProcessStatus(
        process="front",
        host="host-1",
        version="0.2.0",
        actors=("supervisor/front", "etsi014"),
        deaths=1,
        mailbox=70_001,
        last_error="etsi014: RuntimeError",
    ),
    ReloadProcess(),
    ProcessReloaded(
        applied=("etsi014.deny",), refused=("deny: is bad",), needs_restart=("process.bind",)
    ),
    common.Failed(code="not_ready", why="the disk is full"),
)


class Open:
    """Seals nothing, so that the same message is the same octets."""

    def seal(self, octets: bytes) -> bytes:
        return octets

    def open(self, octets: bytes) -> bytes:
        return octets


def crossing() -> dict[str, tuple[str, str, bool]]:
    """Return who says each word to whom, and whether as an answer; the first row that has it."""
    found: dict[str, tuple[str, str, bool]] = {}
    for (by, to), words in ROLES.items():
        for word, answers in words.items():
            found.setdefault(word, (by, to, False))
            for answer in answers:
                found.setdefault(answer, (to, by, True))
    return found | {"common.failed/1": ("key_store", "etsi014", True)}


def envelope(body: Message) -> Envelope:
    """Put a message on its way; the names of actors are part of the frame."""
    by, to, answer = crossing()[body.word]
    return Envelope(
        Address(f"{by}/{PEER}", NODE), Address(f"{to}/{PEER}", NODE), body, 70_000, answer, "9f2c"
    )


def made() -> dict[str, str]:
    """Encode one frame of each word, and seal some octets if none have been sealed yet."""
    frames = {body.word: encode(envelope(body), Open()).hex() for body in MESSAGES}
    kept = vectors.read(FILE).get(SEALED)
    fresh = ProcessSealer(SEAL, "front", "core").seal(OCTETS.reveal()).hex()
    return {**frames, SEALED: str(kept or fresh)}


def test_every_frame_is_as_it_always_was() -> None:
    assert vectors.differing(FILE, made()) == []


@pytest.mark.parametrize("body", MESSAGES, ids=lambda body: body.word)
def test_a_frame_written_long_ago_is_read(body: Message) -> None:
    kept = bytes.fromhex(str(vectors.read(FILE)[body.word]))

    assert decode(kept, NODE, Open()) == envelope(body)


def test_octets_sealed_long_ago_are_opened() -> None:
    kept = bytes.fromhex(str(vectors.read(FILE)[SEALED]))

    assert ProcessSealer(SEAL, "core", "front").open(kept) == OCTETS.reveal()


def test_every_word_between_processes_has_a_frame() -> None:
    of_intent = {it.body.word for it in test_golden_intent.ENVELOPES}
    here = {body.word for body in MESSAGES}

    assert here | of_intent == crossing().keys()
    assert vectors.read(FILE).keys() == {*here, SEALED}
