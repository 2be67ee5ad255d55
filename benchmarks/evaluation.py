"""Our metrics of 30,000 images beside loops of scikit-learn and scikit-image that give the same values.

    python -m benchmarks.evaluation [--num_images 30000] [--quick]

Classification is every area under the ROC curve with its interval from 1,000 resamples; super-resolution is PSNR and
SSIM of 150x150 pixels. Ours is timed on all images, and computes its other metrics as well. A loop does the same thing
again and again, so it is timed for a few resamples or images, and its time is multiplied.
"""

import argparse

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import roc_auc_score

from lens_transformers.data import LABEL_NAMES
from lens_transformers.evaluation import ClassificationMetric, SuperResolutionMetric
from lens_transformers.evaluation.bootstrap import NUM_RESAMPLES

from .results import write_results
from .timing import compare, time_in_turns


SIDE = 150
BATCH_SIZE = 100


def main() -> None:
    """Prints both and writes results/evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=30000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of a hundred images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.num_images, arguments.rounds = BATCH_SIZE, 1
    torch.set_num_threads(1)
    results = {}
    for name, benchmark in (("classification", time_classification), ("super_resolution", time_super_resolution)):
        results[name] = benchmark(arguments.num_images, arguments.rounds)
        print(name, results[name], flush=True)
    print(f"Wrote {write_results('evaluation', results)}")


def time_classification(num_images: int, rounds: int, num_timed: int = 20) -> dict:
    """Areas and their intervals."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(LABEL_NAMES), size=num_images)
    logits = rng.standard_normal((num_images, len(LABEL_NAMES))) + np.eye(len(LABEL_NAMES))[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    values: dict[str, dict] = {}

    def ours() -> None:
        metric = ClassificationMetric()
        metric.add_batch(predictions=probabilities, references=labels)
        values["ours"] = metric.compute()

    def scikit_learn() -> None:
        for number in range(num_timed):
            drawn = slice(None) if number == 0 else rng.integers(num_images, size=num_images)
            is_true, scores = np.eye(len(LABEL_NAMES))[labels[drawn]], probabilities[drawn]
            areas = roc_auc_score(is_true, scores, average=None)
            areas = {f"auc_{name}": area for name, area in zip(LABEL_NAMES, areas, strict=True)}
            areas |= {"auc_micro": roc_auc_score(is_true, scores, average="micro")}
            if number == 0:
                values["scikit_learn"] = areas

    seconds = time_in_turns({"ours": ours, "scikit_learn": scikit_learn}, rounds, warm_up=False)
    seconds["scikit_learn"] = [spent * (1 + NUM_RESAMPLES) / num_timed for spent in seconds["scikit_learn"]]
    differences = [abs(values["ours"][name] - area) for name, area in values["scikit_learn"].items()]
    return {
        "largest_difference": float(max(differences)),
        "num_images": num_images,
        **compare(seconds, num_images, must=5, goal=20),
    }


def time_super_resolution(num_images: int, rounds: int) -> dict:
    """PSNR and SSIM."""
    generator = torch.Generator().manual_seed(0)
    references = torch.rand(BATCH_SIZE, 1, SIDE, SIDE, generator=generator)
    predictions = references + 0.05 * torch.randn(references.shape, generator=generator)
    values: dict[str, dict] = {}

    def ours() -> None:
        metric = SuperResolutionMetric()
        for _ in range(num_images // BATCH_SIZE):
            metric.add_batch(predictions=predictions, references=references)
        values["ours"] = metric.compute()

    def scikit_image() -> None:
        pairs = list(zip(references[:, 0].numpy(), predictions[:, 0].numpy(), strict=True))
        values["scikit_image"] = {
            "psnr": np.mean([peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs]),
            "ssim": np.mean([structural_similarity(*pair, data_range=1.0) for pair in pairs]),
        }

    # Ours takes long enough to be timed but once.
    seconds = time_in_turns({"scikit_image": scikit_image}, rounds, warm_up=False)
    seconds = {"ours": time_in_turns({"ours": ours}, 1, warm_up=False)["ours"] * rounds, **seconds}
    seconds["scikit_image"] = [spent * num_images / BATCH_SIZE for spent in seconds["scikit_image"]]
    differences = [abs(values["ours"][name] - value) for name, value in values["scikit_image"].items()]
    return {
        "largest_difference": float(max(differences)),
        "num_images": num_images,
        **compare(seconds, num_images, must=5, goal=20),
    }


if __name__ == "__main__":
    main()
