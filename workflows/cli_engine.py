"""`dataengine run` and `dataengine plan`: the whole loop."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from workflows.cli_options import AddressOption, HomeArgument, JsonOption, SetOption, home_of

out = Console()


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(plan)


def run(
    home: HomeArgument,
    simulate: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Simulated annotators, who know these labelled sets; repeat."),
    ] = None,
    max_gpu_hours: Annotated[
        float | None, typer.Option(min=0, help="Begin no round and no shard that would take the home beyond it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the annotation server; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    annotators: Annotated[int, typer.Option(min=1, help="With --simulate: annotators at once.")] = 2,
    seed: Annotated[int, typer.Option(help="With --simulate: the same seed, the same people.")] = 0,
    overrides: SetOption = None,
    address: AddressOption = None,
) -> None:
    """The whole loop as engine.yaml schedules it; stopped anywhere, the same command goes on."""
    from workflows.engine import run as run_engine
    from workflows.engine_hands import People, Simulated
    from workflows.tables import engine_table

    opened = home_of(home, overrides, address)
    hands = Simulated(simulate, annotators=annotators, seed=seed) if simulate else People(host, port)
    summary = run_engine(opened, hands, out, max_gpu_hours)
    out.print(engine_table(summary))
    if summary.stopped:
        out.print(f"stopped: {summary.stopped}", highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def plan(
    home: HomeArgument,
    gpus: Annotated[int, typer.Option(min=1, help="Hours are told for one GPU and for so many.")] = 8,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What engine.yaml's schedule will do: units, images and GPU-hours, before anything starts."""
    import dataclasses
    import json

    from workflows.plan import plan_home
    from workflows.tables import plan_table

    planned = plan_home(home_of(home, overrides), gpus)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(step) for step in planned], indent=1))
    else:
        out.print(plan_table(planned, gpus))
