"""The demo, told as it happens: seven steps from a bare machine to a page that answers.

| module | what it holds |
|---|---|
| `demo` | the commands: `demo`, `demo unplug`, `demo replug` |
| `running` | the seven steps in their order |
| `telling` | how a step is announced, and how one that fails says which it was |
| `preparing` | steps 1 to 3: the machine, the grid, images and recipe |
| `agreeing` | steps 4 and 5: plan, registration, approvals, and that nothing runs before |
| `answering` | steps 6 and 7: the page, receipts, proof, and how to look around |

`tfgrid demo` may be repeated: what is there is found, and the story goes on from it.
"""

__all__ = ["demo"]
