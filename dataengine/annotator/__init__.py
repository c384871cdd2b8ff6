"""The annotation server: a FastAPI application over the annotation store, and the page it serves.

    app = create_app(store, media, settings)     # ASGI; `serving.serve` runs it under uvicorn

It holds no state that matters: everything is committed by the store before a request is answered, so it may be
killed at any moment. What it needs from others comes as small protocols (`protocols.py`): pictures and
embeddings (`Media`), who gets a task (`QueueClient`), masks for pages that can't decode (`Decoder`).
"""

from dataengine.annotator.app import create_app
from dataengine.annotator.settings import ServerSettings

__all__ = ["ServerSettings", "create_app"]
