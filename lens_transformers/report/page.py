"""The page: evaluations as one HTML file that needs nothing from outside."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import jinja2
from matplotlib.figure import Figure
from PIL import Image

from ..hub.results import (
    NOT_MEASURED,
    best_value,
    dataset_name,
    describe_duplicates,
    fact_label,
    format_fact,
    format_interval,
    format_metric,
    headline_metric,
    in_words,
    is_measured,
    metric_columns,
    metric_label,
    verdict,
)
from ..visualization.parameters import parameter_label
from .comparing import Comparison
from .evaluated import Evaluation, Measured, Table


SECTIONS = {
    "pretraining": "Pretraining",
    "classification": "Classification",
    "super_resolution": "Super-resolution",
}
PURPOSES = {
    "pretraining": "A masked autoencoder: it sees a part of each image and paints the rest. "
    "Errors are those of the hidden pixels, in flux.",
    "classification": "A classifier of dark-matter substructure: none, cold-dark-matter subhalos, or an axion vortex.",
    "super_resolution": "A network that sharpens lens images. Most of an image is empty sky: the ring is where it is "
    "brighter than a tenth of its peak.",
}
# What a figure shows, where its name does not say it all.
_CAPTIONS = {
    "roc": "ROC of test images; dashed, of images that it was trained on",
    "calibration": "Calibration: below the diagonal it is surer than right; grey, the share of images",
    "embedding_map": "Embedding map: each point an image, on the two directions in which embeddings vary most",
    "reconstructions": "What the encoder saw, what the decoder painted, and the difference from the image",
    "attention_maps": "Where the network looks, over images of the set",
    "planted_subhalos": "What speaks for cdm, over images with one planted subhalo (circle)",
    "nearest_neighbours": "Test images, and the training images whose embeddings are nearest",
    "worst_ten": "The ten worst images, worst first",
    "worst": "The worst pairs, worst first",
    "residual_power": "Residuals by scale: where a line reaches the target's own, nothing is recovered",
    "super_resolution": "Super-resolution, the four images and the two residuals of a row each on one colour scale",
}
# A little less effort than by default, for half of the time.
_WEBP = {"lossless": True, "method": 1, "quality": 30}
# Facts that make runs of one group comparable, shown as columns beside their metrics.
_SHARED_FACTS = ("images_seen", "train_runtime_s")


def render_page(
    groups: Sequence[Sequence[Evaluation]],
    comparisons: Sequence[Comparison],
    title: str,
    words: Mapping[str, Any],
) -> str:
    """The page as HTML.

    Args:
        groups: Evaluations in the order in which they appear; those of one group share a table.
        comparisons: Tests of differences within groups.
        title: Title of the page.
        words: Any of `headline`, `highlights` and `next`, as `write_report` takes them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lens_transformers", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = []
    for task, section_title in SECTIONS.items():
        of_task = [group for group in groups if group[0].results["task"] == task]
        if of_task:
            described = [_describe_group(group, comparisons) for group in of_task]
            sections.append({"title": section_title, "purpose": PURPOSES[task], "groups": described})
    evaluations = [evaluation for group in groups for evaluation in group]
    return environment.get_template("page.html.jinja").render(
        title=title,
        headline=words.get("headline", title),
        highlights=words.get("highlights") or [tile for run in evaluations[:4] if (tile := _highlight(run))],
        next_commands=words.get("next", []),
        sections=sections,
        versions=evaluations[0].results["versions"],
    )


def _highlight(evaluation: Evaluation) -> dict[str, Any] | None:
    metric = headline_metric(evaluation.results)
    if metric is None:
        return None
    value = format_metric(metric, evaluation.results["rows"][0][metric])
    return {"label": evaluation.title, "value": value, "detail": verdict(evaluation.results), "passed": None}


def _describe_group(group: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "title": group[0].results.get("group") or group[0].title,
        "table": _table(group),
        "comparisons": [_sentence(c) for c in comparisons if any(c.first is evaluation for evaluation in group)],
        "runs": [_describe(evaluation) for evaluation in group],
    }


