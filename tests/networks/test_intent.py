"""Intent in whole networks: what is written is durable, and the node becomes so."""

from dataclasses import replace
from typing import Any

import pytest

from actors.intent.scene import anywhere
from actors.intent.shown.showing import Showing
from actors.protocol import intent, keys, peers, sessions
from actors.protocol.common import Failed
from actors.protocol.intent import Denied, Edit, Entry, Happened, Link, Rows, Write, Written
from protokms.testing.kms import KmsNetwork
from transport.message import Message

ID, OTHER = "c3d7f0aa-8d3c-4f1d-b7d9-000000000001", "c3d7f0aa-8d3c-4f1d-b7d9-000000000002"
CHAIN, SQUARE = "a--b b--c", "a--b b--c a--d d--c"
RATE = 40e3
"""bit/s of each quantum link: few, so that a test is quick."""
ALICE, BOB = "controller-1", "controller-2"
VIRT = Link(intent.VIRT, "a", "c", hops=("b", "c"))


def network(nodes: str = CHAIN, **more: Any) -> KmsNetwork:
    kms = KmsNetwork(nodes, link={"rate_bit_s": RATE}, **more)
    kms.advance(6.0)
    return kms


def write(kms: KmsNetwork, *edits: Edit, node: str = "a", owner: str = ALICE) -> Message:
    return kms.cluster.ask(f"intent@{node}", Write(owner=owner, edits=edits))


def put(link: Link, id_: str = ID, verb: str = intent.PUT) -> Edit:
    return Edit(verb, intent.LINK, id_, link=link)


def read(kms: KmsNetwork, node: str = "a", *kinds: str) -> Rows:
    rows = kms.cluster.ask(f"intent@{node}", intent.Read(kinds=kinds or intent.KINDS))
    assert isinstance(rows, Rows)
    return rows


def entry(kms: KmsNetwork, id_: str = ID, node: str = "a") -> Entry:
    (found,) = [it for it in read(kms, node).entries if it.id == id_]
    return found


def session(kms: KmsNetwork, node: str = "a") -> sessions.SessionState | None:
    told = kms.cluster.ask(f"sessions@{node}", sessions.ListSessions())
    assert isinstance(told, sessions.Sessions)
    return next(iter(told.sessions), None)


def stored(kms: KmsNetwork, here: str, there: str) -> int:
    stock = kms.cluster.ask(
        kms.store_of(here, there), keys.GetStatus(master=here, slave=there, size=32)
    )
    assert isinstance(stock, keys.Stock)
    return stock.stored


def test_the_links_of_the_configuration_are_rows_of_the_file() -> None:
    kms = network()

    (link,) = read(kms, "a", intent.LINK).entries

    assert (link.owner, link.link) == (intent.FILE, Link(intent.PHYS, "a", "b", interface=1))
    assert link.facts.status == intent.ACTIVE
    assert link.facts.skr > RATE / 4
    assert link.facts.stock_bits > 0
    assert link.id == entry(kms, link.id, "b").id


def test_a_virtual_link_becomes_a_session_over_its_hops() -> None:
    kms = network(SQUARE)
    over = ("d", "c")

    made = write(kms, put(Link(intent.VIRT, "a", "c", hops=over)))
    assert isinstance(made, Written)
    assert made.created == (True,)
    kms.advance(20.0)

    state = session(kms)
    assert state
    assert (state.paths, state.fixed, state.state) == ((("a", *over),), True, "established")
    assert entry(kms).facts.status == intent.ACTIVE
    assert kms.enc("sae-1", "sae-3").__class__ is keys.Keys


def in_any_order(*hops: str) -> Edit:
    link = Link(intent.VIRT, "a", "c", hops=hops)
    return Edit(intent.PUT, intent.LINK, ID, link=link, fields=intent.ANY_ORDER)


def test_hops_in_another_order_are_the_one_path_that_they_make() -> None:
    kms = network("a--b b--d d--c")

    assert isinstance(write(kms, in_any_order("d", "c", "b")), Written)
    kms.advance(20.0)

    state, link = session(kms), entry(kms).link
    assert link
    assert link.hops == ("b", "d", "c")
    assert state
    assert (state.paths, state.state) == ((("a", "b", "d", "c"),), "established")


