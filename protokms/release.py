"""Which release this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version_of("protokms")
    except PackageNotFoundError:
        return "0+source"  # run from a folder, not installed
