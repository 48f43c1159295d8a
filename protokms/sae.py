"""The name that `protokms.client` had in 0.2."""

from protokms.client import SaeClient, SaeError, SaeKey

__all__ = ["SaeClient", "SaeError", "SaeKey"]
