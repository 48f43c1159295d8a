"""What a write may do: verbs, owners, revisions, and what rows may not be together."""

from dataclasses import replace

import pytest

from actors.base import Drop, Row
from actors.intent import edits
from actors.intent.rows import Body, Book, Kept, Key
from actors.intent.scene import No, Scene
from actors.protocol import intent
from actors.protocol.intent import Application, Edit, Interface, Link, Policy, Settings, Write
from actors.protocol.peers import Kms

ME, B, C = "kms-1", "kms-2", "kms-3"
UUID = {name: f"7c0a1f5e-2d0b-4a7b-9c55-00000000000{n}" for n, name in enumerate((ME, B, C), 1)}
SAE = {"sae-1": ME, "sae-2": B, "sae-3": C}
SCENE = Scene(node=ME, interfaces={1: Interface(1, "emulated"), 2: Interface(2, "emulated")}).of(
    tuple(
        Kms(name, id_, "", "", "", tuple(sae for sae, at in SAE.items() if at == name))
        for name, id_ in UUID.items()
    )
)
ID, OTHER, THIRD = (f"c3d7f0aa-8d3c-4f1d-b7d9-00000000000{n}" for n in range(3))
PHYS = Link(intent.PHYS, ME, B, interface=1)
VIRT = Link(intent.VIRT, ME, C, hops=(B, C))
APP = Application("sae-1", ("sae-2",))
POLICY = Policy(1, ("*",), ("*",))
BODY: dict[str, Body] = {
    intent.LINK: PHYS,
    intent.APPLICATION: APP,
    intent.POLICY: POLICY,
    intent.SETTINGS: Settings("a cellar"),
}
IDS = {intent.POLICY: "guests", intent.SETTINGS: intent.SETTINGS_ID}
ALICE, BOB = "controller-1", "controller-2"


def edit(verb: str, kind: str = intent.LINK, id_: str = "", **more: object) -> Edit:
    body = more.pop("body", BODY[kind])
    rows = {} if verb == intent.REMOVE else {kind: body}
    return Edit(verb, kind, id_ or IDS.get(kind, ID), **rows, **more)  # type: ignore[arg-type]


def write(*these: Edit, owner: str = ALICE, if_revision: int | None = None) -> Write:
    return Write(owner=owner, edits=these, if_revision=if_revision)


def wrote(book: Book, *these: Edit, owner: str = ALICE, now: float = 5.0) -> edits.Outcome:
    made = edits.judge(book, SCENE, write(*these, owner=owner))
    book.take(book.draft(made.made, now))
    return made


def refused(book: Book, asked: Write) -> No:
    before = {**book.written}
    with pytest.raises(No) as no:
        edits.judge(book, SCENE, asked)
    assert book.written == before
    assert no.value.code in intent.CODES
    return no.value


KINDS = tuple(BODY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_created_replaced_merged_and_removed(kind: str) -> None:
    book = Book()

    assert wrote(book, edit(intent.PUT, kind)).created == (True,)
    assert wrote(book, edit(intent.PUT, kind)).created == (False,)
    assert wrote(book, edit(intent.MERGE, kind, fields=())).created == (False,)
    kept = book.get(kind, IDS.get(kind, ID))
    assert kept
    assert (kept.owner, kept.revision, kept.changed, kept.body) == (ALICE, 3, 5.0, BODY[kind])
    wrote(book, edit(intent.REMOVE, kind))

    assert book.get(kind, IDS.get(kind, ID)) is None
    assert book.revision.number == 4


VERB_CODES = {
    (intent.CREATE, True): "data_exists",
    (intent.MERGE, False): "data_missing",
    (intent.REMOVE, False): "data_missing",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != intent.SETTINGS])
