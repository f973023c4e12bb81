"""The answers of the operations pages, as the OpenAPI document describes them. Further members may come."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class OperationsAnswer(BaseModel):
    """The common part of all answers."""

    model_config = ConfigDict(extra="allow")


class ListAnswer(OperationsAnswer):
    """A page of a list: `next` is the `cursor` of the following page, null at the end."""

    items: list[dict[str, Any]]
    next: str | None


class JobAnswer(OperationsAnswer):
    """A job: a bulk action that runs in the background."""

    id: str
    what: str = Field(description="the list and the action: dead-letters.replay")
    who: str
    state: str = Field(description="running, done, stopped, failed or interrupted")
    filters: dict[str, str]
    seen: int
    total: int
    counts: dict[str, int] = Field(description="entries by their outcome")
    problem: str
    started_at: str
    ended_at: str | None


class JobsAnswer(OperationsAnswer):
    """The jobs of the last day."""

    items: list[JobAnswer]
    next: str | None


class DeadLetterItem(OperationsAnswer):
    """A dead letter with the facts of its entry."""

    id: str
    stream: str
    entry_id: str
    group: str
    deliveries: int
    failed_at: str
    reason: str
    event_id: str


class LettersAnswer(OperationsAnswer):
    """A page of dead letters."""

    items: list[DeadLetterItem]
    next: str | None


class LetterAnswer(OperationsAnswer):
    """A dead letter, its fields, and what a replay would do."""

    letter: DeadLetterItem
    fields: list[dict[str, Any]]
    replay: dict[str, Any]


class KeptItem(OperationsAnswer):
    """A refused webhook."""

    id: str
    source: str
    reason: str
    detail: str
    status: int
    received_at: str
    repeats: int


class QuarantineAnswer(OperationsAnswer):
    """A page of refused webhooks."""

    items: list[KeptItem]
    next: str | None


class KeptAnswer(OperationsAnswer):
    """A refused webhook, its request, and what a replay would do."""

    webhook: KeptItem
    request: dict[str, Any]
    replay: dict[str, Any]


class TrustForm(BaseModel):
    """How a refused webhook is replayed."""

    model_config = ConfigDict(extra="ignore")

    trust: str = Field("", description="`yes`: accept it whatever its signature is, because somebody has looked at it")


class OutcomeAnswer(OperationsAnswer):
    """The effect of an action."""

    id: str
    text: str


class StageAnswer(OperationsAnswer):
    """A stage of a story."""

    at: str
    stage: str
    process: str
    id: str
    detail: str


class StoryAnswer(OperationsAnswer):
    """The story of an event, conversation, call, participant or customer."""

    found: bool
    subject: str
    stages: list[StageAnswer]


class StatusAnswer(OperationsAnswer):
    """The state of the deployment."""

    at: str
    level: str = Field(description="ok, degraded or down")
    problems: list[dict[str, Any]]


class ExplainAnswer(OperationsAnswer):
    """The decisions about who holds a conversation."""

    found: bool
    subject: str
