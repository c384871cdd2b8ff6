"""Shards: SA-1B-style WebDataset tars with two Parquet files beside each. Write, read, verify, inspect."""

from dataengine.shards.finished import FinishedImage
from dataengine.shards.inspect import find_image, inspect_image
from dataengine.shards.names import file_names, key_of
from dataengine.shards.reader import DamagedShardError, ShardReader, read_samples
from dataengine.shards.release_image import decode_jpeg, encode_jpeg, release_pixels, release_size
from dataengine.shards.verify import Problem, VerifyReport, verify_shard, verify_tree
from dataengine.shards.writer import ShardCounts, ShardFiles, ShardWriter, sample_json, write_shard

__all__ = [
    "DamagedShardError",
    "FinishedImage",
    "Problem",
    "ShardCounts",
    "ShardFiles",
    "ShardReader",
    "ShardWriter",
    "VerifyReport",
    "decode_jpeg",
    "encode_jpeg",
    "file_names",
    "find_image",
    "inspect_image",
    "key_of",
    "read_samples",
    "release_pixels",
    "release_size",
    "sample_json",
    "verify_shard",
    "verify_tree",
    "write_shard",
]