@pytest.mark.parametrize("verb", intent.VERBS)
@pytest.mark.parametrize("there", [True, False])
def test_what_a_verb_does_with_a_row_that_is_there_or_not(
    kind: str, verb: str, there: bool
) -> None:
    book = Book()
    if there:
        wrote(book, edit(intent.PUT, kind))
    code = VERB_CODES.get((verb, there))

    if code:
        assert refused(book, write(edit(verb, kind))).code == code
    else:
        created = wrote(book, edit(verb, kind)).created
        assert created == (not there,)


@pytest.mark.parametrize("owner", [BOB, intent.FILE, intent.CLI])
@pytest.mark.parametrize("verb", [intent.PUT, intent.MERGE, intent.REMOVE])
def test_a_row_of_another_owner_is_not_written_and_the_owner_named(verb: str, owner: str) -> None:
    book = Book()
    if owner == intent.FILE:
        book.seed({(intent.LINK, ID): PHYS}, 1.0)
    else:
        wrote(book, edit(intent.PUT), owner=owner)

    no = refused(book, write(edit(verb)))

    assert (no.code, no.owner, no.edit) == ("access_denied", owner, 0)
    assert owner in str(no)


def test_a_merge_changes_the_fields_that_it_names() -> None:
    book = Book()
    wrote(book, edit(intent.PUT, body=replace(PHYS, peer_interface=7)))
    switched = replace(PHYS, enabled=False, peer_interface=0)

    wrote(book, edit(intent.MERGE, body=switched, fields=("enabled",)))

    kept = book.get(intent.LINK, ID)
    assert kept
    assert kept.body == replace(PHYS, enabled=False, peer_interface=7)


def test_all_edits_are_done_or_none() -> None:
    book = Book()
    asked = write(edit(intent.CREATE), edit(intent.REMOVE, id_=OTHER))

    no = refused(book, asked)

    assert (no.code, no.edit) == ("data_missing", 1)


def test_an_edit_sees_what_those_before_it_have_left() -> None:
    book = Book()
    made = wrote(
        book,
        edit(intent.CREATE),
        edit(intent.MERGE, body=replace(PHYS, enabled=False), fields=("enabled",)),
        edit(intent.CREATE, id_=OTHER, body=VIRT),
        edit(intent.REMOVE, id_=OTHER),
    )

    assert made.created == (True, False, True, False)
    assert [it for it in book if it.key == (intent.LINK, OTHER)] == []


def test_a_new_id_may_replace_the_older_link_of_its_pair_in_one_write() -> None:
    book = Book()
    wrote(book, edit(intent.PUT, body=VIRT))

    wrote(book, edit(intent.REMOVE), edit(intent.CREATE, id_=OTHER, body=VIRT))

    assert [kept.id for kept in book] == [OTHER]


@pytest.mark.parametrize(
    ("there", "then", "code"),
    [
        (PHYS, replace(PHYS, interface=2), "data_exists"),
        (PHYS, replace(PHYS, remote=C), "in_use"),
        (VIRT, replace(VIRT, hops=()), "data_exists"),
    ],
)
def test_two_rows_for_one_thing(there: Link, then: Link, code: str) -> None:
    book = Book()
    wrote(book, edit(intent.PUT, body=there), owner=BOB)

    no = refused(book, write(edit(intent.PUT, id_=OTHER, body=then)))

    assert (no.code, no.owner, no.edit) == (code, BOB, 0)


def test_a_link_that_names_no_interface_has_the_first_that_is_free_and_keeps_it() -> None:
    book, any_ = Book(), replace(PHYS, interface=0)

    def interface(id_: str) -> int:
        kept = book.get(intent.LINK, id_)
        assert kept
        assert isinstance(kept.body, Link)
        return kept.body.interface

    wrote(book, edit(intent.PUT, body=any_))
    wrote(book, edit(intent.PUT, id_=OTHER, body=replace(any_, remote=C)))
    assert (interface(ID), interface(OTHER)) == (1, 2)
    wrote(book, edit(intent.PUT, id_=OTHER, body=replace(any_, remote=C)))
    assert interface(OTHER) == 2
    wrote(book, edit(intent.REMOVE))
    third = replace(any_, local=ME, remote=B)
    wrote(book, edit(intent.PUT, id_=THIRD, body=third))
    assert interface(THIRD) == 1


