"""The annotation store under load: how fast, and whether anything is ever lost.

    python -m benchmarks.annotations [--people 50] [--images 500] [--postgres URL] [--json FILE]

First claims and saves a second on the store itself, by threads of one process. Then the load test over HTTP:
people annotate and review all images while the server is killed (SIGKILL) twice, the `TaskQueue` actor twice, Ray
restarted once, and leases run out in the hands of some. At the end, what the clients were told is compared with
what the store holds.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from benchmarks.annotation_load import HEIGHT, MODEL, WIDTH, Person, Seen, start
from benchmarks.measure import machine, parser, report
from dataengine.annotations import LeaseRules, Store, open_store
from dataengine.annotations.rle_rules import check_rle
from schemas import ImageRecord
from schemas.annotations import Held, MaskDraft

FIRST_STRIKE = 0.1
"""Share of the images after which the first thing dies."""


# the store itself --------------------------------------------------------------------------------------


def fill(store: Store, images: int) -> None:
    store.images.promote(MODEL)
    facts = {"status": "ok", "width": WIDTH, "height": HEIGHT, "sha256": "0" * 64}
    rows = [
        ImageRecord.model_validate({"image_id": number, "source": "s", "path": f"{number}.jpg", **facts})
        for number in range(1, images + 1)
    ]
    store.images.fill(rows, short_side=1500)
    for number in range(1, images + 1):
        store.images.embedding_ready(number, MODEL.encoder)


def speed(url: str, threads: int, claims: int, saves: int) -> dict[str, Any]:
    """Claims and saves a second, by `threads` people of one process."""
    import uuid

    store = open_store(url, rules=LeaseRules(per_user=claims))
    fill(store, claims)
    people = [store.people.add(f"person {number}", "annotator") for number in range(threads)]
    hands: list[tuple[Any, Any]] = []

    def claim(who: Any) -> None:
        while (found := store.queue.claim(who, "annotate", str(uuid.uuid4()))).task_id is not None:
            hands.append((who, found))

    claiming = _timed([threading.Thread(target=claim, args=(who,)) for who in people])
    person = Person("http://localhost", "", Seen(), 0, 0, False)
    drafts = [MaskDraft(rle=person._mask(), source="assisted") for _ in range(20)]
    check_rle(drafts[0].rle, WIDTH, HEIGHT)

    def save(first: int) -> None:
        for number in range(first, saves, threads):
            who, found = hands[number % len(hands)]
            held = Held(lease=found.lease, fence=found.fence, mutation=str(uuid.uuid4()))
            store.work.save_mask(who, found.task_id, str(uuid.uuid4()), held, 0, drafts[number % len(drafts)])

    saving = _timed([threading.Thread(target=save, args=(first,)) for first in range(threads)])
    started = time.monotonic()
    chain = store.verify()
    assert not chain.problems and len(hands) == len({found.task_id for _, found in hands}) == claims
    row = {
        "database": store.database.dialect,
        "threads": threads,
        "claims_per_second": round(claims / claiming, 1),
        "saves_per_second": round(saves / saving, 1),
        "events_verified_per_second": round(chain.events / (time.monotonic() - started)),
    }
    store.close()
    return row


def _timed(threads: list[threading.Thread]) -> float:
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


# the load test -----------------------------------------------------------------------------------------


class Server:
    """The API in a process of its own; `kill` and `start` again on the same port."""

    def __init__(self, url: str, lease_seconds: float, ray_address: str | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [
            sys.executable,
            "-m",
            "benchmarks.annotations",
            "--serve",
            url,
            "--port",
            str(self.port),
            "--lease",
            str(lease_seconds),
        ]
        self._ray = ray_address
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [*self._command, *(["--ray", self._ray] if self._ray else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("ready"):
            raise RuntimeError("the server didn't start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def serve_one(url: str, port: int, lease_seconds: float, ray_address: str | None) -> None:
    """What `Server` runs: the production application, over a store with short leases."""
    from dataengine.annotator import create_app
    from dataengine.annotator.serving import bind, serve
    from stages.assisted_manual import ActorQueue

    if ray_address:
        import ray

        ray.init(address=ray_address, log_to_driver=False, logging_level="ERROR")
    store = open_store(url, rules=rules(lease_seconds))
    app = create_app(store, _NoPictures(), queue=ActorQueue(store))
    serve(app, bind("127.0.0.1", port), lambda: print("ready", flush=True))


class _NoPictures:
    def embedding(self, image_id: int, encoder: str) -> bytes | None:
        return None

    def display(self, image_id: int, width: int) -> bytes:
        raise FileNotFoundError(image_id)

    def decoder(self, model_id: str) -> bytes | None:
        return None


def rules(lease_seconds: float) -> LeaseRules:
    return LeaseRules(milliseconds=int(lease_seconds * 1000), per_user=2)


def load_test(
    url: str, people: int, images: int, *, with_ray: bool, limit_seconds: float, lease_seconds: float
) -> dict[str, Any]:
    """Everything at once; returns figures and `problems`, which must be empty."""
    store = open_store(url, rules=rules(lease_seconds))
    fill(store, images)
    address = _start_ray() if with_ray else None
    server = Server(url, lease_seconds, address)
    server.start()
    seen = Seen()
    everybody = []
    for number in range(people):
        # One in four reviews as well; a rejected image needs a third person.
        reviews = number % 4 == 0
        user = store.people.add(f"person {number}", "reviewer" if reviews else "annotator")
        token = store.people.issue(user.id, "write", 86_400)
        everybody.append(Person(server.url, token, seen, 1.5 * lease_seconds, number, reviews))
    started = time.monotonic()

    def over() -> bool:
        late = time.monotonic() - started > limit_seconds
        return late or len(seen.accepted) >= images or bool(seen.problems)

    seen.allowed = FIRST_STRIKE * images + 1
    threads = start(everybody, over)
    disturbed = _disturb(store, server, seen, images, with_ray, over)
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    server.kill()
    if with_ray:
        import ray

        ray.shutdown()
    setting = {"database": store.database.dialect, "people": people, "images": images, "seconds": round(seconds, 1)}
    figures = {**setting, **disturbed, **_figures(seen, seconds), "problems": compare(store, seen, images)}
    store.close()
    return figures


def _figures(seen: Seen, seconds: float) -> dict[str, Any]:
    return {
        "accepted_images": len(seen.accepted),
        "masks_acknowledged": len(seen.saved),
        "orphans": len(seen.orphans),
        "leases_lost": seen.lost,
        "retries": seen.retries,
        "saves_per_second": round(len(seen.saved) / seconds, 1),
        "claims_per_second": round(len(seen.claims) / seconds, 1),
        "save_median_ms": _quantile(seen.save_seconds, 0.5),
        "save_p95_ms": _quantile(seen.save_seconds, 0.95),
        "claim_median_ms": _quantile(seen.claim_seconds, 0.5),
    }


def _start_ray() -> str:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    return str(ray.get_runtime_context().gcs_address)


def _disturb(store: Store, server: Server, seen: Seen, images: int, with_ray: bool, over: Any) -> dict[str, int]:
    """Kills, each when a further share of the images is accepted."""
    done = {"server_kills": 0, "actor_kills": 0, "ray_restarts": 0}

    def kill_server() -> None:
        server.kill()
        time.sleep(1)
        server.start()
        done["server_kills"] += 1

    def kill_actor() -> None:
        import ray

        from stages.assisted_manual import start_queue

        os.kill(ray.get(start_queue(store).ready.remote(), timeout=60), signal.SIGKILL)
        done["actor_kills"] += 1

    def restart_ray() -> None:
        import ray

        ray.shutdown()
        # The server has lost its cluster and decides on the store from now on, until it is started again.
        server._ray = _start_ray()
        done["ray_restarts"] += 1

    plan = [(FIRST_STRIKE, kill_server), (0.6, kill_server)]
    if with_ray:
        plan = [
            (FIRST_STRIKE, kill_actor),
            (0.25, kill_server),
            (0.4, restart_ray),
            (0.55, kill_server),
            (0.75, kill_actor),
        ]
    for number, (share, strike) in enumerate(plan):
        while len(seen.accepted) < share * images and not over():
            time.sleep(0.05)
        seen.allowed = images * plan[number + 1][0] + 1 if number + 1 < len(plan) else float("inf")
        if not over():
            strike()
    return done


def compare(store: Store, seen: Seen, images: int) -> list[str]:
    """What the clients were told against what the store holds; [] when nothing was lost, doubled or changed."""
    problems = list(seen.problems) + store.verify().problems
    if len(seen.accepted) != images or len(set(seen.accepted)) != images:
        problems.append(f"{len(seen.accepted)} acceptances of {len(set(seen.accepted))} tasks for {images} images")
    if len({(task, fence) for task, fence, _ in seen.claims}) != len(seen.claims):
        problems.append("two claims got the same task under the same fence")
    _, accepted = store.snapshots.accepted()
    held = {mask.id: mask for image in accepted for mask in image.masks}
    if len(held) < images:
        problems.append(f"only {len(held)} masks are accepted")
    # A pass after a rejection, or after a lease that ran out, goes on with copies or with what was saved.
    with store.database.read() as connection:
        from dataengine.annotations.tables import mask

        rows = {row.id: row for row in connection.execute(mask.select())}
    for mask_id, (task_id, revision) in seen.saved.items():
        row = rows.get(mask_id)
        if row is None or row.task_id != task_id or row.revision < revision:
            problems.append(f"mask {mask_id} was acknowledged and is not there")
    made = {mask_id for mask_id, row in rows.items() if row.parent_id is None}
    if made != set(seen.saved):
        problems.append(f"{len(made)} masks are there, {len(seen.saved)} were acknowledged")
    accepted_tasks = set(seen.accepted)
    due = {row.id for row in rows.values() if row.task_id in accepted_tasks}
    if due != set(held):
        problems.append(f"{len(due)} masks are of accepted tasks, {len(held)} are accepted")
    drafts = {draft["mask_id"] for draft in store.work.orphans()}
    if drafts != seen.orphans:
        problems.append(f"{len(drafts)} orphan drafts are kept, {len(seen.orphans)} were promised")
    return problems


def _quantile(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else 0.0


def main() -> None:
    options = _options()
    if options.serve:
        serve_one(options.serve, options.port, options.lease, options.ray)
        return
    rows: list[dict[str, Any]] = []
    loads: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"sqlite:///{folder}/{name}.db" for name in ("speed", "load")]
        kinds = [urls, *([[f"{options.postgres}_{name}" for name in ("speed", "load")]] if options.postgres else [])]
        for speed_url, load_url in kinds:
            if "speed" in options.parts:
                rows += [speed(speed_url, options.threads, options.claims, options.saves)]
            if "load" in options.parts:
                limit = options.limit
                loads.append(
                    load_test(
                        load_url,
                        options.people,
                        options.images,
                        with_ray=options.ray_too,
                        limit_seconds=limit,
                        lease_seconds=options.lease,
                    )
                )
    report(machine(), rows or loads, options.json, loads=loads)
    for load in loads:
        print(load)
    if any(load["problems"] for load in loads):
        sys.exit(1)


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--people", type=int, default=50)
    options.add_argument("--images", type=int, default=500)
    options.add_argument("--lease", type=float, default=20.0, help="seconds; some people stay away longer")
    options.add_argument("--threads", type=int, default=8)
    options.add_argument("--claims", type=int, default=500)
    options.add_argument("--saves", type=int, default=2000)
    options.add_argument("--limit", type=float, default=1800.0, help="seconds for a load test")
    options.add_argument("--postgres", help="URL of a server and a prefix: databases PREFIX_speed and PREFIX_load")
    options.add_argument("--parts", nargs="+", default=["speed", "load"], choices=["speed", "load"])
    options.add_argument("--no-ray", dest="ray_too", action="store_false", help="leases decided on the store alone")
    options.add_argument("--serve", help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options.add_argument("--ray", help=argparse.SUPPRESS)
    return options.parse_args()


if __name__ == "__main__":
    main()
