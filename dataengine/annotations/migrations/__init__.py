"""Alembic's scripts, shipped with the package. A change of `tables.py` needs a new file in `versions/`."""
