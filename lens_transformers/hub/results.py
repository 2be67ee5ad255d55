"""`results.json`, the measured numbers of a training run: reading it, and putting its numbers into words."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml

# The network travels without this package, and strips what it takes along itself.
from ..models.lens_mae.modeling_lens_mae import without_paths as without_paths
from ..simulation import PRESETS, get_preset
from .files import read_json


# Task of a run → the metric that stands for it in one line, first one measured first.
HEADLINE_METRICS = {
    "pretraining": ("masked_mse_0.75", "masked_mse"),
    "classification": ("accuracy",),
    "super_resolution": ("psnr",),
}

NOT_MEASURED = "not measured"

_ACRONYMS = {"auc", "ece", "f1", "mae", "mse", "psnr", "rmse", "roc", "ssim"}
_LABELS = {"brier": "Brier score", "num_images": "test images", "num_train": "training images"}
_LOWER_IS_BETTER = {"brier", "ece", "error", "loss", "mae", "mse", "rmse"}
_HIGHER_IS_BETTER = {"accuracy", "auc", "f1", "precision", "psnr", "recall", "ssim"}


def read_results(folder: str | Path) -> dict[str, Any]:
    """Reads and checks the `results.json` that a training run left in `folder`.

    Returns:
        The results; the sections `model`, `data`, `training` and `versions` are there, empty where the run wrote none,
        and `data` has `preset` and `seed` wherever the images were simulated.

    Raises:
        FileNotFoundError: If there is no `results.json`.
        ValueError: If it is no JSON, names no known task, or its rows are not the checkpoint and its baselines.
    """
    path = Path(folder) / "results.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it is written at the end of a training run. Pass the run's output folder."
        )
    results = read_json(path)
    if not isinstance(results, dict) or results.get("task") not in HEADLINE_METRICS:
        task = results.get("task") if isinstance(results, dict) else results
        raise ValueError(f"{path}: task is {task!r}; it must be one of {', '.join(HEADLINE_METRICS)}.")
    rows = results.get("rows")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: rows must be a list that starts with the checkpoint's own results, got {rows!r}.")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise ValueError(f"{path}: rows[{index}] must be an object with a name, got {row!r}.")
    for section in ("model", "data", "training", "versions"):
        results[section] = results.get(section) or {}
        if not isinstance(results[section], dict):
            raise ValueError(f"{path}: {section} must be an object, got {results[section]!r}.")
    results["data"] = _simulation_of(results["data"].get("source")) | results["data"]
    return results


def metric_columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Keys of `rows` that hold numbers, or would if they had been measured, in order of appearance."""
    keys = {key: None for row in rows for key in row if key not in ("name", "split", "intervals")}
    return [key for key in keys if all(row.get(key) is None or _is_number(row[key]) for row in rows)]


def is_measured(value: Any) -> bool:
    """Whether `value` is a finite number."""
    return _is_number(value) and math.isfinite(value)


def headline_metric(results: dict[str, Any]) -> str | None:
    """The metric that stands for a run in one line, `None` if its checkpoint has no number at all."""
    measured = [key for key in metric_columns(results["rows"]) if is_measured(results["rows"][0].get(key))]
    preferred = [key for key in HEADLINE_METRICS[results["task"]] if key in measured]
    return next(iter(preferred + measured), None)


def best_value(metric: str, rows: Sequence[dict[str, Any]]) -> float | None:
    """The best number of a column, `None` where a metric has no better and worse, or nothing to compare.

    A row of the kind `ceiling` knows the truth, and does not compete.
    """
    values = [row[metric] for row in rows if is_measured(row.get(metric)) and not _is_ceiling(row)]
    best = _best(metric)
    return best(values) if best and len(values) > 1 else None


def verdict(results: dict[str, Any]) -> str | None:
    """One sentence that sets the checkpoint's headline number beside its best baseline's, whichever is better."""
    metric = headline_metric(results)
    if metric is None:
        return None
    own, *others = results["rows"]
    best = _best(metric)
    baselines = [
        row
        for row in others
        if is_measured(row.get(metric))
        and row.get("split") == own.get("split")
        and not _is_ceiling(row)
        # The same network in another way, such as the mean over the symmetries, is no rival of itself.
        and not row["name"].startswith(f"{own['name']}, ")
    ]
    interval = format_interval(metric, own)
    sentence = f"{metric_label(metric, unit=False)}: {_with_unit(metric, own[metric])}"
    sentence += f" (95% interval {interval})" if interval else ""
    if not baselines or best is None:
        return f"{sentence}; no baseline was measured beside it."
    rival = best(baselines, key=lambda row: row[metric])
    if own[metric] == rival[metric]:
        comparison = "equal to"
    else:
        comparison = "better than" if best(own[metric], rival[metric]) == own[metric] else "worse than"
    return f"{sentence}, {comparison} the best baseline: {rival['name']}, {_with_unit(metric, rival[metric])}."


