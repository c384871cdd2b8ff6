"""What a home holds and what leaves it: `status`, `verify` and `release`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from workflows.cli_options import HomeArgument, JsonOption, SetOption, complain, home_of

out = Console()


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(verify)
    app.command()(release)


def status(home: HomeArgument, as_json: JsonOption = False) -> None:
    """What the home holds, how far each workflow is and who runs it; its snapshots and releases."""
    import dataclasses
    import json

    from workflows.engine_status import engine_status
    from workflows.status import home_releases, home_snapshots, home_status
    from workflows.tables import engine_status_table, kept_table, status_table

    opened = home_of(home)
    found, engine = home_status(opened), engine_status(opened)
    kept = {"snapshots": home_snapshots(opened), "releases": home_releases(opened)}
    if as_json:
        listed = [dataclasses.asdict(workflow) for workflow in found]
        if engine is not None:
            listed.append({"workflow": "engine", **engine.as_dict()})
        listed += [
            {"workflow": kind, kind: [dataclasses.asdict(one) for one in ones]} for kind, ones in kept.items() if ones
        ]
        typer.echo(json.dumps(listed, indent=1))
        return
    out.print(status_table(found))
    if any(kept.values()):
        out.print(kept_table(kept))
    if engine is not None:
        out.print(engine_status_table(engine))


def verify(
    path: Annotated[str, typer.Argument(metavar="PATH|URL", help="A home, a folder of shards, one tar, or a release.")],
    as_json: JsonOption = False,
) -> None:
    """Check every shard byte for byte and record for record; exit 1 and the list of bad ones."""
    import json

    from workflows.verify import verify as run

    report = run(path)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1))
    else:
        for problem in report.problems:
            complain(str(problem))
        out.print(report.summary(), highlight=False)
    if report.problems:
        raise typer.Exit(1)


def release(
    home: HomeArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Name of the release, e.g. v1.")],
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Where a mirror of HOME lies; the links begin with it."),
    ] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Also the newest snapshot of masks that people accepted.")
    ] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify every shard, then write index, checksums, links, dataset card and a sample to HOME/releases/VERSION."""
    from workflows.release import release as run
    from workflows.tables import release_table

    summary = run(home_of(home, overrides), version, Console(stderr=as_json), base_url=base_url, accepted=accepted)
    if as_json:
        typer.echo(summary.index.model_dump_json(indent=1))
    else:
        out.print(release_table(summary))
