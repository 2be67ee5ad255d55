"""Model cards: `README.md` of a checkpoint folder, its numbers written from `results.json` by the task's template."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .files import write_text_atomically
from .results import (
    NOT_MEASURED,
    best_value,
    dataset_name,
    fact_label,
    format_fact,
    format_metric,
    in_words,
    is_measured,
    metric_columns,
    metric_label,
    read_results,
    verdict,
)


BEGIN = (
    "<!-- lens_transformers:begin. This part is renewed from results.json; write your own text above or below it. -->"
)
END = "<!-- lens_transformers:end -->"

PIPELINE_TAGS = {
    "pretraining": "image-feature-extraction",
    "classification": "image-classification",
    "super_resolution": "image-to-image",
}

# Name of a metric on the Hub → the word by which our metrics' keys tell it.
HUB_METRICS = {"accuracy": "accuracy", "roc_auc": "auc", "f1": "f1", "psnr": "psnr", "ssim": "ssim", "mse": "mse"}


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
    folder = Path(folder)
    results = read_results(folder)
    model_name = (repo_id or folder.resolve().name).rpartition("/")[2]
    data = _card_data(results, model_name)
    block = f"{BEGIN}\n{_render(folder, results, repo_id or model_name, model_name).strip()}\n{END}"
    readme = folder / "README.md"
    new_card = f"---\n{data.to_yaml()}\n---\n\n{block}\n"
    card = _renewed(readme, data, block) if readme.exists() else ModelCard(new_card)
    return write_text_atomically(readme, str(card))


def _card_data(results: dict[str, Any], model_name: str) -> ModelCardData:
    own = results["rows"][0]
    measured = [metric for metric in metric_columns([own]) if is_measured(own[metric])]
    words = {word for metric in measured for word in metric.split("_")}
    preset = results["data"].get("preset")
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS[results["task"]],
        tags=["lens_mae", "strong-gravitational-lensing", "astronomy", "dark-matter", "masked-autoencoder"],
        base_model=_hub_base_model(results),
        metrics=[name for name, word in HUB_METRICS.items() if word in words] or None,
        # Without a measured number there is no model-index, and no name for one.
        model_name=model_name if measured else None,
        eval_results=[
            EvalResult(
                task_type=PIPELINE_TAGS[results["task"]],
                dataset_type=dataset_name(results),
                dataset_name=f"{preset} (simulated)" if preset else dataset_name(results),
                dataset_split=own.get("split"),
                dataset_args={"num_images": results["data"].get("num_test"), "seed": results["data"].get("seed")},
                metric_type=metric,
                metric_name=metric_label(metric),
                metric_value=own[metric],
            )
            for metric in measured
        ]
        or None,
    )


def _hub_base_model(results: dict[str, Any]) -> str | None:
    """The base model's name on the Hub; `None` for a local folder, which nobody else could follow."""
    name = results["model"].get("base_model")
    if not name or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _render(folder: Path, results: dict[str, Any], checkpoint: str, model_name: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lens_transformers", "hub_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["fact"] = lambda section, key: _cell(format_fact(key, section.get(key)))
    config = _read_config(folder)
    image_size = config.get("image_size", 64)
    height, width = image_size if isinstance(image_size, list) else (image_size, image_size)
    base_model = results["model"].get("base_model")
    return environment.get_template(f"{results['task']}.md").render(
        model_name=model_name,
        checkpoint=checkpoint,
        model=results["model"],
        base_model=_hub_base_model(results) or (Path(base_model).name if base_model else None),
        data=results["data"],
        dataset=dataset_name(results),
        preset=str(results["data"].get("preset") or ""),
        training=results["training"],
        recipe=[(fact_label(key), format_fact(key, value)) for key, value in results["training"].items()],
        versions=results["versions"],
        config=config,
        num_channels=config.get("num_channels", 1),
        height=height,
        width=width,
        upscale=config.get("upscale", 2),
        table=_table(results["rows"]),
        verdict=verdict(results),
        figures=[(f"figures/{path.name}", in_words(path.stem)) for path in sorted((folder / "figures").glob("*.png"))],
        not_measured=NOT_MEASURED,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model card describes a checkpoint saved with its config.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error


def _table(rows: list[dict[str, Any]]) -> str:
    """Results as a Markdown table, the checkpoint first, the best number of each column bold."""
    metrics = metric_columns(rows)
    lines = [["", "split", *map(metric_label, metrics)], [":--", ":--", *["--:"] * len(metrics)]]
    for index, row in enumerate(rows):
        name = f"**{_cell(row['name'])}** (this checkpoint)" if index == 0 else _cell(row["name"])
        numbers = []
        for metric in metrics:
            number = format_metric(metric, row.get(metric))
            rivals = [other for other in rows if other.get("split") == row.get("split")]
            is_best = is_measured(row.get(metric)) and row[metric] == best_value(metric, rivals)
            numbers.append(f"**{number}**" if is_best else number)
        lines.append([name, _cell(row.get("split") or NOT_MEASURED), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: Any) -> str:
    """Text that stays in its cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|")


def _renewed(readme: Path, data: ModelCardData, block: str) -> ModelCard:
    """The card that is there, with its generated part and its measured metadata replaced."""
    try:
        card = ModelCard.load(readme, ignore_metadata_errors=True)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(
            f"{readme}: the metadata between the two --- lines cannot be read: {error}. Repair it, or move the file "
            "away to have a new card written."
        ) from error
    line_break = "\r\n" if "\r\n" in card.text else "\n"
    block = block.replace("\n", line_break)
    begin, end = re.escape("<!-- lens_transformers:begin"), re.escape(END)
    markers = re.findall(f"{begin}|{end}", card.text)
    if not markers:
        # A card without a generated part is a person's: all of it stays, under ours.
        card.text = f"{line_break}{block}{line_break}{line_break}{card.text.lstrip()}"
    elif len(markers) == 2 and re.search(f"{begin}.*{end}", card.text, flags=re.DOTALL):
        card.text = re.sub(f"{begin}.*{end}", lambda _: block, card.text, flags=re.DOTALL)
    else:
        raise ValueError(
            f"{readme}: the comments that mark the generated part must be there once each, first `{BEGIN[:28]} …` and "
            f"then `{END}`. Repair them, or move the file away to have a new card written."
        )
    measured = ("pipeline_tag", "metrics", "model_name", "eval_results")
    for key, value in vars(data).items():
        if key in measured or card.data.get(key) is None or (key == "base_model" and value is not None):
            card.data[key] = value
    return card
