"""One row of each kind in a node's database: store, kind, id and values, octet for octet.

Each is made by the code that writes it, and what was written long ago is read back.
"""

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import pytest

from actors.base import Change, Clock, Drop, Later, Row
from actors.crypto import batch_tag
from actors.intent.rows import BODIES, Book, Kept, Revision
from actors.keystore.loading import upgraded
from actors.ledger.batches import Batches
from actors.ledger.held import Held, Place
from actors.ledger.issued import Issued, Waiting
from actors.ledger.link_health import BAD, GOOD, LinkHealth
from actors.ledger.peering_state import PeeringState
from actors.ledger.segment import Way
from actors.ledger.stream import Stream
from actors.network.router import Router
from actors.protocol.blocks import BlocksHeld, Head, Resume, Run, SegmentId
from actors.protocol.common import Refused
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import KeyName
from actors.sessions.terms import Named, Terms
from actors.storage.journal import Journal, Shelf
from tests.golden import test_golden_intent, vectors
from tests.kit.mesh import Mesh
from tests.kit.numbered import found
from transport.message import Secret

FILE = "rows.json"
NO_MORE = ("grant", "delivering", "tomb")
"""Kinds that are read, once, and not written any more."""
SOURCE = Path(__file__).parents[2] / "actors"
PEER, END = "kms-2", 1
CLOCK = Clock("5b0e3f4a-boot-1", 12_345.5)
EPOCH = (3, (1 << 40) + 4)
PATHS = (("kms-1", "kms-3", "kms-2"), ("kms-1", "kms-4", "kms-2"))
OCTETS = bytes((7 * i + 3) % 256 for i in range(1500))

GIVEN, PLAIN = SegmentId(0, 4097), SegmentId(1, 6)
PIECES = (Piece(0, 4097, 300, 32), Piece(1, 6, 0, 128))
IDS = tuple(bytes(range(n, n + 12)) for n in (0, 20, 40, 60))
SLAVES = ("sae-2", "sae-4")
HELD = Grant(IDS[0], PIECES, 16, 10, "sae-1", SLAVES, "confirmed", 3599.5)
UNHEARD = Grant(IDS[2], PIECES, 16, 10, "sae-1", SLAVES, "local", 3599.5)
NAMED = Named("n4", "the boot", 70_000.5)
TERMS = Terms(
    destination="n3",
    paths=(("n1", "n2", "n3"),),
    n=1,
    low_bits=70_000,
    high_bits=900_000,
    weight=7,
)
SEQ = 70_001
INTENT = tuple(
    Kept(kind, id_, "controller-1", 7, 1_740_823_200.5, body)
    for kind, id_, body in (
        ("link", test_golden_intent.ID, test_golden_intent.VIRT),
        ("application", test_golden_intent.OTHER, test_golden_intent.APPLICATION),
        ("policy", "guests", test_golden_intent.POLICY),
        ("settings", "node", test_golden_intent.SETTINGS),
    )
)
AGAIN = replace(INTENT[1], since=1_740_823_199.5)
REVISION = Revision(9, 1_740_823_201.5, bytes(range(32)), 3, adopted=True)


def rows_of(changes: list[Change], kind: str, number: int = 1) -> list[Row]:
    """Take the rows of a kind out of what a turn has made durable; there are so many."""
    them = [each for each in changes if isinstance(each, Row) and each.kind == kind]
    assert len(them) == number
    return them


def standing() -> list[Change]:
    journal = Journal(PEER)
    it = PeeringState(journal, Shelf(()), 1 << 61)
    it.enter(EPOCH)
    it.ask(9)
    number, random = EPOCH
    it.judge(Resume(start=5, number=number, random=random, nonce=9, seq=70_006, seen=0))
    for _ in range(300):
        it.count()
    it.freeze()
    return journal.take()


