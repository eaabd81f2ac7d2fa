"""`plan` and `deploy`: what an order would become, and making it so.

`plan` has no writer within reach. `deploy` prints the same plan first and asks once; given a plan
file it applies exactly that, or refuses because the world has moved.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import click

from tfgrid.agents import threebot
from tfgrid.capacity import flist
from tfgrid.core import canonical, errors, ids, limits, store
from tfgrid.core.rng import SystemRng
from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, portrait, web
from tfgrid.doors.cli.frame import (
    ExitCode,
    Leaf,
    Progress,
    Settings,
    complete,
    confirm,
    hints,
    leaf,
    say,
    show,
    write_file,
)
from tfgrid.doors.cli.nouns import recipe as recipes
from tfgrid.doors.cli.session import Session, grid_directory
from tfgrid.ledger import bcdb, contract

__all__ = ["COMMANDS", "Request", "images_by_name", "make_plan", "register"]

_group = click.Group()
_SALT_BYTES: Final = 16
_F = TypeVar("_F", bound=Callable[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was typed: recipe, file or plan; a name; settings; who approves in which role."""

    what: str
    name: str = ""
    settings: Mapping[str, str]
    approvers: Mapping[str, Sequence[str]]


def _pairs(texts: Sequence[str], flag: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise errors.BadInput(
                "TFG-5016", f"{flag} {key} has no value", where=flag, hint=f"{flag} name=value"
            )
    return [(key, value) for key, _, value in pairs]


def request_from(
    what: str, name: str, settings: Sequence[str], approvers: Sequence[str]
) -> Request:
    """A request from flags.

    Raises:
        errors.BadInput: TFG-5016, a flag is not `name=value`.

    """
    roles: dict[str, list[str]] = {}
    for role, who in _pairs(approvers, "--approver"):
        roles.setdefault(role, []).append(who)
    return Request(what=what, name=name, settings=dict(_pairs(settings, "--set")), approvers=roles)


def _arguments(function: _F) -> _F:
    """What `plan` and `deploy` share: what is ordered, under which name, with which settings."""
    for add in (
        click.option("--approver", "approvers", multiple=True, metavar="ROLE=IDENTITY",
                     help="Who approves in a role (default: the identity of the role's name)."),
        click.option("--set", "settings_", multiple=True, metavar="K=V",
                     help="A parameter of the recipe."),
        click.option("--name", default="", help="The contract's name (default: the recipe's)."),
        click.argument("what", metavar="RECIPE|FILE", shell_complete=complete("recipe")),
    ):  # fmt: skip
        add(function)
    return function


@leaf(
    _group, "plan", answers=("tfgrid.plan/1",),
    examples=(
        "tfgrid plan guestbook", "tfgrid plan guestbook --set memory=64MiB -o guestbook.plan",
        "tfgrid plan examples/guestbook --json",
    ),
)  # fmt: skip
@_arguments
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Keep the plan in a file.")
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="20 if deploying it would register something, 6 if that would be refused.",
)
def plan(
    settings: Settings, what: str, name: str, settings_: Sequence[str],
    approvers: Sequence[str], output: Path | None, detailed_exitcode: bool,
) -> None:  # fmt: skip
    """Plan an order: where each workload would go, why there, at what price. Changes nothing."""
    request = request_from(what, name, settings_, approvers)
    answer, data, changes = asyncio.run(_plan(settings, request, output))
    if output is not None:
        write_file(output, data)
    show(settings, answer, lambda a: portrait.plan_text(settings, a))
    if not answer.obstacle:
        hints(settings, _again(what, name, settings_, approvers, output))
    if detailed_exitcode and answer.obstacle:
        click.get_current_context().exit(int(ExitCode.CONFLICT))
    if detailed_exitcode and changes:
        click.get_current_context().exit(int(ExitCode.CHANGES))


def _again(
    what: str, name: str, settings: Sequence[str], approvers: Sequence[str], output: Path | None
) -> str:
    """The command that orders what was planned."""
    if output:
        return shlex.join(["tfgrid", "deploy", str(output)])
    flags = ["--name", name] if name else []
    flags += [word for pair in settings for word in ("--set", pair)]
    flags += [word for pair in approvers for word in ("--approver", pair)]
    return shlex.join(["tfgrid", "deploy", what, *flags])


async def _plan(
    settings: Settings, request: Request, output: Path | None
) -> tuple[answers.Plan, bytes, bool]:
    with Session(settings) as session:
        await session.look()
        there = ordered_already(session, request) is not None
        made = make_plan(session, request)
        hindered = "" if there else obstacle(session, made)
        answer = portrait.plan_answer(session, made, str(output or ""), hindered)
        return answer, canonical.encode(made), not there


def make_plan(session: Session, request: Request) -> contract.Plan:
    """The plan that a request means: read from a file of one, or made from a recipe now.

    Raises:
        errors.NotFound: TFG-5006, TFG-2403.
        errors.NoFit: TFG-2350.

    """
    planned = _plan_in(request.what)
    if planned is not None:
        return planned
    order, recipe = _order(session, request)
    ordering = threebot.Ordering(session.follower, None, session.clock)
    return ordering.plan(order, recipe, images_by_name(session))


