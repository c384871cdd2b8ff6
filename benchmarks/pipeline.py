"""Stage 3's images a second over those of the bare generator in one process: what the engine around it costs.

    python -m benchmarks.pipeline [--images 6] [--per-shard 2] [--size 1500x2250] [--turns 3] [--threads N]
                                  [--set KEY=VALUE ...] [--json FILE]

Mosaics of photos are written as JPEGs, then: init, ingest (faces and plates included), generate on a real Ray
of this machine with one generator. Model `nano`, preset `sa-1b` (21 views, 3072 points) with the thresholds of
the model's card; `--set` changes any key of `engine.yaml`. Both sides have the same settings and threads.

- bare: `MaskGenerator.generate` on pixels that lie decoded in memory, one image after the other. Half of the
  images before stage 3 runs and half after it, in every turn: a machine that drifts hits both sides.
- stage: wall time from the commit of the first shard to that of the last, so without the start of Ray and of
  the generator, but with everything else: reading, decoding, handing over, blurring, JPEG, journal, packing,
  verifying, promoting, committing. The pipeline runs empty at the end of each shard, so small shards cost more
  here than the usual ones of 1000 images. `by shards' seconds` takes what the commit records say instead.
  `generator busy` is the share of that time, without the last shard, in which the generator had an image in
  hand, by Ray's own record: what is missing to 1 is waiting, and the only figure here without a machine's noise.

Both make the images of the later shards, and their records must be equal. CPU seconds are an image's, in the
same window; `outside` is the builder, the driver and Ray's own processes. `limit` is the ratio that the cores
would allow if they never idled: where the generator alone keeps them busy, CPU work outside of it can't be
hidden, only made less.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Figures, in_fresh_process, machine, parser, report
from benchmarks.photos import mosaic
from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.catalog.decode import decode
from dataengine.home import create_home, layout, open_home
from dataengine.home.units import records
from dataengine.model import load_model
from dataengine.runtime.reaper import descendants, processes
from dataengine.shards.reader import read_samples
from dataengine.shards.release_image import release_size
from schemas import MaskRecord

WORKFLOW = "generate"
SAMPLE_SECONDS = 1.0
EVENTS_SECONDS = 2.0
"""Until Ray's processes have reported their events: they do so once a second."""
TASKS_OF_GENERATOR = "task::MaskGenerator."
ACTORS = {"generator": "ray::MaskGenerator", "builder": "ray::ShardBuilder"}
"""What Ray calls their processes; this driver and Ray's own are the `rest`."""
CPU_COLUMNS = ("generator CPU s", "outside CPU s", "outside share", "limit")
PHOTOS = "photos"


# the bare generator ------------------------------------------------------------------------------------


def bare(home_url: str, files: list[str], first_id: int, threads: int) -> Figures:
    """Seconds and CPU seconds of each image, and its records; runs in a process of its own."""
    torch.set_num_threads(threads)
    config = open_home(home_url).config
    sam, card = load_model(config.model)
    generator = MaskGenerator(sam, resolve_settings(config.generate, card, "cpu"))
    generator.generate(mosaic(96, 128, 0))
    out: list[Figures] = []
    for image_id, file in enumerate(files, first_id):
        pixels = decode(Path(file).read_bytes(), config.ingest.max_megapixels).pixels
        size = release_size(pixels.shape[0], pixels.shape[1], config.shards.short_side)
        started, cpu = time.perf_counter(), time.process_time()
        found = generator.generate(pixels, image_id=image_id, release_size=size)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        out.append({"seconds": seconds, "cpu_seconds": cpu_seconds, "records": [r.model_dump() for r in found]})
    return {"images": out}


# stage 3 -----------------------------------------------------------------------------------------------


def ingest(home_url: str) -> Figures:
    """Runs in a process of its own."""
    from rich.console import Console

    from workflows.ingest import ingest as run

    started = time.perf_counter()
    run(open_home(home_url), Console(stderr=True))
    return {"seconds": time.perf_counter() - started}