def test_a_link_when_every_interface_is_bound() -> None:
    book = Book()
    bound = {number: replace(it, peer="x") for number, it in SCENE.interfaces.items()}
    asked = write(edit(intent.PUT, body=replace(PHYS, interface=0)))

    with pytest.raises(No) as no:
        edits.judge(book, replace(SCENE, interfaces=bound), asked)

    assert (no.value.code, no.value.edit) == ("in_use", 0)


def test_two_applications_for_the_same_saes() -> None:
    book = Book()
    wrote(book, edit(intent.PUT, intent.APPLICATION))

    again = edit(intent.PUT, intent.APPLICATION, OTHER)

    assert refused(book, write(again)).code == "data_exists"


def test_the_other_direction_is_another_pair() -> None:
    book = Book()
    back = replace(VIRT, local=C, remote=ME, prev=B, hops=())

    wrote(book, edit(intent.PUT, body=VIRT), edit(intent.PUT, id_=OTHER, body=back))

    assert len(list(book)) == 2


def test_the_configuration_comes_first_and_hides_what_was_written() -> None:
    book = Book()
    wrote(book, edit(intent.PUT, body=replace(PHYS, interface=2)))

    book.seed({(intent.LINK, ID): PHYS}, 1.0)

    assert [(kept.owner, kept.body) for kept in book] == [(intent.FILE, PHYS)]


def test_without_an_id_the_row_of_the_pair_is_meant_or_a_new_one() -> None:
    book = Book()
    own = edit(intent.PUT, body=VIRT)

    wrote(book, replace(own, id=""))
    wrote(book, replace(own, id=""), edit(intent.PUT, intent.APPLICATION))
    assert [kept.id for kept in book.of(intent.LINK)] == [
        intent.link_id(intent.VIRT, UUID[ME], UUID[C])
    ]
    pair = Edit(intent.REMOVE, intent.LINK, "", link=Link(intent.VIRT, UUID[ME], C))
    wrote(book, pair)
    assert book.of(intent.LINK) == []
    assert refused(book, write(pair)).code == "data_missing"
    wrote(book, own, owner=BOB)
    no = refused(book, write(replace(own, id="")))
    assert (no.code, no.owner) == ("access_denied", BOB)


def test_an_operator_switches_a_link_of_the_configuration_and_no_more() -> None:
    book = Book()
    book.seed({(intent.LINK, ID): PHYS}, 1.0)
    off = edit(intent.MERGE, body=replace(PHYS, enabled=False), fields=("enabled",))

    wrote(book, off, owner=intent.CLI)

    kept = book.get(intent.LINK, ID)
    assert kept
    assert (kept.owner, kept.body, kept.revision) == (intent.FILE, replace(PHYS, enabled=False), 2)
    assert list(book) == [kept]
    assert refused(book, write(off, owner=ALICE)).code == "access_denied"
    more = replace(off, fields=("enabled", "interface"))
    assert refused(book, write(more, owner=intent.CLI)).code == "access_denied"
    wrote(book, replace(off, link=PHYS), owner=intent.CLI)
    assert [it.body for it in book] == [PHYS]


def test_a_switch_ends_with_the_link_of_the_configuration() -> None:
    book = Book()
    book.seed({(intent.LINK, ID): PHYS}, 1.0)
    for enabled in (False, True):
        switch = edit(intent.MERGE, body=replace(PHYS, enabled=enabled), fields=("enabled",))
        wrote(book, switch, owner=intent.CLI)

    again = Book(book.revision, {}, {**book.written})
    changes = again.seed({}, 2.0)

    assert list(again) == []
    assert Drop(intent.NAME, intent.LINK, ID.encode()) in changes
    assert again.get(intent.LINK, ID) is None
    wrote(again, edit(intent.CREATE))
    assert [it.owner for it in again] == [ALICE]


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_a_write_for_another_revision_is_stale(revision: int) -> None:
    book = Book()
    wrote(book, edit(intent.PUT))
    wrote(book, edit(intent.PUT))

    assert refused(book, write(edit(intent.PUT), if_revision=revision)).code == "stale"
    assert refused(book, write(edit(intent.PUT, if_revision=revision))).code == "stale"
    edits.judge(book, SCENE, write(edit(intent.PUT, if_revision=2), if_revision=2))


