# The native module: arithmetic on bytes, each function with a readable twin in Python.

from collections.abc import Sequence

__all__ = ["__version__", "merkle_root", "zdb_main"]

__version__: str

# The RFC 6962 root over concatenated 32-byte leaf hashes; ValueError on another length.
def merkle_root(leaves: bytes) -> bytes: ...

# The Zero-DB server, or a tool for its files, as a command line says; the exit code. It takes the whole process.
def zdb_main(arguments: Sequence[str]) -> int: ...