def stage(home_url: str) -> Figures:
    """Runs `generate`; says when each shard was committed and what its processes took between first and last."""
    import ray
    from rich.console import Console

    from dataengine.runtime.cluster import ray_session
    from workflows.generate import generate as run

    home = open_home(home_url)
    started = time.perf_counter()
    # A session of our own, which outlives the run, so that Ray can still be asked when its tasks ran.
    with cpu_of_descendants() as samples, ray_session(None):
        summary = run(home, Console(stderr=True))
        seconds = time.perf_counter() - started
        time.sleep(EVENTS_SECONDS)
        events = [event for event in ray.timeline() if event["cat"].startswith(TASKS_OF_GENERATOR)]
    if summary.failed:
        raise SystemExit(f"shards failed: {summary.failed}")
    done = list(records(home.storage, WORKFLOW))
    ends = [
        Path(home.storage.local_path(layout.commit_record(WORKFLOW, record.unit))).stat().st_mtime for record in done
    ]
    return {
        "seconds": seconds,
        "commits": ends,
        "shard_seconds": [record.seconds for record in done],
        "cpu_seconds": samples.between(ends[0], ends[-1]) if len(samples) else None,
        # Ray loses the last events of the actors that end with the last shard, so that one doesn't count here.
        "busy": _busy(events, ends[0], ends[-2]) if len(ends) > 2 else None,
    }


def _busy(events: list[Figures], start: float, end: float) -> float:
    """Share of the time between two moments (Unix time) in which the generator had an image in hand."""
    spans = [(event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6) for event in events]
    return sum(max(0.0, min(stop, end) - max(begin, start)) for begin, stop in spans) / (end - start)


