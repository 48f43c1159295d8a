"""One text of each signature and one-time tag, octet for octet: field names and order are format.

Signatures and tags are made as well, and old ones are verified.
"""

from pathlib import Path

from actors.crypto import batch_tag, one_time_pad
from actors.crypto.signatures import Signer, refresh_text, session_text, state_text, verifies
from actors.modules.datagram import Channel
from actors.protocol import blocks, grants, keys, peers, relay, routes, sessions
from actors.storage.sealing import RowSealer
from protokms.config import directory
from tests.golden import vectors
from transport.message import Secret

FILE = "texts.json"
SIGNER = Signer(Secret(bytes(range(32))))
KEY_AND_PAD = bytes((7 * i + 3) % 256 for i in range(32 + 40))
TEXT = bytes(range(40))
ENDS = ("kms-1", "kms-2")

HEAD = blocks.Head(
    mine=(1 << 61) + 1, yours=(1 << 61) + 2, number=3, random=(1 << 40) + 4, seq=70_005
)
PIECES = (
    grants.Piece(holder=0, batch=4096, offset=65_504, length=32),
    grants.Piece(holder=1, batch=6, offset=0, length=40),
)
CHUNK = relay.ChunkId(
    session=relay.SessionId(origin="kms-1", number=(1 << 60) + 9),
    share=1,
    epoch=bytes(range(16)),
    seq=70_011,
)
GRANT = grants.Grant(
    id=bytes(range(12)),
    pieces=PIECES,
    size=20,
    number=2,
    master="sae-1",
    slaves=("sae-2", "sae-4"),
    mode="sealed",
    remaining=3599.5,
)
LINKS = (
    routes.LinkLoad(peer="kms-2", stock=21, rate=17),
    routes.LinkLoad(peer="kms-4", stock=0, rate=3),
)
STATE = ("kms-1", 70_001, LINKS)
SESSION = sessions.KeyTransportSession(
    session=relay.SessionId(origin="kms-1", number=(1 << 60) + 9),
    share=1,
    shares=2,
    path=("kms-1", "kms-2", "kms-3"),
    weight=16,
    serial=70_007,
    signature=b"",
    hop=1,
    wait=4.5,
)
PLACE, RUNS, LENGTHS = (
    (3, (1 << 40) + 4, 1, 4096),
    (blocks.Run(first=7, last=8), blocks.Run(first=21, last=21)),
    (500,) * 3,
)
BATCH = bytes((11 * i + 5) % 256 for i in range(1500))
CURVE = "C=7v?Qhp}1[XVKnycHT]c5pHw>szc5c@Zyfm2Ru/"
DIRECTORY = peers.Directory(
    serial=70_001,
    kmss=(
        peers.Kms(
            name="kms-1",
            id="kme-1",
            address="tcp://127.0.0.1:17001",
            curve=CURVE,
            signing=SIGNER.public,
            saes=("sae-1", "sae-3"),
        ),
    ),
)
CHANNEL = Channel(Secret(bytes(range(64, 96))), bytes(range(16)), "kms-1", "kms-2")
ROWS = RowSealer(Secret(bytes(range(96, 128))), "kms-1")


def made() -> dict[str, str]:
    """Make each text, and what is computed over it."""
    carry = one_time_pad.carry_place(ENDS, HEAD, PIECES, CHUNK, 1)
    grant = one_time_pad.grant_place(ENDS, HEAD, GRANT)
    carried = one_time_pad.seal(KEY_AND_PAD, TEXT, carry)
    given = one_time_pad.seal(KEY_AND_PAD, TEXT, grant)
    listed = directory.octets_of(DIRECTORY)
    octets = {
        "carry/1: what the tag is over": carry,
        "carry/1: sealed": carried[0],
        "carry/1: tag": carried[1],
        "grant/1: what the tag is over": grant,
        "grant/1: sealed": given[0],
        "grant/1: tag": given[1],
        "batch: tag": batch_tag.make(BATCH, PLACE, RUNS, LENGTHS),
        "link state: what is signed": state_text(*STATE),
        "link state: signature": SIGNER.sign(state_text(*STATE)),
        "key transport session: what is signed": session_text(SESSION),
        "key transport session: signature": SIGNER.sign(session_text(SESSION)),
        "refresh: what is signed": refresh_text("kms-1", (7 << 32) + 10),
        "refresh: signature": SIGNER.sign(refresh_text("kms-1", (7 << 32) + 10)),
        "directory: what is signed": listed,
        "directory: signature": directory.sign(listed, bytes(range(32))),
        "emulated link: channel": CHANNEL.name,
        "emulated link: datagram": CHANNEL.seal(70_001, TEXT),
        "store: proof of the node key": ROWS.proof(bytes(range(16))),
        "key_ID": keys.key_id(bytes(range(12)), 70_001).encode(),
    }
    return {name: each.hex() for name, each in octets.items()}


def kept(name: str) -> bytes:
    return bytes.fromhex(str(vectors.read(FILE)[name]))


def test_every_text_is_as_it_always_was() -> None:
    assert vectors.differing(FILE, made()) == []
    assert vectors.read(FILE).keys() == made().keys()


def test_what_was_sealed_long_ago_is_opened() -> None:
    carry = one_time_pad.carry_place(ENDS, HEAD, PIECES, CHUNK, 1)
    grant = one_time_pad.grant_place(ENDS, HEAD, GRANT)

    for kind, place in (("carry/1", carry), ("grant/1", grant)):
        sealed, mark = kept(f"{kind}: sealed"), kept(f"{kind}: tag")
        assert one_time_pad.open_(KEY_AND_PAD, sealed, mark, place) == TEXT


def test_a_batch_held_long_ago_agrees() -> None:
    assert batch_tag.agrees(BATCH, PLACE, RUNS, LENGTHS, kept("batch: tag"))


def test_what_was_signed_long_ago_is_verified() -> None:
    state, session = kept("link state: signature"), kept("key transport session: signature")

    assert verifies(SIGNER.public, state_text(*STATE), state)
    assert verifies(SIGNER.public, session_text(SESSION), session)
    fresh = kept("refresh: signature")
    assert verifies(SIGNER.public, refresh_text("kms-1", (7 << 32) + 10), fresh)


def test_a_directory_signed_long_ago_is_read(tmp_path: Path) -> None:
    file, ca = tmp_path / "directory.json", tmp_path / "signing.pub"
    file.write_bytes(kept("directory: what is signed"))
    directory.signature_path(file).write_bytes(kept("directory: signature"))
    ca.write_text(SIGNER.public)

    assert directory.read(file, ca) == DIRECTORY


def test_a_datagram_sent_long_ago_is_taken() -> None:
    assert CHANNEL.open(kept("emulated link: datagram")) == (70_001, TEXT)


def test_a_key_id_given_long_ago_is_understood() -> None:
    name = keys.parse_key_id(kept("key_ID").decode())

    assert name == keys.KeyName(bytes(range(12)), 70_001)
