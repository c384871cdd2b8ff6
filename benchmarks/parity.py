"""How far our models and records are from the public code's, with the same weights on both sides.

    python -m benchmarks.parity [--json FILE] [--tables components,records] [--models nano,vit_b]
                                [--photos astronaut.png,coffee.png] [--layers 0,1,2] [--shares 0.1,0.4]
                                [--embeddings FOLDER]

Two tables in Markdown. Components: the largest difference over the largest value, for random weights, over seven
kinds of prompts and one and three masks; `/2` is a ViT at depth two. Records: preset `official` on photos of
scikit-image and scikit-learn, with thresholds that a share of the candidates passes; `tests/parity/weights.py`
says what the weights are. `rounding`, where masks or stabilities are not alike: how far public logits must move to
make ours, as a share of the mask's largest. The comparisons are those of the tests (`tests/parity`); what fails
there is named here, and makes the exit code 1.

ViT-B takes about ten seconds a crop and side on two cores, and two crop layers are 21 crops. With `--json` every
row is written as soon as it is there, and rows that the file already has are not measured again: run it in
pieces, or again after an interruption. Each row names its commit. With `--embeddings` those of ViT-B are kept
in a folder (4 MiB a crop and side), so that an interrupted photo goes on with its next crop, and more layers or
another share with those that are there; only what the same commit computed is used, and nothing while files are
changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Figures, commit, machine, machine_line, parser, print_table
from tests.parity.components import COMPONENTS, PACKAGES, RELATIVE, all_differences
from tests.parity.records import GRIDS, LAYERS, PHOTOS, ROUNDING, SHARES, measure, photo
from tests.parity.weights import Pair, pair

TABLES = ("components", "records")
PUBLIC = ("segment-anything", "mobilesam-mirror", "transformers")
KEYS = ("model", "package", "photo", "layers", "share")
COMPARED = ("nano", "tiny_vit", "vit_b", "vit_l/2", "vit_h/2")
"""Models of the first table; the second has those of `GRIDS`."""


class Results:
    """Rows of both tables, kept in a JSON file when there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.tables: dict[str, list[Figures]] = {name: [] for name in TABLES}
        if path and path.exists():
            written = json.loads(path.read_text())
            self.tables = {name: written[name] for name in TABLES}

    def missing(self, table: str, keys: list[Figures]) -> list[Figures]:
        """Those of `keys` that have no row yet."""
        return [key for key in keys if not any(row.items() >= key.items() for row in self.tables[table])]

    def add(self, table: str, key: Figures, figures: Callable[[], Figures]) -> None:
        started = time.perf_counter()
        row = key | figures()
        row |= {"seconds": round(time.perf_counter() - started, 1), "commit": commit()}
        self.tables[table].append(row)
        # A piece of ViT-B takes minutes; whoever waits wants to see something.
        print(", ".join(str(value) for value in key.values()), f"in {row['seconds']} s", file=sys.stderr)
        if self.path:
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(json.dumps({"machine": conditions(), **self.tables}, indent=2) + "\n")
            part.replace(self.path)

    def problems(self) -> list[str]:
        """Rows that the tests would not let pass, and why."""
        return [
            f"{', '.join(str(row[name]) for name in KEYS if name in row)}: {'; '.join(row['problems'])}"
            for rows in self.tables.values()
            for row in rows
            if row["problems"]
        ]


def conditions() -> Figures:
    """The machine, and what is compared with."""
    return machine() | {name: version(name) for name in PUBLIC}


def measure_components(results: Results, models: list[str]) -> None:
    keys = [{"model": model, "package": package} for model in COMPARED for package in PACKAGES[model]]
    for key in results.missing("components", [key for key in keys if key["model"] in models]):
        results.add("components", key, partial(component_figures, **key))


def component_figures(model: str, package: str) -> Figures:
    found = all_differences(model, package)
    wrong = [f"{name} differs by {value:.1e}" for name, value in found.items() if value >= RELATIVE]
    return found | {"problems": wrong}