def stream(journal: Journal, shelf: Shelf | None = None) -> Stream:
    empty = Shelf(())
    it = Stream(journal, shelf or empty, PeeringState(journal, empty, 1 << 61), END)
    it.clock = CLOCK
    return it


def segments() -> tuple[list[Change], list[Change]]:
    """Make a segment given away, leased and partly used by the peer; and one of no known age."""
    journal = Journal(PEER)
    it = stream(journal)
    it.enter(GIVEN, OCTETS[:200], write_bits=True, way=Way(PATHS, 2))
    it.give(GIVEN, CLOCK.now)
    it.hold_lease(GIVEN)
    it.mark((Piece(0, 4097, 0, 40), Piece(0, 4097, 100, 24)))
    it.wipe()
    first = journal.take()
    it.clock = None
    it.enter(PLAIN, OCTETS[:100], write_bits=False)
    return first, journal.take()


def batches(journal: Journal, shelf: Shelf | None = None) -> Batches:
    empty = Shelf(())
    position = PeeringState(journal, empty, 1 << 61)
    position.enter(EPOCH)
    return Batches(journal, shelf or empty, position, stream(journal))


def held(via: tuple[tuple[str, ...], ...], *, judged: bool = False) -> list[Change]:
    """Hold a batch of datagrams 7, 8 and 21."""
    journal = Journal(PEER)
    it = batches(journal)
    parts = (OCTETS[:500], OCTETS[500:900], OCTETS[900:1300])
    it.arrive((7, 8, 21), parts, CLOCK.now, 1 << 20, via)
    it.form(judged=judged)
    return journal.take()


def quarantine() -> list[Change]:
    """Find that octets are all the same."""
    journal = Journal(PEER)
    assert LinkHealth(journal, Shelf(()), 0).judge(bytes(2000)) == BAD
    return journal.take()


def decided(good: bool) -> list[Change]:
    """Confirm a batch of the peer's, or discard one that was spoilt."""
    journal = Journal(PEER)
    it = batches(journal)
    runs, lengths = (Run(7, 9),), (500,) * 3
    it.emit(7, (OCTETS[:500], OCTETS[500:1000], OCTETS[1000:]), CLOCK.now, 1 << 20)
    mark = batch_tag.make(OCTETS, (*EPOCH, 1 - END, 4096), runs, lengths) if good else bytes(16)
    head = Head(1, 2, 3, 4, 5)
    word = BlocksHeld(head=head, batch=4096, runs=runs, lengths=lengths, tag=mark, credit=1)
    assert it.decide(word) is good
    return journal.take()


def store_of(journal: Journal, rows: Sequence[Row] = ()) -> Held:
    return Held(
        journal,
        Shelf(rows),
        CLOCK,
        alive=lambda _: True,
        redelivery_s=30.0,
        repeat_s=0.0,
        receipts_from=1000,
        pair_octets=1 << 20,
        sae_octets=1 << 20,
        found=found(rows),
    )


def grants() -> list[Change]:
    """Hold a grant of which sae-2 has a key and is being sent two more; and void one."""
    journal = Journal(PEER)
    it = store_of(journal)
    it.hold(HELD, OCTETS[:160], CLOCK)
    _, receipt = it.fetch("sae-1", "sae-2", [KeyName(IDS[0], 3)], CLOCK.now)
    it.written(receipt, CLOCK)
    it.fetch("sae-1", "sae-2", [KeyName(IDS[0], 5), KeyName(IDS[0], 9)], CLOCK.now)
    it.void(IDS[1], PIECES)
    it.issued_by(5)
    it.mark()
    return journal.take()


def paths_needed() -> list[Change]:
    """Ask for two paths, and hear the peer ask for three."""
    journal = Journal(PEER)
    it = stream(journal)
    it.need_paths(2)
    it.need_paths(3, theirs=True)
    return journal.take()


