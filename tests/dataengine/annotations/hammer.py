"""Run as a process of its own: claims one task after another, as several people at once, until there are none."""

from __future__ import annotations

import json
import sys
import threading
import uuid

from dataengine.annotations import LeaseRules, open_store
from schemas.annotations import Held, User


def main() -> None:
    url, names = sys.argv[1], sys.argv[2:]
    store = open_store(url, rules=LeaseRules(per_user=2))
    claimed: list[tuple[int, int]] = []

    def work(who: User) -> None:
        while True:
            found = store.queue.claim(who, "annotate", str(uuid.uuid4()))
            if found.task_id is None or found.lease is None:
                return
            claimed.append((found.task_id, found.fence))
            held = Held(lease=found.lease, fence=found.fence, mutation=str(uuid.uuid4()))
            store.work.finish(who, found.task_id, held, exhaustive=True)

    threads = [threading.Thread(target=work, args=(store.people.named(name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    print(json.dumps(claimed))  # noqa: T201 - the answer to the test that started us


if __name__ == "__main__":
    main()