def test_hops_that_make_no_path_or_several_are_refused_and_nothing_is_written() -> None:
    chain, mesh = network("a--b b--c c--d"), network("a--b a--d b--d b--c d--c")

    none = write(chain, in_any_order("d", "c"))
    several = write(mesh, in_any_order("b", "c", "d"))

    assert isinstance(none, Denied)
    assert (none.code, none.edit) == ("no_path", 0)
    assert "a and d share no link" in none.why
    assert isinstance(several, Denied)
    assert (several.code, several.edit) == ("no_path", 0)
    assert "b, d, c; d, b, c" in several.why
    assert not [it for it in read(mesh, "a", intent.LINK).entries if it.owner == ALICE]


def test_hops_over_links_that_are_still_to_come_wait_for_them() -> None:
    kms = network("a--b b--c", bare=True)

    assert isinstance(write(kms, in_any_order("b", "c")), Written)
    linked(kms, "a", "b")
    linked(kms, "b", "c")
    kms.advance(30.0)

    state = session(kms)
    assert state
    assert (state.paths, state.state) == ((("a", "b", "c"),), "established")


def test_nothing_is_written_while_nobody_knows_the_links_and_later_writes_go_on() -> None:
    kms = network()
    kms.cluster.nodes["a"].actors.pop("router")

    no = write(kms, in_any_order("c", "b"))

    assert isinstance(no, Failed)
    assert no.code == "not_ready"
    assert isinstance(write(kms, put(Link(intent.VIRT, "a", "c"))), Written)


def test_one_hop_is_where_the_path_begins_and_the_rest_is_found() -> None:
    kms = network("a--b b--c a--d d--e e--c")

    write(kms, put(Link(intent.VIRT, "a", "c", hops=("d",))))
    kms.advance(12.0)

    state = session(kms)
    assert state
    assert (state.paths, state.state) == ((("a", "d", "e", "c"),), "established")
    kms.cluster.restart("a")
    kms.advance(12.0)
    again = session(kms)
    assert again
    assert (again.paths, again.state) == (state.paths, "established")


def test_other_hops_move_it_and_what_is_in_store_stays() -> None:
    kms = network(SQUARE)
    write(kms, put(VIRT))
    kms.advance(10.0)
    before = stored(kms, "sae-1", "sae-3")

    write(kms, put(Link(intent.VIRT, "a", "c", hops=("d", "c"))))

    assert stored(kms, "sae-1", "sae-3") >= before > 0
    kms.advance(20.0)
    state = session(kms)
    assert state
    assert (state.paths, state.state) == ((("a", "d", "c"),), "established")


def test_a_removed_one_fills_no_more_and_its_stock_stays() -> None:
    kms = network()
    write(kms, put(VIRT))
    kms.advance(20.0)

    write(kms, Edit(intent.REMOVE, intent.LINK, ID))
    kms.advance(5.0)

    assert session(kms) is None
    assert stored(kms, "sae-1", "sae-3") > 0
    assert isinstance(kms.enc("sae-1", "sae-3"), keys.Keys)


def test_what_cannot_run_yet_is_pending_with_its_reason_and_an_event() -> None:
    kms = network("a--b c--d")
    probe = kms.cluster.probe("etsi015@a")
    probe.question("intent@a", intent.Subscribe())
    kms.cluster.settle()

    assert isinstance(write(kms, put(Link(intent.VIRT, "a", "c"))), Written)
    kms.advance(20.0)

    facts = entry(kms).facts
    assert facts.status == intent.PENDING
    assert "no_route" in facts.why
    events = [it for it in probe.of(Happened) if it.event == "event" and it.id == ID]
    assert "no_route" in events[-1].text
    assert events[-1].entry
    assert events[-1].entry.facts.status == intent.PENDING


def test_a_session_on_demand_is_told_as_the_nodes_own() -> None:
    kms = network()
    kms.enc("sae-1", "sae-3")
    kms.advance(10.0)

    (own,) = [it for it in read(kms).entries if it.owner == intent.NODE and it.link]

    assert own.link == Link(intent.VIRT, "a", "c", hops=("b", "c"))
    assert own.revision == 0


