"""Writes a release: everything under an attempt's name first; then the folder gets its own, the index last."""

from __future__ import annotations

import hashlib
import uuid

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.owner import Owner
from dataengine.home.storage import Storage
from dataengine.release.card import render_card
from dataengine.release.names import CARD, INDEX, LINKS, SAMPLE, SUMS
from dataengine.release.sample import write_sample
from dataengine.release.texts import index_json, links_tsv, sums
from dataengine.shards.names import file_names
from dataengine.shards.verify import verify_tree
from schemas import StoredObject
from schemas.release import ReleaseIndex


def write_release(storage: Storage, owner: Owner, index: ReleaseIndex) -> None:
    """Makes `releases/<version>/`, which must not be a release yet. A killed run leaves nothing of that name,
    in an object store at most files without `index.json`, and the next run begins anew.
    """
    storage.remove(layout.attempts(layout.RELEASES))
    final = layout.release_folder(index.version)
    attempt = layout.attempt(final, f"{owner.epoch}-{uuid.uuid4().hex[:12]}")
    own = _write_texts(storage, attempt, index) + _write_sample(storage, attempt, index)
    named = [stored.model_copy(update={"path": f"{final}/{stored.path.removeprefix(attempt + '/')}"}) for stored in own]
    _write(storage, f"{attempt}/{SUMS}", sums([*named, *index.files]))
    owner.check()
    storage.promote_folder(attempt, final, last=INDEX)
    storage.remove(layout.attempts(layout.RELEASES))


def _write_texts(storage: Storage, attempt: str, index: ReleaseIndex) -> list[StoredObject]:
    texts = {CARD: render_card(index).encode(), INDEX: index_json(index), LINKS: links_tsv(index)}
    return [_write(storage, f"{attempt}/{name}", text) for name, text in texts.items()]


def _write_sample(storage: Storage, attempt: str, index: ReleaseIndex) -> list[StoredObject]:
    paths = [f"{attempt}/{SAMPLE}/{name}" for name in file_names(0)]
    with storage.attempt_folder(paths) as folder:
        write_sample(storage, index, folder)
    report = verify_tree(storage.url_of(f"{attempt}/{SAMPLE}"))
    if report.problems:
        raise EngineError(f"release {index.version}: the written sample doesn't verify: {report.problems[0]}")
    return [storage.describe(path) for path in paths]


def _write(storage: Storage, path: str, text: bytes) -> StoredObject:
    """What lies in storage afterwards, read back."""
    storage.write(path, text)
    stored = storage.describe(path)
    if stored.sha256 != hashlib.sha256(text).hexdigest():
        raise EngineError(f"{storage.url_of(path)} is not what was written; check the disk and run again")
    return stored
