"""One module per noun, each imported when its noun is typed. `demo` is told in `story`.

| module | commands |
|---|---|
| `machine` | `doctor`, `up`, `down`, `status` |
| `order` | `plan`, `deploy` |
| `contract` | `contract list show why sign reject cancel proof verify` |
| `update` | `contract update` |
| `recipe` | `recipe lint publish list show` |
| `image` | `image build list show verify` |
| `node` | `node list show`, `farm list` |
| `logs` | `logs` |
| `zdb` | `zdb serve info check repair rebuild dump` |
| `config` | `config show` |
| `topics` | `help`, `completion` |
"""

__all__ = [
    "config",
    "contract",
    "image",
    "logs",
    "machine",
    "node",
    "order",
    "recipe",
    "topics",
    "update",
    "zdb",
]