def test_a_session_on_demand_is_told_as_it_is_to_who_has_subscribed() -> None:
    kms = network()
    kms.cluster.probe("etsi015@a").question("intent@a", intent.Subscribe())
    kms.enc("sae-1", "sae-3")
    kms.advance(20.0)

    (own,) = [it for it in read(kms).entries if it.owner == intent.NODE and it.link]

    assert own.facts.status in (intent.ACTIVE, intent.PASSIVE)
    assert own.facts.stock_bits > 0


def test_the_node_at_the_far_end_of_a_virtual_link_tells_how_it_is() -> None:
    kms = network()
    write(kms, put(VIRT))
    write(kms, put(AT_C), node="c")
    kms.advance(20.0)

    assert entry(kms, node="c").facts.status == intent.ACTIVE
    assert entry(kms, node="c").facts.stock_bits > 0


def test_rows_are_gone_through_once_for_a_look_however_many_stores_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kms = network("a--b a--c a--d")
    looked = list[str]()
    tell = Showing.tell

    def counted(showing: Showing) -> None:
        looked.append(showing._keeper.scene.node)
        tell(showing)

    monkeypatch.setattr(Showing, "tell", counted)
    kms.advance(10.0)

    assert looked.count("a") == 2


def test_a_row_for_a_session_on_demand_takes_it_over() -> None:
    kms = network()
    kms.enc("sae-1", "sae-3")
    kms.advance(10.0)

    write(kms, put(VIRT))
    kms.advance(10.0)

    state = session(kms)
    assert state
    assert (state.sae, state.fixed) == ("", True)
    assert [it.owner for it in read(kms).entries if it.link and it.link.kind == "virt"] == [ALICE]


@pytest.mark.parametrize("virtual", [False, True])
def test_a_link_that_is_switched_off_brings_nothing_at_either_end(virtual: bool) -> None:
    kms = network(bare=not virtual)
    peer, sae = ("c", "sae-3") if virtual else ("b", "sae-2")
    link = VIRT if virtual else Link(intent.PHYS, "a", "b")
    write(kms, put(link))
    if not virtual:
        kms.add_link("b", "a")
    kms.advance(20.0)

    write(kms, put(off(link)))
    kms.advance(10.0)
    came = confirmed(kms, "a", peer), confirmed(kms, peer, "a")
    kms.enc("sae-1", sae, number=64)
    kms.advance(15.0)

    assert (confirmed(kms, "a", peer), confirmed(kms, peer, "a")) == came
    assert entry(kms).facts.status == intent.PASSIVE
    assert isinstance(kms.enc("sae-1", sae), keys.Keys)

    write(kms, put(link))
    kms.enc("sae-1", sae, number=512)
    kms.advance(15.0)
    assert confirmed(kms, "a", peer) > came[0]
    assert entry(kms).facts.status == intent.ACTIVE


def off(link: Link) -> Link:
    return Link(link.kind, link.local, link.remote, hops=link.hops, enabled=False)


def confirmed(kms: KmsNetwork, node: str, peer: str) -> int:
    store: Any = kms.cluster.actor(f"key_store/{peer}@{node}")
    return int(store.stream.came)


def test_a_pause_outlives_a_restart_of_the_node_and_of_the_store() -> None:
    kms = network(tolerant=True)
    write(kms, put(VIRT))
    kms.advance(20.0)
    write(kms, put(off(VIRT)))
    kms.advance(5.0)

    for restart in (
        lambda: kms.cluster.restart("a"),
        lambda: kms.cluster.crash_actor("key_store/c@a"),
    ):
        restart()
        kms.advance(10.0)
        store: Any = kms.cluster.actor("key_store/c@a")
        assert store.intake.paused


def test_a_controller_is_not_called_as_the_configuration_or_the_cli() -> None:
    kms = network()
    front = kms.cluster.probe("etsi015@a")

    for owner in intent.OWNERS:
        front.question("intent@a", Write(owner=owner, edits=(put(VIRT),)))
    kms.cluster.settle()

    assert [it.code for it in front.of(Denied)] == ["access_denied"] * len(intent.OWNERS)
    assert isinstance(write(kms, put(VIRT), owner=intent.FILE), Denied)
    assert isinstance(write(kms, put(VIRT), owner=intent.CLI), Written)


