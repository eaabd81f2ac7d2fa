"""Zero-DB beside Redis.

| module | what it holds |
|---|---|
| `peers` | servers of the Redis protocol, and the load that asks them |
| `rates` | throughput, durability, memory, restart and disk, measured and told |
"""

from bench.zdb.rates import measure

__all__ = ["measure"]
