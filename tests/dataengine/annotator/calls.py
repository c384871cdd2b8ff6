"""The contract's requests, as a page sends them."""

from __future__ import annotations

from typing import Any

from httpx import Response
from starlette.testclient import TestClient

from schemas.annotations import LeaseKind
from tests.dataengine.annotations.world import draft, new_id


def claim(client: TestClient, kind: LeaseKind = "annotate", mutation: str | None = None) -> dict[str, Any]:
    answer = client.post("/api/tasks/claim", json={"kind": kind, "mutation": mutation or new_id()})
    assert answer.status_code == 200, answer.text
    task = answer.json()["task"]
    assert task is not None, answer.text
    return task


def held(task: dict[str, Any], mutation: str | None = None) -> dict[str, Any]:
    return {"lease": task["lease"], "fence": task["fence"], "mutation": mutation or new_id()}


def mask_body(task: dict[str, Any], base: int = 0, mutation: str | None = None, **changes: Any) -> dict[str, Any]:
    return {**held(task, mutation), "base_revision": base, "mask": draft(**changes).model_dump(mode="json")}


def save(
    client: TestClient, task: dict[str, Any], mask_id: str | None = None, base: int = 0, **changes: Any
) -> Response:
    url = f"/api/tasks/{task['id']}/masks/{mask_id or new_id()}"
    return client.put(url, json=mask_body(task, base, **changes))


def finish(client: TestClient, task: dict[str, Any]) -> Response:
    return client.post(f"/api/tasks/{task['id']}/finish", json={**held(task), "exhaustive": True})


def error_of(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]