def test_a_full_disk_refuses_a_write_and_lets_read() -> None:
    kms = network()
    kms.cluster.fill_disk("a")
    kms.cluster.probe("etsi015@a").question("intent@a", Write(owner=ALICE, edits=(put(VIRT),)))
    kms.cluster.settle()

    assert write(kms, put(VIRT, OTHER)) == Denied(code="store_full", why="the disk is full")
    assert [it for it in read(kms).entries if it.owner == ALICE] == []

    kms.cluster.free_disk("a")
    kms.advance(1.0)
    assert [it.id for it in read(kms).entries if it.owner == ALICE] == [ID]


def test_writes_that_race_are_done_one_after_the_other() -> None:
    kms = network()
    probes = [kms.cluster.probe(f"etsi015/{n}@a") for n in range(3)]

    for n, probe in enumerate(probes):
        edit = put(VIRT, f"c3d7f0aa-8d3c-4f1d-b7d9-00000000000{n}", intent.CREATE)
        probe.question("intent@a", Write(owner=f"controller-{n}", edits=(edit,)))
    kms.cluster.settle()

    assert len(probes[0].of(Written)) == 1
    assert [it.code for probe in probes[1:] for it in probe.of(Denied)] == ["data_exists"] * 2


def test_sessions_of_a_node_that_had_no_intent_become_rows_of_the_cli() -> None:
    kms = network()
    kms.cluster.ask("sessions@a", sessions.AddSession(destination="c", low_bits=8, high_bits=800))
    disk = kms.cluster.backup("a")
    assert isinstance(disk, dict)
    old = {key: row for key, row in disk.items() if key[0] != "intent"}

    kms.cluster.restore("a", old)
    kms.advance(20.0)

    state = session(kms)
    assert state
    (kept,) = [it for it in read(kms).entries if it.owner == intent.CLI]
    assert kept.link
    assert (kept.link.remote, kept.link.high_bits, state.high_bits) == ("c", 800, 800)


def test_a_session_that_nobody_wants_is_removed() -> None:
    kms = network()
    kms.cluster.ask("sessions@a", sessions.AddSession(destination="c"))
    kms.advance(20.0)

    assert session(kms) is None


def test_pages_of_rows_have_one_revision_and_all_rows() -> None:
    kms = network()
    ids = [f"c3d7f0aa-8d3c-4f1d-b7d9-{n:012}" for n in range(600)]
    policy = intent.Policy(1, ("*",), ("*",))
    for at in range(0, len(ids), intent.EDITS_MAX):
        some = ids[at : at + intent.EDITS_MAX]
        write(kms, *(Edit(intent.PUT, intent.POLICY, id_, policy=policy) for id_ in some))

    found, after = list[Entry](), ""
    pages = list[int]()
    while not pages or after:
        rows = kms.cluster.ask("intent@a", intent.Read(after=after))
        assert isinstance(rows, Rows)
        found, after = [*found, *rows.entries], rows.next
        pages.append(rows.revision)

    assert len(pages) == 3
    assert len(set(pages)) == 1
    assert [it.id for it in found if it.policy] == ids


def test_the_directory_is_told_by_name_and_id() -> None:
    kms = network()

    told = kms.cluster.ask("intent@a", intent.ReadNodes(after="a"))

    assert isinstance(told, intent.Nodes)
    assert [it.name for it in told.nodes] == ["b", "c"]
    assert kms.directory
    assert [it.id for it in told.nodes] == [it.id for it in kms.directory.kmss[1:]]


def test_a_subscription_ends_when_it_is_not_said_again() -> None:
    kms = network()
    probe = kms.cluster.probe("etsi015@a")
    probe.question("intent@a", intent.Subscribe())
    kms.advance(intent.SUBSCRIBED_S + 1.0)
    probe.clear()

    kms.cluster.crash("b")
    kms.advance(100.0)

    assert probe.of(Happened) == []


