"""Carrying out one step of a plan: on the machine by the host's verbs, and in words by the outbox.

Each step may be repeated, and may be cut anywhere: what was begun is observed next time and planned
anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tfgrid.agents.zos.core0.outbox import Outbox
from tfgrid.agents.zos.core0.plan import Accept, Ensure, Refuse, Remove, Say, Step
from tfgrid.core import limits
from tfgrid.core.clock import Clock
from tfgrid.core.host import Host, Item, Observed
from tfgrid.core.ids import ContractId
from tfgrid.ledger import contract as contracts

__all__ = ["Hands", "key_of"]


def key_of(step: Step) -> str:
    """The name of a step, for back-off and so that it never runs twice at once."""
    match step:
        case Accept() | Refuse():
            return f"admit {step.contract}"
        case Ensure():
            return f"item {step.item.key.kind} {step.item.key.name}"
        case Remove():
            return f"item {step.key.kind} {step.key.name}"
        case Say():
            return f"say {step.contract}/{step.workload}"
        case _:
            assert_never(step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What steps are carried out with."""

    host: Host
    outbox: Outbox
    clock: Clock

    async def do(self, step: Step) -> None:
        """Carry out one step.

        Raises:
            errors.GridError: what stood in the way; the step is planned again.

        """
        match step:
            case Accept():
                ends = [await self._endpoint(item) for item in step.networks]
                self._say(step.contract, "", "accepted", endpoints=tuple(ends))
            case Refuse():
                self._say(step.contract, "", "refused", reasons=step.reasons)
            case Ensure():
                await self.host.ensure(step.item)
            case Remove():
                await self.host.remove(step.key)
            case Say():
                self._say(
                    step.contract, step.workload, step.state, reasons=step.reasons,
                    image=step.image, observed=step.observed,
                )  # fmt: skip
            case _:
                assert_never(step)

    async def _endpoint(self, item: Item) -> contracts.Endpoint:
        facts = await self.host.prepare(item)
        return contracts.Endpoint(
            network=item.key.name.partition("/")[2],
            public_key=facts["public_key"],
            endpoint=facts["endpoint"],
        )

    def _say(
        self,
        contract: ContractId,
        workload: str,
        state: contracts.ReceiptState,
        *,
        reasons: tuple[str, ...] = (),
        endpoints: tuple[contracts.Endpoint, ...] = (),
        image: str = "",
        observed: Observed | None = None,
    ) -> None:
        facts = observed.facts if observed else {}
        usage = {k: int(facts[k]) for k in contracts.Usage.__struct_fields__ if k in facts}
        self.outbox.put(
            contracts.Receipt(
                contract=contract, placement=0, workload=workload, state=state,
                reasons=tuple(r[: limits.text_chars_max] for r in reasons), endpoints=endpoints,
                image=image, limits=contracts.Usage(**usage),
                exit_code=int(facts.get("exit_code", -1)), at=max(0, self.clock.now_ms()),
            )
        )  # fmt: skip
