"""What every request works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from dataengine.annotations import Store
from dataengine.annotator.protocols import Decoder, Media, QueueClient
from dataengine.annotator.settings import ServerSettings

if TYPE_CHECKING:
    from dataengine.annotator.access import FailedLogins


@dataclass(frozen=True)
class Context:
    store: Store
    queue: QueueClient
    media: Media
    decoder: Decoder | None
    settings: ServerSettings
    failed_logins: FailedLogins


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
