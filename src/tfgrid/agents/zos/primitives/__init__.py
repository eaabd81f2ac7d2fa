"""The primitives of a node: observe, ensure, remove for each kind of item.

    core0 items --Machine--> image      flist.ImageStore
                        |--> network    znet.Networks
                        |--> zdb        zdb.Device, reached through its network
                        |--> container  container.Runtime, attached to its network
                        `--> route      znet forwards and zgw.Gateway

| name | what it is |
|---|---|
| `Machine` | all of them together: the real `core.host.Host` |
| `Parts` | what a machine is put together from |
| `open_parts` | the parts of a node, from its configuration |
| `Memo` | what an item was, kept durably from before it is made until after it is gone |
"""

from tfgrid.agents.zos.primitives.machine import Machine, Parts, open_parts
from tfgrid.agents.zos.primitives.memo import Memo

__all__ = ["Machine", "Memo", "Parts", "open_parts"]