def _table(group: Sequence[Evaluation]) -> dict[str, Any]:
    """Rows of the group's checkpoints, then of their baselines, once where several have measured the same."""
    own = [evaluation.results["rows"][0] for evaluation in group]
    baselines: list[dict[str, Any]] = []
    for evaluation in group:
        baselines += [row for row in evaluation.results["rows"][1:] if row not in baselines]
    rows = own + baselines
    metrics = [metric for metric in metric_columns(rows) if metric != "num_train"]
    facts = _SHARED_FACTS if len(group) > 1 else ()
    has_splits = len({row.get("split") for row in rows}) > 1
    body = []
    for evaluation, row in zip_longest(group, rows):
        rivals = [other for other in rows if other.get("split") == row.get("split")]
        cells = [_cell(row.get("split") or NOT_MEASURED)] if has_splits else []
        for fact in facts:
            # A baseline has no training to tell of.
            cells.append(_cell(format_fact(fact, evaluation.results["training"].get(fact)) if evaluation else ""))
        for metric in metrics:
            is_best = is_measured(row.get(metric)) and row[metric] == best_value(metric, rivals)
            interval = format_interval(metric, row)
            cells.append(_cell(format_metric(metric, row.get(metric)), interval, is_best=is_best))
        name = evaluation.title if evaluation and len(group) > 1 else row["name"]
        body.append({"name": name, "is_own": evaluation is not None, "cells": cells})
    columns = [*(["split"] if has_splits else []), *map(fact_label, facts), *map(metric_label, metrics)]
    return {"columns": columns, "rows": body}


def _cell(text: str, interval: str = "", *, is_best: bool = False) -> dict[str, Any]:
    return {"text": text, "interval": interval, "is_best": is_best, "is_measured": text != NOT_MEASURED}


def _sentence(comparison: Comparison) -> str:
    result = comparison.result
    chance = "p < 0.001" if result.p_value < 0.001 else f"p = {result.p_value:.3f}"
    conclusion = "a difference" if result.p_value < 0.05 else "no difference that this many images show"
    return (
        f"{comparison.first.title} minus {comparison.second.title}, on the same {result.num_images:,} images: "
        f"{comparison.first.score_name} {result.difference:+.3g} (95% interval {result.low:+.3g} to "
        f"{result.high:+.3g}; {chance}): {conclusion}."
    )


def _describe(evaluation: Evaluation) -> dict[str, Any]:
    results = evaluation.results
    data, model, training = results["data"], results["model"], results["training"]
    kind = f"{model['name']}, size {model['size']}" if model.get("size") else model["name"]
    # Of a table of predictions nobody knows the network.
    size = f", {format_fact('parameters', model['parameters'])} parameters" if model.get("parameters") else ""
    sentence = f"{kind}{size}. "
    if results["trained_on"]:
        sentence += f"Trained on {format_fact('num_train', data.get('num_train'))} images of {results['trained_on']}. "
    sentence += (
        f"Evaluated on {format_fact('num_test', data['num_test'])} images of "
        f"{format_fact('source', data.get('test_source') or dataset_name(results))} "
        f"({format_fact('split', data['split'])} split)."
    )
    if data.get("data_range"):
        sentence += f" PSNR and SSIM refer to a range of brightness of {data['data_range']:g}."
    figures = [_embed(name, figure) for name, figure in evaluation.figures.items()]
    return {
        "title": evaluation.title,
        "sentence": f"{sentence} {describe_duplicates(results)}".strip(),
        "verdict": verdict(results),
        "facts": [(fact_label(key), format_fact(key, value)) for key, value in training.items()],
        "figures": figures,
        "tables": [_format(table) for table in evaluation.tables],
    }


def _embed(name: str, figure: Figure) -> dict[str, Any]:
    """A figure as the page holds it: WebP, which loses nothing here and is half of a PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="webp", bbox_inches="tight", pil_kwargs=_WEBP)
    with Image.open(stream) as image:
        width, height = image.size
    # A figure of many panels needs the width of the page to be read; smaller ones share a line.
    return {
        "caption": _caption(name),
        "data": base64.b64encode(stream.getvalue()).decode("ascii"),
        "width": width,
        "height": height,
        "is_wide": width > 800,
    }


def _caption(name: str) -> str:
    if name.startswith("score_against_"):
        return f"Against {parameter_label(name.removeprefix('score_against_'))}, with 95% intervals"
    words = in_words(name)
    return _CAPTIONS.get(name, words[0].upper() + words[1:])


def _format(table: Table) -> dict[str, Any]:
    rows = [[_format_value(value) for value in row] for row in table.rows]
    return {"title": table.title, "note": table.note, "columns": table.columns, "rows": rows}


def _format_value(value: Any) -> dict[str, Any]:
    if isinstance(value, Measured):
        return _cell(f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}")
    if isinstance(value, float):
        return _cell(f"{value:.3g}" if math.isfinite(value) else "–")
    return _cell(f"{value:,}" if isinstance(value, int) else str(value))
