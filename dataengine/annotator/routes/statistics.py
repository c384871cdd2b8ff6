"""How the work goes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from dataengine.annotator.access import CurrentContext, CurrentReviewer, CurrentUser

router = APIRouter(prefix="/api/statistics", tags=["statistics"])


@router.get("/me")
def mine(user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return context.store.statistics.of(user)


@router.get("")
def everybody(user: CurrentReviewer, context: CurrentContext) -> dict[str, Any]:
    return context.store.statistics.overview()
