"""The same keys for SAEs at several KMSs: all hold them, or nobody gets any."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from actors.keystore.multicast import OCTETS_MAX, PATIENCE_S, REQUEST_OCTETS_MAX, Multicast
from actors.keystore.options import StoreOptions, StorePlan
from actors.keystore.own_store import OwnStore
from actors.protocol import keys, peers, rights, sessions
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.intent import Application, Policy
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from transport.envelope import Envelope
from transport.message import Message, Secret

HOMES = {"sae-1": "a", "sae-1b": "a", "sae-2": "b", "sae-2b": "b", "sae-3": "c"}
LOCATED = peers.Located(serial=1, here="a", homes=HOMES)


def want(*slaves: str, number: int = 2, size: int = 32) -> keys.GetMulticast:
    return keys.GetMulticast(master="sae-1", slaves=slaves, number=number, size=size)


class Network:
    """A node with a real own store; probes stand for the stores of b and c and for `sessions`."""

    def __init__(self) -> None:
        self.cluster = Cluster("a", recipe)
        self.manager = self.cluster.probe("peer_manager@a")
        self.manager.on(peers.Subscribe, LOCATED)
        self.stores = {kms: self.cluster.probe(f"key_store/{kms}@a") for kms in ("b", "c")}
        self.sessions = self.cluster.probe("sessions@a")
        for kms in self.stores:
            self.answer(kms, keys.Prepared(grant=b""))
        self.cluster.advance(1.0)

    def answer(self, kms: str, said: Message) -> None:
        """Let a store answer what it is given; `Given` names the grant by itself."""

        def reply(ask: keys.Prepare) -> Message:
            return keys.Prepared(grant=ask.grant) if isinstance(said, keys.Prepared) else said

        self.stores[kms].on(keys.Prepare, reply)

    def ask(self, body: Message, wait: float = 0.0) -> Message:
        found = self.cluster.ask("multicast@a", body, wait)
        self.cluster.settle()
        return found

    def fetch(self, grant: bytes, slave: str = "sae-1b") -> Message:
        names = (keys.KeyName(grant, 0), keys.KeyName(grant, 1))
        body = keys.GetKeyWithIds(master="sae-1", slave=slave, names=names)
        return self.cluster.ask("key_store/a@a", body)

    def gives(self, kms: str) -> list[keys.Prepare]:
        return self.stores[kms].of(keys.Prepare)

    def ends(self, kms: str) -> list[Message]:
        """Return what became of the grants a store was given."""
        return [
            body for body in self.stores[kms].received if isinstance(body, keys.Settle | keys.Abort)
        ]


def recipe(system: StepSystem) -> None:
    system.spawn("key_store/a", OwnStore, StorePlan(peer="a", options=StoreOptions()))
    system.spawn("multicast", Multicast)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.cluster.close()


def test_every_kms_of_a_slave_holds_the_keys_before_the_master_has_them(network: Network) -> None:
    made = network.ask(want("sae-2", "sae-3", "sae-1b", "sae-2b"))

    assert isinstance(made, keys.Keys)
    assert len(made.octets) == 64
    assert network.gives("b") == [
        keys.Prepare(
            grant=made.grant,
            master="sae-1",
            slaves=("sae-2", "sae-2b"),
            number=2,
            size=32,
            octets=made.octets,
        )
    ]
    assert [give.slaves for give in network.gives("c")] == [("sae-3",)]
    fetched = network.fetch(made.grant)
    assert isinstance(fetched, keys.KeysWithIds)
    assert b"".join(each.reveal() for each in fetched.octets) == made.octets.reveal()
    for kms in network.stores:
        assert network.ends(kms) == [keys.Settle(grant=made.grant)]


def test_the_master_waits_for_the_last_of_them(network: Network) -> None:
    held: list[bytes] = []
    network.stores["c"].on(keys.Prepare, lambda give: held.append(give.grant))
    asker = network.cluster.probe("etsi014@a")

    asker.question("multicast@a", want("sae-2", "sae-3"))
    network.cluster.settle()

    assert held
    assert asker.received == []
    assert network.ends("b") == []


def test_a_store_that_gives_nothing_later_has_its_session_looked_after(network: Network) -> None:
    network.answer("c", Failed(code="peer_down", why=""))

    assert network.ask(want("sae-2", "sae-3")) == Failed(code="peer_down", why="")

    ensure = sessions.EnsureSession(peer="c", sae="sae-1")
    assert network.sessions.of(sessions.EnsureSession) == [ensure]


@pytest.mark.parametrize(
    "refusal",
    [
        Failed(code="too_many_undelivered", why="x"),
        Failed(code="peer_down", why="x"),
        Failed(code="no_keys", why="x"),
        Failed(code="crashed", why="x"),
        keys.Prepared(grant=b"another grant"),
    ],
)
def test_one_refusal_takes_the_grant_back_everywhere(network: Network, refusal: Message) -> None:
    network.stores["c"].on(keys.Prepare, lambda _: refusal)

    made = network.ask(want("sae-2", "sae-3", "sae-1b"))

    code = refusal.code if isinstance(refusal, Failed) else "crashed"
    assert isinstance(made, Failed)
    assert made.code == code
    grant = network.gives("b")[0].grant
    for kms in network.stores:
        assert network.ends(kms) == [keys.Abort(grant=grant)]
    assert network.fetch(grant) == Failed(code="no_such_key", why="not held for this SAE")


def test_silence_of_one_store_takes_the_grant_back_everywhere(network: Network) -> None:
    network.stores["c"].on(keys.Prepare, lambda _: None)

    made = network.ask(want("sae-2", "sae-3"), wait=PATIENCE_S)

    assert made == Failed(code="timeout", why="no answer")
    assert [type(end) for kms in network.stores for end in network.ends(kms)] == [keys.Abort] * 2


def test_a_given_that_comes_after_the_end_changes_nothing(network: Network) -> None:
    asked: list[keys.Prepare] = []
    network.stores["c"].on(keys.Prepare, asked.append)
    network.answer("b", Failed(code="frozen", why=""))
    network.ask(want("sae-2", "sae-3"))

    envelope = next(e for e in network.stores["c"].envelopes if isinstance(e.body, keys.Prepare))
    late = keys.Prepared(grant=asked[0].grant)
    to, sender = envelope.sender, envelope.to
    network.cluster.nodes["a"].send(Envelope(sender, to, late, envelope.token, answer=True))
    network.cluster.settle()

    assert network.ends("c") == [keys.Abort(grant=asked[0].grant)]
    assert network.ends("b") == [keys.Abort(grant=asked[0].grant)]


# Stores that are not there yet


def appear(network: Network, kms: str, first: list[Message]) -> Probe:
    """Let there be no store for a KMS until a session is asked for; `first` are its answers."""
    network.cluster.nodes["a"].unregister(f"key_store/{kms}")

    def reply(give: keys.Prepare) -> Message:
        return first.pop(0) if first else keys.Prepared(grant=give.grant)

    def ensure(_: sessions.EnsureSession) -> Message:
        network.stores[kms] = network.cluster.probe(f"key_store/{kms}@a")
        network.stores[kms].on(keys.Prepare, reply)
        return sessions.SessionEnsured()

    network.sessions.on(sessions.EnsureSession, ensure)
    return network.sessions


def test_a_distant_kms_gets_a_session_first(network: Network) -> None:
    waits: list[Message] = [Failed(code=c, why="") for c in ("not_ready", "peer_down", "no_keys")]
    asked = appear(network, "c", waits)

    made = network.ask(want("sae-2", "sae-3"), wait=1.0)

    assert isinstance(made, keys.Keys)
    assert asked.received == [sessions.EnsureSession(peer="c", sae="sae-1")]
    assert {give.grant for give in network.gives("c")} == {made.grant}
    assert network.ends("c") == network.ends("b") == [keys.Settle(grant=made.grant)]


def test_a_session_that_brings_nothing_in_time_takes_the_grant_back(network: Network) -> None:
    appear(network, "c", [Failed(code="no_keys", why="")] * 1000)

    made = network.ask(want("sae-2", "sae-3"), wait=PATIENCE_S)

    assert made == Failed(code="no_keys", why="")
    assert [type(end) for end in network.ends("b")] == [keys.Abort]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("no_route", "no_route"),
        ("not_allowed", "session_not_allowed"),
        ("too_many_sessions", "too_many_sessions"),
    ],
)
def test_a_session_that_is_refused_takes_the_grant_back(
    network: Network, code: str, told: str
) -> None:
    network.cluster.nodes["a"].unregister("key_store/c")
    network.sessions.on(sessions.EnsureSession, Failed(code=code, why="words of some other node"))

    made = network.ask(want("sae-2", "sae-3"))

    assert made == Failed(code=told, why="c")
    assert [type(end) for end in network.ends("b")] == [keys.Abort]


# Limits


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (want("sae-2", "sae-2", "sae-3"), "malformed"),
        (want(), "malformed"),
        (want("sae-2", "sae-3", number=0), "malformed"),
        (want("sae-2", "sae-3", size=0), "malformed"),
        (want("sae-2", "sae-3", number=1024, size=REQUEST_OCTETS_MAX), "malformed"),
        (want("sae-2", "sae-3", number=1024, size=1024), "malformed"),
        (want("sae-2", "nobody"), "not_allowed"),
        (
            keys.GetMulticast(master="sae-2", slaves=("sae-1", "sae-3"), number=1, size=32),
            "not_allowed",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_given(
    network: Network, ask: keys.GetMulticast, code: str
) -> None:
    made = network.ask(ask)

    assert isinstance(made, Failed)
    assert made.code == code
    assert network.gives("b") == network.gives("c") == []


def test_requests_in_flight_are_bounded_in_octets_and_leave_room_when_they_end(
    network: Network,
) -> None:
    network.stores["c"].on(keys.Prepare, lambda _: None)
    asker = network.cluster.probe("etsi014@a")
    large = want("sae-2", "sae-3", number=REQUEST_OCTETS_MAX >> 10, size=1 << 10)
    for _ in range(OCTETS_MAX // REQUEST_OCTETS_MAX):
        asker.question("multicast@a", large)

    full = network.ask(large)
    network.cluster.advance(PATIENCE_S)
    network.answer("c", keys.Prepared(grant=b""))

    assert isinstance(full, Failed)
    assert full.code == "busy"
    assert isinstance(network.ask(large), keys.Keys)


def test_before_the_directory_is_known_nothing_is_given() -> None:
    cluster = Cluster("a", recipe)

    made = cluster.ask("multicast@a", want("sae-2", "sae-3"))
    health = cluster.ask("multicast@a", Health())

    assert made == Failed(code="not_ready", why="the directory is not known yet")
    assert isinstance(health, Healthy)
    assert not health.ready
    cluster.close()


def test_a_crash_of_the_own_store_is_no_answer(network: Network) -> None:
    network.cluster.nodes["a"].unregister("key_store/a")

    made = network.ask(want("sae-1b", "sae-2"))

    assert isinstance(made, Failed)
    assert made.code == "undeliverable"
    assert [type(end) for end in network.ends("b")] == [keys.Abort]


def test_an_sae_that_leaves_while_its_rights_are_asked_for_is_refused() -> None:
    cluster = Cluster("a", careful)
    manager, asker = cluster.probe("peer_manager@a"), cluster.probe("etsi014@a")
    manager.on(peers.Subscribe, LOCATED)
    cluster.advance(1.0)
    asker.question("multicast@a", want("sae-2", "sae-3"))
    cluster.settle()

    homes = {sae: kms for sae, kms in HOMES.items() if sae != "sae-3"}
    manager.say("multicast@a", peers.Located(serial=2, here="a", homes=homes))
    cluster.settle()
    cluster.probe("intent@a").on(rights.AskRights, rights.OPEN)
    cluster.advance(3.0)

    gone = Failed(code="not_allowed", why="a slave SAE is not known in this network")
    assert asker.received == [gone]
    cluster.close()


def test_a_request_that_has_waited_for_rights_has_what_is_left_of_its_time() -> None:
    cluster = Cluster("a", careful)
    manager, asker = cluster.probe("peer_manager@a"), cluster.probe("etsi014@a")
    manager.on(peers.Subscribe, LOCATED)
    cluster.advance(1.0)
    for kms in ("b", "c"):
        cluster.probe(f"key_store/{kms}@a")  # they never answer
    asker.question("multicast@a", want("sae-2", "sae-3"))
    cluster.advance(PATIENCE_S / 2)
    cluster.probe("intent@a").on(rights.AskRights, rights.OPEN)
    cluster.advance(PATIENCE_S / 2)

    assert asker.received == [Failed(code="timeout", why="no answer")]
    cluster.close()


# Rates


SLOW = rights.Rights(
    controlled=False,
    entitled={
        ("sae-1", "sae-3"): rights.Entitled(
            "1", Application("sae-1", ("sae-3",), max_bandwidth=1_024)
        )
    },
)
OVER_RATE = Failed(code="over_rate", why="application 1 gives 1,024 bit/s")


@pytest.fixture
def limited(network: Network) -> Network:
    """Rows give few bits for an SAE at c."""
    network.cluster.tell("multicast@a", SLOW, sender="intent@a")
    return network


def test_what_a_rate_refuses_at_one_store_is_given_to_none(limited: Network) -> None:
    limited.stores["c"].on(keys.CheckRate, OVER_RATE)

    assert limited.ask(want("sae-2", "sae-3", "sae-1b")) == OVER_RATE

    ask = keys.CheckRate(master="sae-1", slaves=("sae-3",), octets=64)
    assert limited.stores["c"].received == [ask]
    assert limited.stores["b"].received == []


def test_what_a_rate_allows_is_given_after_all_stores_that_have_one_said_so(
    limited: Network,
) -> None:
    heard: list[tuple[str, int]] = []

    def allow(_: keys.CheckRate) -> Message:
        heard.append(("c", len(limited.gives("b"))))
        return keys.WithinRate()

    limited.stores["c"].on(keys.CheckRate, allow)

    assert isinstance(limited.ask(want("sae-2", "sae-3")), keys.Keys)
    assert isinstance(limited.ask(want("sae-2", "sae-1b")), keys.Keys)
    assert heard == [("c", 0)]


def test_what_requests_ahead_will_take_of_a_rate_counts_until_it_is_given(
    limited: Network,
) -> None:
    asker = limited.cluster.probe("etsi014@a")
    limited.stores["c"].on(keys.CheckRate, lambda _: None)

    def ask(*slaves: str, number: int) -> None:
        asker.question("multicast@a", want(*slaves, number=number))
        limited.cluster.settle()

    ask("sae-2", "sae-3", number=1)
    ask("sae-2b", "sae-3", number=2)
    first = next(it for it in limited.stores["c"].envelopes)
    answer = Envelope(first.to, first.sender, keys.WithinRate(), first.token, answer=True)
    limited.cluster.nodes["a"].send(answer)
    limited.cluster.settle()
    ask("sae-2", "sae-3", number=4)
    ask("sae-2", "sae-2b", "sae-1b", number=8)

    asked = limited.stores["c"].of(keys.CheckRate)
    assert [(it.octets // 32, it.ahead // 32) for it in asked] == [(1, 0), (2, 1), (4, 2)]


@pytest.mark.parametrize("code", sessions.SOON)
def test_a_store_that_cannot_say_yet_is_given_as_if_there_were_no_rate(
    limited: Network, code: str
) -> None:
    limited.stores["c"].on(keys.CheckRate, Failed(code=code, why=""))

    assert isinstance(limited.ask(want("sae-2", "sae-3")), keys.Keys)


def test_silence_of_a_store_about_its_rate_gives_to_none(limited: Network) -> None:
    limited.stores["c"].on(keys.CheckRate, lambda _: None)

    made = limited.ask(want("sae-2", "sae-3"), wait=PATIENCE_S)

    assert made == Failed(code="timeout", why="no answer")
    assert limited.gives("b") == limited.gives("c") == []


@pytest.mark.parametrize("what", ["an SAE leaves", "a row denies"])
def test_what_changes_while_stores_say_whether_rates_allow_counts(
    limited: Network, what: str
) -> None:
    deny = replace(SLOW, rules=(rights.Rule("no", Policy(1, ("*",), ("sae-2",), allow=False)),))
    left = {sae: kms for sae, kms in HOMES.items() if sae != "sae-2"}
    asker = limited.cluster.probe("etsi014@a")
    limited.stores["c"].on(keys.CheckRate, lambda _: None)
    asker.question("multicast@a", want("sae-2", "sae-3"))
    limited.cluster.settle()
    asked = limited.stores["c"].envelopes[-1]

    if what == "a row denies":
        limited.cluster.tell("multicast@a", deny, sender="intent@a")
    else:
        limited.manager.say("multicast@a", peers.Located(serial=2, here="a", homes=left))
    limited.cluster.settle()
    answer = Envelope(asked.to, asked.sender, keys.WithinRate(), asked.token, answer=True)
    limited.cluster.nodes["a"].send(answer)
    limited.cluster.settle()

    codes = [it.code for it in asker.received if isinstance(it, Failed)]
    assert codes == ["not_permitted" if what == "a row denies" else "not_allowed"]
    assert limited.gives("b") == limited.gives("c") == []


def test_an_answer_about_a_rate_that_comes_after_the_end_changes_nothing(
    limited: Network,
) -> None:
    network = limited
    both = {("sae-1", sae): SLOW.entitled["sae-1", "sae-3"] for sae in ("sae-2", "sae-3")}
    network.cluster.tell("multicast@a", replace(SLOW, entitled=both), sender="intent@a")
    network.stores["b"].on(keys.CheckRate, OVER_RATE)
    network.stores["c"].on(keys.CheckRate, keys.WithinRate())

    assert network.ask(want("sae-3", "sae-2")) == OVER_RATE

    assert network.gives("b") == network.gives("c") == []
    assert network.ends("b") == network.ends("c") == []


def test_a_request_that_nobody_waits_for_any_more_draws_no_keys() -> None:
    cluster = Cluster("a", careful)
    asker = cluster.probe("etsi014@a")
    cluster.advance(1.0)
    intent = cluster.probe("intent@a")
    cluster.advance(1.0)
    late = keys.GetKey(master="sae-1", slaves=("sae-1b",), number=1, size=32, within=0.5)
    asker.question("key_store/a@a", late)
    cluster.advance(1.0)
    for asked in [it for it in intent.envelopes if it.token]:
        to, told = asked.sender, rights.OPEN
        cluster.nodes["a"].send(Envelope(intent.address, to, told, asked.token, True))
    cluster.settle()

    why = "it is not known what SAEs may have"
    assert asker.received == [Failed(code="not_ready", why=why)]
    cluster.close()


def test_what_is_taken_back_while_rights_are_asked_for_is_never_held() -> None:
    cluster = Cluster("a", careful)
    intent, asker = cluster.probe("intent@a"), cluster.probe("etsi014@a")
    cluster.advance(1.0)
    give = keys.Prepare(
        grant=bytes(keys.ID_OCTETS),
        master="sae-1",
        slaves=("sae-1b",),
        number=1,
        size=32,
        octets=Secret(bytes(32)),
    )
    asker.question("key_store/a@a", give)
    asker.say("key_store/a@a", keys.Abort(grant=give.grant))
    cluster.settle()
    intent.on(rights.AskRights, rights.OPEN)
    cluster.advance(3.0)

    assert asker.received == [Failed(code="timeout", why="taken back")]
    cluster.close()


def careful(system: StepSystem) -> None:
    plan = StorePlan(peer="a", options=StoreOptions(), known=None)
    system.spawn("key_store/a", OwnStore, plan)
    system.spawn("multicast", Multicast, PATIENCE_S, None)
