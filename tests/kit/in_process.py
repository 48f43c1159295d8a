"""Real nodes, with sockets and files, in the process of a test."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from protokms.config.load import load, load_process
from protokms.node.node import Node
from tests.kit.files import calm

PATIENCE_S = 60.0

Start = Callable[[str], Node]


@contextmanager
def processes(file: Path) -> Iterator[Start]:
    """Give what starts a process of the node of `file`, by name; all are stopped at the end."""
    for each in file.parent.glob("*.toml"):
        calm(each)
    with ExitStack() as stack:

        def begin(process: str) -> Node:
            core, deaths = load(file), list[str]()
            new = process == "core" and not core.node.data.exists()
            config = core if process == "core" else load_process(file, process)
            node = Node(config, deaths.append, new=new)
            node.start()
            stack.callback(node.stop)
            return node

        yield begin


def eventually(true: Callable[[], bool]) -> None:
    """Wait for what another thread will bring about; fail when it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
