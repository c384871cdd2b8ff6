"""Checks shards down to the pixel and the byte. What is wrong is named: shard, image, what.

Nothing here trusts a file. A sound shard passes every check of `sample_check`, its tar holds no surprise
anywhere (`tar_stream`), and its two Parquet files say the same as its tar.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

from pydantic import ValidationError

from dataengine.errors import EngineError
from dataengine.home.storage import Storage
from dataengine.shards.names import file_names, image_id_of, shard_of, split_url
from dataengine.shards.objects_check import HashingReader, ObjectsCheck
from dataengine.shards.reader import describe
from dataengine.shards.sample_check import check_sample
from dataengine.shards.tables_check import ShardTables
from dataengine.shards.tar_stream import RECORD, Member, TarDamageError, iter_members
from schemas import CommitRecord, SampleRecord

LISTED = 5
Complain = Callable[[str | None, str], None]
"""Takes the sample's key, or None for the shard itself, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: in which shard (or file), at which sample, and what."""

    shard: str
    key: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.what}" if self.key else f"{self.shard}: {self.what}"


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what was found."""

    shards: int = 0
    images: int = 0
    masks: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        return {"ok": self.ok, **asdict(self)}

    def summary(self) -> str:
        """One line for people."""
        verdict = "all sound" if self.ok else f"{len(self.problems)} problem(s)"
        size = f"{self.bytes / 1e6:.1f} MB"
        return (
            f"{self.shards} shard(s), {self.images} images, {self.masks} masks, {size} "
            f"verified in {self.seconds:.1f} s: {verdict}"
        )


def verify_shard(tar_url: str, *, threads: int | None = None) -> list[Problem]:
    """Everything that is wrong with one shard: its tar and, where they lie beside it, its Parquet files.

    A tar alone, without either Parquet file, is fine here: that is how other people's shards look.

    Args:
        tar_url: local path or fsspec URL of `sa_NNNNNN.tar`.
        threads: that decode and check images; default one a core.

    Raises:
        EngineError: when there's no such file.
    """
    return _verify_one(tar_url, None, threads).problems


def verify_tree(
    root_url: str, *, records: Iterable[CommitRecord] | None = None, threads: int | None = None
) -> VerifyReport:
    """Verifies every shard of a folder, or one tar.

    On top of `verify_shard`: each tar of a folder has both Parquet files, each Parquet file its tar, and no
    image id occurs twice over all shards.

    Args:
        root_url: a folder of shards, or the path of one `.tar`.
        records: commit records of what should be there. With them, every object's size and sha256 is
            checked, and one that is missing or that no record names is a problem.

    Raises:
        EngineError: when there are no shards and no records either.
    """
    started = time.monotonic()
    folder, name = split_url(root_url) if root_url.endswith(".tar") else (root_url.rstrip("/") or "/", None)
    storage = Storage(folder)
    here = [name] if name else [entry for entry in storage.list("") if shard_of(entry) is not None]
    if name is None and not here and records is None:
        raise EngineError(f"{root_url}: no shards (sa_NNNNNN.tar) here")
    objects = ObjectsCheck(records, only=name) if records is not None else None
    report = VerifyReport()
    seen: dict[int, str] = {}
    for entry in here:
        if not entry.endswith(".tar"):
            continue
        found = _verify_one(storage.url_of(entry), objects, threads)
        if name is None:
            found.problems += _missing_tables(entry, here)
        found.problems += _repeated(entry, found.image_ids, seen)
        report.shards += 1
        report.images += len(found.image_ids)
        report.masks += found.masks
        report.bytes += found.bytes
        report.problems += found.problems
    report.problems += _tables_without_tar(here if name is None else [])
    if objects is not None:
        report.problems += [Problem(entry, None, what) for entry, what in objects.close(storage)]
    report.seconds = time.monotonic() - started
    return report


@dataclass(slots=True)
class _Found:
    """One tar's outcome."""

    image_ids: list[int] = field(default_factory=list)
    masks: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pair:
    key: str
    json: bytes
    jpeg: bytes


def _verify_one(tar_url: str, objects: ObjectsCheck | None, threads: int | None) -> _Found:
    folder, name = split_url(tar_url)
    storage, found = Storage(folder), _Found()

    def complain(key: str | None, what: str) -> None:
        found.problems.append(Problem(name, key, what))

    if not storage.exists(name):
        raise EngineError(f"{tar_url}: no such file")
    tables = ShardTables.load(storage, shard_of(name), partial(complain, None))
    complete, threads = True, threads or os.cpu_count() or 1
    with storage.open(name) as raw, ThreadPoolExecutor(threads) as pool:
        stream = HashingReader(raw, hashing=objects is not None)
        pairs = _pairs(stream, complain)
        try:
            for image_id, sample, problems in _checked(pairs, tables, pool, 2 * threads):
                found.image_ids.append(image_id)
                found.masks += len(sample.annotations) if sample else 0
                found.problems += [Problem(name, f"sa_{image_id}", what) for what in problems]
        except TarDamageError as error:
            complete = False
            complain(None, str(error))
        found.bytes = stream.drain()
        if complete and found.bytes % RECORD:
            complain(None, f"cut short: {found.bytes} bytes are not whole tar records of {RECORD}")
        if objects is not None:
            objects.tar(name, stream.bytes_read, stream.sha256(), partial(complain, None))
    _check_order(found.image_ids, tables, complete, complain)
    return found


