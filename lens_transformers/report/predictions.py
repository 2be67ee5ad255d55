"""A table of predictions, evaluated: what a classifier's answers say where neither it nor the images are at hand."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from ..data import LABEL_NAMES
from ..data.schema import class_of
from .classification import add_worst_answers, describe_answers
from .evaluated import Evaluation, parameter_figures
from .versions import versions


TABLE_SUFFIXES = (".parquet", ".csv")


def evaluate_predictions(path: str | Path) -> Evaluation:
    """Evaluates a classifier by the table that it left: `predictions.parquet` of a training run, or a `.csv`.

    Args:
        path: Table with `label` (a class, by name or number) and a column `probability_<class>` for each class;
            further columns, such as `subhalo_mass_msun`, are what the score is drawn against.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a column is missing, or a label is no class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a table of predictions.")
    read = Dataset.from_parquet if path.suffix == ".parquet" else Dataset.from_csv
    table = read(str(path)).with_format("numpy")
    needed = ["label", *(f"probability_{name}" for name in LABEL_NAMES)]
    if missing := [name for name in needed if name not in table.column_names]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}.")
    try:
        labels = [LABEL_NAMES.index(class_of(label)) for label in table["label"][:].tolist()]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    table = (
        table.remove_columns("label").add_column("label", labels).cast_column("label", ClassLabel(names=LABEL_NAMES))
    )
    probabilities = np.stack([table[name][:] for name in needed[1:]], axis=1).astype(np.float64)
    results: dict[str, Any] = {
        "task": "classification",
        "title": path.resolve().parent.name if path.stem == "predictions" else path.stem,
        "model": {"name": path.stem},
        "data": {"source": str(path), "split": "test", "num_test": len(table)},
        "trained_on": None,
        "training": {},
        "rows": [],
        "versions": versions(),
    }
    evaluation = Evaluation(str(path), results)
    describe_answers(evaluation, table, probabilities)
    evaluation.figures |= parameter_figures(table, evaluation.scores, "accuracy", chance=1 / len(LABEL_NAMES))
    add_worst_answers(evaluation, table, probabilities)
    return evaluation
