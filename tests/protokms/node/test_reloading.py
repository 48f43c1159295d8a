"""What a reload answers: applied, refused, for the next start, and which processes it missed."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from actors.protocol.common import Failed, Refused
from actors.protocol.intent import Seeded
from actors.protocol.peers import AwaitHomes, HomesInUse
from etsi.http.service import Reload
from etsi.http.service import Reloaded as FrontReloaded
from protokms.config.load import load, load_any
from protokms.config.sections import FRONT, DirectoryFiles, PolicyRow, Process
from protokms.lab import lab, topology
from protokms.manage.words import Reloaded
from protokms.node.logs import Threshold
from protokms.node.reload import (
    TEXT_MAX,
    TEXTS_MAX,
    ProcessReloaded,
    Reloading,
    ReloadProcess,
)
from transport.endpoint import TcpEndpoint
from transport.envelope import Address, Envelope
from transport.message import Message

GONE = Failed(code="undeliverable", why="node/front@kms-1")
NOTHING = ProcessReloaded(applied=(), refused=(), needs_restart=())


class FakeHost:
    """A process of a node, whose actors and siblings answer what a test wants."""

    def __init__(self) -> None:
        self.answers: dict[str, Message] = {FRONT: FrontReloaded()}
        self.asked: list[tuple[str, Message]] = []
        self.sent: list[Envelope] = []
        self.files: list[DirectoryFiles] = []
        self.policies: list[list[str]] = []
        self.seeded: Message = Seeded(changed=True)
        self.serial = 1
        self.bad_directory = ""
        self.homes: Message = HomesInUse(serial=1)

    def ask(self, name: str, body: Message, timeout: float) -> Future[Message]:
        assert timeout < 20.0  # the time of who asks on the management socket
        self.asked.append((name, body))
        future: Future[Message] = Future()
        homes = isinstance(body, AwaitHomes) and self.homes
        future.set_result(homes or self.answers[name])
        return future

    def runs(self, name: str) -> bool:
        return name in self.answers

    def use_directory(self, files: DirectoryFiles) -> int:
        if self.bad_directory:
            raise Refused("stale", self.bad_directory)
        self.files.append(files)
        return self.serial

    def use_policies(self, rules: Sequence[PolicyRow]) -> Future[Message]:
        self.policies.append([row.name for row in rules])
        future: Future[Message] = Future()
        future.set_result(self.seeded)
        return future

    def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reloading") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    return folder / "kms-1/node.toml"


@pytest.fixture
def file(made: Path) -> Iterator[Path]:
    before = made.read_text()
    yield made
    made.write_text(before)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


Make = Callable[..., Reloading]


@pytest.fixture
def make(file: Path, host: FakeHost) -> Make:
    config = load(file)

    def reloading(*others: str, threshold: Threshold | None = None) -> Reloading:
        return Reloading(config, host, serial=1, others=others, threshold=threshold)

    return reloading


def put(file: Path, table: str, *lines: str) -> None:
    """Put lines at the beginning of a table, in place of what had their keys."""
    head, mark, rest = file.read_text().partition(f"[{table}]\n")
    assert mark
    for line in lines:
        rest = re.sub(rf"(?m)^{line.split()[0]} = .*\n", "", rest, count=1)
    file.write_text(head + mark + "".join(f"{line}\n" for line in lines) + rest)


def test_when_nothing_has_changed_nothing_is_told(make: Make) -> None:
    assert make().run() == Reloaded()


def test_what_the_front_end_has_applied_is_told_by_key(make: Make, host: FakeHost) -> None:
    host.answers[FRONT] = FrontReloaded(
        kept=("crl gone.pem: …",), applied=("deny", "max_in_flight")
    )

    found = make().run()

    assert found.applied == ("etsi014.deny", "etsi014.max_in_flight")
    assert found.refused == ("crl gone.pem: …",)
    assert not found.whole
    assert isinstance(host.asked[0][1], Reload)


def test_a_front_end_that_does_not_answer_is_told(make: Make, host: FakeHost) -> None:
    host.answers[FRONT] = Failed(code="timeout", why="no answer")

    found = make().run()

    assert found.refused == ("etsi014: timeout: no answer",)
    assert host.files  # the directory acts all the same


def test_one_of_several_front_ends_gets_its_part_of_the_limits(
    tmp_path: Path, host: FakeHost
) -> None:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2"), 2))
    file = tmp_path / "lab/kms-1/front-2.toml"
    host.answers["etsi014/2"] = Failed(code="timeout", why="no answer")
    put(file, "etsi014", "max_connections = 100")

    found = Reloading(load_any(file), host, serial=0).run()

    ((name, ask),) = host.asked
    assert isinstance(ask, Reload)
    limits = json.loads(ask.options)
    assert (name, limits["max_connections"], limits["max_handshakes"]) == ("etsi014/2", 63, 40)
    assert found.refused == ("etsi014/2: timeout: no answer",)


def test_what_needs_a_restart_is_told_and_is_no_failure(make: Make, file: Path) -> None:
    put(file, "store", "ttl_s = 60")
    file.write_text(file.read_text().replace("round_s = 0.01", "round_s = 0.5"))

    found = make().run()

    assert found.needs_restart == ("link[0].round_s", "store.ttl_s")
    assert found.whole


def test_the_level_of_the_log_is_applied_and_told(make: Make, file: Path) -> None:
    threshold = Threshold()
    reloading = make(threshold=threshold)
    put(file, "node", 'log_level = "warning"', "log_requests = false")

    found = reloading.run()

    assert found == Reloaded(applied=("node.log_level", "node.log_requests"))
    assert threshold.set("warning", requests=False) == []
    assert reloading.run() == Reloaded()


def test_another_directory_is_applied_and_told(make: Make, file: Path, host: FakeHost) -> None:
    reloading = make()
    folder = file.parents[1]
    for name in ("directory.json", "directory.json.sig"):
        (folder / f"new-{name}").write_bytes((folder / name).read_bytes())
    text = file.read_text()
    file.write_text(text.replace("directory.json", "new-directory.json"))
    host.serial = 2

    found = reloading.run()

    assert found == Reloaded(applied=("directory serial 2", "directory.file"))
    assert host.files[-1].file.name == "new-directory.json"
    assert reloading.run() == Reloaded()


def test_a_directory_that_is_refused_stays_and_is_told(make: Make, host: FakeHost) -> None:
    host.bad_directory = "serial 1, here is 2"

    assert make().run() == Reloaded(refused=("serial 1, here is 2",))


@pytest.mark.parametrize(
    ("table", "line", "read"),
    [
        ("store", 'mode = "both"', True),
        ("metrics", "port = 5", True),
        ("directory", "port = 5", False),
        ("node", "port = 5", False),
    ],
)
def test_what_is_wrong_with_it_elsewhere_keeps_no_directory(
    make: Make, file: Path, host: FakeHost, table: str, line: str, read: bool
) -> None:
    reloading = make()
    put(file, table, line)

    found = reloading.run()

    assert len(found.refused) == 1
    assert bool(host.files) is read


def test_a_reload_waits_until_the_front_end_uses_the_directory(make: Make, host: FakeHost) -> None:
    host.serial = 2

    found = make().run()

    assert found == Reloaded(applied=("directory serial 2",))
    assert host.asked[-1] == (FRONT, AwaitHomes(serial=2))


def test_a_front_end_that_has_not_read_the_directory_in_time_is_told(
    make: Make, host: FakeHost
) -> None:
    host.serial, host.homes = 2, Failed(code="timeout", why="no answer")

    found = make().run()

    late = "etsi014: has not read directory serial 2 yet; it goes on by itself"
    assert found == Reloaded(applied=("directory serial 2",), refused=(late,))
    assert not found.whole


def test_all_front_ends_are_waited_for_but_those_that_are_away(file: Path, host: FakeHost) -> None:
    apart = [
        Process(
            name=name,
            address=TcpEndpoint("127.0.0.1", 1_000 + number),
            public="",
            seal=file,
            actors=[f"etsi014/{number}"],
        )
        for number, name in enumerate(("first", "second", "third"), 1)
    ]
    config = msgspec.structs.replace(load(file), etsi014=None, processes=apart)
    host.answers = {"node/first": NOTHING, "node/second": GONE, "node/third": NOTHING}
    host.homes = Failed(code="timeout", why="no answer")

    found = Reloading(config, host, serial=7, others=[one.name for one in apart]).run()

    waited = [name for name, body in host.asked if isinstance(body, AwaitHomes)]
    assert waited == ["etsi014/1", "etsi014/3"]
    assert found.not_reached == ("second",)
    assert [text.partition(":")[0] for text in found.refused] == waited


def test_other_processes_are_asked_and_their_answers_are_told_together(
    make: Make, host: FakeHost
) -> None:
    host.answers["node/front"] = ProcessReloaded(
        applied=("etsi014.deny", "process.log_level"),
        refused=("it is bad",),
        needs_restart=("metrics.bind",),
    )
    host.answers["node/links"] = NOTHING
    host.serial = 5

    found = make("front", "links").run()

    assert found == Reloaded(
        applied=("directory serial 5", "front: etsi014.deny", "front: process.log_level"),
        refused=("front: it is bad",),
        needs_restart=("front: metrics.bind",),
    )
    assert [name for name, body in host.asked if isinstance(body, ReloadProcess)] == [
        "node/front",
        "node/links",
    ]


def test_what_is_wrong_is_told_of_the_process_where_it_is(file: Path, host: FakeHost) -> None:
    host.answers["node/front"] = ProcessReloaded(
        applied=(), refused=("it is bad",), needs_restart=("metrics.bind",)
    )
    host.answers["node/links"] = NOTHING
    host.answers["node/spare"] = GONE
    told: dict[str, list[str]] = {}
    others = "front", "links", "spare"
    reloading = Reloading(
        load(file),
        host,
        serial=1,
        others=others,
        told=lambda it, wrong: told.update({it: [*wrong]}),
    )

    reloading.run()

    assert told == {"front": ["front: it is bad"], "links": [], "core": ["spare: not reached"]}
    host.answers["node/spare"] = NOTHING
    reloading.run()
    assert (told["core"], told["spare"]) == ([], [])


def test_of_another_process_no_more_is_told_than_fits(make: Make, host: FakeHost) -> None:
    long = "\x1b" * 2_000
    host.answers["node/front"] = ProcessReloaded(
        applied=(long,), refused=(), needs_restart=tuple(f"link[{row}]" for row in range(2_000))
    )

    found = make("front").run()

    assert found.applied == ("front: " + (r"\x1b" * TEXT_MAX)[:TEXT_MAX],)
    assert len(found.needs_restart) == TEXTS_MAX + 1
    assert f"front: and {2_000 - TEXTS_MAX:,} more" in found.needs_restart


@pytest.mark.parametrize("no", [GONE, Failed(code="timeout", why="no answer")])
def test_a_process_that_does_not_answer_is_named(make: Make, host: FakeHost, no: Failed) -> None:
    host.answers["node/front"], host.answers["node/links"] = no, NOTHING

    with capture_logs() as lines:
        found = make("front", "links").run()

    assert found == Reloaded(not_reached=("front",))
    assert not found.whole
    assert [line["other"] for line in lines if line["event"] == "reload_not_reached"] == ["front"]
    (told,) = [line for line in lines if line["event"] == "reloaded"]
    assert told["not_reached"] == ["front"]


def test_a_process_that_is_asked_answers_what_came_of_it(
    make: Make, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protokms.node.reload.threading.Thread", AtOnce)
    host.answers[FRONT] = FrontReloaded(applied=("deny",))
    reloading = make()
    core, me = Address("edge/core", "kms-1"), Address(reloading.name, "kms-1")

    reloading.tell(Envelope(core, me, ReloadProcess(), 7))
    reloading.tell(Envelope(Address("edge/core", "kms-2"), me, ReloadProcess(), 8))

    (answer,) = host.sent
    assert (answer.to, answer.token, answer.answer) == (core, 7, True)
    applied = ("etsi014.deny",)
    assert answer.body == ProcessReloaded(applied=applied, refused=(), needs_restart=())


class AtOnce:
    """A thread that runs at once."""

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        self.start = target


RULE = '[[policy]]\nname = "{}"\nmasters = ["*"]\nslaves = ["*"]\n'


def test_policies_are_taken_when_they_are_others_and_each_once(
    make: Make, host: FakeHost, file: Path
) -> None:
    reloading, before = make(), file.read_text()
    file.write_text(before + RULE.format("gold"))

    first, again = reloading.run(), reloading.run()
    file.write_text(before)
    last = reloading.run()

    assert first == last == Reloaded(applied=("policy",))
    assert again == Reloaded()
    assert host.policies == [["gold"], []]


@pytest.mark.parametrize(
    "wrong", [RULE.format("Gold"), RULE.format("a").replace('"*"', '"nobody"', 1), "[[polici]]\n"]
)
def test_policies_of_which_one_is_wrong_stay_as_they_were(
    make: Make, host: FakeHost, file: Path, wrong: str
) -> None:
    reloading = make()
    file.write_text(file.read_text() + RULE.format("silver") + wrong)

    found = reloading.run()

    assert len(found.refused) == 1
    assert found.applied == ()
    assert host.policies == []


def test_policies_are_taken_whatever_is_wrong_elsewhere(
    make: Make, host: FakeHost, file: Path
) -> None:
    reloading = make()
    put(file, "store", 'mode = "both"')
    file.write_text(file.read_text() + RULE.format("gold"))

    found = reloading.run()

    assert (len(found.refused), found.applied) == (1, ("policy",))


def test_policies_that_could_not_be_kept_are_tried_again(
    make: Make, host: FakeHost, file: Path
) -> None:
    reloading = make()
    file.write_text(file.read_text() + RULE.format("gold"))
    host.seeded = Failed(code="store_full", why="the disk is full")

    first = reloading.run()
    host.seeded = Seeded(changed=True)

    assert first.refused == ("policy: store_full: the disk is full",)
    assert reloading.run() == Reloaded(applied=("policy",))
