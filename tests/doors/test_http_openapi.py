"""The interface as it describes itself: requests drawn from the description, and against it."""

import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from etsi.gs014.openapi import document
from tests.doors.tally import Tally
from tests.doors.town import THIEF, VICTIM, Town
from tests.kit.site import options

pytestmark = pytest.mark.slow

DOOR = "HTTP"
EXAMPLES = 50
SEED = 14
WAIT_S = 20.0
SCHEMA = schemathesis.openapi.from_dict(json.loads(document(options())))
OPERATIONS = {
    found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)
}
# 503 is an answer of ours, and no fault: hence not the check for those.
WANTED = (
    *("status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance",),
)


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        (label, mode)
        for label in OPERATIONS
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if mode is GenerationMode.POSITIVE or "_keys" in label  # else nothing can be wrong
    ],
)
def test_answers_are_as_described(
    town: Town, tally: Tally, label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]
    checks = CHECKS.get_by_names(list(WANTED))
    known = {name: "sae-2" for name in ("slave_SAE_ID", "master_SAE_ID") if name in label}
    row = next(row for row in town.made.saes if row.id == THIEF)
    url = town.made.node(VICTIM).etsi014
    strategies = [operation.as_strategy(generation_mode=mode)]
    if known and "/number/" not in label:
        strategies.append(operation.as_strategy(generation_mode=mode, path_parameters=known))

    with requests.Session() as session:
        tls = {
            "verify": str(town.folder / town.made.ca),
            "cert": (str(town.folder / row.cert), str(town.folder / row.key)),
        }

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(strategies))
        def attack(case: Any) -> None:
            answer = case.call(base_url=url, session=session, timeout=WAIT_S, **tls)
            tally.note(DOOR, f"described, {mode.value}", answer.status_code)
            case.validate_response(answer, checks=checks)

        attack()
