"""The `[etsi014]` table of a node: the keys of any HTTPS front end, and what 014 offers."""

from typing import Annotated

from actors.protocol.limits import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX, limit
from etsi.http.options import HttpOptions

KeySize = Annotated[int, limit(8, 8 * KEY_OCTETS_MAX, "bits")]


class Gs014Options(HttpOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[etsi014]`: the HTTPS interface for SAEs, and its limits; sizes of keys are in bits."""

    key_size_bits: KeySize = 256
    min_key_size_bits: KeySize = 64
    max_key_size_bits: KeySize = 8_192
    max_keys_per_request: Annotated[int, limit(1, KEYS_MAX, "keys")] = 128
    max_sae_id_count: Annotated[int, limit(0, SLAVES_MAX - 1, "SAE ids")] = 16
