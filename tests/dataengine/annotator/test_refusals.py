"""What the server must refuse, each listed: forged, replayed, cross-site, oversized, outside, not allowed."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from dataengine.annotations.revisions import draft_columns, insert_mask
from dataengine.annotations.rle_rules import check_rle
from dataengine.annotations.states import STATES, TRANSITIONS
from dataengine.annotations.tables import lease as lease_table
from dataengine.annotations.tables import task as task_table
from dataengine.annotations.tables import token as token_table
from dataengine.annotator.access import COOKIE
from dataengine.masks import encode
from schemas.annotations import User
from tests.dataengine.annotations.world import HEIGHT, MODEL, WIDTH, World, catalog_rows, draft, new_id
from tests.dataengine.annotator.calls import claim, error_of, finish, held, mask_body, save
from tests.dataengine.annotator.conftest import ORIGIN, LogIn

PASSWORD = "correct horse"


@pytest.fixture
def password(world: World) -> str:
    world.store.people.change(world.anna.id, by=world.adam.id, password=PASSWORD)
    return PASSWORD


# who ---------------------------------------------------------------------------------------------------


def test_nothing_but_the_page_and_the_log_in_is_for_strangers(app, stranger: TestClient) -> None:
    open_to_all = {("/api/session", "POST"), ("/api/session/link", "POST"), ("/", "GET"), ("/{name}", "GET")}
    tried = 0
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            if (path, method.upper()) in open_to_all:
                continue
            url = path.replace("{task_id}", "1").replace("{image_id}", "1").replace("{user_id}", "1")
            url = url.replace("{mask_id}", new_id()).replace("{model_id}", MODEL.id)
            assert error_of(stranger.request(method, url, json={})) == (401, "not_logged_in"), (method, path)
            tried += 1
    assert tried >= 25


def test_log_in_out_and_replayed_session(world: World, stranger: TestClient, password: str) -> None:
    wrong = stranger.post("/api/session", json={"name": "anna", "password": "wrong"})
    assert error_of(wrong) == (401, "wrong_password") and "set-cookie" not in wrong.headers
    answer = stranger.post("/api/session", json={"name": "anna", "password": password})
    assert answer.json()["user"]["name"] == "anna"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    secret = stranger.cookies[COOKIE]
    assert stranger.get("/api/state").status_code == 200
    stranger.delete("/api/session")
    stranger.cookies.set(COOKIE, secret)
    assert error_of(stranger.get("/api/state")) == (401, "not_logged_in")


def test_tokens_are_stored_hashed_and_run_out(world: World, app) -> None:
    secret = world.store.people.issue(world.anna.id, "write", 60)
    with world.store.database.read() as connection:
        assert all(secret not in str(tuple(row)) for row in connection.execute(token_table.select()))
    client = TestClient(app, headers={"authorization": f"Bearer {secret}"})
    assert client.get("/api/state").status_code == 200
    world.clock.pass_seconds(61)
    assert error_of(client.get("/api/state")) == (401, "not_logged_in")


def test_scopes_of_tokens(world: World, app, log_in: LogIn) -> None:
    admin = log_in(world.adam)
    made = admin.post("/api/tokens", json={"user": "anna", "scope": "read", "label": "plots"})
    assert made.status_code == 201
    reader = TestClient(app, headers={"authorization": f"Bearer {made.json()['token']}"})
    assert reader.get("/api/state").status_code == 200
    body = {"kind": "annotate", "mutation": new_id()}
    assert error_of(reader.post("/api/tasks/claim", json=body)) == (403, "scope")
    # A token is no cookie and a cookie no token.
    thief = TestClient(app, headers={"origin": ORIGIN})
    thief.cookies.set(COOKIE, made.json()["token"])
    assert thief.get("/api/state").status_code == 401
    session = world.store.people.issue(world.anna.id, "session", 60)
    assert TestClient(app, headers={"authorization": f"Bearer {session}"}).get("/api/state").status_code == 401
    assert error_of(log_in(world.anna).post("/api/tokens", json={"user": "adam", "scope": "write"})) == (403, "role")


def test_a_one_time_link_is_good_once(world: World, app, stranger: TestClient) -> None:
    link = world.store.people.issue(world.adam.id, "link", 60)
    # It opens no API by itself.
    assert TestClient(app, headers={"authorization": f"Bearer {link}"}).get("/api/state").status_code == 401
    assert stranger.post("/api/session/link", json={"token": link}).json()["user"]["role"] == "admin"
    answer = stranger.put("/api/users/me", json={"name": "chief", "password": PASSWORD})
    assert answer.json()["user"]["name"] == "chief"
    assert stranger.get("/api/users").status_code == 200, "the new session works"
    again = TestClient(app).post("/api/session/link", json={"token": link})
    assert error_of(again) == (401, "link")


def test_a_new_password_and_a_closed_account_end_sessions(world: World, log_in: LogIn, stranger: TestClient) -> None:
    anna, admin = log_in(world.anna), log_in(world.adam)
    assert admin.patch(f"/api/users/{world.anna.id}", json={"password": "another one"}).status_code == 200
    assert anna.get("/api/state").status_code == 401
    ben = log_in(world.ben)
    assert admin.patch(f"/api/users/{world.ben.id}", json={"active": False}).status_code == 200
    assert ben.get("/api/state").status_code == 401
    assert error_of(admin.patch(f"/api/users/{world.adam.id}", json={"role": "annotator"})) == (403, "own_account")
    assert error_of(admin.post("/api/users", json={"name": "anna", "role": "annotator"})) == (409, "name_taken")
    short = admin.post("/api/users", json={"name": "x", "role": "annotator", "password": "short"})
    assert error_of(short) == (422, "password")


def test_an_invited_user_sets_his_own_password(world: World, log_in: LogIn, stranger: TestClient) -> None:
    made = log_in(world.adam).post("/api/users", json={"name": "dora", "role": "annotator"}).json()
    token = made["link"].removeprefix("/#link=")
    assert stranger.post("/api/session/link", json={"token": token}).status_code == 200
    assert stranger.put("/api/users/me", json={"password": PASSWORD}).status_code == 200
    assert world.store.people.authenticate("dora", PASSWORD) is not None


def test_guessing_is_slowed_down(stranger: TestClient, password: str) -> None:
    for _ in range(3):
        assert stranger.post("/api/session", json={"name": "anna", "password": "guess"}).status_code == 401
    answer = stranger.post("/api/session", json={"name": "anna", "password": password})
    assert error_of(answer) == (429, "too_many") and int(answer.headers["retry-after"]) > 0


# from where --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver.evil.example", "null", None])
def test_cross_site_writes(world: World, log_in: LogIn, origin: str | None) -> None:
    client = log_in(world.anna)
    client.headers.pop("origin")
    headers = {"origin": origin} if origin else {}
    answer = client.post("/api/tasks/claim", json={"kind": "annotate", "mutation": new_id()}, headers=headers)
    assert error_of(answer) == (403, "origin")
    assert world.store.queue.counts()["leased"] == 0
    if origin:
        log_in_elsewhere = client.post("/api/session", json={"name": "anna", "password": "x"}, headers=headers)
        assert error_of(log_in_elsewhere) == (403, "origin")


def test_headers_of_every_answer(stranger: TestClient) -> None:
    for path in ("/", "/assets/app-1234.js", "/api/state", "/nothing"):
        headers = stranger.get(path).headers
        assert headers["cross-origin-opener-policy"] == "same-origin", path
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in headers["content-security-policy"]
    assert stranger.get("/api/state").headers["cache-control"] == "no-store"


# how much, and what ------------------------------------------------------------------------------------


@pytest.fixture
def real_server(app) -> Iterator[int]:
    """The application under uvicorn: what a client library would tidy up arrives there as it was sent."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def _raw(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        for chunk in body or ():
            connection.send(chunk)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent: the answer is there
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, text


