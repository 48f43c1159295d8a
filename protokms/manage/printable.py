"""Texts of others, as they may stand in a line on a terminal."""


def printable(text: str) -> str:
    r"""Write each character that cannot be printed as its escape, an end of a line too: `\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode()
