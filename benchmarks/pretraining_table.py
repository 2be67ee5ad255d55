"""The tables of the protocol, from its cells."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any

from .accuracy import COLUMNS, header, line, over_seeds
from .pretraining_plan import key_of, planned_cells


# Rows by what they are called; encoders and probes make names of their own.
WORDS = {
    "pca_raw": "PCA + logistic regression, raw pixels",
    "pca_arcsinh": "PCA + logistic regression, arcsinh pixels",
    "pca_ridge": "PCA + ridge regression, arcsinh pixels",
    "resnet": "ResNet from scratch, equal total",
    "scratch": "ours from scratch, equal fine-tuning",
    "scratch_total": "ours from scratch, equal total",
    "random": "drawn at random",
    "pixels": "pretrained on pixels",
    "partial": "pretrained on an eighth of the hidden pixels",
    "imprint": "pretrained on pixels and imprint",
    "linear": "frozen, linear probe",
    "attentive": "frozen, attentive probe",
    "knn": "frozen, 20 nearest neighbours",
}

HEAD = """
## What pretraining brings

Classes of dark matter told on images that no network has seen, by the part of the training images that have labels:
accuracy / AUC, with the standard deviation over seeds; what has none is of one seed. An encoder is pretrained on all
of the training images, without labels: to paint the hidden pixels, or besides that to predict the imprint of
substructure in what it sees, which simulations know. "Equal total" is as much arithmetic as pretraining and
fine-tuning together; minutes are those of a core of {processors} in {precision}. Ours is of size {network}.
`python -m benchmarks.pretraining` makes what is planned in `pretraining.yaml`: {num_made} of {num_planned} cells.
"""

DETAILS_HEAD = """
Of those the areas under the ROC curve of each class, and the calibration; of one seed with its 95% interval over
images:
"""
# By row and by the part of the labels, what is shown in detail.
DETAILED = ("pca_raw", "pca_arcsinh", "resnet", "scratch", "scratch_total", "imprint", "imprint_linear")
DETAILED_FRACTIONS = (1.0, 0.1, 0.01)

# Rows whose accuracies are compared in words: what is pretrained, and what it has to beat.
CLAIMED = "imprint"
RIVALS = {
    "scratch_total": "from scratch",
    "resnet": "by a ResNet",
    "pca_raw": "by PCA and logistic regression",
    "pca_arcsinh": "by PCA and logistic regression",
}


def pretraining_tables(results: dict[str, Any]) -> Iterator[str]:
    """A table for each task and set."""
    recipe = results["recipe"]
    # Costs are those of the precision that most cells were made in, for in another one they are others.
    precision = Counter(cell["precision"] for cell in results["cells"]).most_common(1)[0][0]
    cells = [cell if cell["precision"] == precision else {**cell, "costs": {}} for cell in results["cells"]]
    planned = planned_cells(recipe)
    yield HEAD.format(
        processors=" or ".join(sorted({cell["processor"] for cell in cells if cell["precision"] == precision})),
        precision=precision,
        network=_network(**recipe["network"]),
        num_made=sum(key in planned for key in map(key_of, cells)),
        num_planned=len(planned),
    )
    for task in ("classification", "regression"):
        for set_name, of_table in _by_set({**results, "cells": cells}, task):
            yield from _table(task, set_name, of_table)
    yield DETAILS_HEAD
    for set_name, of_table in _by_set(results, "classification"):
        yield from _details(set_name, of_table)


def _network(size: str, **overrides: Any) -> str:
    """What the encoder is called, and what sets it apart from others of its size."""
    different = " and ".join(f"`{name}` {value}" for name, value in overrides.items())
    return f"`{size}`" + (f" but for its {different}" if different else "")


def _by_set(results: dict[str, Any], task: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The cells of each set that has any, as the recipe names the sets."""
    for set_name in results["recipe"]["sets"]:
        found = [cell for cell in results["cells"] if (cell["task"], cell["set"]) == (task, set_name)]
        if found:
            yield set_name, found


