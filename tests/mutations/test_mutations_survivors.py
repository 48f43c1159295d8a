"""Faults of one line that no test noticed once: each has a test that does, and is put in here."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from actors.keystore.held_grants import HeldGrants
from actors.keystore.key_store import KeyStore
from actors.ledger.issued import Issued
from actors.ledger.peering_state import PeeringState
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.network.router import Router
from actors.relay.outgoing import Outgoing
from actors.sessions.transit import Transit
from actors.storage.file import StoreFile
from protokms.enrol.pki import Authority
from tests.actors.ledger import test_peering_state as standing
from tests.actors.ledger import test_shares as shares
from tests.actors.relay import test_relay as hop
from tests.actors.storage import test_file as file
from tests.kit.mesh import Mesh, chain
from tests.mutations.rewritten import Line, assert_noticed, breaks, patched
from tests.networks import test_router as router
from tests.networks import test_sessions_room as network
from tests.protokms.enrol import test_pki as pki
from tests.rules import test_rules_grants as given
from tests.rules import test_rules_sealed as sealed
from tests.rules import test_rules_stream as stream

pytestmark = pytest.mark.slow


def with_row(test: Callable[[Mesh], None]) -> None:
    """Run a test on four nodes in a row."""
    mesh = Mesh(chain(4))
    mesh.advance(router.SETTLED_S)
    test(mesh)


def with_file(test: Callable[[StoreFile], None]) -> None:
    """Run a test on the file of a node."""
    with TemporaryDirectory() as folder:
        made = StoreFile.create(Path(folder) / "store.db", "a", file.KEY)
        try:
            test(made)
        finally:
            made.close()


def with_ca(test: Callable[[Authority], None]) -> None:
    """Run a test on the CA of a lab."""
    with TemporaryDirectory() as folder:
        test(Authority.create(Path(folder)))


SIGNED = "if verify_lsa(state, self.neighbours.public[self.system.node]) is None:"
ENTERED = "self.committed, self.resumed, self.nonce = 0, False, 0"
CLOSED = "for name in sorted((state.source, state.target), reverse=True):"
USED = "segment.used = [(start, end) for start, end in used] if bits else [(0, length)]"
CA = ".add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)"
BOOT = partial(
    given.test_r12_the_time_of_a_local_grant_outlives_a_restart_of_its_issuer_and_a_boot_renews_it,
    boot=True,
    left=30.0,
)
CHARGED = partial(
    shares.test_a_promise_is_charged_to_the_account_as_far_as_others_claim_the_rest, 100_000, 3_000
)

TABLE = [
    Line(
        "R7: places of given grants outlive the epoch",
        Issued,
        "epoch_closed",
        "given.pieces = ()",
        "pass",
        sealed.test_r7_one_given_in_an_old_epoch_lies_nowhere_in_the_new_one,
    ),
    Line(
        "R12: the deadline of a local grant ignores boots of its issuer",
        Issued,
        "__init__",
        "if boot != clock.boot:",
        "if False:",
        BOOT,
    ),
    Line(
        "R7: tombstones mark nothing after a start",
        KeyStore,
        "load",
        "self.stream.mark(pieces)",
        "pass",
        given.test_r7_after_a_start_the_places_of_a_delivered_key_are_used_though_not_wiped_yet,
    ),
    Line(
        "R18: a rewritten row owes no erasure",
        StoreFile,
        "apply",
        "self.owed += changed",
        "self.owed += sum(isinstance(it, Drop) for it in last.values())",
        partial(with_file, file.test_a_row_that_is_rewritten_owes_the_erasure_of_what_was_there),
    ),
    Line(
        "R16: a link-state of ours counts unsigned",
        Router,
        "_of_ourselves",
        SIGNED,
        "if False:",
        partial(with_row, router.test_a_state_of_ours_that_we_have_not_signed_is_not_outdone),
    ),
    Line(
        "R7: what was committed in the old epoch is said of the new one",
        PeeringState,
        "enter",
        ENTERED,
        "self.resumed, self.nonce = False, 0",
        standing.test_what_was_committed_in_an_old_epoch_is_not_said_of_the_new_one,
    ),
    Line(
        "R13: promises are not charged to the account",
        Shares,
        "reserve",
        "self.account -= max(0, octets - unclaimed)",
        "pass",
        CHARGED,
    ),
    Line(
        "R13: all of a promise is charged to the account",
        Shares,
        "reserve",
        "self.account -= max(0, octets - unclaimed)",
        "self.account -= octets",
        partial(
            shares.test_a_promise_is_charged_to_the_account_as_far_as_others_claim_the_rest,
            4_000,
            1_000,
        ),
    ),
    Line(
        "R4: pads of a closed session are not given back",
        Outgoing,
        "close",
        "self._burn(done)",
        "pass",
        hop.test_a_closed_share_drops_what_it_has_and_burns_its_pads,
    ),
    Line(
        "R4: bits of a forged grant are not marked",
        HeldGrants,
        "_is_forged",
        "self._pieces.use_up(grant.pieces)",
        "pass",
        sealed.test_r4_a_few_forgeries_end_the_pad,
    ),
    Line(
        "R14: at a close the relay hears first, then the virtual link",
        Transit,
        "close",
        CLOSED,
        "for name in sorted((state.source, state.target)):",
        patched(network.test_at_a_close_the_virtual_link_hears_of_it_first),
    ),
    Line(
        "the CA of a lab may make others",
        Authority,
        "create",
        CA,
        ".add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)",
        partial(with_ca, pki.test_the_ca_of_a_lab_makes_no_other_ca),
    ),
    Line(
        "R5: a transfer given does not count",
        Stream,
        "give",
        "self._state.count()",
        "pass",
        stream.test_r5_a_transfer_counts_at_both_ends_so_that_a_lost_one_is_a_rollback,
    ),
    Line(
        "R5: a transfer taken does not count",
        Stream,
        "accept",
        "self._state.count()",
        "pass",
        stream.test_r5_a_transfer_counts_at_both_ends_so_that_a_lost_one_is_a_rollback,
    ),
    Line(
        "R7: used ranges are forgotten at a start",
        Stream,
        "_load",
        USED,
        "segment.used = [] if bits else [(0, length)]",
        given.test_r7_after_a_start_places_that_no_grant_names_any_more_are_used,
    ),
]


@pytest.mark.parametrize("it", TABLE, ids=[it.what for it in TABLE])
def test_a_fault_that_survived_once_is_noticed(it: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(it, monkeypatch)

    assert_noticed(it.witness)
