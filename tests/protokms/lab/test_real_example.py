"""The example in examples/sae, over a lab that runs."""

from pathlib import Path

import pytest

from examples.sae import two_saes
from protokms.lab import lab, topology
from protokms.lab import run as lab_run

pytestmark = pytest.mark.slow


def test_two_applications_get_the_same_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lab"
    lab.init(folder, topology.parse("chain:2"))
    try:
        lab_run.up(folder)
        two_saes.main(folder)
    finally:
        lab_run.down(folder)

    said = capsys.readouterr().out
    assert said.startswith("both have key ")
    assert said.endswith(" of 256 bits\n")
