"""Where every frame between two KMSs is lost, a request hears so; afterwards keys flow again."""

from actors.protocol import keys
from actors.protocol.common import Failed
from protokms.testing.kms import KmsNetwork
from protokms.testing.presence import DOWN_S


def test_where_all_frames_are_lost_the_peer_is_down_after_three_heartbeats() -> None:
    kms = KmsNetwork("a-b")
    kms.advance(5.0)
    kms.cluster.cut("a", "b")
    kms.advance(DOWN_S)
    refused = kms.enc("sae-1", "sae-2")
    kms.cluster.mend("a", "b")
    kms.advance(5.0)

    assert isinstance(refused, Failed)
    assert refused.code == "peer_down"
    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)
