"""Writing the report: the page, the same as JSON, and its figures as vectors."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import SuperResolutionMetric
from ..hub.files import to_json, write_text_atomically
from ..hub.results import without_paths
from ..visualization import save_figure
from .checkpoints import evaluate_checkpoint, group_of
from .comparing import Comparison, compare_group
from .evaluated import Evaluation
from .page import render_page
from .predictions import TABLE_SUFFIXES, evaluate_predictions


def write_report(
    checkpoints: Sequence[str | Path],
    output: str | Path,
    source: str | None = None,
    *,
    split: str = "test",
    data_range: float | None = None,
    reading: Mapping[str, Any] | None = None,
    title: str = "Lens report",
    words: Mapping[str, Any] | None = None,
    brief: bool = False,
    figures: str | Path | None = None,
) -> Path:
    """Evaluates checkpoints and writes one page about them, and the same as JSON beside it.

    Checkpoints of one task on the same images stand side by side in one table, and each is compared with the first
    of them, image by image; runs whose `results.json` names a `group` stand together with that group only.

    Args:
        checkpoints: Output folders of training runs, names on the Hub, or tables of predictions (`.parquet`, `.csv`),
            in the order in which they appear. Tables are taken to be of the same images in the same order.
        output: HTML file to write; the JSON has its name with another suffix.
        source: Images to evaluate all of them on; by default each on those that it was tested on.
        split: Which split of `source`.
        data_range: As of `evaluate_checkpoint`.
        reading: As of `evaluate_checkpoint`.
        title: Title of the page.
        words: Any of `headline` (a string), `highlights` (objects with `label`, `value`, and optionally `detail` and
            `passed`: true, false or null) and `next` (commands to type next).
        brief: Whether to describe only the first checkpoint of each table in full, and of the others the numbers.
        figures: Folder to write every figure into as well, as a PDF.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: If a checkpoint, the data or the folder of `output` does not exist.
        ValueError: If a checkpoint cannot be evaluated, as in `evaluate_checkpoint`, or `words` are no such words.
    """
    if not checkpoints:
        raise ValueError("checkpoints are missing: give those that the report is to be about.")
    output = Path(output)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent} is not a folder; create it before {output.name} is written there.")
    if output.is_dir():
        raise ValueError(f"{output} is a folder: give the name of a page in it, such as {output / 'report.html'}.")
    if figures is not None and Path(figures).exists() and not Path(figures).is_dir():
        raise ValueError(f"{figures} is a file: figures go into a folder.")
    SuperResolutionMetric(data_range)  # refuses what is no range, before anything is evaluated
    if output.suffix == ".json":
        raise ValueError(f"{output}: a page is no JSON, which is written beside it: give a name that ends in .html.")
    words = _checked(words or {})
    groups: dict[tuple[str | None, ...], list[Evaluation]] = {}
    for checkpoint in checkpoints:
        if str(checkpoint).endswith(TABLE_SUFFIXES):
            groups.setdefault(("predictions",), []).append(evaluate_predictions(checkpoint))
        else:
            group = groups.setdefault(group_of(checkpoint, source, split, data_range=data_range, reading=reading), [])
            in_full = not (brief and group)
            group.append(
                evaluate_checkpoint(checkpoint, source, split, data_range=data_range, reading=reading, in_full=in_full)
            )
    evaluations = [evaluation for group in groups.values() for evaluation in group]
    comparisons = [comparison for group in groups.values() for comparison in compare_group(group)]
    page = write_text_atomically(output, render_page(list(groups.values()), comparisons, title, words))
    record = {
        "title": title,
        "evaluations": [_record(evaluation) for evaluation in evaluations],
        "comparisons": [_record_of(comparison) for comparison in comparisons],
    }
    write_text_atomically(output.with_suffix(".json"), to_json(without_paths(record)))
    if figures is not None:
        save_figures(evaluations, Path(figures))
    return page


def save_figures(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Writes the figures of each evaluation into a folder of its title, as PDFs; the second of that title has a 2."""
    given: Counter[str] = Counter()
    for evaluation in evaluations:
        name = re.sub(r"\W+", "_", evaluation.title).strip("_")
        given[name] += 1
        name += f"_{given[name]}" if given[name] > 1 else ""
        (folder / name).mkdir(parents=True, exist_ok=True)
        for figure_name, figure in evaluation.figures.items():
            save_figure(figure, folder / name / f"{figure_name}.pdf")


def _checked(words: Mapping[str, Any]) -> dict[str, Any]:
    highlights = words.get("highlights", [])
    for index, tile in enumerate(highlights):
        if not isinstance(tile, dict) or not {"label", "value"} <= tile.keys():
            raise ValueError(f"highlights[{index}] must be an object with label and value, got {tile!r}.")
    return {**words, "highlights": [{"detail": "", "passed": None} | tile for tile in highlights]}


def _record(evaluation: Evaluation) -> dict[str, Any]:
    tables = [
        {
            "title": table.title,
            "note": table.note,
            "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        }
        for table in evaluation.tables
    ]
    return {"checkpoint": evaluation.checkpoint, **evaluation.results, "tables": tables}


def _record_of(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": comparison.first.title,
        "second": comparison.second.title,
        "score": comparison.first.score_name,
        **vars(comparison.result),
    }
