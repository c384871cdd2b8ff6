"""The commands around stages 1 and 2: `annotate`, `simulate`, `snapshot` and `annotations ...`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from workflows.cli_options import AddressOption, HomeArgument, JsonOption, SetOption, complain, home_of

if TYPE_CHECKING:
    from dataengine.annotations import Store
    from dataengine.annotator.protocols import Media
    from dataengine.home import Home

out = Console()

annotations_app = typer.Typer(no_args_is_help=True, help="Back up, check and export what people made.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the main application."""
    app.command()(annotate)
    app.command()(simulate)
    app.command()(snapshot)
    app.add_typer(annotations_app, name="annotations")


def annotate(
    home: HomeArgument,
    stage: Annotated[str, typer.Option(help="assisted-manual or semi-automatic.")] = "assisted-manual",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Where a proxy shows the page, e.g. https://masks.example.")
    ] = None,
    overrides: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Stages 1 and 2: people and the model make masks in the browser; in stage 2 the confident ones are there."""
    from dataengine.annotator import ServerSettings
    from workflows.annotate import annotate as run
    from workflows.annotate import open_annotations

    opened = home_of(home, overrides, address)
    store = open_annotations(opened, stage)
    origins = frozenset(url.rstrip("/") for url in origin or [])
    secure = bool(origins) and all(url.startswith("https://") for url in origins)
    settings = ServerSettings(origins=origins, secure_cookie=secure)
    media, beside = _media(opened, store)
    run(opened, store, media, out, host=host, port=port, settings=settings, beside=beside)


def simulate(
    home: HomeArgument,
    data: Annotated[
        list[str], typer.Option("--data", metavar="DIR", help="True masks of the images: COCO or shards; repeat.")
    ],
    annotators: Annotated[int, typer.Option(min=1, help="Simulated annotators at once.")] = 2,
    reviewers: Annotated[int, typer.Option(min=0, help="Simulated reviewers.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed, the same people.")] = 0,
    stage: Annotated[str, typer.Option(help="assisted-manual or semi-automatic.")] = "assisted-manual",
    overrides: SetOption = None,
    address: AddressOption = None,
) -> None:
    """Stages 1 and 2 without people: simulated annotators and reviewers who know the truth use the API."""
    from workflows.simulate import simulate as run
    from workflows.tables import simulation_table

    opened = home_of(home, overrides, address)
    summary = run(opened, data, out, annotators=annotators, reviewers=reviewers, seed=seed, stage=stage)
    out.print(simulation_table(summary))
    if summary.left:
        complain(f"{summary.left} tasks are left: nobody who may do them was there")
        raise typer.Exit(1)


def snapshot(home: HomeArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Freeze the accepted masks of people into HOME/snapshots/NNN: a manifest, then shards."""
    from workflows.snapshot import take_snapshot_of_store
    from workflows.tables import snapshot_table

    summary = take_snapshot_of_store(home_of(home, overrides, None), out)
    if as_json:
        typer.echo(summary.record.model_dump_json(indent=1))
    else:
        out.print(snapshot_table(summary))


@annotations_app.command()
def backup(
    home: HomeArgument, file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup goes.")]
) -> None:
    """Copy the whole annotation database into one file, while people work."""
    from dataengine.annotations import database_url
    from dataengine.annotations.backup import backup as run

    size = run(database_url(home_of(home)), file)
    out.print(f"{file}: {size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


@annotations_app.command()
def restore(
    home: HomeArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Also where a database is there already.")] = False,
) -> None:
    """Put a backup in place; the server must not run."""
    from dataengine.annotations import database_url
    from dataengine.annotations.backup import restore as run
    from dataengine.home.owner import Owner
    from workflows.annotate import WORKFLOW

    opened = home_of(home)
    with Owner(opened.storage, WORKFLOW):
        report = run(database_url(opened), file, replace=replace)
    out.print(f"{report.events} events, {report.revisions} mask revisions restored", highlight=False)
    _tell(report.problems)


@annotations_app.command()
def verify(home: HomeArgument) -> None:
    """Check the event chain and every mask against it; exit 1 and what is wrong."""
    store = _store(home)
    report = store.verify()
    out.print(f"{report.events} events, {report.revisions} mask revisions, head {report.head}", highlight=False)
    _tell(report.problems)


@annotations_app.command()
def export(
    home: HomeArgument, folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the Parquet files go.")]
) -> None:
    """Write masks.parquet and annotators.parquet: seconds, clicks, edits and verdicts per mask and person."""
    from dataengine.annotations.export import export_statistics

    rows = export_statistics(_store(home), folder)
    out.print(f"{folder}: {rows['masks']} masks, {rows['annotators']} annotators", highlight=False, soft_wrap=True)


@annotations_app.command()
def link(
    home: HomeArgument,
    user: Annotated[str, typer.Option(help="Whose; he sets a new password with it.")] = "admin",
) -> None:
    """Print a one-time log-in link's token: for a forgotten password."""
    from dataengine.annotator import ServerSettings

    people = _store(home).people
    secret = people.issue(people.named(user).id, "link", ServerSettings().link_seconds, "command line")
    typer.echo(f"/#link={secret}")


def _media(home: Home, store: Store) -> tuple[Media, AbstractContextManager[object]]:
    """The home's pictures and embeddings, and the context in which more of them are made ahead of the people."""
    from dataengine.media.serving import HomeMedia
    from workflows.ready_ahead import preparing, ready_ahead

    return HomeMedia(home, store.images), preparing(home, ready_ahead(home, store))


def _store(home: str) -> Store:
    from workflows.annotate import open_annotations

    return open_annotations(home_of(home))


def _tell(problems: list[str]) -> None:
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)
