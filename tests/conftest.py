"""What all tests share: hypothesis, and the count of the tries at the doors."""

import pytest
from hypothesis import HealthCheck, settings

from protokms.node import ports
from tests.doors.tally import TRIED, Tally

# The same examples each time, however busy the machine: a test says only how many it wants.
settings.register_profile(
    "tests",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")


class DoorsPlugin:
    """Adds up what the tests of the doors tried, in whichever process they ran."""

    def __init__(self) -> None:
        self._total = Tally()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == TRIED and isinstance(value, list):
                    self._total.add(value)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if lines := list(self._total.lines()):
            terminalreporter.section("inputs tried at the doors")
            for line in lines:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(DoorsPlugin())
    if own := getattr(config, "workerinput", None):
        _take_ports(int(own["workerid"].removeprefix("gw")), own["workercount"])


def _take_ports(worker: int, workers: int) -> None:
    """Labs of tests that run at the same time have other ports: free when made, and later."""
    share = (ports.LAST - ports.FIRST) // workers
    ports.FIRST += worker * share
    ports.LAST = ports.FIRST + share
