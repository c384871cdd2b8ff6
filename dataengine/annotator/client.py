"""The annotator's HTTP API from a program's side: what a browser does, with retries.

A write carries a mutation id of its own, and a retry sends the same one: the server answers a mutation that it
has seen with the same answer, so a lost answer never makes a second mask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from dataengine.errors import EngineError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PATIENCE_SECONDS = 120.0
"""How long a server that doesn't answer is asked again."""
_AWAY = (500, 502, 503, 504)


class RefusedError(EngineError):
    """The server understood and said no: `status`, and `code` of the error body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code = status, code


class AnnotatorClient:
    """One person's session. Not for several threads.

    Args:
        url: of the server, such as `http://127.0.0.1:8080`.
        name, password: logs in with them, again whenever the session has ended.
        mutation: gives ids for writes (uuid strings).
        http: a client with another transport, for tests; by default one that speaks to `url`.
    """

    def __init__(
        self,
        url: str,
        name: str,
        password: str,
        mutation: Callable[[], str],
        *,
        http: httpx.Client | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        # As a browser: the server refuses writes whose Origin is another site's.
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._http = http or httpx.Client(base_url=url, timeout=30.0)
        self._name, self._password = name, password
        self._mutation, self._patience = mutation, patience
        self.retries = 0

    def close(self) -> None:
        self._http.close()

    # session -----------------------------------------------------------------------------------------

    def log_in(self) -> None:
        body = {"name": self._name, "password": self._password}
        self._answer(self._persist("POST", "/api/session", body))

    def state(self) -> dict[str, Any]:
        return self._get("/api/state")

    # tasks -------------------------------------------------------------------------------------------

    def claim(self, kind: str) -> dict[str, Any]:
        """`{"task": ...}`, or `{"task": null, "empty": {...}}`."""
        return self._post("/api/tasks/claim", {"kind": kind})

    def mine(self) -> list[dict[str, Any]]:
        """Tasks that this person holds already."""
        return list(self._get("/api/tasks/mine")["tasks"])

    def heartbeat(self, task: dict[str, Any]) -> None:
        self._answer(self._persist("POST", f"/api/tasks/{task['id']}/heartbeat", _held(task)))

    def save_mask(self, task: dict[str, Any], mask_id: str, base_revision: int, mask: dict[str, Any]) -> int:
        """Returns the new revision."""
        body = {"base_revision": base_revision, "mask": mask}
        return int(self._write("PUT", task, f"masks/{mask_id}", body)["revision"])

    def delete_mask(self, task: dict[str, Any], mask_id: str, base_revision: int, reason: str) -> None:
        self._write("DELETE", task, f"masks/{mask_id}", {"base_revision": base_revision, "reason": reason})

    def finish(self, task: dict[str, Any], exhaustive: bool) -> None:
        self._write("POST", task, "finish", {"exhaustive": exhaustive})

    def skip(self, task: dict[str, Any], reason: str, note: str = "") -> None:
        self._write("POST", task, "skip", {"reason": reason, "note": note})

    def release(self, task: dict[str, Any]) -> None:
        self._write("POST", task, "release", {})

    def review(self, task: dict[str, Any], verdict: dict[str, Any]) -> None:
        self._write("POST", task, "review", verdict)

    # media -------------------------------------------------------------------------------------------

    def download(self, url: str) -> bytes:
        """A decoder, an embedding or a picture."""
        answer = self._persist("GET", url, None)
        self._check(answer)
        return answer.content

    def decode(self, image_id: int, prompt: dict[str, Any]) -> dict[str, Any]:
        """The server's own decoder: for whoever can't run one."""
        return self._answer(self._persist("POST", f"/api/images/{image_id}/decode", prompt))

    # requests ----------------------------------------------------------------------------------------

    def _get(self, path: str) -> dict[str, Any]:
        return self._answer(self._persist("GET", path, None))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer(self._persist("POST", path, body | {"mutation": self._mutation()}))

    def _write(self, method: str, task: dict[str, Any], what: str, body: dict[str, Any]) -> dict[str, Any]:
        whole = _held(task) | {"mutation": self._mutation()} | body
        return self._answer(self._persist(method, f"/api/tasks/{task['id']}/{what}", whole))

    def _persist(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        """Sends until there is an answer: the same bytes each time, so the same mutation."""
        deadline, pause, logged_in = time.monotonic() + self._patience, FIRST_PAUSE, False
        while True:
            try:
                answer = self._http.request(method, path, json=body, headers={"Origin": self._origin})
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code == 401 and path != "/api/session" and not logged_in:
                    self.log_in()
                    logged_in = True
                    continue
                if answer.status_code not in (*_AWAY, 429):
                    return answer
                trouble = f"status {answer.status_code}"
                pause = max(pause, float(answer.headers.get("Retry-After", 0)))
            if time.monotonic() + pause > deadline:
                raise EngineError(f"{self._origin}: no answer to {method} {path} for {self._patience:.0f} s: {trouble}")
            self.retries += 1
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _answer(self, answer: httpx.Response) -> dict[str, Any]:
        self._check(answer)
        return dict(answer.json()) if answer.content else {}

    @staticmethod
    def _check(answer: httpx.Response) -> None:
        if answer.status_code < 400:
            return
        try:
            error = answer.json()["error"]
            code, message = str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            code, message = "unknown", answer.text[:200]
        raise RefusedError(answer.status_code, code, message)


def _held(task: dict[str, Any]) -> dict[str, Any]:
    return {"lease": task["lease"], "fence": task["fence"]}
