# The native module: arithmetic on bytes, each function with a readable twin in Python.

__all__ = ["__version__", "merkle_root"]

__version__: str

# The RFC 6962 root over concatenated 32-byte leaf hashes; ValueError on another length.
def merkle_root(leaves: bytes) -> bytes: ...
