"""Images a second from 75x75 to 150x150, beside transformers' Swin2SR and a plain EDSR, each at its PSNR.

    python -m benchmarks.super_resolution [--train_seconds 30] [--quick]

All learn the same simulated pairs of `sr_deeplense` for the same processor time and are measured on others, in flux.
Swin2SR has the published lightweight size; EDSR has 32 channels and 5 blocks, about as many multiplications as ours.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution
from transformers.modeling_outputs import ImageSuperResolutionOutput

from lens_transformers import LensMAEConfig, LensMAEForSuperResolution
from lens_transformers.evaluation import SuperResolutionMetric
from lens_transformers.simulation import simulate

from .peers import EDSR
from .results import write_results
from .timing import compare, time_in_turns


PRESET = "sr_deeplense"
TRAIN_BATCH_SIZE = 4
BATCH_SIZES = (1, 8)
# How many times as many rounds as --rounds each peer is given: one takes milliseconds.
ROUNDS = {"edsr": 14, "swin2sr": 1}
LEARNING_RATES = {"ours": 2e-3, "edsr": 1e-3, "swin2sr": 5e-4}


def main() -> None:
    """Prints the rows and writes results/super_resolution.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_seconds", type=float, default=30, help="processor time that each network learns for")
    parser.add_argument("--num_train", type=int, default=600, help="pairs to learn")
    parser.add_argument("--num_test", type=int, default=30, help="pairs to measure the PSNR on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a second of learning, and one round, of small images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.train_seconds, arguments.num_train, arguments.num_test = 1, 8, 2
    torch.set_num_threads(1)
    lenses = simulate(PRESET, arguments.num_train + arguments.num_test)
    low, high = lenses.image, lenses.target
    if arguments.quick:
        low, high = low[..., :16, :16], high[..., :32, :32]
    train, test = ((low[rows], high[rows]) for rows in (slice(arguments.num_train), slice(arguments.num_train, None)))
    models = make_models(train[0])
    psnr = {}
    for name, model in models.items():
        learn(model, *train, arguments.train_seconds, LEARNING_RATES[name])
        psnr[name] = measure(model, *test)
        print(name, psnr[name], flush=True)
    results: dict[str, dict] = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for batch_size in BATCH_SIZES:
            images = test[0][:batch_size]
            ways = make_ways(models, images, device)
            name = f"batch of {batch_size}, {device}"
            results[name] = {}
            for peer, times in ROUNDS.items():
                rounds = 1 if arguments.quick else times * arguments.rounds
                seconds = time_in_turns({way: ways[way] for way in ("ours", peer)}, rounds, device)
                results[name][peer] = {"psnr": psnr, **compare(seconds, len(images), must=1.0, goal=2.0)}
            print(name, results[name], flush=True)
    print(f"Wrote {write_results('super_resolution', results)}")


def make_models(images: torch.Tensor) -> dict[str, nn.Module]:
    """The networks, from scratch."""
    torch.manual_seed(0)
    constants = {"sr_pixel_mean": images.mean().item(), "sr_pixel_std": images.std().item()}
    config = LensMAEConfig.from_size("tiny", image_size=75, **constants)
    swin2sr = Swin2SRConfig(
        num_channels=1, embed_dim=60, depths=[6] * 4, num_heads=[6] * 4, upsampler="pixelshuffledirect"
    )
    return {
        "ours": LensMAEForSuperResolution(config),
        # A model writes into its configuration which attention it has.
        "edsr": EDSR(LensMAEConfig.from_dict(config.to_dict())),
        "swin2sr": PaddedSwin2SR(swin2sr),
    }


class PaddedSwin2SR(Swin2SRForImageSuperResolution):
    """Swin2SR, which takes whole windows alone, with the padding that its image processor would do."""

    def forward(self, pixel_values: torch.Tensor) -> ImageSuperResolutionOutput:
        """Upsamples images `(batch, bands, height, width)`."""
        height, width = pixel_values.shape[2:]
        window, upscale = self.config.window_size, self.config.upscale
        padded = nn.functional.pad(pixel_values, (0, -width % window, 0, -height % window), mode="reflect")
        outputs = super().forward(padded)
        outputs.reconstruction = outputs.reconstruction[..., : height * upscale, : width * upscale]
        return outputs


def learn(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, train_seconds: float, learning_rate: float
) -> None:
    """Trains for so much processor time, the learning rate falling to zero along a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    model.train()
    start = time.process_time()
    while (done := (time.process_time() - start) / train_seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(20 * done, (1 + torch.tensor(torch.pi * done).cos().item()) / 2)
        rows = torch.randint(len(images), (TRAIN_BATCH_SIZE,), generator=generator)
        loss = (model(images[rows]).reconstruction - targets[rows]).abs().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def measure(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> float:
    """PSNR of what a network makes of images that it has not learned."""
    metric = SuperResolutionMetric(data_range=1.0)
    model.eval()
    with torch.inference_mode():
        for image, target in zip(images.split(4), targets.split(4), strict=True):
            metric.add_batch(predictions=model(image).reconstruction, references=target)
    return metric.compute()["psnr"]


def make_ways(models: dict[str, nn.Module], images: torch.Tensor, device: str) -> dict[str, Callable[[], None]]:
    """What each network does."""
    images = images.to(device)

    @torch.inference_mode()
    def run(model: nn.Module) -> None:
        model(images)

    return {name: partial(run, model.to(device).eval()) for name, model in models.items()}


if __name__ == "__main__":
    main()
