"""Core-0: what a node decides, and the loop that makes it so.

    verified view --view--> cases --+
    machine --observe--> items -----+--> plan (pure) --> steps --> host, outbox
    inventory --> offer ------------+

| module | what it holds |
|---|---|
| `items` | what a placement means for one node, as items of its machine (pure) |
| `plan` | what to do next (pure) |
| `view` | from the ledger's view to the cases of a plan |
| `inventory` | what the machine has and lacks, and this node's share |
| `outbox` | receipts that wait to be written |
| `steps`, `backoff` | carrying out one step; when to try again |
| `introduce` | how a node makes itself known |
| `loop` | all of it, for ever |
"""

__all__ = ["backoff", "introduce", "inventory", "items", "loop", "outbox", "plan", "steps", "view"]
