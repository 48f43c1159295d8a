"""The examples in docs/testing.md are run, and the pytest plugin is loaded as others load it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "docs" / "testing.md").read_text().split("```python\n")[1].split("```")[0]


def test_the_examples_of_the_guide_hold(tmp_path: Path) -> None:
    path = tmp_path / "guide_example.py"
    path.write_text(EXAMPLE)
    spec = importlib.util.spec_from_file_location("guide_example", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests: list[Callable[[], None]] = [
        found for name, found in vars(module).items() if name.startswith("test_")
    ]

    for test in tests:
        test()

    assert len(tests) == 4


PLUGGED = """
def test_seed(cluster, kms_seed):
    assert cluster("a-b").seed == kms_seed == 7
    assert cluster("a-b", seed=3).seed == 3
"""

LAZY = "import sys, protokms.testing.plugin; assert 'actors' not in sys.modules"


@pytest.mark.slow
def test_the_plugin_makes_clusters_and_imports_nothing_before(tmp_path: Path) -> None:
    (tmp_path / "test_plugged.py").write_text(PLUGGED)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    options = ["-p", "protokms.testing.plugin", "-q", "--kms-seed", "7", str(tmp_path)]

    lazy = subprocess.run([sys.executable, "-c", LAZY], env=environment, check=False)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert lazy.returncode == 0
    assert "1 passed" in run.stdout, run.stdout
