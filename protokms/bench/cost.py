"""What a request costs: processor time of both nodes and of the loader."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from protokms.bench import loader

Figures = dict[str, Any]


def row(score: loader.Score) -> Figures:
    """Lay out what came back to a loader."""
    return {
        "per_s": round(score.per_second),
        "p50_ms": round(score.quantile(0.5) * 1e3, 2),
        "p99_ms": round(score.quantile(0.99) * 1e3, 2),
        "refused": score.refused,
    }


async def costed(work: Awaitable[loader.Score], seconds: Callable[[], dict[str, float]]) -> Figures:
    """Let a loader work; its row, and µs of processor time a request, by whom it was used.

    `seconds` tells how much each has used so far. Of other programs on the machine these figures
    depend less than those a second do.
    """
    before = {**seconds(), "loader": time.process_time()}
    score = await work
    after = {**seconds(), "loader": time.process_time()}
    done = max(1, len(score.seconds))
    cost = {f"cpu_us_{who}": round((after[who] - before[who]) / done * 1e6) for who in before}
    return row(score) | cost
