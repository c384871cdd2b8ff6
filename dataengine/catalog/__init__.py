"""Sources -> decoded, checked, deduplicated image rows (Parquet)."""