def test_a_row_that_must_not_be_there() -> None:
    book = Book()
    wrote(book, edit(intent.PUT, if_revision=0))

    assert refused(book, write(edit(intent.PUT, if_revision=0))).code == "stale"


def test_ids_are_kept_in_lower_case_and_nodes_by_name() -> None:
    book = Book()
    named = replace(PHYS, local=UUID[ME].upper(), remote=UUID[B])

    wrote(book, edit(intent.CREATE, id_=ID.upper(), body=named))

    assert [(kept.id, kept.body) for kept in book] == [(ID, PHYS)]
    assert refused(book, write(edit(intent.CREATE))).code == "data_exists"


MALFORMED: list[tuple[str, Body, str]] = [
    (intent.LINK, replace(PHYS, kind="quantum"), "malformed"),
    (intent.LINK, replace(PHYS, local=C, remote=B), "malformed"),
    (intent.LINK, replace(PHYS, remote=ME), "malformed"),
    (intent.LINK, replace(PHYS, hops=(B,)), "malformed"),
    (intent.LINK, replace(PHYS, bandwidth=1), "malformed"),
    (intent.LINK, replace(PHYS, remote="kms-9"), "data_missing"),
    (intent.LINK, replace(PHYS, interface=3), "data_missing"),
    (intent.LINK, replace(PHYS, interface=-1), "malformed"),
    (intent.LINK, replace(PHYS, peer_interface=1 << 32), "malformed"),
    (intent.LINK, replace(PHYS, notes=(intent.Note("a", "b"),) * 2), "malformed"),
    (intent.LINK, replace(PHYS, notes=(intent.Note("a", "b" * 257),)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(B, B)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(ME, C)), "malformed"),
    (intent.LINK, replace(VIRT, prev=B), "malformed"),
    (intent.LINK, replace(VIRT, remote=B, hops=(B, C)), "malformed"),
    (intent.LINK, replace(VIRT, prev=ME, hops=()), "malformed"),
    (intent.LINK, replace(VIRT, local=B), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), prev="kms-9"), "data_missing"),
    (intent.LINK, replace(VIRT, hops=("kms-9", C)), "data_missing"),
    (intent.LINK, replace(VIRT, interface=1), "malformed"),
    (intent.LINK, replace(VIRT, paths=((ME, B, C),)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), paths=((ME, B),)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), paths=((C,),)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), paths=((ME, B, B, C),)), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), paths=((ME, B, C), (ME, B, C))), "malformed"),
    (intent.LINK, replace(VIRT, hops=(), paths=((ME, B, C),), n=2), "malformed"),
    (intent.LINK, replace(VIRT, bandwidth=1 << 32), "malformed"),
    (intent.LINK, replace(VIRT, low_bits=2, high_bits=1), "malformed"),
    (intent.LINK, replace(VIRT, weight=0), "malformed"),
    (intent.LINK, replace(VIRT, n=99), "malformed"),
    (intent.APPLICATION, replace(APP, kind="server"), "malformed"),
    (intent.APPLICATION, replace(APP, kind=intent.INTERNAL, master="a" * 257), "malformed"),
    (intent.APPLICATION, replace(APP, slaves=()), "malformed"),
    (intent.APPLICATION, replace(APP, slaves=("sae-1",)), "malformed"),
    (intent.APPLICATION, replace(APP, slaves=("sae-2",) * 18), "malformed"),
    (intent.APPLICATION, replace(APP, master="nobody"), "data_missing"),
    (intent.APPLICATION, replace(APP, remote="kms-9"), "data_missing"),
    (intent.APPLICATION, replace(APP, max_bandwidth=-1), "malformed"),
    (intent.APPLICATION, replace(APP, max_bandwidth=1, min_bandwidth=2), "malformed"),
    (intent.APPLICATION, replace(APP, ttl_s=0), "malformed"),
    (intent.APPLICATION, replace(APP, expires=-1.0), "malformed"),
    (intent.POLICY, replace(POLICY, masters=()), "malformed"),
    (intent.POLICY, replace(POLICY, masters=("node:kms-9",)), "data_missing"),
    (intent.POLICY, replace(POLICY, slaves=("nobody",)), "data_missing"),
    (intent.POLICY, replace(POLICY, paths=99), "malformed"),
    (intent.POLICY, replace(POLICY, order=-1), "malformed"),
    (intent.SETTINGS, Settings("x" * 257), "malformed"),
]


