"""From a checkpoint and a data set to an evaluation."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForImageToImage,
    AutoModelForPreTraining,
)

from ..data import load_lensing_dataset
from ..data.simulated import find_simulation
from ..data.tasks import Task
from ..hub.results import dataset_name, read_results
from ..pipelines import resize_images
from ..visualization import plot_training_curves
from .classification import evaluate_classifier
from .evaluated import Evaluation, Images
from .loading import draw_rows
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
            the run states, or that of `SuperResolutionMetric`.
        in_full: Whether to look at single images, parameters, embeddings and explanations as well as at the numbers.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If the checkpoint is of no kind that is known, nothing says on what to evaluate it, or the data do
            not fit it.
    """
    results = _results_of(checkpoint)
    task: Task = results["task"]
    images = _load(checkpoint, results, source, split)
    if data_range is not None:
        results["data"]["data_range"] = data_range
    simulation = None if images.simulated is None else images.simulated.config
    evaluation = Evaluation(str(checkpoint), results, simulation=simulation)
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


def group_of(checkpoint: str | Path, source: str | None = None) -> tuple[str | None, ...]:
    """What checkpoints that stand in one table have in common: task, images, and the group that runs were given."""
    results = _results_of(checkpoint)
    return results["task"], source or results["data"].get("source"), results.get("group")


def _load(checkpoint: str | Path, results: dict[str, Any], source: str | None, split: str) -> Images:
    """Loads the images, and says in `results` which they are."""
    task, own = results["task"], results["data"]
    results["trained_on"] = dataset_name(results) if own.get("source") else None
    if source is None and not own.get("source"):
        raise ValueError(f"{checkpoint} does not say on what it was tested: name the data with --dataset.")
    if source is None or (_same(source, own.get("source")) and split == own.get("split")):
        return _load_own(results)
    simulated = find_simulation(source, split)
    test = load_lensing_dataset(source, split=split, task=task)
    results["rows"] = []
    results["data"] = {"source": source, "split": split, "num_train": own.get("num_train"), "num_test": len(test)}
    if simulated is not None:
        results["data"]["preset"] = simulated.config.name
    if split not in ("all", "train"):
        return Images(test, _training_split(source, task), False, simulated)
    # Nothing is fitted to the images that it is measured on: what is fitted sees what the network was trained on.
    train = _training_split(own["source"], task, **_division(own)) if own.get("source") else None
    return Images(_as_trained(test, train, task), train, False, simulated)


def _division(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("split_fractions", "split_seed") if name in data}


def _load_own(results: dict[str, Any]) -> Images:
    """The images that the run was tested on, as it was tested on them."""
    task, own = results["task"], results["data"]
    division = _division(own)
    train = _training_split(own["source"], task, **division)
    if own.get("split") in (None, "test"):
        test = load_lensing_dataset(own["source"], split="test", task=task, **division)
        simulated = find_simulation(own["source"], "test")
    else:
        test, simulated = load_lensing_dataset(own["split"], split="all", task=task), None
        test = _as_trained(test, train, task)
    own["split"] = own.get("split") or "test"
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


def _results_of(checkpoint: str | Path) -> dict[str, Any]:
    """What training left, or the same with nothing in it; the task and the name of the network are there."""
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
    return recorded is not None and (source == recorded or Path(source).resolve() == Path(recorded).resolve())


def _training_split(source: str, task: Task, **division: Any) -> Dataset | None:
    try:
        return load_lensing_dataset(source, split="train", task=task, **division)
    except ValueError as error:
        logger.warning("%s gives no images to fit baselines to: %s", source, error)
        return None