class CpuSamples:
    """CPU seconds so far of this process and everything below it, once a second. Empty elsewhere than on Linux."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._spent: list[dict[tuple[int, str], float]] = []
        self._kinds: dict[tuple[int, str], str] = {}
        """Ray names a process after its actor some time after it started, and no longer when it ends."""

    def __len__(self) -> int:
        return len(self._moments)

    def take(self) -> None:
        spent = dict(self._spent[-1]) if self._spent else {}  # what has ended stays in the sums
        for pid, born in [(os.getpid(), ""), *descendants(os.getpid(), processes()).items()]:
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes()[:40].decode(errors="replace")
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            known = (kind for kind, name in ACTORS.items() if title.startswith(name))
            self._kinds[pid, born] = next(known, self._kinds.get((pid, born), "rest"))
            spent[pid, born] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        self._moments.append(time.time())
        self._spent.append(spent)

    def between(self, start: float, end: float) -> dict[str, float]:
        """CPU seconds by kind of process between two moments (Unix time)."""
        found = {}
        for kind in (*ACTORS, "rest"):
            sums = [sum(part for key, part in spent.items() if self._kinds[key] == kind) for spent in self._spent]
            found[kind] = float(np.interp(end, self._moments, sums) - np.interp(start, self._moments, sums))
        return found


@contextmanager
def cpu_of_descendants() -> Iterator[CpuSamples]:
    """Takes samples while the block runs."""
    samples, stop = CpuSamples(), threading.Event()

    def watch() -> None:
        samples.take()
        while not stop.wait(SAMPLE_SECONDS):
            samples.take()

    thread = threading.Thread(target=watch, daemon=True)
    if Path("/proc/self/stat").exists():
        thread.start()
    try:
        yield samples
    finally:
        stop.set()
        if thread.ident:
            thread.join()


# both --------------------------------------------------------------------------------------------------


def write_mosaics(folder: Path, count: int, height: int, width: int) -> None:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(mosaic(height, width, index)).save(folder / f"mosaic_{index:03d}.jpg", quality=95)


def prepare(
    folder: Path, images: int, per_shard: int, size: tuple[int, int], overrides: list[str]
) -> tuple[str, float]:
    """A home whose catalog is ready, in an empty folder, and the seconds that ingest took."""
    write_mosaics(folder / PHOTOS, images, *size)
    _, card = load_model("nano")
    settings = [
        "generate.preset=sa-1b",
        f"generate.pred_iou_thresh={card.pred_iou_thresh}",
        f"generate.stability_score_thresh={card.stability_score_thresh}",
        f"generate.threads={torch.get_num_threads()}",
        f"shards.images_per_shard={per_shard}",
        "ray.generators=1",
    ]
    home = str(folder / "ingested")
    create_home(home, [str(folder / PHOTOS)], [*settings, *overrides])
    return home, in_fresh_process(ingest, home_url=home).result["seconds"]


def compare(ingested: str, home: str, per_shard: int) -> Figures:
    """One turn: half of the images bare, all of them through stage 3 in the new folder `home`, the other half bare."""
    shutil.copytree(ingested, home)
    files = [str(path) for path in sorted((Path(home).parent / PHOTOS).iterdir())]
    half = (per_shard + len(files)) // 2
    halves = [(per_shard, half), (half, len(files))]

    def alone(start: int, stop: int) -> list[Figures]:
        return in_fresh_process(
            bare, home_url=home, files=files[start:stop], first_id=start + 1, threads=torch.get_num_threads()
        ).result["images"]

    before = alone(*halves[0])
    made = in_fresh_process(stage, home_url=home).result
    images = before + alone(*halves[1])
    return {
        "images": len(images),
        "masks": sum(len(one["records"]) for one in images),
        "records_equal": _released(home)[per_shard:] == [_parsed(one["records"]) for one in images],
        "bare_seconds": [one["seconds"] for one in images],
        "bare_cpu_seconds": [one["cpu_seconds"] for one in images],
        "stage": made,
    }


def _parsed(found: list[Figures]) -> list[MaskRecord]:
    return [MaskRecord.model_validate(record) for record in found]


def _released(home_url: str) -> list[list[MaskRecord]]:
    storage = open_home(home_url).storage
    names = [name for name in storage.list(layout.SHARDS) if name.endswith(".tar")]
    return [
        sample.annotations
        for name in sorted(names)
        for sample, _ in read_samples(storage.url_of(f"{layout.SHARDS}/{name}"))
    ]


def row_of(turn: Figures, cores: int) -> Figures:
    count, made, cpu = turn["images"], turn["stage"], turn["stage"]["cpu_seconds"]
    alone, alone_cpu = sum(turn["bare_seconds"]) / count, sum(turn["bare_cpu_seconds"]) / count
    steady = (made["commits"][-1] - made["commits"][0]) / count
    row: Figures = {
        "bare s/image": alone,
        "stage s/image": steady,
        "of bare": alone / steady,
        "by shards' seconds": alone / (sum(made["shard_seconds"][1:]) / count),
        "generator busy": made["busy"],
        "bare CPU s": alone_cpu,
    }
    if cpu is None:
        return row | dict.fromkeys(CPU_COLUMNS)
    outside = (cpu["builder"] + cpu["rest"]) / count
    inside = cpu["generator"] / count
    limit = min(1.0, alone * cores / (alone_cpu + outside))
    return row | dict(zip(CPU_COLUMNS, (inside, outside, outside / (inside + outside), limit), strict=True))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=6)
    arguments.add_argument("--per-shard", type=int, default=2)
    arguments.add_argument("--size", default="1500x2250", help="height x width of the mosaics")
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    chosen = arguments.parse_args()
    height, width = (int(side) for side in chosen.size.split("x"))
    if chosen.images < chosen.per_shard + 2:
        raise SystemExit(f"--images {chosen.images}: the first shard is not measured; at least two more are needed")
    torch.set_num_threads(chosen.threads)
    facts = machine()
    with TemporaryDirectory() as name:
        folder = Path(name)
        home, ingest_seconds = prepare(folder, chosen.images, chosen.per_shard, (height, width), chosen.overrides)
        turns = [compare(home, str(folder / f"turn_{turn}"), chosen.per_shard) for turn in range(chosen.turns)]
    rows = [row_of(turn, facts["cores"]) for turn in turns]
    middle = {
        column: median(row[column] for row in rows) if rows[0][column] is not None else None for column in rows[0]
    }
    named = [{"turn": str(index + 1)} | row for index, row in enumerate(rows)] + [{"turn": "median"} | middle]
    print(
        f"{turns[0]['images']} images of {chosen.size} in shards of {chosen.per_shard}, {turns[0]['masks']} masks; "
        f"records of both sides equal: {all(turn['records_equal'] for turn in turns)}; ingest {ingest_seconds:.1f} s"
    )
    report(
        facts,
        named,
        chosen.json,
        size=chosen.size,
        per_shard=chosen.per_shard,
        settings=chosen.overrides,
        ingest_seconds=ingest_seconds,
        turns=turns,
    )


if __name__ == "__main__":
    main()
