"""Our metrics of 30,000 images beside loops of scikit-learn and scikit-image that give the same values.

    python -m benchmarks.evaluation [--num_images 30000] [--quick]

Classification is every area under the ROC curve with its interval from 1,000 resamples, on one core. Images have
150x150 pixels in float32: `psnr_and_ssim` is these two alone, `super_resolution` all that the metric measures, MAE,
flux and each of it again within the ring of each image; of that the loop leaves out what scikit-image does not have.
Ours takes many images at once and all cores, scikit-image one image after the other on one core, so that their time is
that of the clock. A loop does the same thing again and again, so it is timed for a few resamples or images, and its
time is multiplied.
"""

import argparse
import os

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import roc_auc_score

from lens_transformers.data import LABEL_NAMES
from lens_transformers.evaluation import ClassificationMetric, SuperResolutionMetric
from lens_transformers.evaluation.bootstrap import NUM_RESAMPLES
from lens_transformers.evaluation.image_quality import structural_similarity as structural_similarities

from .results import write_results
from .timing import compare, time_in_turns


SIDE = 150
BATCH_SIZE = 100
# So many stay in a core's cache.
IMAGES_AT_ONCE_CORE = 4


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
    results = {"classification": time_classification(arguments.num_images, arguments.rounds)}
    torch.set_num_threads(os.cpu_count() or 1)
    results |= time_images(arguments.num_images, arguments.rounds)
    for name, row in results.items():
        print(name, row, flush=True)
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


def time_images(num_images: int, rounds: int) -> dict[str, dict]:
    """PSNR and SSIM alone, and the whole metric."""
    generator = torch.Generator().manual_seed(0)
    references = torch.rand(BATCH_SIZE, 1, SIDE, SIDE, generator=generator)
    predictions = references + 0.05 * torch.randn(references.shape, generator=generator)
    values: dict[str, dict] = {}

    def psnr_and_ssim() -> None:
        count = IMAGES_AT_ONCE_CORE * torch.get_num_threads()
        for _ in range(num_images // BATCH_SIZE):
            psnr, ssim = [], []
            for pair in zip(predictions.split(count), references.split(count), strict=True):
                psnr.append(-10 * torch.log10((pair[0] - pair[1]).square().mean(dim=(1, 2, 3))))
                ssim.append(structural_similarities(*pair, data_range=1.0).mean(dim=(1, 2, 3)))
            values["psnr_and_ssim"] = {"psnr": torch.cat(psnr).mean().item(), "ssim": torch.cat(ssim).mean().item()}

    def super_resolution() -> None:
        metric = SuperResolutionMetric()
        for _ in range(num_images // BATCH_SIZE):
            metric.add_batch(predictions=predictions, references=references)
        values["super_resolution"] = metric.compute()

    def scikit_image() -> None:
        pairs = list(zip(references[:, 0].numpy(), predictions[:, 0].numpy(), strict=True))
        values["scikit_image"] = {
            "psnr": np.mean([peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs]),
            "ssim": np.mean([structural_similarity(*pair, data_range=1.0) for pair in pairs]),
        }

    ways = {"psnr_and_ssim": psnr_and_ssim, "super_resolution": super_resolution}
    theirs = time_in_turns({"scikit_image": scikit_image}, rounds, all_cores=True)["scikit_image"]
    theirs = [spent * num_images / BATCH_SIZE for spent in theirs]
    # Ours takes long enough to be timed but once.
    ours = time_in_turns(ways, 1, warm_up=False, all_cores=True)
    return {
        name: {
            "largest_difference": float(
                max(abs(values[name][key] - value) for key, value in values["scikit_image"].items())
            ),
            "num_images": num_images,
            "num_threads": torch.get_num_threads(),
            **compare({"ours": ours[name] * rounds, "scikit_image": theirs}, num_images, must=5, goal=20),
        }
        for name in ways
    }


if __name__ == "__main__":
    main()
