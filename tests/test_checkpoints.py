"""The checkpoints of this repository: as small as promised, of this code, and as good as their cards say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoImageProcessor

import lens_transformers.models.lens_mae
from benchmarks.shipping import CHECKPOINTS, SHIPPED, repository_name
from lens_transformers import LensMAEForPreTraining, pipeline
from lens_transformers.data import load_lensing_dataset
from lens_transformers.evaluation import ClassificationMetric, ReconstructionMetric, SuperResolutionMetric
from lens_transformers.evaluation.reconstruction import MASK_RATIOS
from lens_transformers.hub import check, read_results
from lens_transformers.hub.card import render_model_card
from lens_transformers.report.reconstruction import reconstruct


MEGABYTE = 10**6
MODULES = Path(lens_transformers.models.lens_mae.__file__).parent
# Images that nobody has trained or measured on: simulated by another seed. A classifier that is right 199 times in 200
# takes many to be wrong often enough.
FRESH = {"pretraining": 200, "classification": 1500, "super_resolution": 24}
# Of each card the numbers that so few images settle; an error of calibration, for one, is larger of few than of many.
COMPARED = {
    "pretraining": {f"masked_mse_{ratio:g}" for ratio in MASK_RATIOS},
    "classification": {"accuracy", "auc_macro", "f1_macro", "brier", "log_loss"},
    "super_resolution": {"psnr", "ssim", "psnr_ring", "mae", "flux_ratio"},
}
# The card's numbers vary as well, and there are many of them.
CONFIDENCE = 0.999
RENEW = "Renew it: python -m benchmarks.shipping"


@pytest.fixture(params=SHIPPED)
def folder(request):
    return CHECKPOINTS / request.param


def load(folder):
    """What measures a checkpoint, with its network."""
    task = read_results(folder)["task"]
    if task == "pretraining":
        return LensMAEForPreTraining.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)
    applied = pipeline(task.replace("_", "-"), folder)
    return applied.model, applied


def measure(task, preset, model, measuring):
    """Intervals of a checkpoint's numbers on fresh images."""
    images = load_lensing_dataset(f"simulate:{preset}?seed=2026&num_test={FRESH[task]}", split="test", task=task)
    if task == "pretraining":
        intervals = {}
        for ratio in MASK_RATIOS:
            flux, masks, painted = reconstruct(model, measuring, images, ratio)
            numbers = ReconstructionMetric().compute(
                predictions=painted, references=flux, masks=masks, confidence_level=CONFIDENCE
            )
            intervals[f"masked_mse_{ratio:g}"] = numbers["intervals"]["masked_mse"]
        return intervals
    if task == "classification":
        # As the network gives its probabilities, which is what a card's numbers are of.
        predictions, metric = measuring.logits(images).softmax(dim=1), ClassificationMetric()
        references = images["label"][:]
    else:
        predictions, metric = measuring(images), SuperResolutionMetric()
        references = images["target"][:]
    return metric.compute(predictions=predictions, references=references, confidence_level=CONFIDENCE)["intervals"]


def contradicted(folder, spoil=0.0):
    """The numbers of a card that are not found within their intervals, of the network or a spoilt one."""
    card = ModelCard.load(folder / "README.md")
    claimed = {result.metric_type: result.metric_value for result in card.data.eval_results}
    results = read_results(folder)
    model, measuring = load(folder)
    with torch.no_grad():
        for weights in model.parameters():
            weights += spoil * weights.std() * torch.randn_like(weights) if weights.numel() > 1 else 0
    intervals = measure(results["task"], results["data"]["preset"], model, measuring)
    compared = COMPARED[results["task"]]
    assert compared <= set(claimed)
    return {
        name: (claimed[name], intervals[name])
        for name in compared
        if not intervals[name][0] <= claimed[name] <= intervals[name][1]
    }


def test_fresh_images_do_not_contradict_the_card(folder):
    assert contradicted(folder) == {}


def test_they_contradict_the_card_of_a_spoilt_network(folder):
    assert contradicted(folder, spoil=0.2)


def test_it_is_ready_to_be_pushed(folder):
    found = check(folder)
    assert found.problems == []
    assert {"README.md", "figures/training_curves.png", "model.safetensors", "results.json"} <= set(found.files)
    assert set(found.files) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_its_code_and_card_are_those_of_this_version(folder):
    for module in folder.glob("*.py"):
        assert module.read_text(encoding="utf-8") == (MODULES / module.name).read_text(encoding="utf-8"), RENEW
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == render_model_card(folder, repository_name(folder.name)), RENEW


def test_they_are_small():
    sizes = {name: check(CHECKPOINTS / name).num_bytes for name in SHIPPED}
    assert max(sizes.values()) <= 12 * MEGABYTE and sum(sizes.values()) <= 40 * MEGABYTE
    assert {path.name for path in CHECKPOINTS.iterdir()} == set(SHIPPED)


def test_none_names_a_folder_that_its_reader_does_not_have(folder):
    base_model = read_results(folder)["model"].get("base_model")
    assert base_model is None or base_model in SHIPPED
    for path in [*folder.glob("*.json"), folder / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert '"/' not in text and "_seed_" not in text, path


def test_they_load_where_the_package_is_not_installed():
    lines = ["import sys; sys.modules['lens_transformers'] = None; import transformers"]
    for name in SHIPPED:
        config = json.loads((CHECKPOINTS / name / "config.json").read_text(encoding="utf-8"))
        (architecture,) = config["architectures"]
        (auto_class,) = (key for key, value in config["auto_map"].items() if value.endswith(f".{architecture}"))
        for loaded in (auto_class, "AutoImageProcessor"):
            call = f"transformers.{loaded}.from_pretrained({repository_name(name)!r}, trust_remote_code=True)"
            lines.append(f"assert type({call}).__module__.startswith('transformers_modules.')")
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKPOINTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