def issued() -> list[Change]:
    """Answer with a grant that the peer has not heard of; and take one back."""
    journal = Journal(PEER)
    it = Issued(journal, Shelf(()), stream(journal), CLOCK)
    it.keep_local(UNHEARD, CLOCK)
    taken = Grant(IDS[3], PIECES, 16, 10, "sae-1", SLAVES, "confirmed", 3599.5)
    nobody = cast(Later, None)
    it.await_held(Waiting(taken, OCTETS[:160], nobody, until=CLOCK.now, announcement=1))
    it.void(IDS[3])
    return journal.take()


def network() -> list[Change]:
    """Let a router that has counted to 70,000 tell its links, and a session be added there."""
    mesh = Mesh("n1-n2 n2-n3")
    disk = mesh.cluster.backup("n1")
    assert isinstance(disk, dict)
    counted = Row("router", "seq", b"", msgspec.msgpack.encode(SEQ - 1))
    mesh.cluster.restore("n1", {("router", "seq", b""): counted})
    for _ in range(100):
        mesh.advance(0.1)
        if mesh.cluster.rows("n1", "router") != [counted]:
            break
    told = mesh.cluster.rows("n1", "router")
    mesh.advance(7.0)
    mesh.add(
        "n1",
        TERMS.destination,
        paths=TERMS.paths,
        n=TERMS.n,
        low_bits=TERMS.low_bits,
        high_bits=TERMS.high_bits,
        weight=TERMS.weight,
    )
    return [*told, *mesh.cluster.rows("n1", "sessions")]


@cache
def rows() -> dict[str, Row]:
    """Make a row of each kind, by its name in the file."""
    given, plain = segments()
    on_link, over_paths, judged = held(()), held(PATHS), held((), judged=True)
    confirmed, discarded = decided(good=True), decided(good=False)
    slaves, owner, net = grants(), issued(), network()
    on_demand = Terms(destination="n4", n=2, sae="sae-1").row()
    by_name = {
        "standing": rows_of(standing(), "standing"),
        "segment": rows_of(given, "segment"),
        "segment of no known age": rows_of(plain, "segment"),
        "bits of a segment": rows_of(given, "bits"),
        "giving": rows_of(given, "giving"),
        "numbers": rows_of(on_link, "numbers"),
        "held": rows_of(on_link, "held"),
        "held, over two paths": rows_of(over_paths, "held"),
        "held, judged": rows_of(judged, "held"),
        "quarantine": rows_of(quarantine(), "quarantine"),
        "bits of a batch": rows_of(on_link, "bits"),
        "decided: confirmed": rows_of(confirmed, "decided"),
        "decided: discarded": rows_of(discarded, "decided"),
        "unheard": rows_of(owner, "unheard"),
        "void": rows_of(owner, "void"),
        "terms": rows_of(net, "terms"),
        "terms of a session on demand": [on_demand],
        "named": [NAMED.row()],
        "paths": rows_of(paths_needed(), "paths"),
        "peer": rows_of(net, "peer"),
        "seq": rows_of(net, "seq"),
        "start of an origin": rows_of(net, "start"),
        "holding": rows_of(slaves, "holding"),
        "window": rows_of(slaves, "window"),
        "tombstone": rows_of(slaves, "tombstone"),
        "marked": rows_of(slaves, "marked"),
        **{f"intent: {kept.kind}": [kept.row()] for kept in INTENT},
        "intent: application, written again": [AGAIN.row()],
        "intent: revision": [REVISION.row()],
        "intent: interfaces": rows_of(Book().count([3, 70_001, 1]), "interfaces"),
    }
    return {name: row for name, (row,) in by_name.items()}


def made() -> dict[str, dict[str, str | None]]:
    """Lay each row out as text."""
    return {
        name: {
            "store": row.store,
            "kind": row.kind,
            "id": row.id.hex(),
            "clear": row.clear.hex(),
            "secret": row.secret.reveal().hex() if row.secret else None,
            **({"ends": row.ends.hex()} if row.ends else {}),
        }
        for name, row in rows().items()
    }


