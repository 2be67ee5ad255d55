"""Model cards: `README.md` of a checkpoint folder, its numbers written from `results.json` by the task's template."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .files import read_json, write_text_atomically
from .generated import GeneratedCard, environment, generated_part, merge_card, render_card
from .results import (
    NOT_MEASURED,
    best_value,
    dataset_name,
    describe_duplicates,
    fact_label,
    format_fact,
    format_interval,
    format_metric,
    in_words,
    is_measured,
    metric_columns,
    metric_label,
    read_results,
    tested_on,
    verdict,
)


PIPELINE_TAGS = {
    "pretraining": "image-feature-extraction",
    "classification": "image-classification",
    "super_resolution": "image-to-image",
}

FIGURE_CAPTIONS = {
    "confusion": "Confusion matrix: of the images of each true class, a row, how many were taken for which.",
    "imprints": "Images, what substructure changes in them, and what the network, shown all of it, says of that.",
    "reconstructions": "Images, what the network was shown of them, what it painted, and the difference.",
    "roc": "ROC curves, each class against the rest.",
    "super_resolution": "Low resolution, bicubic, network and target, with the residuals of both.",
    "training_curves": "Loss and learning rate over the training.",
}

# Facts of the training that stand under "Compute".
COMPUTE_FACTS = ("device", "images_seen", "train_runtime_s")

# Metadata that a run measures; all others are the person's who edits them.
MEASURED = ("pipeline_tag", "metrics", "model_name", "eval_results")

# Name of a metric on the Hub → the word by which our metrics' keys tell it.
HUB_METRICS = {
    "accuracy": "accuracy",
    "roc_auc": "auc",
    "f1": "f1",
    "brier_score": "brier",
    "psnr": "psnr",
    "ssim": "ssim",
    "mse": "mse",
}


def write_model_card(folder: str | Path, repo_id: str | None = None) -> Path:
    """Writes the model card of a finished training folder, or renews the generated part of the one that is there.

    Text that a person wrote outside of the generated part stays, and so does metadata that this function does not
    measure (licence, tags, datasets, language, …).

    Args:
        folder: A training run's output folder, with `results.json` and `config.json`.
        repo_id: Name on the Hub, `"org/name"`, for the card's code; without it the code names the folder.

    Returns:
        Path of `README.md`.

    Raises:
        FileNotFoundError: If `results.json` or `config.json` is missing.
        ValueError: If one of them, or the metadata or the markers of an existing card, cannot be read.
    """
    return write_text_atomically(Path(folder) / "README.md", render_model_card(folder, repo_id))


def render_model_card(folder: str | Path, repo_id: str | None = None) -> str:
    """The text that `write_model_card` would write; it takes the same arguments and raises the same errors."""
    return render_card(_generated(Path(folder), repo_id), Path(folder) / "README.md")


def merge_model_card(folder: str | Path, repo_id: str, published: str | None) -> str:
    """The card to push, of a finished training folder, by `merge_card`; it raises FileNotFoundError as well."""
    return merge_card(_generated(Path(folder), repo_id), Path(folder) / "README.md", repo_id, published)


def _generated(folder: Path, repo_id: str | None) -> GeneratedCard:
    results = read_results(folder)
    model_name = (repo_id or folder.resolve().name).rpartition("/")[2]
    text = _render(folder, results, repo_id or model_name, model_name)
    block = generated_part(text, "results.json")
    data = _card_data(results, model_name)
    # What a local folder is called on the Hub a person may know. A run from scratch has none, whatever another's card
    # in this place said.
    knows_base = data.base_model is not None or results["model"].get("base_model", "unknown") is None
    return GeneratedCard(ModelCard, data, block, (*MEASURED, "base_model") if knows_base else MEASURED)


def _card_data(results: dict[str, Any], model_name: str) -> ModelCardData:
    own, tested = results["rows"][0], tested_on(results)
    # How many images a row stands for is no metric of the model.
    columns = [column for column in metric_columns([own]) if not column.startswith("num_")]
    measured = [metric for metric in columns if is_measured(own[metric])]
    words = {word for metric in measured for word in metric.split("_")}
    dataset = _hub_name(results["data"].get("source"))
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS[results["task"]],
        tags=[
            *(["lens_mae", "masked-autoencoder"] if _is_lens_mae(results) else []),
            "strong-gravitational-lensing",
            "astronomy",
            "dark-matter",
        ],
        base_model=_hub_name(results["model"].get("base_model")),
        datasets=[dataset] if dataset else None,
        metrics=[name for name, word in HUB_METRICS.items() if word in words] or None,
        # Without a measured number there is no model-index, and no name for one.
        model_name=model_name if measured else None,
        eval_results=[
            EvalResult(
                task_type=PIPELINE_TAGS[results["task"]],
                dataset_type=tested["name"],
                dataset_name=f"{tested['name']} (simulated)" if tested["preset"] else tested["name"],
                dataset_split=tested["split"],
                dataset_args={"num_images": results["data"].get("num_test"), "seed": tested["seed"]},
                metric_type=metric,
                metric_name=metric_label(metric),
                metric_value=own[metric],
            )
            for metric in measured
        ]
        or None,
    )


def _is_lens_mae(results: dict[str, Any]) -> bool:
    return results["model"].get("architecture", "lens_mae") == "lens_mae"


def _hub_name(source: str | None) -> str | None:
    """The name of a model or data set on the Hub; `None` for a local folder, which nobody else could follow."""
    if not source or "/" not in source or Path(source).exists():
        return None
    try:
        validate_repo_id(source)
    except HFValidationError:
        return None
    return source


def _render(folder: Path, results: dict[str, Any], checkpoint: str, model_name: str) -> str:
    templates = environment()
    templates.filters["cell"] = cell
    templates.filters["fact"] = lambda section, key: cell(format_fact(key, section.get(key)))
    config = _read_config(folder)
    processor_path = folder / "preprocessor_config.json"
    processor = read_json(processor_path) if processor_path.is_file() else {}
    data = results["data"]
    image_size = config.get("image_size", 64)
    height, width = image_size if isinstance(image_size, list) else (image_size, image_size)
    base_model = results["model"].get("base_model")
    return templates.get_template(f"{results['task']}.md").render(
        model_name=model_name,
        checkpoint=checkpoint,
        pipeline=PIPELINE_TAGS[results["task"]],
        model=results["model"],
        is_lens_mae=_is_lens_mae(results),
        base_model=_hub_name(base_model) or (Path(base_model).name if base_model else None),
        data=data,
        dataset=dataset_name(results),
        duplicates=describe_duplicates(results),
        is_simulated=bool(data.get("preset")),
        # What is known of a preset is not of one with another instrument, or with overrides.
        preset="" if data.get("preset_is_changed") else str(data.get("preset") or ""),
        peak=f"{white_flux:.2g}" if (white_flux := processor.get("white_flux")) is not None else "",
        data_range=data.get("data_range") or 1.0,
        training=results["training"],
        recipe=[
            (fact_label(key), format_fact(key, value))
            for key, value in results["training"].items()
            if key not in COMPUTE_FACTS
        ],
        versions=results["versions"],
        config=config,
        # A network of colours may be given one band, three times.
        num_channels=processor.get("num_bands") or config.get("num_channels", 1),
        height=height,
        width=width,
        upscale=config.get("upscale", 2),
        rows=results["rows"],
        table=_table(results["rows"]),
        elsewhere=_elsewhere(results.get("elsewhere", [])),
        verdict=verdict(results),
        has_intervals=any(format_interval(metric, row) for row in results["rows"] for metric in row),
        ece=format_metric("ece", results["rows"][0].get("ece")),
        ece_calibrated=format_metric("ece", results["rows"][0].get("ece_calibrated")),
        temperature=format_metric("temperature", results.get("temperature")),
        figures=[
            (f"figures/{path.name}", FIGURE_CAPTIONS.get(path.stem, f"{in_words(path.stem)}."))
            for path in sorted((folder / "figures").glob("*.png"))
        ],
        not_measured=NOT_MEASURED,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model card describes a checkpoint saved with its config.")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold an object, not {type(config).__name__}.")
    return config


def _table(rows: list[dict[str, Any]]) -> str:
    """Results as a Markdown table, the checkpoint in the first column, the best number of each line bold."""
    names = [f"**{cell(rows[0]['name'])}** (this checkpoint)", *(cell(row["name"]) for row in rows[1:])]
    lines = [
        ["", *names],
        [":--", *["--:"] * len(rows)],
        ["split", *(cell(row.get("split") or NOT_MEASURED) for row in rows)],
    ]
    for metric in metric_columns(rows):
        numbers = []
        for row in rows:
            number = format_metric(metric, row.get(metric))
            rivals = [other for other in rows if other.get("split") == row.get("split")]
            is_best = is_measured(row.get(metric)) and row[metric] == best_value(metric, rivals)
            interval = format_interval(metric, row)
            numbers.append((f"**{number}**" if is_best else number) + (f"<br>({interval})" if interval else ""))
        lines.append([metric_label(metric), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _elsewhere(sets: list[dict[str, Any]]) -> str:
    """What was measured on images of another kind than the checkpoint's own, a line each, beside the best baseline."""
    lines = [["images", "", "this checkpoint", "best baseline"], [":--", ":--", "--:", "--:"]]
    for measured in sets:
        metric, (own, rival) = measured["metric"], measured["rows"]
        numbers = [format_metric(metric, row[metric]) for row in (own, rival)]
        for place, row in enumerate((own, rival)):
            if row[metric] == best_value(metric, [own, rival]):
                numbers[place] = f"**{numbers[place]}**"
        interval = format_interval(metric, own)
        numbers[0] += f" ({interval})" if interval else ""
        numbers[1] += f", {cell(rival['name'])}"
        lines.append([cell(measured["images"]), metric_label(metric), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if sets else ""


def cell(text: Any) -> str:
    """Text that stays in its cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|")