def _check_order(ids: list[int], tables: ShardTables, complete: bool, complain: Complain) -> None:
    if len(set(ids)) < len(ids):
        return
    lost = tables.images_without(ids)
    if lost:
        named = ", ".join(f"sa_{image_id}" for image_id in lost[:LISTED])
        more = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
        why = "are in the images table but not in the tar" if complete else "can't be read after the damage"
        complain(None, f"{len(lost)} image(s) {why}: {named}{more}")
    elif complete and tables.order is not None and ids != tables.order:
        complain(None, "images are not in the images table's order")


def _checked(
    pairs: Iterator[_Pair], tables: ShardTables, pool: ThreadPoolExecutor, flight: int
) -> Iterator[tuple[int, SampleRecord | None, list[str]]]:
    """Checks pairs on threads, at most `flight` at once, results in order."""
    waiting: deque[Future[tuple[int, SampleRecord | None, list[str]]]] = deque()
    damage: TarDamageError | None = None
    try:
        for pair in pairs:
            waiting.append(pool.submit(_check_pair, pair, tables))
            if len(waiting) >= flight:
                yield waiting.popleft().result()
    except TarDamageError as error:
        # What was read before the damage still counts.
        damage = error
    while waiting:
        yield waiting.popleft().result()
    if damage is not None:
        raise damage


def _check_pair(pair: _Pair, tables: ShardTables) -> tuple[int, SampleRecord | None, list[str]]:
    image_id = image_id_of(pair.key)
    assert image_id is not None
    try:
        # Strict: "12" is not 12, and 950.0 is not an area.
        sample = SampleRecord.model_validate_json(pair.json, strict=True)
    except ValidationError as error:
        return (
            image_id,
            None,
            [f"JSON is not SA-1B's: {describe(error)}", *tables.check_jpeg(image_id, pair.jpeg)],
        )
    problems = check_sample(image_id, sample, pair.jpeg)
    return image_id, sample, [*problems, *tables.check(image_id, sample, pair.jpeg)]


def _pairs(stream: HashingReader, complain: Complain) -> Iterator[_Pair]:
    """Complete samples in order; complains of every other member and of untidy headers."""
    waiting: Member | None = None
    for member in iter_members(stream):
        key, _, extension = member.name.partition(".")
        for what in _header_problems(member):
            complain(key, what)
        if image_id_of(key) is None or extension not in ("jpg", "json"):
            complain(None, f"unexpected file {member.name!r}")
            continue
        if waiting is None:
            waiting = member
            continue
        first, _, first_extension = waiting.name.partition(".")
        if first == key and (first_extension, extension) == ("jpg", "json"):
            yield _Pair(key, member.data, waiting.data)
            waiting = None
        else:
            complain(first, f"{waiting.name} has no partner right after it")
            waiting = member
    if waiting is not None:
        complain(waiting.name.partition(".")[0], f"{waiting.name} has no partner right after it")


def _header_problems(member: Member) -> Iterator[str]:
    info = member.info
    if info.mtime != 0:
        yield f"tar header has a time ({info.mtime})"
    if info.uid or info.gid or info.uname or info.gname:
        yield "tar header names an owner"
    if not member.clean_padding:
        yield "padding is not zeros"


def _missing_tables(tar_name: str, here: list[str]) -> list[Problem]:
    shard = shard_of(tar_name)
    tables = file_names(shard)[1:] if shard is not None else ()
    return [Problem(tar_name, None, f"{table} is missing") for table in tables if table not in here]


def _tables_without_tar(here: list[str]) -> list[Problem]:
    return [
        Problem(file_names(shard)[0], None, f"is missing, but {entry} is here")
        for entry in here
        if (shard := shard_of(entry)) is not None and file_names(shard)[0] not in here
    ]


def _repeated(tar_name: str, image_ids: list[int], seen: dict[int, str]) -> list[Problem]:
    problems = []
    for image_id in image_ids:
        if image_id in seen:
            problems.append(Problem(tar_name, f"sa_{image_id}", f"is also in {seen[image_id]}"))
        seen.setdefault(image_id, tar_name)
    return problems
