"""The `dataengine` command. Rooms are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import itertools
import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from workflows import cli_annotations, cli_engine, cli_release, cli_training
from workflows.cli_options import AddressOption, HomeArgument, ModelOption, OfHomeOption, SetOption, complain, home_of

app = typer.Typer(
    name="dataengine",
    help="A folder of photos goes in, an SA-1B-style dataset comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' own log lines.")] = False,
) -> None:
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")


@app.command()
def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Where its home goes. [default: demo-home; with --full demo-full-home]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All three stages, with simulated annotators.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="With --full: a COCO folder with masks, in place of drawn pictures; repeat."),
    ] = None,
) -> None:
    """The main job on sample photos (--full: the whole loop), then a report to look at."""
    if full:
        from workflows.demo_full import run_full_demo

        engine, report = run_full_demo(directory or Path("demo-full-home"), data or [], out)
        out.print(f"\nthe loop: {engine}", highlight=False, soft_wrap=True)
    else:
        from workflows.demo import run_demo

        if data:
            raise typer.BadParameter("--data needs --full")
        report = run_demo(directory or Path("demo-home"), out)
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

    summary = run(home_of(home, overrides, address), out)
    out.print(ingest_table(summary))


@app.command()
def generate(home: HomeArgument, overrides: SetOption = None, address: AddressOption = None) -> None:
    """Stage 3: masks for every image, written as shards of blurred images and RLE masks."""
    from workflows.generate import generate as run
    from workflows.report import write_report
    from workflows.tables import generate_table

    opened = home_of(home, overrides, address)
    summary = run(opened, out)
    out.print(generate_table(summary))
    if summary.failed:
        for shard, reason in summary.failed.items():
            complain(f"{shard}: {reason}")
        raise typer.Exit(1)
    out.print(f"report: {write_report(opened, summary)}", highlight=False, soft_wrap=True)


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
    text: Annotated[
        str | None, typer.Option("--text", metavar="WORDS", help="What to find; for models trained with text.")
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", help="CLIP for --text, name or folder; default: the one in the model's card."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector", help="Finds the objects, with --text by words: transformers:NAME, yolox-nano, FILE."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All masks, as stage 3 makes them.")] = False,
    choose: Annotated[str, typer.Option(help="best | all | ambiguous (three masks of one point).")] = "best",
    model: ModelOption = None,
    home: OfHomeOption = None,
    target: Annotated[Path | None, typer.Option("--out", help="PNG or JSON; default IMAGE-masks.png.")] = None,
) -> None:
    """Masks for one photo from clicks, a box, a mask, words, or nothing at all."""
    from workflows.models import model_of
    from workflows.segment import Prompt, segment_image

    prompt = Prompt.parse(point or [], points, box, mask, everything, choose, text, clip, detector)
    written, records, words = segment_image(image, prompt, model_of(model, home), target)
    for record, said in itertools.zip_longest(records, words):
        found = f"{said}: " if said else ""
        out.print(f"{found}predicted IoU {record.predicted_iou:.3f}, {record.area} px", highlight=False)
    out.print(f"{len(records)} mask(s): {written}", highlight=False, soft_wrap=True)


evaluate_app = typer.Typer(no_args_is_help=True, help="Measure a model against labelled images.")
app.add_typer(evaluate_app, name="evaluate")


@evaluate_app.command("single-point")
def single_point(
    data: Annotated[str, typer.Option("--data", metavar="DIR", help="COCO (images/ + instances.json) or shards.")],
    model: ModelOption = None,
    home: OfHomeOption = None,
    target: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the figures go.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N images, always the same ones (by hash of the name).")
    ] = None,
) -> None:
    """One click at each mask's centre: mIoU of top-1 and best of 3; then clicks to 85 and 90 % IoU."""
    from workflows.evaluate import evaluate_single_point
    from workflows.models import model_of
    from workflows.tables import single_point_table

    model = model_of(model, home)
    result = evaluate_single_point(data, model, target, limit, out)
    out.print(single_point_table(model, result))
    if target is not None:
        out.print(str(target), highlight=False, soft_wrap=True)


@app.command()
def stats(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="A home, shards, a tar, or COCO (images/ + instances.json).")
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N images of each, always the same ones.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Where the figures go; a picture lies beside as PNG.")
    ] = None,
) -> None:
    """A set's masks in the paper's figures: how many an image, how large, how concave, where; several side by side."""
    from workflows.stats import measure_statistics
    from workflows.tables import statistics_table

    out.print(statistics_table(measure_statistics(paths, limit, target, out)))
    if target is not None:
        out.print(f"{target}, {target.with_suffix('.png')}", highlight=False, soft_wrap=True)


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


cli_annotations.register(app)
cli_engine.register(app)
cli_training.register(app, evaluate_app)
cli_release.register(app)


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
        complain("interrupted; run the same command again to go on")
        sys.exit(130)
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to go on")
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
        complain(line)
    sys.exit(code)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


if __name__ == "__main__":
    main()
