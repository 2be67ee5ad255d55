"""The tables of the protocol, from its cells."""

from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any

from .accuracy import header, line


# Rows by what they are called; encoders and probes make names of their own.
WORDS = {
    "pca_raw": "PCA + logistic regression, raw pixels",
    "pca_arcsinh": "PCA + logistic regression, arcsinh pixels",
    "pca_ridge": "PCA + ridge regression, arcsinh pixels",
    "resnet": "ResNet from scratch, equal total",
    "scratch": "ours from scratch, equal fine-tuning",
    "scratch_total": "ours from scratch, equal total",
    "pixels": "pretrained on pixels",
    "partial": "pretrained on a quarter of the hidden pixels",
    "imprint": "pretrained on pixels and imprint",
    "random": "drawn at random",
    "linear": "frozen, linear probe",
    "attentive": "frozen, attentive probe",
    "knn": "frozen, 20 nearest neighbours",
}

HEAD = """
## What pretraining brings

Classes of dark matter told on images that no network has seen, by the part of the training images that have labels:
accuracy / AUC, with the standard deviation over seeds where there are several. An encoder is pretrained on all of the
training images, without labels: to paint the hidden pixels, or besides that to predict the imprint of substructure in
what it sees, which simulations know. "Equal total" is as much arithmetic as pretraining and fine-tuning together;
minutes are those of a core of {processors}. `python -m benchmarks.pretraining` makes them anew, by
`pretraining.yaml`.
"""

# Rows whose accuracies are compared in words.
CLAIMED = {
    "imprint": "pretrained on pixels and imprint",
    "pixels": "pretrained on pixels alone",
    "scratch_total": "from scratch with as much arithmetic in total",
    "resnet": "by a ResNet with as much",
    "pca_arcsinh": "by PCA and logistic regression",
}


def pretraining_tables(results: dict[str, Any]) -> Iterator[str]:
    """A table for each task and set."""
    cells = results["cells"]
    yield HEAD.format(processors=" or ".join(sorted({cell["processor"] for cell in cells})))
    for task, set_name in dict.fromkeys((cell["task"], cell["set"]) for cell in cells):
        chosen = [cell for cell in cells if (cell["task"], cell["set"]) == (task, set_name)]
        yield from _table(task, set_name, chosen)


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
    for row in dict.fromkeys(cell["row"] for cell in cells):
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


def pretraining_claim(results: dict[str, Any], set_name: str = "lens_default") -> str:
    """Sentences that say where pretraining pays on a set, and where not; empty where nothing was measured of it."""
    cells = [cell for cell in results["cells"] if (cell["task"], cell["set"]) == ("classification", set_name)]
    sentences = []
    for fraction in sorted({cell["fraction"] for cell in cells}):
        of_fraction = [cell for cell in cells if cell["fraction"] == fraction]
        named = {row: [cell for cell in of_fraction if cell["row"] == row] for row in CLAIMED}
        if not (named["imprint"] and named["scratch_total"]):
            continue
        parts = [f"{_numbers(found, ['accuracy'])} {CLAIMED[row]}" for row, found in named.items() if found]
        labels = f"{100 * fraction:g}% of the labels of `{set_name}` ({of_fraction[0]['num_labelled']})"
        sentences.append(f"With {labels} the accuracy is {', '.join(parts[:-1])} and {parts[-1]}.")
    return " ".join(sentences)
