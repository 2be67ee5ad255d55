"""A table of predictions, evaluated: what a classifier's answers say where neither it nor the images are at hand."""

import glob
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from ..data import LABEL_NAMES
from ..data.schema import class_of
from .classification import add_worst_answers, at_temperature, describe_answers
from .evaluated import Evaluation, parameter_figures
from .versions import versions


TABLE_SUFFIXES = (".parquet", ".csv")


def evaluate_predictions(path: str | Path) -> Evaluation:
    """Evaluates a classifier by the table that it left: `predictions.parquet` of a training run, or a `.csv`.

    Args:
        path: Table with `label` (a class, by name or number) and a column `probability_<class>` for each class; with a
            column `temperature` these are taken to be calibrated by it. Further columns, such as
            `subhalo_mass_msun`, are what the score is drawn against.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a column is missing, a label is no class, or there is more than one temperature.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a table of predictions.")
    read = Dataset.from_parquet if path.suffix == ".parquet" else Dataset.from_csv
    table = read(glob.escape(str(path))).with_format("numpy")
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
    temperature = 1.0
    if "temperature" in table.column_names:
        temperatures = np.unique(table["temperature"][:])
        if len(temperatures) != 1 or not 0 < temperatures[0] < np.inf:
            raise ValueError(f"{path}: temperature must be one positive number, the same in all rows.")
        temperature = float(temperatures[0])
        # As the network said it, of which the page tells both. What sums to something else than one still does.
        probabilities = at_temperature(probabilities, 1 / temperature) * probabilities.sum(axis=1, keepdims=True)
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
    describe_answers(evaluation, table, probabilities, temperature)
    evaluation.figures |= parameter_figures(table, evaluation.scores, "accuracy", chance=1 / len(LABEL_NAMES))
    add_worst_answers(evaluation, table, probabilities)
    return evaluation
