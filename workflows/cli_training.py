"""Training: `retrain`, what prepares it, and how much more data would help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workflows.cli_options import HomeArgument, ModelOption, OfHomeOption, SetOption, home_of

out = Console()


def register(app: typer.Typer, evaluate_app: typer.Typer) -> None:
    app.command()(retrain)
    app.command()(pack)
    app.command("train-boxes")(train_boxes)
    evaluate_app.command("scaling")(scaling)


def retrain(
    home: HomeArgument,
    overrides: SetOption = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the previously promoted model the latest.")
    ] = False,
) -> None:
    """One round: snapshot, train, measure on held-out images; promoted only if it is shown to be better."""
    from workflows import retrain as rounds
    from workflows.tables import round_table

    opened = home_of(home, overrides)
    if rollback:
        record = rounds.rollback(opened)
        out.print(f"latest is {record.back_to} (was {record.back_from}); nothing was deleted", highlight=False)
        return
    summary = rounds.retrain(opened, out)
    out.print(round_table(summary))
    if advice := rounds.advice(opened, summary):
        out.print(advice, highlight=False, soft_wrap=True)


def pack(
    home: Annotated[str, typer.Argument(metavar="HOME", help="The engine home whose retrain.data travels.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A folder that doesn't exist yet.")],
    size: Annotated[int, typer.Option(min=32, help="Longest side of the copies, px.")] = 512,
    quality: Annotated[int, typer.Option(min=30, max=100, help="Of their JPEGs.")] = 90,
    max_mb: Annotated[float, typer.Option(help="An error when the copies are larger.")] = 40.0,
) -> None:
    """Small copies of a home's labelled sets: a home to retrain in on a bare machine, without Ray."""
    from dataengine.home import open_home
    from workflows.pack import pack_home

    counts = pack_home(open_home(home), destination, size, quality, max_mb, out)
    for path, packed in counts.items():
        reasons = "".join(f"; {count} x {reason}" for reason, count in packed.skipped.most_common(3))
        out.print(
            f"{path}: {packed.images} images, {packed.masks} masks, {packed.size / 1e6:.1f} MB{reasons}",
            highlight=False,
            soft_wrap=True,
        )


def train_boxes(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="boxes.safetensors, for prefill.detector.")],
    data: Annotated[
        list[str], typer.Option("--data", metavar="DIR", help="Labelled masks: COCO folders or shards; repeat.")
    ],
    model: Annotated[str | None, typer.Option(help="Whose embeddings; nano or the home's when left out.")] = None,
    home: Annotated[str | None, typer.Option(help="The home whose model is meant.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="A torch device.")] = "cpu",
) -> None:
    """Train stage 2's detector: class-agnostic boxes, on the embeddings that are made anyway."""
    from dataengine.errors import ConfigError
    from dataengine.training.box_head import BoxHeadSettings
    from workflows.box_head import train_boxes as run
    from workflows.models import model_of

    if target.suffix != ".safetensors":
        raise ConfigError(f"{target}: a box head is a .safetensors file")
    settings = BoxHeadSettings(steps=steps, seed=seed)
    card = run(data, target, out, model=model_of(model, home), settings=settings, device=device)
    first, last = card["loss"]
    out.print(
        f"{target}: {card['boxes']} boxes of {card['images']} images, loss {first} -> {last}, {card['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )


def scaling(
    data: Annotated[str, typer.Option("--data", metavar="DIR", help="COCO (images/ + instances.json) or shards.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name or YAML file.")] = "finetune_decoder",
    fractions: Annotated[str, typer.Option(help="Shares of the training side, nested.")] = ".1,.3,1",
    sequence: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Names that match alike are one video: never on both sides.")
    ] = None,
    model: ModelOption = None,
    home: OfHomeOption = None,
    target: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Where the figures go; the curve lies beside as PNG.")
    ] = None,
) -> None:
    """The same training on nested fractions of the data: one curve over the number of images."""
    from dataengine.evaluation.scaling import parse_fractions
    from workflows.models import model_of
    from workflows.scaling import evaluate_scaling
    from workflows.tables import scaling_table

    shares = parse_fractions(fractions)
    out.print(scaling_table(evaluate_scaling(data, model_of(model, home), recipe, shares, target, sequence, out)))
    if target is not None:
        out.print(f"{target}, {target.with_suffix('.png')}", highlight=False, soft_wrap=True)
