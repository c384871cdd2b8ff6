"""The states of a task and who may move it where. Whatever is not listed here is refused.

pending -> ready -> leased -> submitted -> in_review -> accepted | rejected; skipped with a reason. A rejected
task stays rejected: its next pass is a new task, for another annotator.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataengine.annotations.errors import ConflictError, ForbiddenError
from schemas.annotations import User

ANNOTATORS = frozenset({"annotator", "reviewer", "admin"})
REVIEWERS = frozenset({"reviewer", "admin"})
ADMINS = frozenset({"admin"})

STATES = ("pending", "ready", "leased", "submitted", "in_review", "accepted", "rejected", "skipped")
HELD = ("leased", "in_review")
WORKED = ("submitted", "in_review", "accepted", "rejected")
"""States of a pass that its annotator has finished."""


@dataclass(frozen=True)
class Transition:
    """`after` maps each state in which the action is possible to the one it leads to."""

    action: str
    after: dict[str, str]
    roles: frozenset[str]


TRANSITIONS = {
    transition.action: transition
    for transition in (
        Transition("claim_annotate", {"ready": "leased", "leased": "leased"}, ANNOTATORS),
        Transition("claim_review", {"submitted": "in_review", "in_review": "in_review"}, REVIEWERS),
        Transition("save_mask", {"leased": "leased", "in_review": "in_review"}, ANNOTATORS),
        Transition("delete_mask", {"leased": "leased", "in_review": "in_review"}, ANNOTATORS),
        Transition("redact", {"leased": "leased", "in_review": "in_review"}, ANNOTATORS),
        Transition("heartbeat", {"leased": "leased", "in_review": "in_review"}, ANNOTATORS),
        Transition("finish", {"leased": "submitted"}, ANNOTATORS),
        Transition("skip", {"leased": "skipped"}, ANNOTATORS),
        Transition("release", {"leased": "ready", "in_review": "submitted"}, ANNOTATORS),
        Transition("steal", {"leased": "ready", "in_review": "submitted"}, ADMINS),
        Transition("accept", {"in_review": "accepted"}, REVIEWERS),
        Transition("reject", {"in_review": "rejected"}, REVIEWERS),
        Transition("reopen", {"skipped": "ready"}, REVIEWERS),
    )
}


def require_role(user: User, action: str) -> None:
    """Raises ForbiddenError when the user's role may not do this in any state."""
    roles = TRANSITIONS[action].roles
    if user.role not in roles:
        raise ForbiddenError("role", f"{action} needs the role {' or '.join(sorted(roles))}, not {user.role}")


def next_state(action: str, state: str) -> str:
    """Raises ConflictError when the action is not possible in this state."""
    after = TRANSITIONS[action].after
    if state not in after:
        raise ConflictError(
            "transition", f"{action} is possible when a task is {' or '.join(after)}; it is {state}", state=state
        )
    return after[state]