def _order(session: Session, request: Request) -> tuple[contract.Order, contract.Recipe]:
    recipe = _recipe(session, request.what)
    order = contract.Order(
        ledger=session.grid.ledger, owner=session.keyring().identity,
        name=request.name or recipe.name,
        salt=canonical.text_from(SystemRng().token(_SALT_BYTES)),
        parameters=dict(request.settings), approvers=_roles(session, recipe, request.approvers),
    )  # fmt: skip
    return order, recipe


def ordered_already(session: Session, request: Request) -> contract.ContractState | None:
    """The living contract that this request would make once more, so that a repeat resumes.

    It is the same plan, or has the same owner, name, recipe, workloads and approvers; to order the
    same twice, give it another name.
    """
    planned = _plan_in(request.what)
    if planned is not None:
        wanted = contract.contract_id(planned.proposal.agreement)
        return next((s for s in session.contracts() if s.contract == wanted), None)
    order, recipe = _order(session, request)
    workloads = contract.render(recipe, order.parameters, images_by_name(session))
    approvers = {(role, who) for role, people in order.approvers.items() for who in people}
    for state in session.contracts():
        agreed = state.proposal.agreement
        rules = (agreed.policy.deploy, agreed.policy.delete)
        if (
            state.phase not in {*contract.PHASES_FINAL, "cancelling", "expired"}
            and (agreed.owner, agreed.name) == (order.owner, order.name)
            and (agreed.recipe, agreed.workloads) == (contract.recipe_ref(recipe), workloads)
            and {(a.role, a.identity) for rule in rules for a in rule.approvers} == approvers
        ):
            return state
    return None


def _plan_in(what: str) -> contract.Plan | None:
    """The plan in a file; None if this names no file of one."""
    path = Path(what)
    data = store.read_at_most(path, limits.document_bytes_max) if path.is_file() else b""
    return canonical.parse(data, contract.Plan) if data[:1] == b"{" else None


def _recipe(session: Session, what: str) -> contract.Recipe:
    path = Path(what)
    if "/" in what or path.suffix in {".yaml", ".yml"} or path.is_file():
        text = recipes.read_text(recipes.recipe_file(what))
        author = session.grid.identities["expert"]
        return contract.parse_recipe_yaml(text, author=author)
    name, _, version = what.partition("@")
    return contract.read_recipe(session.follower.view, name, version)


def _roles(
    session: Session, recipe: contract.Recipe, given: Mapping[str, Sequence[str]]
) -> dict[str, tuple[ids.IdentityId, ...]]:
    """Who fills each role of a recipe: who was named, else the identity of the role's name."""
    known = session.grid.identities
    found = {}
    for role in sorted({r.role for rule in (recipe.deploy, recipe.delete) for r in rule.roles}):
        names = given.get(role) or ([role] if role in known else [])
        found[role] = tuple(_approver(session, role, name) for name in names)
    for role in sorted(set(given) - set(found)):
        raise errors.BadInput(
            "TFG-5027", f"recipe {recipe.name} has no role {role!r}", where="--approver",
            hint=f"its roles are {', '.join(found) or 'none'}",
        )  # fmt: skip
    return {role: who for role, who in found.items() if who}


def _approver(session: Session, role: str, word: str) -> ids.IdentityId:
    """The identity that a person calls by this name or id; it must be one that can sign."""
    known = session.grid.identities
    if word in known:
        return known[word]
    if bcdb.identity_state(session.follower.view, ids.IdentityId(word)) is not None:
        return ids.IdentityId(word)
    raise errors.NotFound(
        "TFG-5028", f"{word!r} cannot approve as {role}: the ledger knows no such identity",
        where="--approver", hint=f"give an id, or one of {', '.join(sorted(known))}",
    )  # fmt: skip


def images_by_name(session: Session) -> dict[str, contract.Image]:
    """The images that this grid publishes: the newest by `name`, all by `name@digest`."""
    store = flist.ChunkStore(session.paths.images)
    found: dict[str, contract.Image] = {}
    for summary in sorted(flist.images(store), key=lambda s: _published(session, s.digest)):
        image = contract.Image(name=summary.name, digest=summary.digest, signer=summary.signer)
        found[summary.name] = found[f"{summary.name}@{summary.digest}"] = image
    return found


def _published(session: Session, digest: str) -> float:
    for path in session.paths.images.glob(f"manifests/**/{digest}*"):
        return path.stat().st_mtime
    return 0.0


