"""Plans grow by segments; commit records mean done; the journal survives a death; owners fence each other."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from dataengine.errors import ConfigError, EngineError
from dataengine.home import layout
from dataengine.home.fingerprint import require_same
from dataengine.home.journal import Journal, remove_journal
from dataengine.home.owner import FencedError, Owner, current_owner
from dataengine.home.plan import META_KEY, Plan, inputs_hash, write_segment
from dataengine.home.storage import Storage
from dataengine.home.units import commit, committed, read_record
from schemas import CommitRecord
from schemas.arrow import GENERATE_PLAN_SCHEMA


@pytest.fixture
def storage(tmp_path) -> Storage:
    return Storage(str(tmp_path / "home"))


def unit_table(unit: int, ids: list[int]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"unit": unit, "image_id": image_id, "part": 0} for image_id in ids], schema=GENERATE_PLAN_SCHEMA
    )


def test_a_plan_grows_and_old_units_stay(storage: Storage) -> None:
    assert write_segment(
        storage, "generate", GENERATE_PLAN_SCHEMA, [unit_table(0, [1, 2]), unit_table(1, [3])], {"facts": 1}
    )
    before = storage.read(layout.plan_segment("generate", 0))
    assert write_segment(storage, "generate", GENERATE_PLAN_SCHEMA, [unit_table(2, [4, 5])], {"facts": 2})
    assert storage.read(layout.plan_segment("generate", 0)) == before
    plan = Plan(storage, "generate")
    assert (plan.units, plan.rows, plan.meta["facts"]) == (3, 5, 2)
    assert [plan.read(unit)["image_id"].to_pylist() for unit in range(3)] == [[1, 2], [3], [4, 5]]
    with pytest.raises(EngineError, match="unit 3 is not in the plan"):
        plan.read(3)


def test_an_empty_plan_writes_no_file(storage: Storage) -> None:
    assert not write_segment(storage, "generate", GENERATE_PLAN_SCHEMA, [], {})
    assert Plan(storage, "generate").units == 0


def test_a_foreign_parquet_is_named(storage: Storage) -> None:
    import pyarrow.parquet as pq

    with storage.staged("plans/generate-000.parquet") as part:
        pq.write_table(pa.table({"x": [1]}), part)
    with pytest.raises(EngineError, match=r"generate-000.parquet: not a plan"):
        Plan(storage, "generate")
    assert META_KEY


def test_inputs_hash_follows_the_rows() -> None:
    assert inputs_hash(unit_table(0, [1, 2])) == inputs_hash(unit_table(0, [1, 2]))
    assert inputs_hash(unit_table(0, [1, 2])) != inputs_hash(unit_table(0, [2, 1]))


def make_record(storage: Storage, owner: Owner, attempt: str, final: str) -> CommitRecord:
    stored = storage.describe(attempt).model_copy(update={"path": final})
    return CommitRecord(
        workflow="generate",
        unit="sa_000000",
        inputs="i",
        fingerprint="f",
        objects=[stored],
        counts={"images": 1},
        seconds=1.0,
        owner_epoch=owner.epoch,
    )


def test_commit_promotes_then_records(storage: Storage) -> None:
    with Owner(storage, "generate") as owner:
        storage.write("shards/.attempts/1/x.tar", b"bytes")
        record = make_record(storage, owner, "shards/.attempts/1/x.tar", "shards/x.tar")
        commit(storage, owner, record, [("shards/.attempts/1/x.tar", record.objects[0])])
        assert storage.read("shards/x.tar") == b"bytes"
        assert committed(storage, "generate") == {"sa_000000"}
        written = read_record(storage, "generate", "sa_000000")
        assert written.at and written.model_copy(update={"at": None}) == record


def test_a_fenced_owner_changes_nothing(storage: Storage) -> None:
    with Owner(storage, "generate") as old:
        storage.write("shards/.attempts/1/x.tar", b"bytes")
        record = make_record(storage, old, "shards/.attempts/1/x.tar", "shards/x.tar")
        storage.create(f"{layout.owners('generate')}/{old.epoch + 1:06d}.json", b"{}")
        with pytest.raises(FencedError, match="taken over"):
            commit(storage, old, record, [("shards/.attempts/1/x.tar", record.objects[0])])
        assert not storage.exists("shards/x.tar")
        assert committed(storage, "generate") == set()


def test_a_second_owner_is_told_who_holds_it(storage: Storage) -> None:
    with Owner(storage, "generate"):
        with pytest.raises(EngineError, match=r"already run by process \d+ on"):
            Owner(storage, "generate")
        with Owner(storage, "ingest"):
            pass  # another workflow of the same home is free
        assert current_owner(storage, "generate") is not None
    assert current_owner(storage, "generate") is None
    with Owner(storage, "generate") as next_owner:
        assert next_owner.epoch == 2


def test_a_killed_owner_is_taken_over(storage: Storage) -> None:
    code = (
        "import sys, time; from dataengine.home.owner import Owner; from dataengine.home.storage import Storage;"
        "o = Owner(Storage(sys.argv[1]), 'generate'); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, storage.url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(EngineError, match=f"process {process.pid}"):
        Owner(storage, "generate")
    process.kill()
    process.wait()
    with Owner(storage, "generate") as owner:
        assert owner.epoch == 2


def test_an_owner_on_another_machine_is_judged_by_its_heartbeat(storage: Storage) -> None:
    holder = {
        "host": "elsewhere",
        "pid": 1,
        "started": "1",
        "since": "now",
        "heartbeat": time.time(),
        "released": False,
    }
    path = f"{layout.owners('generate')}/000007.json"
    storage.write(path, json.dumps(holder).encode())
    with pytest.raises(EngineError, match="on elsewhere"):
        Owner(storage, "generate")
    storage.write(path, json.dumps(holder | {"heartbeat": time.time() - 1000}).encode())
    with Owner(storage, "generate") as owner:
        assert owner.epoch == 8


def test_the_journal_survives_and_orders(storage: Storage) -> None:
    first = Journal(storage, "generate", "sa_000000")
    first.add("2", b"two")
    first.add("1", b"one")
    first.flush()
    first.add("3", b"lost with the process")
    second = Journal(storage, "generate", "sa_000000")
    assert "1" in second and "2" in second and "3" not in second and len(second) == 2
    second.add("3", b"three")
    second.add("1", b"again")
    assert list(second.read(["1", "2", "3"])) == [b"one", b"two", b"three"]
    remove_journal(storage, "generate", "sa_000000")
    assert len(Journal(storage, "generate", "sa_000000")) == 0


def test_changed_facts_are_named() -> None:
    before = {"settings": {"points_per_side": 32, "iou": 0.9}, "threads": 2}
    require_same("generate", before, json.loads(json.dumps(before)))
    with pytest.raises(ConfigError, match=r"settings.points_per_side: 32 -> 16") as caught:
        require_same("generate", before, {"settings": {"points_per_side": 16, "iou": 0.9}, "threads": 2})
    assert "threads" not in str(caught.value)