def test_a_link_that_stops_is_told() -> None:
    kms = network()
    probe = kms.cluster.probe("etsi015@a")
    probe.question("intent@a", intent.Subscribe())
    kms.advance(1.0)
    kms.cluster.crash("b")
    for _ in range(20):
        kms.advance(10.0)
        probe.question("intent@a", intent.Subscribe())

    events = [it.event for it in probe.of(Happened)]

    assert "link_down" in events
    assert all(it in intent.EVENTS for it in events)
    numbers = [it.number for it in probe.of(Happened)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("what", ["create", "replace", "remove"])
def test_a_crash_at_a_commit_leaves_the_old_or_the_new_and_the_node_is_so(
    what: str, before: bool
) -> None:
    kms = network()
    if what != "create":
        write(kms, put(VIRT))
        kms.advance(10.0)
    old = VIRT if what != "create" else None
    new = Link(intent.VIRT, "a", "c", high_bits=1 << 20) if what != "remove" else None
    asked = put(new) if new else Edit(intent.REMOVE, intent.LINK, ID)
    probe = kms.cluster.probe("etsi015@a")
    kms.cluster.crash_at_commit("a", before=before)
    probe.question("intent@a", Write(owner=ALICE, edits=(asked,)))
    kms.cluster.settle()
    assert not kms.cluster.nodes["a"].alive
    assert probe.received == []

    kms.cluster.restart("a")
    kms.advance(12.0)

    kept = [it.link for it in read(kms).entries if it.owner == ALICE]
    assert kept == [it for it in [old if before else new] if it]
    state = session(kms)
    assert [it.high_bits for it in kept if it] == ([state.high_bits] if state else [])


CONTROLLED = {"accept": "controlled"}
OVER_B = Link(intent.VIRT, "a", "c", prev="a", hops=("c",))
AT_C = Link(intent.VIRT, "c", "a", prev="b")


@pytest.mark.parametrize("missing", ["b", "c", ""])
def test_where_sessions_are_controlled_each_node_on_the_way_must_permit_it(missing: str) -> None:
    kms = network(relay=CONTROLLED)
    for node, link in (("a", VIRT), ("b", OVER_B), ("c", AT_C)):
        if node != missing:
            assert isinstance(write(kms, put(link), node=node), Written)
    kms.advance(15.0)

    state = session(kms)
    assert state
    if missing:
        assert (state.state, state.why) == ("not_allowed", f"refused by {missing}")
        write(kms, put({"b": OVER_B, "c": AT_C}[missing]), node=missing)
        kms.advance(60.0)
        state = session(kms)
        assert state
    assert state.state == "established"


def test_a_permit_that_is_taken_back_ends_the_session() -> None:
    kms = network(relay=CONTROLLED)
    for node, link in (("a", VIRT), ("b", OVER_B), ("c", AT_C)):
        write(kms, put(link), node=node)
    kms.advance(15.0)

    write(kms, Edit(intent.REMOVE, intent.LINK, ID), node="b")
    kms.advance(5.0)

    state = session(kms)
    assert state
    assert state.state == "not_allowed"
    kms.cluster.restart("b")
    kms.advance(20.0)
    state = session(kms)
    assert state
    assert state.state != "established"


def linked(kms: KmsNetwork, one: str, other: str) -> None:
    for node, peer in ((one, other), (other, one)):
        assert isinstance(kms.add_link(node, peer), peers.Done)


def test_a_bare_node_has_the_links_that_are_wanted_after_every_restart() -> None:
    kms = network("a--b", bare=True)
    assert read(kms, "a", intent.LINK).entries == ()

    linked(kms, "a", "b")
    kms.advance(5.0)
    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)
    for node in ("a", "b"):
        kms.cluster.restart(node)
    kms.advance(8.0)

    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)
    (port,) = read(kms, "a", intent.INTERFACE).entries
    assert port.interface == intent.Interface(1, "emulated", peer="b")


