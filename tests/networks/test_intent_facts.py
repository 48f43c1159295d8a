"""What leaves mean, in whole networks: rates, who takes what, and what the node has made itself."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from actors.protocol import alarms, intent, keys
from actors.protocol.intent import Application, Edit, Entry, Happened, Interface, Link
from protokms.testing.kms import KmsNetwork
from protokms.testing.probe import Probe
from tests.networks.test_intent import ALICE, ID, RATE, entry, network, put, read, write
from transport.message import Message

PAIR = "sae-1", "sae-2"
APP = Application("sae-1", ("sae-2",), min_bandwidth=20_000)
CHANGED = replace(APP, min_bandwidth=30_000)


def rows(kms: KmsNetwork, node: str, kind: str) -> list[Entry]:
    return list(read(kms, node, kind).entries)


def app(verb: str, body: Application | None = None) -> Edit:
    return Edit(verb, intent.APPLICATION, ID, application=body)


def ears(kms: KmsNetwork, node: str = "a") -> Probe:
    probe = kms.cluster.probe(f"etsi015@{node}")
    probe.question(f"intent@{node}", intent.Subscribe())
    kms.cluster.settle()
    return probe


def heard(probe: Probe, name: str) -> list[Happened]:
    return [it for it in probe.of(Happened) if it.event == name]


def test_a_pair_that_nobody_registered_is_an_application_at_both_ends() -> None:
    kms = network("a--b")
    probe = ears(kms)
    for _ in range(8):
        kms.enc(*PAIR)
        kms.advance(5.0)

    (here,), (there,) = (rows(kms, node, intent.APPLICATION) for node in "ab")
    assert here.id == there.id == intent.application_id("sae-1", ["sae-2"])
    assert (here.owner, here.revision) == (intent.NODE, 0)
    made, link = here.application, rows(kms, "a", intent.LINK)[0]
    assert made == Application("sae-1", ("sae-2",), local="a", remote="b", links=(link.id,))
    (new,) = heard(probe, "application_new")
    assert new.entry
    assert new.entry.application == made
    kms.advance(30.0)
    (here,), (there,) = (rows(kms, node, intent.APPLICATION) for node in "ab")
    assert sum(it.bits for it in here.facts.consumed) == 8 * 256
    assert [it.bits for it in here.facts.consumed] == [it.bits for it in there.facts.consumed]
    assert all(it.end - it.start == 30.0 for it in here.facts.consumed)
    assert here.facts.created > 0


def test_what_is_expected_of_a_link_is_what_is_taken_or_is_to_be_kept() -> None:
    kms = network("a--b")
    for _ in range(60):
        for _ in range(4):
            kms.enc(*PAIR)
        kms.advance(1.0)
    kms.advance(5.0)

    probe = ears(kms)
    (link,) = rows(kms, "a", intent.LINK)
    assert link.facts.consumption == pytest.approx(4 * 256, rel=0.2)
    write(kms, app(intent.CREATE, APP))
    (link,) = rows(kms, "a", intent.LINK)
    assert link.facts.consumption == 20_000
    kms.advance(5.0)
    assert heard(probe, "link_perf_update"), "much more is expected than before"
    assert not heard(probe, "link_overloaded")


def test_a_link_of_which_more_is_expected_than_comes_is_overloaded() -> None:
    kms = network()
    probe = ears(kms)
    hops = ("b", "c")
    write(kms, put(Link(intent.VIRT, "a", "c", hops=hops, bandwidth=1_000_000_000)))
    kms.advance(30.0)

    (over,) = heard(probe, "link_overloaded")
    assert over.entry
    assert over.entry.facts.consumption == 1_000_000_000


def test_relay_takes_of_what_comes_and_a_virtual_link_reserves() -> None:
    kms = network()
    ears(kms, "c")
    write(kms, put(Link(intent.VIRT, "a", "c", hops=("b", "c"), bandwidth=700)))
    kms.advance(30.0)

    phys, virt = (
        next(it for it in rows(kms, "a", intent.LINK) if it.link and it.link.kind == kind)
        for kind in (intent.PHYS, intent.VIRT)
    )
    assert phys.facts.skr > phys.facts.eskr > 0, "pads and tags"
    assert phys.facts.skr < RATE * 1.2
    assert phys.facts.consumption == 700
    assert virt.facts.skr > virt.facts.eskr > 0, "tags"
    assert virt.facts.consumption == 0
    far = next(it for it in rows(kms, "c", intent.LINK) if it.link and it.link.kind == "virt")
    assert (far.owner, far.facts.status) == (intent.NODE, intent.ACTIVE), "made for another's"
    assert far.link == Link(intent.VIRT, "c", "a")


def test_what_becomes_of_an_application_is_told() -> None:
    kms = network("a--b")
    probe = ears(kms)
    kms.enc(*PAIR)
    kms.advance(5.0)
    own = intent.application_id("sae-1", ["sae-2"])

    write(kms, app(intent.CREATE, APP))
    assert [it.id for it in heard(probe, "application_disconnected")] == [own], "it has a row now"
    write(kms, app(intent.PUT, CHANGED))
    (update,) = heard(probe, "application_qos_update")
    assert update.id == ID
    assert update.entry
    assert update.entry.application
    assert update.entry.application.min_bandwidth == 30_000
    write(kms, app(intent.REMOVE))
    kms.advance(5.0)
    assert [it.id for it in heard(probe, "application_disconnected")] == [own, ID]
    assert [it.id for it in heard(probe, "application_new")] == [own, own], "it asks again"


def test_an_application_whose_time_is_over_is_disconnected() -> None:
    kms = network("a--b")
    probe = ears(kms)
    at = entry(kms, rows(kms, "a", intent.LINK)[0].id).changed
    write(kms, app(intent.CREATE, replace(APP, expires=at + 60.0)))

    kms.advance(90.0)

    assert entry(kms).facts.status == intent.OUT_OF_TIME
    (gone,) = heard(probe, "application_disconnected")
    assert gone.id == ID


def test_an_alarm_is_about_its_link_and_one_of_a_module_takes_its_interface_down() -> None:
    kms = network("a--b")
    probe = ears(kms)
    raiser = kms.cluster.probe("somebody@a")
    (link,) = rows(kms, "a", intent.LINK)

    def say(body: Message) -> None:
        raiser.say("alarms@a", body)
        kms.cluster.settle()
        kms.advance(5.0)

    say(alarms.Raised(id="bad_tag", subject="b", text="changed"))
    say(alarms.Raised(id="expires_soon", subject="ca.crt"))
    first, second = heard(probe, "alarm")
    assert (first.kind, first.id, first.severity) == (intent.LINK, link.id, intent.MAJOR)
    assert first.text == "bad_tag: changed"
    assert (second.kind, second.severity) == ("", intent.MINOR)

    say(alarms.Raised(id="link_quiet", subject="b", text="too many errors"))
    (interface,) = rows(kms, "a", intent.INTERFACE)
    assert isinstance(interface.interface, Interface)
    assert (interface.facts.status, interface.facts.why) == (intent.FAILED, "too many errors")
    (down,) = heard(probe, "interface_down")
    assert (down.id, down.text) == ("1", "too many errors")
    assert heard(probe, "alarm")[-1].kind == intent.INTERFACE

    say(alarms.Ended(id="link_quiet", subject="b"))
    (interface,) = rows(kms, "a", intent.INTERFACE)
    assert interface.facts.status == intent.ENABLED
    texts = [it.text for it in heard(probe, "event")]
    assert {"it works again", "link_quiet is over"} <= set(texts)


def test_the_error_rate_is_told_if_the_module_tells_it() -> None:
    kms = network("a--b", tolerant=True)
    assert rows(kms, "a", intent.LINK)[0].facts.qber is None

    link: Any = kms.cluster.actor("quantum_link/b@a")
    link._host.measured(0.0213)
    kms.advance(5.0)

    assert rows(kms, "a", intent.LINK)[0].facts.qber == pytest.approx(2.13), "percent"
    kms.cluster.crash_actor("quantum_link/b@a")
    kms.advance(10.0)
    assert rows(kms, "a", intent.LINK)[0].facts.qber is None, "its new life has measured nothing"


def test_keys_of_own_saes_are_an_application_of_this_node() -> None:
    kms = KmsNetwork("a--b", saes={"sae-1": "a", "sae-2": "a"})
    kms.advance(6.0)
    kms.enc("sae-1", "sae-2")
    kms.advance(5.0)

    (own,) = rows(kms, "a", intent.APPLICATION)
    assert own.application == Application("sae-1", ("sae-2",), local="a", remote="a")
    assert own.owner != ALICE
    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)


def test_an_interface_is_new_once_and_one_that_the_file_has_no_more_is_out() -> None:
    kms = KmsNetwork("a--b")
    probe = ears(kms)
    kms.advance(25.0)

    (new,) = heard(probe, "interface_new")
    assert new.entry
    assert (new.id, new.entry.interface) == ("1", Interface(1, "emulated", peer="b"))

    disk: Any = kms.cluster.backup("a")
    numbers = ("intent", "interfaces", b"")
    disk[numbers] = replace(disk[numbers], clear=msgspec.msgpack.encode([1, 7]))
    kms.cluster.restore("a", disk)
    probe = ears(kms)
    kms.advance(25.0)

    assert heard(probe, "interface_new") == []
    assert [(it.id, it.entry) for it in heard(probe, "interface_out")] == [("7", None)]
    kms.cluster.restart("a")
    probe = ears(kms)
    kms.advance(25.0)
    assert heard(probe, "interface_out") == []


def test_a_link_that_brings_nothing_any_more_is_down() -> None:
    kms = network("a--b")
    (link,) = rows(kms, "a", intent.LINK)
    kms.cluster.cut("a", "b")
    kms.advance(55.0)
    assert entry(kms, link.id).facts.status == intent.ACTIVE, "a minute is not over"
    probe = ears(kms)
    kms.advance(20.0)

    (down,) = heard(probe, "link_down")
    assert down.id == link.id
    assert down.text == "no bits come any more"
    assert entry(kms, link.id).facts.status == intent.PASSIVE
