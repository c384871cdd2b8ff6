"""`FinishedImage`: the outcome of one planned image, as it travels from generation into a shard."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, fields

from schemas import SampleRecord

_MAGIC = b"FIN1"
_LENGTHS = struct.Struct("<4sIII")
_BLOBS = ("jpeg", "sample")


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """Every planned image ends as one of these: a sample (`status == "ok"`), or a reason why there is none.

    Attributes:
        image_id: the catalog's id.
        status: `ok`, `source changed`, `quarantined`, `withdrawn`, ...
        reason: one line for people; required unless `ok`.
        jpeg: the released picture, already blurred; only for `ok`.
        sample: its record, in the release frame; only for `ok`.
        original_size: (height, width) of the original frame, where known.
        faces_blurred, plates_blurred: how many boxes were hidden in `jpeg`.
        source_sha256: of the original file's bytes.
    """

    image_id: int
    status: str
    reason: str | None = None
    jpeg: bytes | None = None
    sample: SampleRecord | None = None
    original_size: tuple[int, int] | None = None
    faces_blurred: int = 0
    plates_blurred: int = 0
    source_sha256: str | None = None
    licence: str | None = None
    author: str | None = None
    source_url: str | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        if self.status == "ok":
            if self.jpeg is None or self.sample is None:
                raise ValueError(f"image {self.image_id}: status ok needs a jpeg and a sample")
            if self.sample.image.image_id != self.image_id:
                raise ValueError(f"image {self.image_id}: its sample is of image {self.sample.image.image_id}")
        elif self.jpeg is not None or self.sample is not None:
            raise ValueError(f"image {self.image_id}: status {self.status!r} must carry neither jpeg nor sample")
        elif not self.reason:
            raise ValueError(f"image {self.image_id}: status {self.status!r} needs a reason")

    def to_bytes(self) -> bytes:
        """One blob for the journal: three lengths, the plain fields, the sample's JSON, the JPEG."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _BLOBS}
        head = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
        sample = self.sample.model_dump_json().encode() if self.sample else b""
        jpeg = self.jpeg or b""
        return _LENGTHS.pack(_MAGIC, len(head), len(sample), len(jpeg)) + head + sample + jpeg

    @classmethod
    def from_bytes(cls, data: bytes) -> FinishedImage:
        """The inverse of `to_bytes`.

        Raises:
            ValueError: when the blob is cut short or isn't one.
        """
        if len(data) < _LENGTHS.size:
            raise ValueError("not a finished image: too short")
        magic, head_size, sample_size, jpeg_size = _LENGTHS.unpack_from(data)
        if magic != _MAGIC or len(data) != _LENGTHS.size + head_size + sample_size + jpeg_size:
            raise ValueError("not a finished image, or one that is cut short")
        sample_at = _LENGTHS.size + head_size
        jpeg_at = sample_at + sample_size
        plain = json.loads(data[_LENGTHS.size : sample_at])
        size = plain.pop("original_size")
        return cls(
            **plain,
            original_size=(size[0], size[1]) if size else None,
            sample=SampleRecord.model_validate_json(data[sample_at:jpeg_at]) if sample_size else None,
            jpeg=data[jpeg_at:] if jpeg_size else None,
        )
