"""The store, opened."""

from __future__ import annotations

from dataclasses import dataclass

from dataengine.annotations.database import Clock, Database
from dataengine.annotations.events import ChainReport, verify_chain
from dataengine.annotations.images import Images
from dataengine.annotations.leases import LeaseRules
from dataengine.annotations.models import SEMI_AUTOMATIC
from dataengine.annotations.people import People
from dataengine.annotations.prefills import Prefills
from dataengine.annotations.queue import Queue
from dataengine.annotations.reviews import Reviews
from dataengine.annotations.snapshots import Snapshots
from dataengine.annotations.statistics import Statistics
from dataengine.annotations.work import Work
from dataengine.errors import ConfigError
from dataengine.home import Home

ASSISTED_MANUAL = "assisted-manual"
STAGES = (ASSISTED_MANUAL, SEMI_AUTOMATIC)


@dataclass(frozen=True)
class Store:
    """One database seen from one stage. Safe for threads; every process opens its own."""

    database: Database
    stage: str
    rules: LeaseRules
    queue: Queue
    work: Work
    reviews: Reviews
    images: Images
    prefills: Prefills
    people: People
    snapshots: Snapshots
    statistics: Statistics

    def verify(self) -> ChainReport:
        """Recomputes the event chain and checks every mask against it."""
        with self.database.read() as connection:
            return verify_chain(connection)

    def close(self) -> None:
        self.database.close()


def open_store(
    url: str, stage: str = ASSISTED_MANUAL, rules: LeaseRules | None = None, *, clock: Clock | None = None
) -> Store:
    """Opens the database (see `Database`), creating or upgrading its tables."""
    database, rules = Database(url, clock), rules or LeaseRules()
    return Store(
        database=database,
        stage=stage,
        rules=rules,
        queue=Queue(database, stage, rules),
        work=Work(database, rules),
        reviews=Reviews(database, rules),
        images=Images(database, stage),
        prefills=Prefills(database, stage),
        people=People(database),
        snapshots=Snapshots(database),
        statistics=Statistics(database, stage),
    )


def database_url(home: Home) -> str:
    """`annotate.database` of the home, a relative SQLite file made absolute.

    Raises ConfigError when the home lies in an object store and the database is a file of it.
    """
    url = home.config.annotate.database
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url.startswith("sqlite:////"):
        return url
    if not home.storage.is_local:
        raise ConfigError(
            f"annotate.database: {url} is a file, but the home {home.storage.url} is not on a local disk; "
            "use postgresql://USER@HOST/NAME or an absolute sqlite:////FILE"
        )
    return f"{prefix}{home.storage.local_path(url.removeprefix(prefix))}"


def store_of(home: Home, stage: str = ASSISTED_MANUAL) -> Store:
    """The store of a home, with the rules of its `engine.yaml`."""
    config = home.config.annotate
    rules = LeaseRules(milliseconds=int(config.lease_minutes * 60_000), per_user=config.leases_per_user)
    return open_store(database_url(home), stage, rules)