def kept(*names: str) -> Shelf:
    """Put rows written long ago on a shelf."""
    return Shelf(rows_kept(*names))


def rows_kept(*names: str) -> list[Row]:
    """Return rows written long ago."""
    return [_kept(name) for name in names]


def _kept(name: str) -> Row:
    it = cast(dict[str, str], vectors.read(FILE)[name])
    id_, clear = bytes.fromhex(it["id"]), bytes.fromhex(it["clear"])
    secret = Secret(bytes.fromhex(it["secret"])) if it["secret"] else None
    return Row(it["store"], it["kind"], id_, clear, secret, bytes.fromhex(it.get("ends", "")))


def test_every_row_is_as_it_always_was() -> None:
    assert vectors.differing(FILE, made()) == list(NO_MORE)
    assert vectors.read(FILE).keys() == made().keys() | set(NO_MORE)


def test_every_kind_of_row_that_the_source_writes_has_a_vector() -> None:
    kinds = {kind for file in SOURCE.rglob("*.py") for kind in _kinds(file)}

    assert kinds | BODIES.keys() == {row.kind for row in rows().values()}


def _kinds(file: Path) -> set[str]:
    """Find `….put("kind", …)` and `Row(store, "kind", …)` in a file."""
    found_here = set()
    for call in ast.walk(ast.parse(file.read_text())):
        if isinstance(call, ast.Call):
            named = isinstance(call.func, ast.Name) and call.func.id == "Row"
            put = isinstance(call.func, ast.Attribute) and call.func.attr == "put"
            at = call.args[1:2] if named else call.args[:1] if put else []
            kinds = [each.value for each in at if isinstance(each, ast.Constant)]
            found_here |= {kind for kind in kinds if isinstance(kind, str)}
    return found_here


def test_the_position_of_a_store_is_read() -> None:
    it = PeeringState(Journal(PEER), kept("standing"), 1)

    assert (it.epoch, it.seq, it.seen, it.frozen) == (EPOCH, 300, 70_006, True)


def test_segments_are_read() -> None:
    names = ("segment", "segment of no known age", "bits of a segment", "giving")
    it = stream(Journal(PEER), kept(*names))

    given, plain = it.segments[GIVEN], it.segments[PLAIN]
    blanked = bytes(40) + OCTETS[40:100] + bytes(24) + OCTETS[124:200]
    assert (given.owned, given.transfer_no, given.leased) == (False, 1, True)
    assert bytes(given.octets) == blanked
    assert given.used == [(0, 40), (100, 124)]
    assert (given.way, given.since) == (Way(PATHS, 2), CLOCK)
    assert list(it.giving) == [GIVEN]
    assert (plain.owned, plain.transfer_no, plain.leased) == (False, 0, False)
    assert (len(plain.octets), plain.since) == (100, None)


def test_the_paths_that_both_ends_need_are_read() -> None:
    it = stream(Journal(PEER), kept("paths"))

    assert (it.paths_needed, it.paths) == (2, 3)


def test_batches_are_read() -> None:
    names = ("numbers", "held", "bits of a batch", "decided: confirmed")
    it = batches(Journal(PEER), kept(*names))
    over_paths = batches(Journal(PEER), kept("held, over two paths", "bits of a batch"))
    judged = batches(Journal(PEER), kept("held, judged", "bits of a batch"))
    discarded = batches(Journal(PEER), kept("decided: discarded"))

    (batch,) = it.held.values()
    assert (batch.runs, batch.lengths) == ((Run(7, 8), Run(21, 21)), (500, 400, 400))
    assert batch.octets == OCTETS[32:1300]
    assert batch.tag == batch_tag.make(OCTETS[:1300], (*EPOCH, END, 0), batch.runs, batch.lengths)
    assert batch.verdict == ""
    assert over_paths.held[0].way == Way(PATHS, 2)
    assert (judged.held[0].verdict, judged.held[0].way) == (GOOD, Way())
    assert it.decided[4096].confirmed
    assert not discarded.decided[4096].confirmed


