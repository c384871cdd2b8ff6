"""The engine home: layout, storage, config file, plans, commit records, journal, owner lease, fingerprint."""

from dataengine.home.home import Home, create_home, open_home

__all__ = ["Home", "create_home", "open_home"]