def test_path_traversal(real_server: int) -> None:
    ways = ["..", "%2e%2e", "..%2f..", "%2e%2e%2f%2e%2e", "....//....//", "..%5c..", ".%00."]
    for way, base in itertools.product(ways, ("/assets/", "/", "/assets/../")):
        for name in ("secret.txt", "annotations.db", "etc/passwd"):
            status, text = _raw(real_server, "GET", f"{base}{way}/{name}")
            assert status in (400, 404) and "secret" not in text.replace("secret.txt", ""), (base, way, name, text)
    for path in ("/api/images/..%2f..%2fsecret/display", "/api/models/..%2f..%2fsecret.txt/decoder.onnx"):
        assert _raw(real_server, "GET", path)[0] in (401, 404, 422)
    assert _raw(real_server, "GET", "/index.html")[0] == 200


def test_a_model_id_is_no_path(world: World, log_in: LogIn) -> None:
    for name in ("..", "../secret", "%2e%2e%2fsecret.txt", "nano-1/../nano-1x"):
        assert log_in(world.anna).get(f"/api/models/{name}/decoder.onnx").status_code == 404


def test_oversized_bodies(real_server: int) -> None:
    limit = 4 << 20
    stated = {"content-length": str(limit + 1), "content-type": "application/json"}
    assert _raw(real_server, "POST", "/api/session", (), stated)[0] == 413
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    unstated = {"transfer-encoding": "chunked", "content-type": "application/json"}
    status, text = _raw(real_server, "POST", "/api/session", [chunk] * 5 + [b"0\r\n\r\n"], unstated)
    assert status == 413 and "too_large" in text
    assert _raw(real_server, "POST", "/api/session", (), {"content-length": "-1"})[0] in (400, 413)