def test_a_quarantine_is_read() -> None:
    it = LinkHealth(Journal(PEER), kept("quarantine"), 1)

    assert it.fault == "repeated_octets"


def test_the_next_batch_has_the_next_number() -> None:
    it = batches(Journal(PEER), kept("numbers"))

    it.arrive((1,), (OCTETS,), 0.0, 1 << 20)

    assert it.form() == [1]


@pytest.mark.parametrize("old", [True, False])
def test_grants_held_are_read(old: bool) -> None:
    rows = rows_kept("holding", "window", "tombstone", "marked")
    if old:
        changes = list(upgraded(rows_kept("delivering", "grant", "tomb", "standing")))
        assert [it for it in changes if isinstance(it, Drop)] == [
            Drop(PEER, row.kind, row.id) for row in rows_kept("grant", "tomb", "delivering")
        ]
        rows = [it for it in changes if isinstance(it, Row)]
    it = store_of(Journal(PEER), rows)

    holding = it.holdings[IDS[0]]
    assert holding.grant == replace(HELD, remaining=0.0)
    assert it.load("sae-1", "sae-2") == 9 * 16
    assert it.load("sae-1", "sae-4") == 10 * 16
    with pytest.raises(Refused):  # it is under way, and nobody has reported on it yet
        it.fetch("sae-1", "sae-2", [KeyName(IDS[0], 3)], CLOCK.now)
    assert Place(IDS[0], "sae-2", 9) in it._open
    assert holding.deadline == CLOCK.now + HELD.remaining
    assert holding.left == {"sae-2": 0b11_1111_0111, "sae-4": 0b11_1111_1111}
    assert it.fetch("sae-1", "sae-4", [KeyName(IDS[0], 3)], CLOCK.now)[0] == (OCTETS[48:64],)
    assert it.voided(IDS[1])


def test_grants_that_the_peer_has_not_heard_of_are_read() -> None:
    it = Issued(Journal(PEER), kept("unheard", "void"), stream(Journal(PEER)), CLOCK)

    assert it.unacknowledged[IDS[2]].grant == UNHEARD
    assert it.unacknowledged[IDS[2]].deadline == CLOCK.now + UNHEARD.remaining
    assert it.voiding[IDS[3]].pieces == PIECES


def test_sessions_are_read() -> None:
    on_demand = Terms(destination="n4", n=2, sae="sae-1")

    assert Terms.read(_kept("terms").clear) == TERMS
    assert Terms.read(_kept("terms of a session on demand").clear) == on_demand
    assert Named.read(_kept("named").clear) == NAMED


def test_what_is_wanted_is_read() -> None:
    names = [f"intent: {kept.kind}" for kept in INTENT]
    book = Book.load(rows_kept(*names, "intent: revision", "intent: interfaces"))

    assert list(book.written.values()) == list(INTENT)
    assert book.interfaces == {1, 3, 70_001}
    (again,) = Book.load(rows_kept("intent: application, written again")).written.values()
    assert again == AGAIN
    assert book.revision == REVISION


def test_a_node_goes_on_with_its_sessions_and_its_count() -> None:
    mesh = Mesh("n1-n2 n2-n3")
    disk = [_kept(name) for name in ("terms", "peer", "seq")]
    mesh.cluster.restore("n1", {(row.store, row.kind, row.id): row for row in disk})
    mesh.advance(20.0)

    session = mesh.seen("n1", TERMS.destination)
    state = mesh.actor("router@n1", Router).lsdb.of("n1")
    assert (session.paths, session.low_bits, session.state) == (TERMS.paths, 70_000, "established")
    assert mesh.has("key_store/n3@n1")
    assert state is not None
    assert state.seq > SEQ