@pytest.mark.parametrize(("kind", "body", "code"), MALFORMED, ids=str)
def test_a_row_that_may_not_be(kind: str, body: Body, code: str) -> None:
    assert refused(Book(), write(edit(intent.PUT, kind, body=body))).code == code


@pytest.mark.parametrize(
    "asked",
    [
        write(),
        write(*[edit(intent.PUT)] * 257),
        write(edit(intent.PUT), owner=""),
        write(edit("patch")),
        write(Edit(intent.PUT, "interface", "1")),
        write(edit(intent.PUT, id_="not a uuid")),
        write(edit(intent.PUT, intent.POLICY, "no such/name")),
        write(edit(intent.PUT, intent.SETTINGS, "another")),
        write(Edit(intent.PUT, intent.LINK, ID)),
        write(Edit(intent.PUT, intent.LINK, ID, application=APP)),
        write(edit(intent.PUT), edit(intent.MERGE, fields=("owner",))),
    ],
)
def test_a_write_that_may_not_be(asked: Write) -> None:
    assert refused(Book(), asked).code == "malformed"


def test_there_is_room_for_so_many_rows() -> None:
    book = Book()
    for n in range(intent.POLICIES_MAX):
        kept = Kept(intent.POLICY, f"p{n}", ALICE, 1, 1.0, POLICY)
        book.written[kept.key] = kept

    assert refused(book, write(edit(intent.CREATE, intent.POLICY))).code == "no_room"
    wrote(book, edit(intent.REMOVE, intent.POLICY, "p7"), edit(intent.CREATE, intent.POLICY))


def test_what_is_written_is_read_again() -> None:
    book = Book()
    book.seed({(intent.LINK, THIRD): replace(PHYS, remote=C, interface=2)}, 1.0)
    rows = {}
    for asked in ([edit(intent.PUT, kind) for kind in KINDS], [edit(intent.REMOVE)]):
        draft = book.draft(edits.judge(book, SCENE, write(*asked)).made, 7.0)
        for change in draft.changes():
            rows[change.kind, change.id] = change
        book.take(draft)

    later = book.draft(
        edits.judge(book, SCENE, write(edit(intent.PUT, intent.APPLICATION))).made, 9.0
    )
    book.take(later)
    (changed,) = [it for it in later.made if isinstance(it, Kept)]
    assert (changed.since, changed.changed) == (7.0, 9.0), "when it was first written stays"
    for change in later.changes():
        rows[change.kind, change.id] = change

    again = Book.load(row for row in rows.values() if isinstance(row, Row))

    assert (again.revision, again.written) == (book.revision, book.written)
    assert again.seed({(intent.LINK, THIRD): replace(PHYS, remote=C, interface=2)}, 9.0) == []
    assert len(again.seed({}, 9.0)) == 1
    assert again.revision.number == book.revision.number + 1


def test_keys_of_rows_are_kind_and_id() -> None:
    key: Key = (intent.LINK, ID)

    assert Kept(*key, ALICE, 1, 1.0, PHYS).key == key
