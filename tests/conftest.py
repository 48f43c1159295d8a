"""What all tests share: how they use the cores, and the count of what was thrown at the doors."""

import pytest

from tests.doors.tally import TRIED, Tally


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with real processes take turns in one process; all others run beside them."""
    for item in items:
        if item.path.name.startswith("test_real_") or item.path.parent.name == "doors":
            item.add_marker(pytest.mark.xdist_group("processes"))
