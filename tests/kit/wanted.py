"""Rows of what is wanted of a node, as the actor that keeps them tells and changes them."""

from dataclasses import replace

from actors.protocol import intent
from actors.protocol.common import Failed
from transport.message import Message

A, B, C = (f"7c0a1f5e-2d0b-4a7b-9c55-1f2a7d3e0a0{number}" for number in (1, 2, 3))
"""Ids of kms-1, kms-2 and kms-3."""
PHYS_ID = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c001"
VIRT_ID = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c002"
OWN_ID = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c003"
"""A link that the node has made itself."""
FILE_ID = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c004"
"""A link of its file."""
APP_ID = "0b9a3f7e-55c1-4a0e-8a3d-6d1a4f1f9d01"

NODES = (intent.Named("kms-1", A), intent.Named("kms-2", B), intent.Named("kms-3", C))
AT = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

_ACTIVE = intent.Facts(status=intent.ACTIVE, skr=2_000, eskr=1_488, consumption=512, qber=2.125)
_PHYS = intent.Link(
    kind=intent.PHYS,
    local="kms-1",
    remote="kms-2",
    interface=1,
    peer_interface=2,
    notes=(intent.Note("phys_channel_att", "9.25"), intent.Note("phys_qkd_role", "TRANSMITTER")),
)
_VIRT = intent.Link(
    kind=intent.VIRT, local="kms-1", remote="kms-3", hops=("kms-2", "kms-3"), bandwidth=256
)
_APP = intent.Application(
    master="sae-1",
    slaves=("sae-3",),
    priority=3,
    expires=AT + 86_400,
    max_bandwidth=4_096,
    min_bandwidth=256,
    ttl_s=3_600,
    links=(VIRT_ID,),
    local="kms-1",
    remote="kms-3",
)
_ON = intent.Facts(
    status=intent.ON,
    created=AT,
    consumed=(intent.Consumed(AT, AT + 30, 76_800), intent.Consumed(AT + 30, AT + 60, 1 << 40)),
)
_MODULE = intent.Interface(
    number=1,
    module="emulated",
    peer="kms-2",
    notes=(
        intent.Note("qkdi_type", "DV-QKD"),
        intent.Note("device", "osw-a"),
        intent.Note("port", "12"),
        intent.Note("role_support", "TRANSCEIVER"),
        intent.Note("max_absorption", "24.5"),
    ),
)


def rows() -> list[intent.Entry]:
    """Return one row of each kind, and links of several owners."""
    entry, pending = intent.Entry, intent.Facts(status=intent.PENDING)
    own = replace(_VIRT, remote="kms-2", hops=())
    return [
        entry("settings", "node", "file", 1, AT, intent.Facts("on"), settings=intent.Settings("x")),
        entry("interface", "1", "file", 1, AT, intent.Facts("enabled"), interface=_MODULE),
        entry("link", PHYS_ID, "controller-1", 3, AT + 3, _ACTIVE, link=_PHYS),
        entry("link", VIRT_ID, "controller-1", 4, AT + 4, pending, link=_VIRT),
        entry("link", OWN_ID, "node", 0, 0.0, _ACTIVE, link=own),
        entry("link", FILE_ID, "file", 1, AT, pending, link=replace(_PHYS, remote="kms-3")),
        entry("application", APP_ID, "controller-1", 5, AT + 5, _ON, application=_APP),
    ]


class Wanted:
    """Keeps rows as the actor `intent` does; what no test needs is left out.

    `before_write` is called before each write: somebody else may write there. `failure`, if there
    is one, is every answer.
    """

    def __init__(self) -> None:
        self.here = NODES[0]
        self.rows = {(row.kind, row.id): row for row in rows()}
        self.revision = 5
        self.writes: list[intent.Write] = []
        self.before_write: list[intent.Write] = []
        self.failure: Failed | None = None
        self.denial: intent.Denied | None = None
        self.page = intent.PAGE

    def answer(self, body: Message) -> Message:
        """Answer one question."""
        if self.failure:
            return self.failure
        if isinstance(body, intent.Read):
            return self._read(body)
        if isinstance(body, intent.ReadNodes):
            return intent.Nodes(nodes=NODES)
        if isinstance(body, intent.Subscribe):
            return intent.Subscribed(number=1)
        assert isinstance(body, intent.Write)
        if self.before_write:
            assert isinstance(self.write(self.before_write.pop(0)), intent.Written)
        self.writes.append(body)
        return self.denial or self.write(body)

    def write(self, ask: intent.Write) -> Message:
        """Make all edits, or none."""
        if ask.if_revision not in (None, self.revision):
            return intent.Denied(code="stale", why="written since")
        made, created = dict(self.rows), []
        revision = self.revision + 1
        for number, edit in enumerate(ask.edits):
            key = (edit.kind, edit.id)
            before = made.get(key)
            if edit.if_revision not in (None, before.revision if before else 0):
                return intent.Denied(code="stale", why="written since", edit=number)
            if before and before.owner not in (ask.owner, "node") and edit.kind != "settings":
                why = "this row has another owner"
                return intent.Denied(code="access_denied", why=why, edit=number, owner=before.owner)
            created.append(before is None)
            if edit.verb == intent.REMOVE:
                del made[key]
                continue
            made[key] = intent.Entry(
                *(edit.kind, edit.id, ask.owner, revision, AT + revision),
                facts=intent.Facts(status=intent.PENDING),
                link=edit.link and _named(edit.link),
                application=edit.application and _at_names(edit.application),
                settings=edit.settings,
            )
        self.rows, self.revision = made, revision
        return intent.Written(revision=revision, changed=AT + revision, created=tuple(created))

    def _read(self, ask: intent.Read) -> intent.Rows:
        order = {kind: place for place, kind in enumerate(intent.KINDS)}
        found = [
            row
            for row in sorted(self.rows.values(), key=lambda row: (order[row.kind], row.id))
            if row.kind in ask.kinds and (not ask.ids or row.id in ask.ids)
        ]
        begin = int(ask.after or 0)
        end = begin + self.page
        return intent.Rows(
            revision=self.revision,
            changed=AT + self.revision,
            node=self.here,
            version="0.3.0",
            entries=tuple(found[begin:end]),
            next=str(end) if end < len(found) else "",
        )


_NAMES = {node.id: node.name for node in NODES}


def _named(link: intent.Link) -> intent.Link:
    """Tell nodes by name, whichever way they were written."""
    return replace(
        link,
        local=_NAMES.get(link.local, link.local),
        remote=_NAMES.get(link.remote, link.remote),
        prev=_NAMES.get(link.prev, link.prev),
        hops=tuple(_NAMES.get(hop, hop) for hop in link.hops),
    )


def _at_names(app: intent.Application) -> intent.Application:
    local, remote = (_NAMES.get(node, node) for node in (app.local, app.remote))
    return replace(app, local=local, remote=remote)
