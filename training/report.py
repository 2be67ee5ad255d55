"""Puts finished training runs on one self-contained HTML page: tables with baselines, training facts, figures.

    python training/report.py runs/pretrain runs/classify runs/sr --output report.html

A run is the output folder of a training script. Runs whose `results.json` names the same `group` share one table, each
under its `title`. `--extra` takes a JSON file with any of `headline` (a string), `highlights` (objects with `label`,
`value`, and optionally `detail` and `passed`: true, false or null) and `next` (commands to type next).
"""

import argparse
import base64
import json
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image, UnidentifiedImageError

from lens_transformers.hub.files import write_text_atomically
from lens_transformers.hub.results import (
    NOT_MEASURED,
    best_value,
    dataset_name,
    fact_label,
    format_fact,
    format_metric,
    headline_metric,
    in_words,
    is_measured,
    metric_columns,
    metric_label,
    read_results,
    verdict,
)


SECTIONS = {
    "pretraining": "Pretraining",
    "classification": "Classification",
    "super_resolution": "Super-resolution",
}
PURPOSES = {
    "pretraining": "A masked autoencoder: it sees a part of each image and paints the rest.",
    "classification": "A classifier of dark-matter substructure: none, cold-dark-matter subhalos, or an axion vortex.",
    "super_resolution": "A network that sharpens lens images.",
}
# Facts that make runs of one group comparable, shown as columns beside their metrics.
SHARED_FACTS = ("images_seen", "train_runtime_s")


class Run(NamedTuple):
    """A training run: its title, its `results.json` and its figures."""

    title: str
    results: dict[str, Any]
    figures: list[dict[str, Any]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="One HTML page about finished training runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="output folder of a training run")
    parser.add_argument("--output", required=True, help="HTML file to write")
    parser.add_argument("--title", default="Lens report", help="title of the page")
    parser.add_argument("--extra", help="JSON file with headline, highlights and next commands")
    options = parser.parse_args(arguments)
    try:
        page = render_report(options.runs, title=options.title, extra=options.extra)
        path = write_text_atomically(options.output, page)
    except (OSError, ValueError) as error:
        sys.exit(f"report: {error}")
    count = len(options.runs)
    print(f"Wrote {path}: {count} run{'s' if count > 1 else ''}.")


def render_report(folders: list[str], title: str, extra: str | None = None) -> str:
    """The page as HTML.

    Args:
        folders: Output folders of training runs, in the order in which they appear.
        title: Title of the page.
        extra: Path of a JSON file as the module describes it.

    Raises:
        FileNotFoundError: If a folder has no `results.json`.
        ValueError: If a `results.json`, a figure or `extra` cannot be read.
    """
    runs = [_read_run(Path(folder)) for folder in folders]
    words = _read_extra(extra) if extra else {}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = []
    for task, section_title in SECTIONS.items():
        groups = _groups([run for run in runs if run.results["task"] == task])
        if groups:
            sections.append({"title": section_title, "purpose": PURPOSES[task], "groups": groups})
    return environment.get_template("report.html.jinja").render(
        title=title,
        headline=words.get("headline", title),
        highlights=words.get("highlights") or [tile for run in runs[:4] if (tile := _highlight(run))],
        next_commands=words.get("next", []),
        sections=sections,
        versions=runs[0].results["versions"],
    )


def _read_run(folder: Path) -> Run:
    results = read_results(folder)
    figures = [_read_figure(path) for path in sorted((folder / "figures").glob("*.png"))]
    return Run(str(results.get("title") or folder.resolve().name), results, figures)


def _read_figure(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a PNG image; write the figure again or remove it.") from error
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    # A figure of many panels needs the width of the page to be read; smaller ones share a line.
    is_wide = width > 800
    caption = in_words(path.stem)
    return {"caption": caption, "data": data, "width": width, "height": height, "is_wide": is_wide}


def _read_extra(path: str) -> dict[str, Any]:
    try:
        words = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(words, dict):
        raise ValueError(f"{path} must hold an object with headline, highlights or next, got {words!r}.")
    highlights = words.get("highlights", [])
    for index, tile in enumerate(highlights):
        if not isinstance(tile, dict) or not {"label", "value"} <= tile.keys():
            raise ValueError(f"{path}: highlights[{index}] must be an object with label and value, got {tile!r}.")
    words["highlights"] = [{"detail": "", "passed": None} | tile for tile in highlights]
    return words


def _highlight(run: Run) -> dict[str, Any] | None:
    metric = headline_metric(run.results)
    if metric is None:
        return None
    value = format_metric(metric, run.results["rows"][0][metric])
    return {"label": run.title, "value": value, "detail": verdict(run.results), "passed": None}


def _groups(runs: list[Run]) -> list[dict[str, Any]]:
    """Runs that share a table: those of one `group`, and each run without a group by itself."""
    by_group: dict[str, list[Run]] = {}
    for index, run in enumerate(runs):
        key = run.results.get("group")
        by_group.setdefault(f"group {key}" if key else f"run {index}", []).append(run)
    return [
        {
            "title": members[0].results.get("group") or members[0].title,
            "table": _table(members),
            "runs": [_describe(run) for run in members],
        }
        for members in by_group.values()
    ]


def _table(runs: list[Run]) -> dict[str, Any]:
    """Rows of the runs' checkpoints, then of their baselines, once where several runs measured the same."""
    own = [run.results["rows"][0] for run in runs]
    baselines: list[dict[str, Any]] = []
    for run in runs:
        baselines += [row for row in run.results["rows"][1:] if row not in baselines]
    rows = own + baselines
    metrics = metric_columns(rows)
    facts = SHARED_FACTS if len(runs) > 1 else ()
    has_splits = len({row.get("split") for row in rows}) > 1
    body = []
    for run, row in zip_longest(runs, rows):
        rivals = [other for other in rows if other.get("split") == row.get("split")]
        cells = [_cell(row.get("split") or NOT_MEASURED)] if has_splits else []
        # A baseline has no training to tell of.
        cells += [_cell(format_fact(fact, run.results["training"].get(fact)) if run else "") for fact in facts]
        for metric in metrics:
            is_best = is_measured(row.get(metric)) and row[metric] == best_value(metric, rivals)
            cells.append(_cell(format_metric(metric, row.get(metric)), is_best=is_best))
        name = run.title if run and len(runs) > 1 else row["name"]
        body.append({"name": name, "is_own": run is not None, "cells": cells})
    columns = [*(["split"] if has_splits else []), *map(fact_label, facts), *map(metric_label, metrics)]
    return {"columns": columns, "rows": body}


def _cell(text: str, *, is_best: bool = False) -> dict[str, Any]:
    return {"text": text, "is_best": is_best, "is_measured": text != NOT_MEASURED}


def _describe(run: Run) -> dict[str, Any]:
    data, model, training = run.results["data"], run.results["model"], run.results["training"]
    split = f"{data['split']} split" if data.get("split") else "split not named"
    sentence = (
        f"LensMAE, size {format_fact('size', model.get('size'))}, "
        f"{format_fact('parameters', model.get('parameters'))} parameters. "
        f"Trained on {format_fact('num_train', data.get('num_train'))} images of {dataset_name(run.results)}, "
        f"measured on {format_fact('num_test', data.get('num_test'))} others ({split})."
    )
    facts = [(fact_label(key), format_fact(key, value)) for key, value in training.items()]
    return {
        "title": run.title,
        "sentence": sentence,
        "verdict": verdict(run.results),
        "facts": facts,
        "figures": run.figures,
    }


if __name__ == "__main__":
    main()
