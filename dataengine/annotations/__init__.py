"""The store of stages 1 and 2: images, tasks, leases, masks, reviews and everything that ever happened to them.

    store = store_of(home)                                  # or open_store("sqlite:////data/annotations.db")
    store.images.promote(AnnotationModel(...))              # the model annotators use
    store.images.fill(catalog_rows, short_side=1500)        # idempotent: catalog rows -> images and tasks
    store.images.wanted_embeddings(ahead=50)                # what the Embedder makes next ...
    store.images.embedding_ready(image_id, encoder)         # ... and tells: pending tasks become ready

    store.prefills.wanted(source, ahead=50); store.prefills.put(Prefilled(...), source)    # stage 2: locked suggestions

    anna = store.people.add("anna", "annotator", "a password")
    claim = store.queue.claim(anna, "annotate", mutation=str(uuid4()))       # a lease, or claim.empty says why not
    held = Held(lease=claim.lease, fence=claim.fence, mutation=str(uuid4()))
    store.work.save_mask(anna, claim.task_id, mask_id, held, 0, MaskDraft(...))    # 0 = base revision of a new mask
    store.work.finish(anna, claim.task_id, held, exhaustive=True)           # each write its own mutation id
    store.reviews.give(reviewer, task_id, held, Review(verdict="accept"))   # under a claim of kind "review"

    head, images = store.snapshots.accepted()               # AcceptedImage by AcceptedImage, one consistent view
    store.snapshots.add(head, images=..., masks=..., manifest="snapshots/001/...", sha256=...)
    store.verify().problems                                 # [] when chain and masks are intact

The same on SQLite and PostgreSQL. Refusals are `StoreError`s with a `code`. Records lie in `schemas.annotations`.
"""

from dataengine.annotations.errors import ConflictError, ForbiddenError, InvalidError, MissingError, StoreError
from dataengine.annotations.leases import LeaseRules
from dataengine.annotations.models import SEMI_AUTOMATIC
from dataengine.annotations.store import ASSISTED_MANUAL, STAGES, Store, database_url, open_store, store_of

__all__ = [
    "ASSISTED_MANUAL",
    "SEMI_AUTOMATIC",
    "STAGES",
    "ConflictError",
    "ForbiddenError",
    "InvalidError",
    "LeaseRules",
    "MissingError",
    "Store",
    "StoreError",
    "database_url",
    "open_store",
    "store_of",
]
