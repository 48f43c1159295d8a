"""Two commands do not change one lab at the same time; what is no lab is told as such."""

from pathlib import Path

import pytest

from protokms.lab import lab, topology
from protokms.lab.lab import LabError
from protokms.lab.lock import only_one


def test_a_second_command_is_told_to_wait(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))

    with (
        only_one(tmp_path / "lab"),
        pytest.raises(LabError, match="another command is at this lab"),
        only_one(tmp_path / "lab"),
    ):
        pass

    with only_one(tmp_path / "lab"):
        pass


def test_a_folder_without_a_lab_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LabError, match="holds no lab"), only_one(folder):
            pass