def measure_records(results: Results, keys: list[Figures], embeddings: Path | None) -> None:
    for model in GRIDS:
        missing = results.missing("records", [key for key in keys if key["model"] == model])
        sides = pair(model, embeddings) if missing else None
        for _, of_photo in groupby(missing, key=itemgetter("photo")):
            for key in of_photo:
                results.add("records", key, partial(record_figures, sides, key))
            sides.forget()


def record_figures(sides: Pair, key: Figures) -> Figures:
    points = GRIDS[key["model"]][key["share"], key["layers"]]
    parity = measure(sides, photo(key["photo"]), key["layers"], key["share"], points)
    return asdict(parity) | {"points_per_side": points, "problems": parity.problems()}


def of_this_commit(folder: Path | None) -> Path | None:
    """A folder inside `folder`; None where nobody can say which code computed what lies there."""
    name = commit()
    return folder / name if folder and name != "unknown" and not name.endswith("+") else None


def component_table(rows: list[Figures]) -> list[Figures]:
    """Printed columns, in the order of models."""
    ordered = sorted(rows, key=lambda row: (COMPARED.index(row["model"]), row["package"]))
    return [{"model": row["model"], "against": row["package"]} | {c: row.get(c) for c in COMPONENTS} for row in ordered]


def record_table(rows: list[Figures]) -> list[Figures]:
    """Printed columns, in the order of models and photos."""
    models, photos = list(GRIDS), list(PHOTOS)
    ordered = sorted(
        rows, key=lambda row: (models.index(row["model"]), photos.index(row["photo"]), row["layers"], row["share"])
    )
    return [
        {
            "model": row["model"],
            "photo": row["photo"],
            "crop layers": row["layers"],
            "pass": f"{row['share']:.0%}",
            "records": str(row["ours"]) if row["ours"] == row["public"] else f"{row['ours']}, not {row['public']}",
            "identical RLE": row["identical"],
            "lowest IoU of the rest": None if row["identical"] == row["public"] else f"{row['lowest_iou']:.5f}",
            "predicted IoU differs by": row["iou_difference"],
            "stability differs by": row["stability_difference"],
            "rounding": row.get("rounding"),
            "order": "same" if not row["moved"] else "same but for ties" if row["tie"] < ROUNDING else "another",
        }
        for row in ordered
    ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--tables", type=_some(TABLES), default=list(TABLES))
    options.add_argument("--models", type=_some(COMPARED), default=list(COMPARED))
    options.add_argument("--photos", type=_some(PHOTOS), default=list(PHOTOS))
    options.add_argument("--layers", type=_some(LAYERS), default=list(LAYERS))
    options.add_argument("--shares", type=_some(SHARES), default=list(SHARES))
    options.add_argument("--embeddings", type=Path, metavar="FOLDER")
    chosen = options.parse_args()
    results = Results(chosen.json)
    try:
        if "components" in chosen.tables:
            measure_components(results, chosen.models)
        if "records" in chosen.tables:
            chosen_rows = product(chosen.models, chosen.photos, chosen.layers, chosen.shares)
            keys = [dict(zip(("model", "photo", "layers", "share"), row, strict=True)) for row in chosen_rows]
            measure_records(results, keys, of_this_commit(chosen.embeddings))
    except pytest.skip.Exception as absent:
        raise SystemExit(str(absent)) from absent
    print(machine_line(conditions()) + "; " + ", ".join(f"{name} {version(name)}" for name in PUBLIC))
    for title, rows in (("Components", component_table), ("Records", record_table)):
        if found := results.tables[title.lower()]:
            print(f"\n{title}\n")
            print_table(rows(found))
    raise SystemExit("\n".join(results.problems()) or 0)


def _some(known: Any) -> Callable[[str], list[Any]]:
    """An argument's type: names or numbers of `known`, separated by commas."""
    by_name = {str(value): value for value in known}

    def parse(text: str) -> list[Any]:
        if unknown := [word for word in text.split(",") if word not in by_name]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(by_name)}")
        return [by_name[word] for word in text.split(",")]

    return parse


if __name__ == "__main__":
    main()
