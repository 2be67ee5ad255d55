"""From a checkpoint and a data set to an evaluation."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForImageToImage,
    AutoModelForPreTraining,
)

from ..data import load_lensing_dataset, resize_images
from ..data.simulated import find_simulation
from ..data.tasks import Task
from ..hub.files import check_path
from ..hub.results import dataset_name, read_results
from ..simulation import LensSimulationConfig
from ..visualization import plot_training_curves
from .classification import evaluate_classifier
from .evaluated import ROW_COLUMN, Evaluation, Images
from .loading import READING, draw_rows, reading_arguments
from .reconstruction import evaluate_autoencoder
from .super_resolution import evaluate_super_resolution
from .versions import versions


logger = logging.getLogger(__name__)

_MODELS: dict[Task, Any] = {
    "pretraining": AutoModelForPreTraining,
    "classification": AutoModelForImageClassification,
    "super_resolution": AutoModelForImageToImage,
}
# What the name of a checkpoint's class ends in → what it is for.
_TASKS: dict[str, Task] = {
    "ForPreTraining": "pretraining",
    "ForClassification": "classification",
    "ForImageClassification": "classification",
    "ForSuperResolution": "super_resolution",
    "ForImageSuperResolution": "super_resolution",
}


def evaluate_checkpoint(
    checkpoint: str | Path,
    source: str | None = None,
    split: str = "test",
    *,
    data_range: float | None = None,
    reading: Mapping[str, Any] | None = None,
    in_full: bool = True,
) -> Evaluation:
    """Evaluates a checkpoint of any of the three kinds.

    Baselines are those that training measured, where it is evaluated on the images that it was tested on; elsewhere
    they are fitted to the training split of `source`, and left out where there is none.

    Args:
        checkpoint: Output folder of a training run, or a name on the Hub. Any image classifier of transformers will
            do, if its classes are those of the data.
        source: Images, as `load_lensing_dataset` takes them; by default those that the run was tested on, which its
            `results.json` names.
        split: Which of their splits.
        data_range: Brightness range of super-resolution targets that PSNR and SSIM refer to; by default the one that
            the run states of its own data, elsewhere that of `SuperResolutionMetric`.
        reading: How to read them, `on_error`, `nan_fill` or `fits_layout`, as the training scripts take these; what
            is not given is as the run had it for its own data, elsewhere as `load_lensing_dataset` has it.
        in_full: Whether to look at single images, parameters, embeddings and explanations as well as at the numbers.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If the checkpoint is of no kind that is known, nothing says on what to evaluate it, or the data do
            not fit it.
    """
    results = _results_of(checkpoint)
    task: Task = results["task"]
    images = _load(checkpoint, results, source, split, reading or {})
    if data_range is not None:
        results["data"]["data_range"] = data_range
    simulation = None if images.simulated is None else images.simulated.config
    scale = None if simulation is None else _pixel_scale(images.test, simulation)
    evaluation = Evaluation(str(checkpoint), results, simulation=simulation, pixel_scale=scale)
    model = _MODELS[task].from_pretrained(checkpoint).eval()
    model.to(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    results["model"].setdefault("parameters", model.num_parameters())
    image_processor = AutoImageProcessor.from_pretrained(checkpoint)
    if task == "classification":
        evaluate_classifier(evaluation, model, image_processor, images, in_full=in_full)
    elif task == "super_resolution":
        evaluate_super_resolution(evaluation, model, image_processor, images, in_full=in_full)
    else:
        evaluate_autoencoder(evaluation, model, image_processor, images, in_full=in_full)
    if (state := Path(checkpoint) / "trainer_state.json").is_file():
        log = json.loads(state.read_text(encoding="utf-8"))["log_history"]
        if any("loss" in entry for entry in log):
            evaluation.figures["training_curves"] = plot_training_curves(log)
    return evaluation


def group_of(
    checkpoint: str | Path,
    source: str | None = None,
    split: str = "test",
    *,
    data_range: float | None = None,
    reading: Mapping[str, Any] | None = None,
) -> tuple[str | None, ...]:
    """What checkpoints in one table have in common: task, images, units of a PSNR, the group that runs were given."""
    results = _results_of(checkpoint)
    data = _chosen(results["data"], source, split)[0] | dict(reading or {})
    tested, chosen = _test_source(data), data.get("split", "test")
    images: dict[str, Any] = {"source": _resolved(tested), "split": chosen}
    images |= {name: data.get(name) for name in ("max_test_samples", "nan_fill", "fits_layout")}
    images["data_range"] = data_range or data.get("data_range") or 1.0
    # Of images that are neither divided nor drawn the seed says nothing.
    if tested == data.get("source") and chosen in (data.get("split_fractions") or {}):
        images["split_fractions"] = data["split_fractions"]
    if images["max_test_samples"] or "split_fractions" in images:
        images["split_seed"] = data.get("split_seed", 0)
    return results["task"], json.dumps(images, sort_keys=True), results.get("group")


def _test_source(data: Mapping[str, Any]) -> str | None:
    """What the test images are from: `--test_dataset`, or the data set itself."""
    return data.get("test_source") or data.get("source")


def _chosen(own: dict[str, Any], source: str | None, split: str) -> tuple[dict[str, Any], bool]:
    """What to evaluate on, as `data` of results says it, and whether it is what the run was tested on."""
    if source is None or (_same(source, _test_source(own)) and split == own.get("split", "test")):
        return own, True
    data = {"source": source, "split": split, "num_train": own.get("num_train")}
    # What the run says of its own data it says of no other.
    names: tuple[str, ...] = (*READING, "data_range") if _same(source, _test_source(own)) else ()
    if _same(source, own.get("source")):
        names = (*READING, "data_range", "split_fractions", "split_seed")
    return data | {name: own[name] for name in names if name in own}, False


def _load(
    checkpoint: str | Path, results: dict[str, Any], source: str | None, split: str, reading: Mapping[str, Any]
) -> Images:
    """Loads the images, and says in `results` which they are."""
    task, own = results["task"], results["data"]
    results["trained_on"] = dataset_name(results) if own.get("source") else None
    if source is None and split != "test":
        raise ValueError(f"--split {split} is a split of --dataset: name that as well.")
    if source is None and not own.get("source"):
        raise ValueError(f"{checkpoint} does not say on what it was tested: name the data with --dataset.")
    chosen, is_own = _chosen(own, source, split)
    data = results["data"] = chosen | dict(reading)
    if is_own:
        return _load_own(task, data)
    results["rows"] = []
    simulated = find_simulation(data["source"], split)
    test = _numbered(load_lensing_dataset(data["source"], split=split, task=task, **reading_arguments(data)))
    data["num_test"] = len(test)
    if simulated is not None:
        data["preset"] = simulated.config.name
    if split not in ("all", "train"):
        return Images(test, _training_split(data, task), False, simulated)
    # Nothing is fitted to the images that it is measured on: what is fitted sees what the network was trained on,
    # unless it is these.
    is_seen = _same(data["source"], own.get("source"))
    train = _training_split(own, task) if own.get("source") and not is_seen else None
    return Images(_as_trained(test, train, task), train, False, simulated)


def _load_own(task: Task, own: dict[str, Any]) -> Images:
    """The images that the run was tested on, as it was tested on them."""
    train = _training_split(own, task)
    own.setdefault("split", "test")
    source: Any = _test_source(own)
    test = _numbered(load_lensing_dataset(source, split=own["split"], task=task, **reading_arguments(own)))
    simulated = find_simulation(source, own["split"])
    if own.get("test_source"):
        test = _as_trained(test, train, task)
    # Runs that did not record it drew as many as they tested on, by the usual seed.
    count = own.get("max_test_samples", own.get("num_test"))
    if count is not None and count < len(test):
        test = test.select(draw_rows(len(test), count, own.get("split_seed", 0)))
        simulated = simulated and simulated._replace(first_sample=None)
    own["num_test"] = len(test)
    return Images(test, train, True, simulated)


def _as_trained(test: Dataset, train: Dataset | None, task: Task) -> Dataset:
    """Images of another source, which a classifier sees in the size that it was trained on."""
    if task != "classification" or train is None:
        return test
    return resize_images(test, train.features["image"].shape[1:])


def _numbered(dataset: Dataset) -> Dataset:
    """The dataset with a column that says where each row stands, before some are drawn."""
    return dataset.add_column(ROW_COLUMN, np.arange(len(dataset)))


def _pixel_scale(dataset: Dataset, simulation: LensSimulationConfig) -> float:
    """Arcsec a pixel of the images, or of a pair's target, which may have been resized since they were simulated."""
    instrument = simulation.instrument
    width = dataset.features["target" if "target" in dataset.features else "image"].shape[-1]
    return instrument.pixel_scale_arcsec * instrument.num_pixels / width


