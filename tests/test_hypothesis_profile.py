"""Whatever a test draws, it draws the same each time, and no busy machine fails it."""

from hypothesis import HealthCheck, settings


def test_all_hypothesis_tests_draw_the_same_each_time_without_a_deadline() -> None:
    usual = settings()

    assert usual.derandomize
    assert usual.deadline is None
    assert HealthCheck.too_slow in usual.suppress_health_check
