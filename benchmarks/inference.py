"""Images a second through the encoder with its classifier, beside transformers' ViT of the same size.

    python -m benchmarks.inference [--rounds 10] [--quick]

Both are in float32, of the layers of benchmarks/training_step.py, with every attention that ViT can run here; the
fastest counts. Both classify by the class token, and ours makes no other in its last layer. A batch of 64 large images
takes long enough on a CPU to be timed once.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification

from lens_transformers import LensMAEForClassification

from .results import write_results
from .timing import compare, time_in_turns
from .training_step import NETWORKS


# By the size of the batch, how often it goes through a network before the clock is looked at.
REPETITIONS = {"base": {1: 1, 64: 1}, "tiny": {1: 50, 64: 5}}


def main() -> None:
    """Prints the rows and writes results/inference.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for network in ("tiny",) if arguments.quick else REPETITIONS:
            models = make_models(network, device)
            for batch_size, repetitions in REPETITIONS[network].items():
                once = arguments.quick or (network, batch_size, device) == ("base", 64, "cpu")
                repetitions = 20 * repetitions if device == "cuda" else repetitions
                ways = make_ways(models, network, batch_size, device, repetitions)
                seconds = time_in_turns(ways, 1 if once else arguments.rounds, device, warm_up=not once)
                name = f"{network}, batch of {batch_size}, {device}"
                results[name] = compare(seconds, batch_size * repetitions, must=1.0, goal=1.2)
                print(name, results[name], flush=True)
    print(f"Wrote {write_results('inference', results)}")


def make_models(network: str, device: str) -> dict[str, PreTrainedModel]:
    """Our classifier and transformers'."""
    config = NETWORKS[network][0]
    arguments = {name: getattr(config, name) for name in ViTConfig.__annotations__ if hasattr(config, name)}
    models: dict[str, PreTrainedModel] = {"ours": LensMAEForClassification(config)}
    for attention in ("sdpa", "eager"):
        vit = ViTForImageClassification(ViTConfig(**arguments, attn_implementation=attention))
        models[f"vit_{attention}"] = vit
    return {name: model.to(device).eval() for name, model in models.items()}


def make_ways(
    models: dict[str, PreTrainedModel], network: str, batch_size: int, device: str, repetitions: int
) -> dict[str, Callable[[], None]]:
    """What each network does."""
    side = NETWORKS[network][1]
    pixel_values = torch.randn(batch_size, 1, side, side).to(device)

    @torch.inference_mode()
    def classify(model: PreTrainedModel) -> None:
        for _ in range(repetitions):
            model(pixel_values)

    return {name: partial(classify, model) for name, model in models.items()}


if __name__ == "__main__":
    main()
