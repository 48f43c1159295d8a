"""What we use of Pykka beyond what it promises: a new version that changes it fails here."""

import ast
import inspect
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import cast

import pykka
import pytest

from actors.base import Actor
from actors.mailbox import Mailbox
from protokms.testing.cluster import Cluster

ROOT = Path(__file__).parents[2]
USED = {"_actor_loop_setup", "_create_actor_inbox", "_handle_failure", "_stop"}
"""The private names of Pykka that are called or replaced in `actors/`."""


class Plain(pykka.ThreadingActor):
    """An actor of Pykka alone, which notes its hooks; never started, so it has no thread."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.fails = fails
        self.hooks: list[str] = []

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    def on_start(self) -> None:
        self._note("start")

    def on_stop(self) -> None:
        self._note("stop")

    def _note(self, hook: str) -> None:
        self.hooks.append(hook)
        if self.fails == hook:
            raise OSError("on purpose")


def private_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef):
            yield node.name


def test_no_other_private_name_of_pykka_is_used() -> None:
    theirs = {
        name
        for base in pykka.ThreadingActor.__mro__[:-1]
        for name in (*vars(base), *inspect.get_annotations(base))
        if name.startswith("_") and not name.startswith(("__", "_abc_"))
    }
    files = [ROOT / "actors/base.py", ROOT / "actors/mailbox.py"]
    files += (ROOT / "actors/runtime").glob("*.py")

    ours = {name for file in files for name in private_names(ast.parse(file.read_text()))}

    assert theirs >= USED, "Pykka no longer has them"
    assert ours & theirs == USED


def test_the_inbox_is_ours_and_made_with_the_actor() -> None:
    assert isinstance(Plain().actor_inbox, Mailbox)


def test_setup_runs_on_start_and_a_start_that_raises_ends_the_actor() -> None:
    well, sick = Plain(), Plain("start")

    well._actor_loop_setup()
    sick._actor_loop_setup()

    assert (well.hooks, well.actor_stopped.is_set()) == (["start"], False)
    assert (sick.hooks, sick.actor_stopped.is_set()) == (["start"], True)


@pytest.mark.parametrize("fails", ["", "stop"])
def test_stop_runs_on_stop_and_ends_the_actor_whatever_that_raises(fails: str) -> None:
    actor = Plain(fails)

    actor._stop()

    assert (actor.hooks, actor.actor_stopped.is_set()) == (["stop"], True)


def test_a_failure_ends_the_actor_and_runs_no_hook() -> None:
    actor = Plain()

    actor._handle_failure(OSError, OSError("on purpose"), None)

    assert (actor.hooks, actor.actor_stopped.is_set()) == ([], True)


def test_what_is_told_by_reference_and_the_word_for_stop_lie_bare_in_the_mailbox() -> None:
    actor = Plain()

    actor.actor_ref.tell("mail")
    actor.stop()

    left = cast(Mailbox, actor.actor_inbox).close()
    assert left[0] == "mail"
    assert [type(each).__module__ for each in left[1:]] == ["pykka.messages"]


def test_the_public_part_is_as_we_know_it() -> None:
    hooks = [
        list(inspect.signature(getattr(pykka.ThreadingActor, hook)).parameters)
        for hook in ("on_start", "on_receive", "on_stop", "on_failure")
    ]

    assert hooks == [
        ["self"],
        ["self", "message"],
        ["self"],
        ["self", "exception_type", "exception_value", "traceback"],
    ]
    assert issubclass(pykka.ActorDeadError, Exception)


def test_a_version_that_may_have_changed_it_is_not_taken() -> None:
    (wanted,) = [each for each in requires("protokms") or () if each.startswith("pykka")]

    assert "<5" in wanted


def test_start_of_pykka_refuses_and_says_what_to_call() -> None:
    class Mine(Actor):
        """An actor of ours."""

    system = Cluster("a").nodes["a"]

    with pytest.raises(TypeError, match=r"call system\.spawn\(name, Mine, \.\.\.\)"):
        Mine.start(system, "mine")

    assert pykka.ActorRegistry.get_by_class(Mine) == []
