"""Shards: SA-1B-style WebDataset tars with two Parquet files beside each. Write, read, verify, inspect.

Import from the modules: `writer.write_shard`, `reader.read_samples`, `reader.ShardReader`,
`verify.verify_tree`, `inspect.find_image`. Nothing is imported here, since `inspect` draws with `reports`,
and `reports` reads shards.
"""