def in_words(key: str) -> str:
    """A key or a file's stem in words: `auc_macro` → `AUC macro`, `training_curves` → `training curves`."""
    return " ".join(word.upper() if word in _ACRONYMS else word for word in key.split("_"))


def format_interval(metric: str, row: dict[str, Any]) -> str:
    """The interval of a row's metric, of its `intervals`, in words: `0.864 to 0.897`; empty if there is none."""
    intervals = row.get("intervals")
    ends = intervals.get(metric) if isinstance(intervals, dict) else None
    if not isinstance(ends, list) or len(ends) != 2 or not all(map(is_measured, ends)):
        return ""
    return " to ".join(format_metric(metric, end) for end in ends)


def metric_label(metric: str, unit: bool = True) -> str:
    """A metric's key in words: `auc_macro` → `AUC macro`, with its unit if it has one: `PSNR [dB]`."""
    words = _LABELS.get(metric) or in_words(metric)
    return f"{words} [dB]" if unit and metric.startswith("psnr") else words


def format_metric(metric: str, value: Any) -> str:
    """A metric's value with the digits that matter, or `not measured`."""
    if not is_measured(value):
        return NOT_MEASURED
    if isinstance(value, int):
        return f"{value:,}"
    if metric.startswith("psnr"):
        return f"{value:.2f}"
    if value != 0 and (abs(value) < 1e-3 or "mse" in metric.split("_")):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4f}"


def fact_label(key: str) -> str:
    """A key of the `data` or `training` section in words: `train_runtime_s` → `train runtime`."""
    return in_words(key.removesuffix("_s"))


def format_fact(key: str, value: Any) -> str:
    """A value of the `data` or `training` section in words; of an absolute path only the name, it goes public."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        if key.endswith("_s"):
            return _duration(value)
        return f"{value:,}" if isinstance(value, int) and key != "seed" else f"{value:g}"
    if isinstance(value, str):
        return Path(value).name if Path(value).is_absolute() else value
    return json.dumps(value)


def dataset_name(results: dict[str, Any]) -> str:
    """What a run was trained and measured on: its preset, else the name of its source."""
    data = results["data"]
    if data.get("preset"):
        return f"{data['preset']}, changed" if data.get("preset_is_changed") else str(data["preset"])
    return Path(str(data["source"])).name if data.get("source") else "a data set it does not name"


def tested_on(results: dict[str, Any]) -> dict[str, Any]:
    """The images that a run was measured on: `name`, `split`, and `preset` and `seed` where they were simulated.

    They are those that it was trained beside, or of a set of their own.
    """
    data, source = results["data"], results["data"].get("test_source")
    simulation = _simulation_of(source) if source else data
    return {
        "name": (simulation.get("preset") or Path(str(source)).name) if source else dataset_name(results),
        "split": data.get("split") if source else results["rows"][0].get("split"),
        "preset": simulation.get("preset"),
        "seed": simulation.get("seed"),
    }


def is_preset(simulation: Mapping[str, Any]) -> bool:
    """Whether what `simulation.yaml` records is its preset as it stands, without another instrument or overrides."""
    preset = simulation["preset"]
    return preset in PRESETS and simulation.get("config") == yaml.safe_load(get_preset(preset).to_yaml())


def describe_duplicates(results: dict[str, Any]) -> str:
    """A sentence on images that are in more than one split; empty if there are none, or nobody looked."""
    duplicates = results["data"].get("duplicates") or {}
    shared = [f"{count} in {splits}" for splits, count in duplicates.items() if " and " in splits]
    return f"Some images are in more than one split: {', '.join(shared)}." if shared else ""


def _simulation_of(source: Any) -> dict[str, Any]:
    """What the name of simulated images says: of `simulate:lens_default?num_train=50000&seed=1` preset and seed."""
    if not str(source).startswith("simulate:"):
        return {}
    preset, _, settings = str(source).removeprefix("simulate:").partition("?")
    return {"preset": preset, "seed": int(dict(parse_qsl(settings)).get("seed", 0))}


def _is_ceiling(row: dict[str, Any]) -> bool:
    return row.get("kind") == "ceiling"


def _best(metric: str) -> Callable[..., Any] | None:
    """`min` or `max`, whichever picks the best value of a metric; `None` where neither does, as for a flux ratio."""
    words = set(metric.split("_"))
    if words & _LOWER_IS_BETTER:
        return min
    return max if words & _HIGHER_IS_BETTER else None


def _with_unit(metric: str, value: float) -> str:
    return format_metric(metric, value) + (" dB" if metric.startswith("psnr") else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
