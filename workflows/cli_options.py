"""Options that several commands take, and how a command opens its home and tells an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataengine.home import Home

HomeArgument = Annotated[str, typer.Argument(metavar="HOME", help="The engine home: a folder or an fsspec URL.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key, e.g. generate.points_per_side=16."),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Ray cluster to join (`auto`); without it a local Ray starts.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Registry name, checkpoint file, or with --home: latest, round-NNN. [default: nano]")
]
OfHomeOption = Annotated[
    str | None, typer.Option("--home", metavar="HOME", help="Take the model from this home; default its `model:`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def home_of(home: str, overrides: Sequence[str] | None = None, address: str | None = None) -> Home:
    """The home with its `--set` and `--address`."""
    from dataengine.home import open_home

    chosen = list(overrides or [])
    if address:
        chosen.append(f"ray.address={address}")
    return open_home(home, chosen)


def complain(line: str) -> None:
    """One line on stderr."""
    shown = Console(stderr=True, emoji=False)
    shown.print(f"error: {line}", style="red", highlight=False, markup=False, soft_wrap=True)
