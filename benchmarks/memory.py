"""Peak memory of a training step of the masked autoencoder beside that of transformers' ViTMAE.

    python -m benchmarks.memory [--quick]

Each step of benchmarks/training_step.py runs in a process of its own, once AdamW has its moments: these, weights and
gradients are included. They are 1.8 GB of `base`, so on a CPU the batches are larger than the ones that are timed. The
peak is the process's resident memory, less that of a process which has only imported the same, and on a GPU what torch
allocated.
"""

import argparse
import json

from .children import run_python
from .results import write_results


BATCH_SIZES = {"base": {"cpu": 32, "cuda": 128}, "tiny": {"cpu": 256, "cuda": 1024}}
# The peer with the attention that takes the least memory.
MODELS = ("full", "partial", "vit_mae_sdpa")
# What there is to run on, and in which precisions; torch is not imported here, for that would take memory.
DEVICES = """
import json, torch
from benchmarks.training_step import fast_dtypes
devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
print(json.dumps({device: fast_dtypes(device) for device in devices}))
"""


def main() -> None:
    """Prints the peaks and writes results/memory.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest step alone")
    arguments = parser.parse_args()
    imported = run_python("-c", "import benchmarks.training_step").peak_mib
    results = {}
    for device, dtypes in json.loads(run_python("-c", DEVICES).output.splitlines()[-1]).items():
        for network in ("tiny",) if arguments.quick else ("base", "tiny"):
            for dtype in dtypes[:1] if arguments.quick else dtypes:
                peaks = {}
                for model in MODELS:
                    batch_size = 2 if arguments.quick else BATCH_SIZES[network][device]
                    one_step = ("--one_step", network, dtype, model, device, str(batch_size))
                    cost = run_python("-m", "benchmarks.training_step", *one_step)
                    peaks[model] = cost.printed_number if device == "cuda" else cost.peak_mib - imported
                peer = peaks["vit_mae_sdpa"]
                name = f"{network}, {dtype}, {device}"
                results[name] = {
                    "batch_size": batch_size,
                    "peak_mib": peaks,
                    "ratios": {model: peaks[model] / peer for model in ("full", "partial")},
                    "must": 0.85,
                    "goal": 0.6,
                }
                print(name, results[name], flush=True)
    print(f"Wrote {write_results('memory', results)}")


if __name__ == "__main__":
    main()
