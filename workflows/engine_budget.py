"""`--max-gpu-hours`: a round or a shard that would exceed it isn't begun, and the loop stops in good order."""

from __future__ import annotations

from dataengine.home import Home
from dataengine.home.rounds import model_in_use
from workflows.costs import Cost, round_cost, seconds_per_image, spent_seconds


class OutOfBudgetError(Exception):
    """Not an error of the loop: the reason why it stops."""


class Budget:
    """GPU-hours of all rounds and shards of the home, those of earlier runs too. `limit` None = no limit."""

    def __init__(self, home: Home, limit: float | None) -> None:
        self._home, self._limit = home, limit

    @property
    def spent(self) -> float:
        """Hours."""
        return spent_seconds(self._home) / 3600

    def round_hours(self, recipe: str | None) -> Cost:
        return round_cost(self._home, recipe)

    def require(self, cost: Cost, what: str) -> None:
        """Raises OutOfBudgetError when `what` wouldn't fit any more."""
        if self._limit is not None and self.spent + cost.hours > self._limit:
            raise OutOfBudgetError(
                f"{what} would take about {cost.hours:.3g} GPU-hours ({cost.basis}); {self.spent:.3g} of "
                f"{self._limit:g} are spent. Run again with a larger --max-gpu-hours to go on"
            )

    def shards_affordable(self) -> int | None:
        """How many shards may be begun; None = any number."""
        if self._limit is None:
            return None
        home = self._home
        model = model_in_use(home.storage, home.config.model)
        each = seconds_per_image(home, model).hours * home.config.shards.images_per_shard
        return max(0, int((self._limit - self.spent) / each))

    def refuse(self, what: str) -> None:
        """Raises OutOfBudgetError for what was left undone."""
        raise OutOfBudgetError(
            f"{what} are left: {self.spent:.3g} of {self._limit:g} GPU-hours are spent. Run again with a larger "
            "--max-gpu-hours to go on"
        )
