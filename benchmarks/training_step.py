"""A training step of the masked autoencoder beside one of transformers' ViTMAE, of the same layers, batch and mask.

    python -m benchmarks.training_step [--rounds 10] [--quick]

A step is the loss, its gradients and fused AdamW. `base` is the published network on one band of 224x224 pixels,
`tiny` the widths of our smallest on 64x64 in four layers, where it has one behind its convolutions. Both have the
linear stem and the class token that ViTMAE has; in bfloat16, which is left out where the processor emulates it, a step
runs in autocast, as Trainer has it. ViTMAE is given the sin-cos positions that its published weights have and a new
one lacks, and every attention that it can run here; the fastest counts. `partial` predicts an eighth of the hidden
patches (`prediction_ratio`). On a CPU one core is timed, on a GPU the clock; `tiny`, whose steps are short, in twice
as many rounds. On a busy machine the ratio of one round is uncertain by a tenth, that of all by a hundredth. The
floating-point operations of matrix products are counted as well: where these are most of a step, as for `base`, it can
be more times as fast than it has fewer of them only by multiplying faster, which on processors of AMD it does in
float32 (`LensMAELinear`). How often memory is taken from the system anew, a twentieth of a step and more, is left to
the C library, and differs with what else the process holds.
"""

import argparse
from collections.abc import Callable

import torch
from transformers import PreTrainedModel, ViTMAEConfig, ViTMAEForPreTraining

from lens_transformers import LensMAE, LensMAEConfig
from lens_transformers._hardware import has_fast_bfloat16

from .results import write_results
from .timing import compare, count_operations, time_in_turns


VIT_LAYOUT = {"stem_type": "patch", "mask_unit_size": 1, "use_cls_token": True, "pooling": "cls"}
# Configuration, side of the images, and images of a batch on a CPU and on a GPU.
NETWORKS = {
    "base": (LensMAEConfig(), 224, 4, 128),
    "tiny": (LensMAEConfig.from_size("tiny", num_hidden_layers=4, **VIT_LAYOUT), 64, 64, 1024),
}
ROUNDS = {"base": 1, "tiny": 2}
PREDICTION_RATIO = 0.125
MODELS = ("full", "partial", "vit_mae_sdpa", "vit_mae_eager")
# In bfloat16, where ours too makes attention of two matrix products on a CPU: of the fused one torch counts none.
COUNTED = ("full", "partial", "vit_mae_eager")


def main() -> None:
    """Prints the rows and writes results/training_step.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest steps")
    one_step = ("NETWORK", "DTYPE", "MODEL", "DEVICE", "BATCH_SIZE")
    parser.add_argument("--one_step", nargs=5, metavar=one_step, help="run it alone, for benchmarks/memory.py")
    arguments = parser.parse_args()
    if arguments.one_step is not None:
        *what, batch_size = arguments.one_step
        step = make_step(*what, int(batch_size))
        step(1)  # one image is enough for the optimizer's moments
        step()
        device = what[-1]
        if device == "cuda":
            print(torch.cuda.max_memory_allocated() / 2**20)
        return
    torch.set_num_threads(1)
    results = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for network in ("tiny",) if arguments.quick else NETWORKS:
            for dtype in fast_dtypes(device):
                name = f"{network}, {dtype}, {device}"
                results[name] = time_steps(network, dtype, device, arguments.rounds, arguments.quick)
                print(name, results[name], flush=True)
    print(f"Wrote {write_results('training_step', results)}")


def fast_dtypes(device: str) -> tuple[str, ...]:
    """Those in which a device trains."""
    return ("float32", "bfloat16") if has_fast_bfloat16(device) else ("float32",)


def time_steps(network: str, dtype: str, device: str, rounds: int, quick: bool) -> dict:
    """Full and partial decoding, each beside ViTMAE."""
    batch_size = 2 if quick else NETWORKS[network][3 if device == "cuda" else 2]
    steps = {model: make_step(network, dtype, model, device, batch_size) for model in MODELS}
    rounds = 1 if quick else rounds * ROUNDS[network]
    seconds = time_in_turns(steps, rounds, device)
    peers = {name: times for name, times in seconds.items() if name.startswith("vit_mae")}
    return {
        "batch_size": batch_size,
        "operations": {model: count_operations(steps[model]) for model in COUNTED} if dtype == "bfloat16" else {},
        "full": compare({"ours": seconds["full"], **peers}, batch_size, must=1.05, goal=1.3),
        "partial": compare({"ours": seconds["partial"], **peers}, batch_size, must=1.5, goal=2.0),
    }


def make_step(network: str, dtype: str, model: str, device: str, batch_size: int) -> Callable[..., None]:
    """A network with its optimizer, and one step of it on images and a mask that are always the same, or on some."""
    config, size, *_ = NETWORKS[network]
    torch.manual_seed(0)
    pixel_values = torch.randn(batch_size, 1, size, size).to(device)
    noise = torch.rand(batch_size, (size // config.patch_size) ** 2).to(device)
    made = make_model(config, model).to(device).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-4, fused=True)

    def step(num_images: int = batch_size) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = made(pixel_values[:num_images], noise=noise[:num_images]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_model(config: LensMAEConfig, name: str) -> PreTrainedModel:
    """One of `MODELS`, from scratch."""
    if name.startswith("vit_mae"):
        return make_vit_mae(config, name.removeprefix("vit_mae_"))
    ratio = PREDICTION_RATIO if name == "partial" else None
    return LensMAE(LensMAEConfig.from_dict({**config.to_dict(), "prediction_ratio": ratio}))


def make_vit_mae(config: LensMAEConfig, attention: str = "sdpa") -> ViTMAEForPreTraining:
    """A ViTMAE of the same layers from scratch, with the positions that its published weights have."""
    arguments = {name: getattr(config, name) for name in ViTMAEConfig.__annotations__}
    model = ViTMAEForPreTraining(ViTMAEConfig(**arguments, attn_implementation=attention))
    ours = LensMAE(config)
    with torch.no_grad():
        model.vit.embeddings.position_embeddings[:, 1:] = ours.lens_mae.embeddings.position_embeddings.table
        model.decoder.decoder_pos_embed[:, 1:] = ours.decoder.position_embeddings.table
    return model


if __name__ == "__main__":
    main()