def obstacle(session: Session, made: contract.Plan) -> str:
    """Why a plan could not be registered now, as a host name that is held; empty if it could be."""
    which = contract.contract_id(made.proposal.agreement)
    if any(state.contract == which for state in session.contracts()):
        return ""
    try:
        contract.check_plan(made, session.follower.view, session.now_ms)
    except errors.Conflict as fault:
        cause = fault.__cause__
        if isinstance(cause, errors.GridError):
            return f"{cause.what} ({cause.hint})" if cause.hint else cause.what
        return fault.what
    return ""


@leaf(
    _group, "deploy", answers=("tfgrid.deployed/1",),
    examples=(
        "tfgrid deploy guestbook --yes", "tfgrid deploy guestbook.plan",
        "tfgrid deploy guestbook --set memory=64MiB --name second",
    ),
)  # fmt: skip
@_arguments
@click.option("--wait/--no-wait", default=True, help="Wait until it runs (default: wait).")
def deploy(
    settings: Settings, what: str, name: str, settings_: Sequence[str],
    approvers: Sequence[str], wait: bool,
) -> None:  # fmt: skip
    """Order a recipe, a recipe file or a plan file: show the plan, ask, register, wait."""
    request = request_from(what, name, settings_, approvers)
    answer = asyncio.run(_deploy(settings, request, wait=wait))
    if answer is None:
        return
    show(settings, answer, _deployed_text)
    if answer.phase == "proposed":
        signing = [f"tfgrid contract sign {answer.name} --as {who}" for who in answer.asked[:2]]
        hints(settings, *signing, f"tfgrid contract show {answer.name}")
        click.get_current_context().exit(int(ExitCode.WAITING))
    certificate = localgrid.find(grid_directory(settings)).root_certificate
    asking = [web.curl(url, certificate) for url in answer.urls[:1] if answer.phase == "running"]
    hints(settings, f"tfgrid contract show {answer.name}", *asking)


def _deployed_text(answer: answers.Deployed) -> str:
    short = ids.short(answer.contract)
    head = f"{answer.name} is {answer.phase}: record {answer.position}, contract {short}"
    if answer.phase == "proposed":
        return f"{head}, approvals {answer.approved}/{answer.needed}"
    return "\n".join([head, *answer.urls])


async def _deploy(settings: Settings, request: Request, *, wait: bool) -> answers.Deployed | None:
    with Session(settings) as session:
        await session.look()
        there = ordered_already(session, request)
        if there is not None:
            say(settings, f"{there.proposal.agreement.name} is ordered already: {there.phase}")
            timeout = settings.timeout if wait and not settings.dry_run else 0
            return _deployed(session, await _until_running(session, there, timeout))
        made = make_plan(session, request)
        if settings.dry_run:
            answer = portrait.plan_answer(session, made, "", obstacle(session, made))
            text = portrait.plan_text(settings, answer)
            show(settings, await _pending(session, made), lambda _: text)
            say(settings, "this is what would be registered; nothing was")
            return None
        if not settings.json and not settings.quiet:
            say(settings, portrait.plan_text(settings, portrait.plan_answer(session, made)))
        if obstacle(session, made):
            contract.check_plan(made, session.follower.view, session.now_ms)
        confirm(settings, "Register it?")
        state = await register(session, made, settings.timeout if wait else 0)
        return _deployed(session, state)


async def _pending(session: Session, made: contract.Plan) -> answers.Deployed:
    agreement = made.proposal.agreement
    return answers.Deployed(
        contract=contract.contract_id(agreement), name=agreement.name, phase="planned", position=0,
        urls=portrait.urls(session, made.proposal), approved=0,
        needed=agreement.policy.deploy.weight,
        asked=[session.person(one.identity) for one in agreement.policy.deploy.approvers],
    )  # fmt: skip


def _deployed(session: Session, state: contract.ContractState) -> answers.Deployed:
    return answers.Deployed(
        contract=state.contract, name=state.proposal.agreement.name, phase=state.phase,
        position=state.position, urls=portrait.urls(session, state.proposal),
        approved=state.deploy.approved, needed=state.deploy.needed,
        asked=[session.person(who) for who in state.deploy.waiting],
    )  # fmt: skip


async def register(
    session: Session, made: contract.Plan, timeout_seconds: int
) -> contract.ContractState:
    """Register a plan and, if it needs nobody else's signature, wait until it runs."""
    ordering = threebot.Ordering(session.follower, await session.author(), session.clock)
    return await _until_running(session, await ordering.propose(made), timeout_seconds)


async def _until_running(
    session: Session, state: contract.ContractState, timeout_seconds: int
) -> contract.ContractState:
    """Wait until a contract runs, if its nodes are at it."""
    if state.phase in {"proposed", "running"} or not timeout_seconds:
        return state
    ordering = threebot.Ordering(session.follower, None, session.clock)
    with Progress(session.settings, "waiting for the nodes") as progress:
        async for step in ordering.wait(
            state.contract, until={"running"}, timeout_seconds=timeout_seconds
        ):
            progress.change(step.workload or step.node or "contract", step.state)
    return await ordering.state(state.contract)


COMMANDS: Final[dict[str, Leaf]] = {"plan": plan, "deploy": deploy}
