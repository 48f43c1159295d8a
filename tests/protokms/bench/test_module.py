"""`bench module`: figures of a device and of a link over it, ours or one that is named."""

import pytest
from typer.testing import CliRunner

from protokms.bench import module
from protokms.commands.main import app

SECONDS = 2.0


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZES", (256,))
    monkeypatch.setattr(module, "NUMBERS", (1, 16))
    monkeypatch.setattr(module, "GIVE_MAX_BITS", 1 << 22)
    monkeypatch.setattr(module, "LEAST_BITS", 0.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_our_own_pair_is_measured_and_a_link_over_it() -> None:
    figures = module.module(None, None, [200_000.0], SECONDS, lambda _: None)

    assert set(figures["device"]) == {"1x256", "16x256"}
    assert all(row["keys_s"] > 0 for row in figures["device"].values())
    row = figures["links"]["200000"]
    assert row["device_bit_s"] > 0
    assert row["key_bit_s"] > 0
    assert set(row["cpu_ms_a_mbit"]) == {"node_near", "node_far", "device_near", "device_far"}
    assert 0 <= row["cores_used"] <= 1
    assert ("limit" in row) or row["share"] >= module.ENOUGH


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_device_that_is_named_is_measured_and_a_link_if_both_are() -> None:
    with module._pair(200_000.0) as pair:
        near, far = module._sides(pair)
        alone = module.module(near, None, [1e6], SECONDS, lambda _: None)
        both = module.module(near, far, [200_000.0], SECONDS, lambda _: None)

    assert (set(alone["device"]), alone["links"]) == ({"1x256", "16x256"}, {})
    row = both["links"]["200000"]
    assert row["key_bit_s"] > 0
    assert set(row["cpu_ms_a_mbit"]) == {"node_near", "node_far"}


def test_what_is_in_the_way_is_told() -> None:
    assert module._limit({"a": 9.5, "b": 1.0}, 10.0, 0.2) == "a is busy all the time"
    assert module._limit({"a": 1.0, "b": 2.0}, 10.0, 0.8) == (
        "the cores are 80 % busy; of this bench b takes most"
    )
    assert "one request after the other" in module._limit({"a": 1.0}, 10.0, 0.2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--url", "https://a"], "needs --far-sae"),
        (["--far-url", "https://a"], "needs --url"),
        (["--rate", "fast"], "write bit/s"),
        (["--rate", "1e4,1"], "rates are"),
    ],
)
def test_options_that_do_not_fit_are_told(options: list[str], text: str) -> None:
    result = CliRunner().invoke(app, ["bench", "module", *options])

    assert result.exit_code == 2
    assert text in " ".join(result.output.replace("│", " ").split())