def _results_of(checkpoint: str | Path) -> dict[str, Any]:
    """What training left, or the same with nothing in it; the task and the name of the network are there."""
    check_path(str(checkpoint))
    config = AutoConfig.from_pretrained(checkpoint)
    if (Path(checkpoint) / "results.json").is_file():
        results = read_results(checkpoint)
    else:
        results = {"task": _task_of(checkpoint, config), "model": {}, "data": {}, "training": {}, "rows": []}
    results.setdefault("title", Path(checkpoint).resolve().name if Path(checkpoint).exists() else str(checkpoint))
    results["model"]["name"] = results["rows"][0]["name"] if results["rows"] else config.model_type
    results["versions"] = versions()
    return results


def _task_of(checkpoint: str | Path, config: Any) -> Task:
    architectures = config.architectures or []
    for architecture in architectures:
        for ending, task in _TASKS.items():
            if architecture.endswith(ending):
                return task
    raise ValueError(
        f"{checkpoint} is a {', '.join(architectures) or 'network without a head'}; a report is about one that ends "
        f"in {', '.join(_TASKS)}."
    )


def _same(source: str, recorded: str | None) -> bool:
    return recorded is not None and _resolved(source) == _resolved(recorded)


def _resolved(source: str | None) -> str | None:
    """A folder or file by its whole path; any other name as it is."""
    return str(Path(source).resolve()) if source is not None and Path(source).exists() else source


def _training_split(data: Mapping[str, Any], task: Task) -> Dataset | None:
    try:
        return load_lensing_dataset(data["source"], split="train", task=task, **reading_arguments(data))
    except (OSError, ValueError) as error:
        logger.warning("%s gives no images to fit baselines to: %s", data["source"], error)
        return None
