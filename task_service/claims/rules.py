"""How agents take tasks: one method, one use case, one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from shared.auth.access import require_active
from shared.auth.authenticator import Authenticator
from shared.auth.caller import Caller, current_call, offered
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import (
    Reason,
    Refusal,
    caller_inactive,
    of_assignee,
)
from shared.events.recording import Recorder
from shared.grpc_server.parking import parked
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.validation import Parsed
from task_service.claims import queries
from task_service.claims.claim import Claim, Claimed, Worker
from task_service.claims.hand_out import HandOut
from task_service.claims.waiting import Queues, Waiter
from task_service.holders import content, refuse
from task_service.presence.rules import Sign, seen
from task_service.tasks.waiting import end_of

# Of calls that take the same slot or lock key at the same time, one gets it. The others look again.
ATTEMPTS = 5


class Nothing(Exception):  # noqa: N818
    """There is no task to be claimed; nothing has changed."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker = worker


class Attempt(NamedTuple):
    """What a statement has claimed, for whom, and whether it has chosen more than it got."""

    rows: list[Record]
    worker: Worker
    has_lost: bool


class ClaimRules:
    """The use case."""

    def __init__(self, database: Database, authenticator: Authenticator, queues: Queues) -> None:
        self._database = database
        self._authenticator = authenticator
        self._queues = queues

    async def claim(
        self, call: IdempotentCall[M], project_id: str, agent_id: str, parsed: Parsed[Claim]
    ) -> M:
        """Claim tasks, and wait for some if that is asked for; none, if there are none."""

        is_repeatable = bool(call.request.request_id)
        hand_out = HandOut(self._database, call.caller, is_repeatable=is_repeatable)

        async def claim(call: IdempotentCall[M]) -> M:
            return await self._claim(call, hand_out, (project_id, agent_id), parsed)

        try:
            if parsed.refusal is None and parsed.value.wait:
                return await self._wait(call, parsed.value, claim)
            return await claim(call)
        except Nothing:
            if parsed.value.task_ids:
                message = "None of these tasks can be claimed by the agent now."
                raise Refusal(Reason.NOT_CLAIMABLE, message) from None
            nothing: M = await call.to_response(Claimed((), 0))
            return nothing

    async def _wait(
        self,
        call: IdempotentCall[M],
        claim: Claim,
        attempt: Callable[[IdempotentCall[M]], Awaitable[M]],
    ) -> M:
        """Claim, and park as long as there is nothing. Raises Nothing at the end."""
        this = current_call.get()
        end = end_of(this, claim.wait, monotonic())
        waiter = Waiter(this, claim)
        with self._queues.join(waiter) as queue:
            while True:
                waiter.begin()
                try:
                    return await attempt(call)
                except Nothing as nothing:
                    waiter.has_found_nothing(nothing.worker)
                    if (seconds := end - monotonic()) <= 0:
                        raise
                    nothing_yet = nothing
                async with parked():
                    queue.begin(waiter)
                    is_woken = await waiter.woken(seconds)
                # Another call with the same id may have got something meanwhile.
                if not is_woken and not call.request.request_id:
                    raise nothing_yet
                proof = await self._authenticator.authenticate((f"Bearer {this.token}",))
                call = replace(call, caller=proof.caller)

    async def _claim(
        self,
        call: IdempotentCall[M],
        hand_out: HandOut,
        ids: tuple[str, str],
        parsed: Parsed[Claim],
    ) -> M:
        """Claim what is there. The agent is seen by it. Raises Nothing."""
        sign = None

        async def work(connection: Connection, log: Recorder) -> Claimed:
            nonlocal sign
            claim = await content(connection, call.caller, *ids, parsed)
            rows, worker, _ = await _claim(connection, log, call.caller, claim)
            sign = worker.sign
            if not rows:
                raise Nothing(worker)
            hand_out.claimed = await _with_history(connection, claim, rows)
            return hand_out.claimed

        async def attempt() -> M:
            try:
                return await call.single(self._database, work)
            finally:
                if sign is not None:
                    of = parsed.value.project_id, parsed.value.agent_id
                    await seen(self._database, call.caller, *of, sign)

        return await hand_out.awaited(attempt())


async def _claim(connection: Connection, log: Recorder, caller: Caller, claim: Claim) -> Attempt:
    for _ in range(ATTEMPTS):
        attempt = await _attempt(connection, log, caller, claim)
        if attempt.rows or not attempt.has_lost:
            break
    return attempt


async def _attempt(connection: Connection, log: Recorder, caller: Caller, claim: Claim) -> Attempt:
    change = queries.CLAIM_NAMED if claim.task_ids else queries.CLAIM
    rows = await log.run_all(connection, change, offered(caller), dict(claim.parameters))
    if not rows:
        await refuse(connection, caller, claim.project_id, claim.agent_id)
    found = rows[0]
    if not found["found_is_usable"]:
        raise caller_inactive()
    require_active(claim.project_id, found["found_project_status"])
    if not found["found_is_active"]:
        if caller.id == claim.agent_id:
            raise caller_inactive()
        metadata = of_assignee(claim.agent_id, "agent")
        raise Refusal(Reason.ASSIGNEE_INACTIVE, "The agent is not active.", metadata)
    claimed = [row for row in rows if row["id"] is not None]
    able = frozenset(found["found_able"])
    sign = Sign(found["found_status"], found["found_is_known"])
    worker = Worker(able, found["found_free"], found["found_revision"], sign)
    return Attempt(claimed, worker, found["found_number"] > len(claimed))


async def _with_history(connection: Connection, claim: Claim, rows: list[Record]) -> Claimed:
    """With what came before, which is looked for only if there can be any."""
    order = sorted(rows, key=lambda row: (row["rank"], row["ready_at"], row["id"]))
    whole, is_cut = await _whole(connection, claim, order)
    again = [row["id"] for row in order if row["fence"] > 1]
    if not again:
        return Claimed(whole, claim.seconds, is_cut=is_cut)
    of: dict[str, Any] = {"project_id": claim.project_id, "task_ids": again}
    previous = await queries.PREVIOUS_ATTEMPTS.rows(connection, **of)
    inputs = await queries.INPUTS.rows(connection, **of)
    is_cut = is_cut or _is_cut(previous) or _is_cut(inputs)
    return Claimed(whole, claim.seconds, _by_task(previous), _by_task(inputs), is_cut)


async def _whole(
    connection: Connection, claim: Claim, rows: list[Record]
) -> tuple[list[dict[str, Any]], bool]:
    """Tasks with what is large of them, as far as a response has room; whether something is cut."""
    large = [row["id"] for row in rows if row["is_large"]]
    found: list[Record] = []
    if large:
        of: dict[str, Any] = {"project_id": claim.project_id, "task_ids": large}
        found = await queries.LARGE_COLUMNS.rows(connection, **of)
    columns = {row["id"]: {name: row[name] for name in queries.LARGE} for row in found}
    whole = [{**dict(row.items()), **columns.get(row["id"], {})} for row in rows]
    return whole, len(found) < len(large)


def _is_cut(rows: Sequence[Record]) -> bool:
    return bool(rows) and len(rows) < rows[0]["batch_rows"]


def _by_task(rows: Sequence[Record]) -> dict[UUID, list[Record]]:
    found: dict[UUID, list[Record]] = {}
    for row in rows:
        found.setdefault(row["task_id"], []).append(row)
    return found
