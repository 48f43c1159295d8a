"""What operators want of a node, written as rows of `intent` whose owner is the command line."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from actors.protocol import intent, sessions
from actors.protocol.common import Failed
from actors.protocol.intent import Denied, Edit, Entry, Link, Policy, Written
from protokms.manage import words
from transport.message import Message

WRITE_S = 5.0
SESSION_S = 15.0
KEPT = "refused by "
"""So begins why a session is not set up yet; its node goes on trying. Bad terms it drops."""

Ask = Callable[[str, Message, float], Awaitable[Message]]
Word = (
    words.AddSession
    | words.RemoveSession
    | words.AddLink
    | words.RemoveLink
    | words.SwitchLink
    | words.AddPolicy
    | words.RemovePolicy
    | words.ListPolicies
)


async def do(word: Word, node: str, ask: Ask) -> Any:
    """Write what is wanted, and return what came of it."""
    match word:
        case words.AddPolicy() | words.RemovePolicy() | words.ListPolicies():
            return await _policy(word, ask)
        case words.AddSession():
            return await _add_session(word, node, ask)
        case words.RemoveSession():
            return await _remove_session(word, node, ask)
        case words.AddLink():
            link = Link(intent.PHYS, node, word.peer, interface=word.interface)
            return await _write(ask, Edit(intent.PUT, intent.LINK, "", link=link))
        case words.RemoveLink():
            link = Link(intent.PHYS, node, word.peer)
            return await _write(ask, Edit(intent.REMOVE, intent.LINK, "", link=link))
        case words.SwitchLink():
            return await _switch(word, node, ask)


async def _add_session(word: words.AddSession, node: str, ask: Ask) -> Message:
    """Want a session; it answers when it stands, or is refused. Terms that are bad are dropped."""
    terms = msgspec.structs.asdict(word)
    link = Link(intent.VIRT, node, terms.pop("destination"), **terms)
    wrote = await _write(ask, Edit(intent.PUT, intent.LINK, "", link=link))
    if not isinstance(wrote, Written):
        return wrote
    body = sessions.AddSession(**msgspec.structs.asdict(word))
    answer = await ask("sessions", body, SESSION_S)
    kept = not isinstance(answer, Failed) or answer.why.startswith(KEPT)
    if wrote.created[0] and not kept and answer != Failed(code="timeout", why="no answer"):
        await _write(ask, Edit(intent.REMOVE, intent.LINK, "", link=link))
    return answer


async def _remove_session(word: words.RemoveSession, node: str, ask: Ask) -> Message:
    """Want it no more; one that an SAE had asked for is removed too. Harmless if there is none."""
    link = Link(intent.VIRT, node, word.destination)
    wrote = await _write(ask, Edit(intent.REMOVE, intent.LINK, "", link=link))
    if isinstance(wrote, Failed) and wrote.code != "data_missing":
        return wrote
    body = sessions.RemoveSession(destination=word.destination)
    return await ask("sessions", body, SESSION_S)


async def _switch(word: words.SwitchLink, node: str, ask: Ask) -> Message:
    """Switch every row that fills the store of a peer."""
    rows = await _rows(ask, intent.LINK)
    if isinstance(rows, Failed):
        return rows
    ours = [it for it in rows if it.link and it.link.remote == word.peer and not it.link.prev]
    named = [it for it in ours if it.owner != intent.NODE and it.link and it.link.local == node]
    if not named:
        return Failed(code="no_such_link", why=f"nobody has added a link to {word.peer}")
    edits = (
        Edit(
            intent.MERGE,
            intent.LINK,
            it.id,
            link=Link(intent.PHYS, node, word.peer, enabled=word.enabled),
            fields=("enabled",),
        )
        for it in named
    )
    return await _write(ask, *edits)


async def _policy(
    word: words.AddPolicy | words.RemovePolicy | words.ListPolicies, ask: Ask
) -> Message | dict[str, Any]:
    if isinstance(word, words.AddPolicy):
        terms = msgspec.structs.asdict(word)
        name, rate_of = terms.pop("name"), terms.pop("rate_of")
        if rate_of == "sae":
            terms["masters"] = (*terms["masters"], intent.PER_SAE)
        return await _write(ask, Edit(intent.PUT, intent.POLICY, name, policy=Policy(**terms)))
    if isinstance(word, words.RemovePolicy):
        return await _write(ask, Edit(intent.REMOVE, intent.POLICY, word.name))
    rows = await _rows(ask, intent.POLICY)
    return rows if isinstance(rows, Failed) else {"policies": _told(rows)}


def _told(rows: list[Entry]) -> list[dict[str, Any]]:
    """Write policies down in the order in which they are asked."""
    policies = [(it.policy.order, it.id, it.owner, it.policy) for it in rows if it.policy]
    kept = ("order", "slaves", "allow", "max_bandwidth", "stock_bits", "ttl_s", "priority", "paths")
    return [
        {"name": name, "owner": owner}
        | {field: getattr(policy, field) for field in kept}
        | {
            "masters": [it for it in policy.masters if it != intent.PER_SAE],
            "rate_of": "sae" if intent.PER_SAE in policy.masters else "pair",
        }
        for _, name, owner, policy in sorted(policies, key=lambda row: row[:2])
    ]


async def _rows(ask: Ask, kind: str) -> list[Entry] | Failed:
    found, after = list[Entry](), ""
    while True:
        page = await ask(intent.NAME, intent.Read(kinds=(kind,), after=after), WRITE_S)
        if not isinstance(page, intent.Rows):
            return page if isinstance(page, Failed) else Failed(code="crashed", why="no rows")
        found, after = [*found, *page.entries], page.next
        if not after:
            return found


async def _write(ask: Ask, *edits: Edit) -> Message:
    answer = await ask(intent.NAME, intent.Write(owner=intent.CLI, edits=edits), WRITE_S)
    return Failed(code=answer.code, why=answer.why) if isinstance(answer, Denied) else answer