def test_masks_that_are_none(world: World, log_in: LogIn) -> None:
    client = log_in(world.anna)
    task = claim(client)
    good = draft().rle.model_dump()
    bad: dict[str, Any] = {
        "mask_size": {"size": [41, 60], "counts": good["counts"]},
        "mask_rle": {"size": [40, 60], "counts": good["counts"][:-2]},
        "mask_empty": encode(np.zeros((40, 60), bool))[0].model_dump(),
        "mask_too_long": {"size": [40, 60], "counts": "0" * ((1 << 20) + 1)},
    }
    for code, rle in bad.items():
        body = mask_body(task) | {"mask": {"rle": rle, "source": "brushed"}}
        answer = client.put(f"/api/tasks/{task['id']}/masks/{new_id()}", json=body)
        assert error_of(answer) == (422, code)
    beyond = mask_body(task) | {"mask": {"rle": {"size": [40, 60], "counts": "\u00ff\x00"}, "source": "brushed"}}
    assert client.put(f"/api/tasks/{task['id']}/masks/{new_id()}", json=beyond).status_code == 422
    suggestion = save(client, task, suggestion={"size": [40, 60], "counts": "0"})
    assert error_of(suggestion) == (422, "mask_rle")
    for changes in ({"source": "magic"}, {"active_ms": -1}, {"predicted_iou": "high"}, {"surprise": 1}):
        body = mask_body(task)
        body["mask"] |= changes
        assert error_of(client.put(f"/api/tasks/{task['id']}/masks/{new_id()}", json=body)) == (422, "invalid")
    assert client.put(f"/api/tasks/{task['id']}/masks/not-a-uuid", json=mask_body(task)).status_code == 422
    outside = [{"id": "a", "kind": "face", "box": [0, 0, 61, 10], "state": "live"}]
    answer = client.put(f"/api/tasks/{task['id']}/redactions", json={**held(task), "boxes": outside})
    assert error_of(answer) == (422, "box")
    # NaN would pass every comparison; JSON of the standard has none, and neither has a box.
    raw = (
        b'{"lease": "%s", "fence": 1, "mutation": "%s", "boxes": [{"id": "a", "kind": "face", "box": [NaN, 0, 1, 1]}]}'
    )
    content = raw % (task["lease"].encode(), new_id().encode())
    answer = client.put(
        f"/api/tasks/{task['id']}/redactions", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert client.get("/api/tasks/mine").json()["tasks"][0]["masks"] == []


def test_a_mutation_id_stands_for_one_request(world: World, log_in: LogIn) -> None:
    client = log_in(world.anna)
    task = claim(client)
    mutation = new_id()
    url = f"/api/tasks/{task['id']}/masks/{new_id()}"
    assert client.put(url, json=mask_body(task, mutation=mutation)).json() == {"revision": 1}
    other = client.put(url, json=mask_body(task, base=1, mutation=mutation, side=3))
    assert error_of(other) == (422, "mutation_reused")
    # Somebody else's id of the same spelling is another one.
    claim(log_in(world.ben), mutation=mutation)


# leases ------------------------------------------------------------------------------------------------


def test_forged_and_stolen_leases(world: World, log_in: LogIn) -> None:
    anna, ben = log_in(world.anna), log_in(world.ben)
    task, other = claim(anna), claim(ben)
    for forged in (
        task | {"lease": new_id()},
        task | {"fence": task["fence"] + 1},
        task | {"lease": other["lease"], "fence": other["fence"]},
    ):
        assert error_of(save(anna, forged)) == (409, "lease_unknown")
    assert error_of(save(ben, task)) == (409, "lease_unknown"), "Anna's lease in Ben's hand"
    assert error_of(save(log_in(world.adam), task)) == (409, "lease_unknown"), "nor in an admin's"
    mask_id = new_id()
    assert save(ben, other, mask_id).status_code == 200
    assert error_of(save(anna, task, mask_id, base=1)) == (409, "mask_elsewhere")
    assert error_of(anna.post(f"/api/tasks/{task['id']}/steal")) == (403, "role")
    assert log_in(world.adam).post(f"/api/tasks/{task['id']}/steal").json() == {"state": "ready"}
    assert error_of(finish(anna, task)) == (409, "lease_lost")


# transitions x roles -----------------------------------------------------------------------------------

ACTIONS = [action for action in TRANSITIONS if not action.startswith("claim") and action != "heartbeat"]


def _act(client: TestClient, action: str, task: dict[str, Any]) -> Any:
    base = f"/api/tasks/{task['id']}"
    bodies: dict[str, tuple[str, str, dict[str, Any]]] = {
        "save_mask": ("PUT", f"{base}/masks/{new_id()}", mask_body(task)),
        "delete_mask": ("DELETE", f"{base}/masks/{task['mask']}", {**held(task), "base_revision": 1}),
        "redact": ("PUT", f"{base}/redactions", {**held(task), "boxes": []}),
        "finish": ("POST", f"{base}/finish", {**held(task), "exhaustive": True}),
        "skip": ("POST", f"{base}/skip", {**held(task), "reason": "other"}),
        "release": ("POST", f"{base}/release", held(task)),
        "accept": ("POST", f"{base}/review", {**held(task), "verdict": "accept"}),
        "reject": ("POST", f"{base}/review", {**held(task), "verdict": "reject", "reason": "other"}),
        "steal": ("POST", f"{base}/steal", {}),
        "reopen": ("POST", f"{base}/reopen", {}),
    }
    method, url, body = bodies[action]
    return client.request(method, url, json=body)


def _put_into(world: World, task_id: int, state: str, user: User, *, with_mask: bool) -> dict[str, Any]:
    """A task in this state; where a state has a holder, `user` is it, whatever his role, under a real lease.

    So only the server's own checks stand in his way.
    """
    lease_id, now, mask_id = new_id(), world.clock(), new_id()
    holder = {"lease_id": lease_id, "lease_user_id": user.id, "lease_expires_at": now + 60_000}
    free = dict.fromkeys(holder)
    kind = "review" if state == "in_review" else "annotate"
    values = {"id": lease_id, "task_id": task_id, "user_id": user.id, "kind": kind, "fence": 1, "created_at": now}
    with world.store.database.write() as tx:
        tx.execute(lease_table.insert().values(**values, touched_at=now, active_ms=0, counted_ms=0))
        this = task_table.c.id == task_id
        tx.execute(task_table.update().where(this).values(state="leased", fence=1, **holder))
        if with_mask:
            row = tx.execute(task_table.select().where(this)).one()
            good = draft()
            columns = draft_columns(good, check_rle(good.rle, WIDTH, HEIGHT))
            insert_mask(tx, row, mask_id, columns, author=user.id, by=user.id)
        held_now = holder if state in ("leased", "in_review") else free
        tx.execute(task_table.update().where(this).values(state=state, **held_now))
    return {"id": task_id, "lease": lease_id, "fence": 1, "mask": mask_id}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_transition_by_every_role_in_every_state(world: World, log_in: LogIn, action: str) -> None:
    """What `TRANSITIONS` doesn't list is refused, and refused without a trace."""
    people = (world.anna, world.rita, world.adam, world.robot)
    cases = [(state, user) for state in STATES for user in people]
    clients = {user.id: log_in(user) for user in people}
    world.store.images.fill(catalog_rows(len(cases)), short_side=1500)
    for number in range(7, len(cases) + 1):
        world.store.images.embedding_ready(number, MODEL.encoder)
    for task_id, (state, user) in enumerate(cases, start=1):
        task = _put_into(world, task_id, state, user, with_mask=action == "delete_mask")
        transition = TRANSITIONS[action]
        answer = _act(clients[user.id], action, task)
        allowed = state in transition.after and user.role in transition.roles
        assert (answer.status_code == 200) == allowed, (action, state, user.role, answer.text)
        after = world.store.queue.task(task["id"])
        if allowed:
            assert after.state == transition.after[state], (action, state, user.role)
        else:
            assert answer.status_code in (403, 409) and after.state == state, (action, state, user.role, answer.text)
            if user.role not in transition.roles:
                assert error_of(answer) == (403, "role")


def test_who_may_claim_what(world: World, log_in: LogIn) -> None:
    world.submitted(world.ben)
    allowed = {
        ("annotator", "annotate"): True,
        ("annotator", "review"): False,
        ("reviewer", "annotate"): True,
        ("reviewer", "review"): True,
        ("service", "annotate"): False,
        ("service", "review"): False,
    }
    for user, kind in itertools.product((world.anna, world.rita, world.robot), ("annotate", "review")):
        answer = log_in(user).post("/api/tasks/claim", json={"kind": kind, "mutation": new_id()})
        assert (answer.status_code == 200) == allowed[user.role, kind], (user.role, kind, answer.text)