def _details(set_name: str, cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    columns = COLUMNS["accuracy"]
    yield "\n"
    yield from header(f"`{set_name}`", "labels", "seeds", *columns.values())
    for fraction in DETAILED_FRACTIONS:
        for row in DETAILED:
            found = [cell for cell in cells if (cell["row"], cell["fraction"]) == (row, fraction)]
            if found:
                numbers = [over_seeds(found, metric) for metric in columns]
                yield line(words_of(row), f"{100 * fraction:g}%", str(len(found)), *numbers)


def _table(task: str, set_name: str, cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    fractions = sorted({cell["fraction"] for cell in cells}, reverse=True)
    metrics = ["accuracy", "auc_macro"]
    if task == "regression":
        metrics = [name for name in cells[0] if name.startswith("r2_")]
    labelled = {cell["fraction"]: cell["num_labelled"] for cell in cells}
    heads = [f"{100 * fraction:g}%: {labelled[fraction]} labels" for fraction in fractions]
    what = "" if task == "classification" else f": R² of {', '.join(name.removeprefix('r2_') for name in metrics)}"
    yield "\n"
    yield from header(f"`{set_name}`{what}", *heads, "10¹⁵ operations", "minutes", "seeds")
    for row in sorted({cell["row"] for cell in cells}, key=_place):
        of_row = [cell for cell in cells if cell["row"] == row]
        shown = [
            _numbers([cell for cell in of_row if cell["fraction"] == fraction], metrics) for fraction in fractions
        ]
        seeds = sorted({cell["seed"] for cell in of_row})
        yield line(words_of(row), *shown, *_costs(of_row), ", ".join(map(str, seeds)))


def words_of(row: str) -> str:
    """What a row is called."""
    encoder, _, probe = row.partition("_")
    if row in ("pixels", "partial", "imprint"):
        return f"{WORDS[row]}, fine-tuned"
    if probe.startswith("from_"):
        return f"{WORDS[encoder]} of `{probe.removeprefix('from_')}`, fine-tuned"
    return WORDS[row] if row in WORDS else f"{WORDS[encoder]}, {WORDS[probe]}"


def _place(row: str) -> list[int]:
    """By what rows are sorted: as `WORDS` names them, the probes of an encoder after what is fine-tuned of it."""
    places = {name: place for place, name in enumerate(WORDS)}
    encoder, _, probe = row.partition("_")
    return [places[row]] if row in places else [places[encoder], places.get(probe, len(places))]


def _numbers(cells: Sequence[dict[str, Any]], metrics: Sequence[str]) -> str:
    """Each metric's mean over seeds."""
    if not cells:
        return ""
    parts = []
    for metric in metrics:
        values = [cell[metric] for cell in cells]
        spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
        parts.append(f"{mean(values):.3f}{spread}")
    return " / ".join(parts)


def _costs(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Operations and minutes, pretraining's and those after it."""
    spent = [cell["costs"] for cell in cells if cell.get("costs")]
    if not spent:
        return ["", ""]
    columns = []
    for unit in ("petaflop", "minutes"):
        parts = [mean(costs[name][unit] for costs in spent if name in costs) for name in spent[0]]
        columns.append(" + ".join(f"{part:.2g}" for part in parts))
    return columns


def pretraining_claim(results: dict[str, Any]) -> str:
    """Where pretraining pays, and where not: a sentence each, empty where nothing was measured of it."""
    pays: dict[bool, list[str]] = {True: [], False: []}
    for set_name, cells in _by_set(results, "classification"):
        compared = list(_compare(cells))
        for is_paid, parts in pays.items():
            found = [words for is_better, words in compared if is_better is is_paid]
            if found:
                parts.append(f"on `{set_name}` with {', '.join(found)}")
    heads = {
        True: "In accuracy, by the part of the labels and at equal total arithmetic, pretraining on pixels and "
        "imprint pays",
        False: "It does not pay, or by no more than the spread of seeds,",
    }
    return " ".join(f"{heads[is_paid]} {'; '.join(parts)}." for is_paid, parts in pays.items() if parts)


def _compare(cells: Sequence[dict[str, Any]]) -> Iterator[tuple[bool, str]]:
    """By the part of the labels: whether what is pretrained leads by more than the spread, and the accuracies."""
    for fraction in sorted({cell["fraction"] for cell in cells}):
        by_row = {
            row: [cell for cell in cells if (cell["row"], cell["fraction"]) == (row, fraction)]
            for row in (CLAIMED, *RIVALS)
        }
        if not (by_row[CLAIMED] and by_row["scratch_total"]):
            continue
        values = {row: [cell["accuracy"] for cell in found] for row, found in by_row.items() if found}
        rival = max((row for row in RIVALS if row in values), key=lambda row: mean(values[row]))
        lead = mean(values[CLAIMED]) - mean(values[rival])
        spread = sum(stdev(values[row]) for row in (CLAIMED, rival) if len(values[row]) > 1)
        ours, theirs = (_numbers(by_row[row], ["accuracy"]) for row in (CLAIMED, rival))
        yield lead > spread, f"{100 * fraction:g}% ({ours} against {theirs} {RIVALS[rival]})"
