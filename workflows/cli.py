"""The `dataengine` command. Rooms are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from dataengine.home import Home

app = typer.Typer(
    name="dataengine",
    help="A folder of photos goes in, an SA-1B-style dataset comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()

HomeArgument = Annotated[str, typer.Argument(metavar="HOME", help="The engine home: a folder or an fsspec URL.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key, e.g. generate.points_per_side=16."),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Ray cluster to join (`auto`); without it a local Ray starts.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' own log lines.")] = False,
) -> None:
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the demo's home goes.")] = Path("demo-home"),
) -> None:
    """The main job on sample photos, then a report to look at."""
    from workflows.demo import run_demo

    report = run_demo(directory, out)
    out.print(f"\nreport: {report}", highlight=False, soft_wrap=True)


@app.command()
def init(
    home: HomeArgument,
    images: Annotated[list[str], typer.Option("--images", metavar="SRC", help="Folder, file, glob or URL; repeat.")],
    overrides: SetOption = None,
) -> None:
    """Write HOME/engine.yaml with comments."""
    from dataengine.home import create_home
    from workflows.init import absolute_sources

    sources = absolute_sources(images)
    created = create_home(home, sources, overrides or [])
    out.print(
        f"{created.storage.url_of('engine.yaml')} written; next: dataengine ingest {_quoted(home)}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def ingest(home: HomeArgument, overrides: SetOption = None, address: AddressOption = None) -> None:
    """Read, check and deduplicate the images; find faces and plates; write the catalog."""
    from workflows.ingest import ingest as run
    from workflows.tables import ingest_table

    summary = run(_open(home, overrides, address), out)
    out.print(ingest_table(summary))


@app.command()
def generate(home: HomeArgument, overrides: SetOption = None, address: AddressOption = None) -> None:
    """Stage 3: masks for every image, written as shards of blurred images and RLE masks."""
    from workflows.generate import generate as run
    from workflows.report import write_report
    from workflows.tables import generate_table

    opened = _open(home, overrides, address)
    summary = run(opened, out)
    out.print(generate_table(summary))
    if summary.failed:
        for shard, reason in summary.failed.items():
            _error(f"{shard}: {reason}")
        raise typer.Exit(1)
    out.print(f"report: {write_report(opened, summary)}", highlight=False, soft_wrap=True)


@app.command()
def status(home: HomeArgument, as_json: JsonOption = False) -> None:
    """What the home holds, how far each workflow is and who runs it."""
    import dataclasses
    import json

    from workflows.status import home_status
    from workflows.tables import status_table

    found = home_status(_open(home, None, None))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(workflow) for workflow in found], indent=1))
    else:
        out.print(status_table(found))


@app.command()
def verify(
    path: Annotated[str, typer.Argument(metavar="PATH|URL", help="A home, a folder of shards, or one tar.")],
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
            _error(str(problem))
        out.print(report.summary(), highlight=False)
    if report.problems:
        raise typer.Exit(1)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A home, a folder of shards, or one tar.")],
    image: Annotated[int, typer.Option("--image", metavar="ID", help="The image id.")],
    picture: Annotated[Path | None, typer.Option("--out", help="Where the picture goes.")] = None,
) -> None:
    """Draw one image's masks on it."""
    from dataengine.shards.inspect import inspect_image
    from workflows.verify import shards_root

    target = picture or Path(f"sa_{image}-masks.png")
    inspect_image(shards_root(path), image, target)
    out.print(str(target), highlight=False, soft_wrap=True)


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photo.")],
    point: Annotated[
        list[str] | None, typer.Option("--point", metavar="X,Y[,0|1]", help="A click; 0 = background.")
    ] = None,
    points: Annotated[Path | None, typer.Option("--points", help="File with one X,Y[,0|1] a line.")] = None,
    box: Annotated[str | None, typer.Option("--box", metavar="X,Y,X,Y", help="A box.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="PNG with a rough mask of the image's size.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All masks, as stage 3 makes them.")] = False,
    choose: Annotated[str, typer.Option(help="best | all | ambiguous (three masks of one point).")] = "best",
    model: Annotated[str, typer.Option(help="Registry name or checkpoint file.")] = "nano",
    target: Annotated[Path | None, typer.Option("--out", help="PNG or JSON; default IMAGE-masks.png.")] = None,
) -> None:
    """Masks for one photo from clicks, a box, a mask, or nothing at all."""
    from workflows.segment import Prompt, segment_image

    prompt = Prompt.parse(point or [], points, box, mask, everything, choose)
    written, records = segment_image(image, prompt, model, target)
    for record in records:
        out.print(f"predicted IoU {record.predicted_iou:.3f}, {record.area} px", highlight=False)
    out.print(f"{len(records)} mask(s): {written}", highlight=False, soft_wrap=True)


models_app = typer.Typer(invoke_without_command=True, help="Known checkpoints and detectors; `pull` fetches one.")
app.add_typer(models_app, name="models")


@models_app.callback()
def models(context: typer.Context) -> None:
    """Known checkpoints and detectors: size, licence, sha256, here or not."""
    from workflows.tables import models_table

    if context.invoked_subcommand is None:
        out.print(models_table())


@models_app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `dataengine models` lists.")],
    folder: Annotated[Path | None, typer.Option("--to", help="Folder; default ~/.cache/dataengine/models.")] = None,
) -> None:
    """Download a model, resumed where it stopped, checked against its sha256."""
    from dataengine.model.download import pull as download
    from workflows.progress import Bar

    bar: Bar | None = None

    def show(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = Bar(out, name, total or 0, done=done, unit="bytes").__enter__()
        bar.update(done)

    try:
        path = download(name, folder, show)
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)
    out.print(str(path), highlight=False, soft_wrap=True)


def main() -> NoReturn:
    """Exit codes: 0 everything planned has an outcome, 1 something has none, 2 usage or config."""
    from dataengine.errors import ConfigError, EngineError

    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
    except ConfigError as error:
        _fail(error, 2, debug)
    except EngineError as error:
        _fail(error, 1, debug)
    except typer.Abort:
        _error("interrupted; run the same command again to go on")
        sys.exit(130)
    except KeyboardInterrupt:
        _error("interrupted; run the same command again to go on")
        sys.exit(130)
    except OSError as error:
        # Disk full, permission, a vanished mount: the file's name is in the message.
        _fail(error, 1, debug)
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("click", "typer"):
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: Exception, code: int, debug: bool) -> NoReturn:
    if debug:
        raise error
    for line in str(error).splitlines():
        _error(line)
    sys.exit(code)


def _error(line: str) -> None:
    Console(stderr=True).print(f"error: {line}", style="red", highlight=False, markup=False, soft_wrap=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _open(home: str, overrides: list[str] | None, address: str | None) -> Home:
    from dataengine.home import open_home

    chosen = list(overrides or [])
    if address:
        chosen.append(f"ray.address={address}")
    return open_home(home, chosen)


if __name__ == "__main__":
    main()