def test_an_interface_that_is_not_there_or_leads_elsewhere_is_refused_at_once() -> None:
    kms = network(bare=True)
    assert isinstance(kms.want(Link(intent.PHYS, "b", "a", interface=1)), Written)

    absent = kms.want(Link(intent.PHYS, "b", "c", interface=7))
    bound = kms.want(Link(intent.PHYS, "b", "c", interface=1))
    leads = kms.want(Link(intent.PHYS, "a", "c", interface=1))

    assert [it.code for it in (absent, bound, leads) if isinstance(it, Denied)] == [
        "data_missing",
        "in_use",
        "data_missing",
    ]


def test_a_link_that_its_process_refuses_is_pending_with_the_reason() -> None:
    kms = network(bare=True)
    keeper: Any = kms.cluster.actor("intent@a")
    keeper.scene = replace(keeper.scene, leads=anywhere)  # as of the interface of another process
    kms.want(Link(intent.PHYS, "a", "c", interface=1))
    kms.advance(12.0)

    (link,) = read(kms, "a", intent.LINK).entries

    assert link.facts.status == intent.PENDING
    assert "unknown_peer" in link.facts.why


def test_a_peer_that_relay_has_reached_gets_a_link_and_keeps_its_keys() -> None:
    kms = network("a--b b--c a--c", bare=True)
    linked(kms, "a", "b")
    linked(kms, "b", "c")
    kms.advance(6.0)
    made = kms.enc("sae-1", "sae-3", wait=15.0)
    assert isinstance(made, keys.Keys)
    kms.advance(10.0)
    held = confirmed(kms, "a", "c")

    linked(kms, "a", "c")
    kms.advance(8.0)

    assert session(kms) is None
    same = kms.dec("sae-3", "sae-1", made.grant)
    assert isinstance(same, keys.KeysWithIds)
    assert same.octets[0] == made.octets
    store: Any = kms.cluster.actor("key_store/c@a")
    assert not store.plan.virtual
    assert held
    assert store.stream.came > 0
    assert isinstance(kms.enc("sae-1", "sae-3"), keys.Keys)


def test_a_neighbour_whose_link_is_gone_is_reached_by_relay() -> None:
    kms = network("a--b b--c a--c", bare=True)
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        linked(kms, one, other)
    kms.advance(6.0)
    for node, peer in (("a", "c"), ("c", "a")):
        kms.want(Link(intent.PHYS, node, peer), intent.REMOVE)
    kms.advance(3.0)

    kms.want(Link(intent.VIRT, "a", "c"))
    kms.advance(20.0)

    state = session(kms)
    assert state
    assert (state.paths, state.state) == ((("a", "b", "c"),), "established")
    store: Any = kms.cluster.actor("key_store/c@a")
    assert store.plan.virtual
    assert isinstance(kms.enc("sae-1", "sae-3"), keys.Keys)


def test_a_session_that_a_link_stood_in_for_is_there_again_without_it() -> None:
    kms = network("a--b b--c a--c", bare=True)
    for one, other in (("a", "b"), ("b", "c")):
        linked(kms, one, other)
    kms.want(Link(intent.VIRT, "a", "c"))
    kms.advance(15.0)
    linked(kms, "a", "c")
    kms.advance(8.0)
    state = session(kms)
    assert state
    assert state.state == "not_allowed"

    for node, peer in (("a", "c"), ("c", "a")):
        kms.want(Link(intent.PHYS, node, peer), intent.REMOVE)
    kms.advance(30.0)

    state = session(kms)
    assert state
    assert (state.paths, state.state) == ((("a", "b", "c"),), "established")


def test_a_row_of_a_peer_that_has_left_the_directory_is_removed_by_its_pair() -> None:
    kms = network()
    kms.want(Link(intent.VIRT, "a", "c"))
    kms.advance(5.0)
    assert kms.directory
    left = replace(kms.directory, serial=2, kmss=kms.directory.kmss[:2])
    kms.cluster.ask("peer_manager@a", left)
    kms.advance(5.0)

    gone = kms.want(Link(intent.VIRT, "a", "c"), intent.REMOVE)
    kms.advance(12.0)

    assert isinstance(gone, Written)
    assert session(kms) is None
    assert isinstance(kms.want(Link(intent.VIRT, "a", "c"), intent.REMOVE), Denied)
    assert isinstance(kms.want(Link(intent.VIRT, "a", "c")), Denied)
