"""Who acts: each actor owns its state and takes one message at a time."""

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MOVED = {
    "actors.distant": ("SessionOptions", "actors.sessions.options"),
    "actors.keeper": ("StoreOptions", "actors.keystore.options"),
    "actors.key_store": ("KeyStore", "actors.keystore.key_store"),
}
"""Modules of release 0.1, what others imported from them, and where that is; all of this goes after
0.2 (decision 0016)."""


class _Moved:
    """Finds modules that are gone: what was public in them is forwarded, with a warning."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        loader: Any = self  # as a Loader would; to import that class takes 0.8 MiB
        return ModuleSpec(fullname, loader) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the import make an empty one."""

    def exec_module(self, module: ModuleType) -> None:
        wanted, home = _MOVED[module.__name__]

        def forward(name: str) -> Any:
            if name != wanted:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            text = f"{module.__name__} is gone: import {name} from {home}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return getattr(import_module(home), name)

        module.__dict__["__getattr__"] = forward


sys.meta_path.append(_Moved())
