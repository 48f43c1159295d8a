"""Whom the post of a node knows."""

from pathlib import Path

from protokms import config, directory, lab, topology, wiring


def test_neighbours_are_always_connected_and_others_when_there_is_something_to_say(
    tmp_path: Path,
) -> None:
    lab.init(tmp_path, topology.parse("chain:3"))
    made = config.load(tmp_path / "kms-1" / "node.toml")
    known = directory.read(made.directory.file, made.directory.ca)

    others = wiring.others(made, "core", known)

    assert {peer.name: peer.lazy for peer in others} == {"kms-2": False, "kms-3": True}
    assert wiring.inbox(made, "core").idle_s == made.transport.idle_s
