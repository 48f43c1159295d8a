"""Which release this is; the distribution has its version from here.

`importlib.metadata` would tell the same, and takes 2.7 MiB of each process.
"""

VERSION = "0.2.0"
