"""Where people and programs come in.

| package | who knocks |
|---|---|
| `api` | programs, over HTTP: any socketless handler gets a socket here |
| `cli` | people, at a terminal: `tfgrid` |
| `localgrid` | whoever wants a whole grid on this machine |
"""

__all__ = ["api", "cli", "localgrid"]
