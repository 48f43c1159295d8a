"""Copies of the official modules of ETSI GS QKD 015 in which what they mean can be valid.

The published `when`s compare a type with a name that has no module, so no data meets them. The
copy has yang-version 1.1 and `derived-from-or-self`. Notifications become containers there: a
judge of data reads those as well.
"""

import re
from pathlib import Path

from etsi.gs015.model.tree import MODULE, TYPES

_WHEN = re.compile(r"when \"((?:\.\./)?qkdl_type) = '(VIRT|PHYS)'\"")
_MEANT = "when \"derived-from-or-self(\\1, 'etsi-qkdn-types:\\2')\""
_WHENS = 3
_NOTIFICATION = re.compile(r"^(\s*)notification (\S+) \{", re.MULTILINE)


class Unfit(Exception):
    """These are not the modules that are meant."""


def corrected(official: Path, folder: Path) -> None:
    """Write corrected copies of both modules into a folder; or `Unfit`."""
    for name in (MODULE, TYPES):
        file = official / f"{name}.yang"
        if not file.is_file():
            raise Unfit(f"there is no {file}")
        text = file.read_text(encoding="utf-8")
        text, versions = re.subn(r'yang-version "?1"?;', "yang-version 1.1;", text)
        if not versions:
            raise Unfit(f"{file} is not of yang-version 1")
        if name == MODULE:
            text, whens = _WHEN.subn(_MEANT, text)
            if whens != _WHENS:
                raise Unfit(f"{file} has {whens} of the {_WHENS} `when`s that are to be corrected")
            text = _NOTIFICATION.sub(r"\1container \2 { config false;", text)
        (folder / file.name).write_text(text, encoding="utf-8")
