"""Conditions of RFC 9110, 13: If-Match and its kin."""

from typing import Any

import pytest

from etsi.gs015.restconf.conditions import Conditions, Validators
from etsi.gs015.restconf.problems import Wrong

AT = 1_800_000_000.75
NOW = Validators(7, AT)
SAME, LATER = "Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:01 GMT"
EARLIER = "Fri, 15 Jan 2027 07:59:59 GMT"

WRITES: list[tuple[dict[str, str], Validators | None, int]] = [
    ({}, NOW, 0),
    ({}, None, 0),
    ({"match": '"7"'}, NOW, 0),
    ({"match": '"6", "7"'}, NOW, 0),
    ({"match": '"6" ,\t"7"'}, NOW, 0),
    ({"match": "*"}, NOW, 0),
    ({"match": '"6"'}, NOW, 412),
    ({"match": 'W/"7"'}, NOW, 412),
    ({"match": '"7"'}, None, 412),
    ({"match": "*"}, None, 412),
    ({"match": "7"}, NOW, 400),
    ({"match": '"7'}, NOW, 400),
    ({"match": '"7",'}, NOW, 400),
    ({"match": '"7""8"'}, NOW, 400),
    ({"none_match": "*"}, None, 0),
    ({"none_match": "*"}, NOW, 412),
    ({"none_match": '"6"'}, NOW, 0),
    ({"none_match": 'W/"7"'}, NOW, 412),
    ({"unmodified_since": SAME}, NOW, 0),
    ({"unmodified_since": LATER}, NOW, 0),
    ({"unmodified_since": EARLIER}, NOW, 412),
    ({"unmodified_since": SAME}, None, 412),
    ({"unmodified_since": "some day"}, NOW, 0),
    ({"unmodified_since": "99999999999"}, NOW, 0),
    ({"match": '"7"', "unmodified_since": EARLIER}, NOW, 0),
    ({"match": '"7"', "none_match": '"7"'}, NOW, 412),
]

READS: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    ({"none_match": '"7"'}, True),
    ({"none_match": 'W/"7"'}, True),
    ({"none_match": "*"}, True),
    ({"none_match": '"6"'}, False),
    ({"none_match": '"6"', "modified_since": LATER}, False),
    ({"modified_since": SAME}, True),
    ({"modified_since": EARLIER}, False),
    ({"modified_since": "some day"}, False),
]


@pytest.mark.parametrize(("fields", "found", "status"), WRITES)
def test_a_write_holds_if_the_resource_is_as_the_client_says(
    fields: dict[str, Any], found: Validators | None, status: int
) -> None:
    if not status:
        Conditions(**fields).check_write(found)
        return
    with pytest.raises(Wrong) as no:
        Conditions(**fields).check_write(found)

    assert no.value.status == status
    assert no.value.code == ("operation-failed" if status == 412 else "malformed-message")


@pytest.mark.parametrize(("fields", "unchanged"), READS)
def test_a_reader_hears_what_it_has_not(fields: dict[str, Any], unchanged: bool) -> None:
    assert Conditions(**fields).unchanged(NOW) is unchanged


def test_what_was_never_written_has_no_time() -> None:
    assert NOW.fields == (("ETag", '"7"'), ("Last-Modified", SAME))
    assert Validators(0, 0.0).fields == (("ETag", '"0"'),)
