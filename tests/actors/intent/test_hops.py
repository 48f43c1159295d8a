"""Hops that are told in any order: which order is meant, and when none is."""

import itertools

import pytest

from actors.intent import edits
from actors.intent.hops import Topology, nodes_of, topology
from actors.intent.rows import Book
from actors.intent.scene import No, Scene
from actors.protocol import intent
from actors.protocol.intent import ANY_ORDER, Edit, Link, Write
from actors.protocol.peers import Kms
from actors.protocol.routes import KnownLinks

NODES = "abcdef"
UUID = {name: f"7c0a1f5e-2d0b-4a7b-9c55-00000000000{n}" for n, name in enumerate(NODES)}
SCENE = Scene(node="a").of(tuple(Kms(name, UUID[name], "", "", "", ()) for name in NODES))
ID, PHYS_ID = (f"c3d7f0aa-8d3c-4f1d-b7d9-00000000000{n}" for n in (1, 2))
CHAIN, MESH = "ab bc cd", "ab ac ad bc bd cd"


def known(links: str) -> Topology:
    pairs = tuple((it[0], it[1]) for it in links.split())
    return topology(KnownLinks(links=pairs, linked=tuple(sorted(set(itertools.chain(*pairs))))))


def link(hops: str, **more: object) -> Link:
    values = {"local": "a", "remote": "d"} | more
    return Link(intent.VIRT, hops=tuple(hops), **values)  # type: ignore[arg-type]


def put(body: Link, id_: str = ID, fields: tuple[str, ...] = ANY_ORDER) -> Edit:
    return Edit(intent.PUT, intent.LINK, id_, link=body, fields=fields)


def taken(links: str, *these: Edit, book: Book | None = None) -> str:
    """Write them, and return the hops of the last one."""
    book = book or Book()
    write = Write(owner="controller-1", edits=these)
    made = edits.judge(book, SCENE, write, known(links))
    book.take(book.draft(made.made, 5.0))
    kept = book.get(intent.LINK, these[-1].id)
    assert kept
    assert isinstance(kept.body, Link)
    return "".join(kept.body.hops)


def refused(links: str, body: Link, book: Book | None = None) -> str:
    with pytest.raises(No) as no:
        taken(links, put(body), book=book)
    assert (no.value.code, no.value.edit) == ("no_path", 0)
    return str(no.value)


@pytest.mark.parametrize("given", ["".join(it) for it in itertools.permutations("bcd")])
def test_any_order_of_a_chain_is_the_one_that_is_a_path(given: str) -> None:
    assert taken(CHAIN, put(link(given))) == "bcd"


def test_ids_in_any_case_are_nodes_as_names_are() -> None:
    body = link("", remote=UUID["d"].upper())
    hops = tuple(UUID[name].upper() for name in "dcb")

    edit = put(Link(body.kind, body.local, body.remote, hops=hops))

    assert nodes_of([edit], SCENE) == ("a", "b", "c", "d")
    assert taken(CHAIN, edit) == "bcd"


@pytest.mark.parametrize("given", ["bcd", "cbd"])
def test_the_order_given_counts_if_it_is_a_path_whatever_else_is(given: str) -> None:
    assert taken(MESH, put(link(given))) == given


def test_more_than_one_other_order_is_refused_with_both() -> None:
    why = refused(MESH, link("bdc"))

    assert "b, c, d; c, b, d" in why


@pytest.mark.parametrize(
    ("links", "given"), [("ab bd ac", "bcd"), ("ab bd ac", "d"), (CHAIN, "bd"), (CHAIN, "dc")]
)
def test_no_order_that_is_a_path_is_refused_with_the_link_that_lacks(
    links: str, given: str
) -> None:
    assert "share no link that is known" in refused(links, link(given))


def test_of_a_node_without_a_known_link_nothing_is_known_and_the_order_given_stands() -> None:
    assert taken("ab bc", put(link("bcd"))) == "bcd"
    assert taken("", put(link("bcd"))) == "bcd"
    assert "share no link" in refused("ab bc", link("bdc"))
    assert "share no link" in refused("ab bc", link("dcb"))


def test_links_that_this_write_makes_are_known() -> None:
    phys = put(Link(intent.PHYS, "a", "b"), PHYS_ID, ())
    off = put(Link(intent.PHYS, "a", "b", enabled=False), PHYS_ID, ())
    links = "bc cd ae"

    assert "a and c" in refused(links, link("cbd"))
    with pytest.raises(No):
        taken(links, off, put(link("cbd")))
    book = Book()
    assert taken(links, phys, put(link("cbd")), book=book) == "bcd"
    assert taken(links, put(link("dbc")), book=book) == "bcd"
    gone = (
        Edit(intent.REMOVE, intent.LINK, PHYS_ID, link=phys.link),
        Edit(intent.REMOVE, intent.LINK, ID),
    )
    with pytest.raises(No, match="a and b"):
        taken(links, *gone, put(link("bcd"), ID[:-1] + "9"), book=book)


def test_hops_that_are_there_already_stay_when_a_link_of_them_is_away() -> None:
    book = Book()
    taken(CHAIN, put(link("cbd")), book=book)

    assert taken("ab cd", put(link("bcd", bandwidth=9)), book=book) == "bcd"
    assert taken("ab cd", put(link("dcb", bandwidth=8)), book=book) == "bcd"
    assert taken("ac bc bd", put(link("bcd", bandwidth=7)), book=book) == "bcd"
    assert taken("ac bc bd", put(link("dcb", bandwidth=7)), book=book) == "cbd"
    assert "share no link" in refused("ab cd", link("bd"), book)


def test_one_hop_that_is_not_the_end_and_a_permission_have_no_order() -> None:
    assert taken(CHAIN, put(link("c"))) == "c"
    assert taken(CHAIN, put(link("d", prev="b"))) == "d"
    assert taken("eb ab bc ed fa", put(link("cbd", local="f", prev="f"), fields=())) == "cbd"
    assert taken("fa ab bc cd", put(link("cbd", local="f", prev="f"))) == "bcd"


def test_who_tells_an_order_is_taken_at_his_word() -> None:
    ordered = put(link("cbd"), fields=())

    assert nodes_of([ordered], SCENE) == ()
    assert taken(CHAIN, ordered) == "cbd"


@pytest.mark.parametrize("given", ["bbd", "abd", "bc"])
def test_what_no_path_could_be_is_refused_as_ever(given: str) -> None:
    with pytest.raises(No) as no:
        taken(CHAIN, put(link(given)))

    assert no.value.code == "malformed"


def test_nobody_searches_without_end() -> None:
    names = [f"n{number:02}" for number in range(40)]
    ids = {name: f"7c0a1f5e-2d0b-4a7b-9c55-0000000000{name[1:]}" for name in (*names, "n98", "n99")}
    scene = Scene(node="n99").of(tuple(Kms(name, it, "", "", "", ()) for name, it in ids.items()))
    pairs = [*itertools.combinations(names, 2), ("n98", "n97"), *(("n99", it) for it in names)]
    links = KnownLinks(links=tuple(pairs), linked=(*names, "n98", "n99"))
    body = Link(intent.VIRT, "n99", "n98", hops=(*names, "n98"))
    there = topology(links)

    with pytest.raises(No, match="too many orders"):
        edits.judge(Book(), scene, Write(owner="x", edits=(put(body),)), there)

    assert there.steps == 0
