"""Runs recipes and, for as many steps, the plain networks they are measured against, with several seeds.

    python -m benchmarks.training [--runs sr_deeplense lens_default ...] [--seeds 0 1 2] [--output_dir runs/benchmarks]
    python -m benchmarks.training ... --sr_pairs sr_pairs_75_150

Everything is measured by the recipes' own scripts on their own test images; a run that is finished is not made again.
It takes hours, so `python -m benchmarks` leaves it out.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from lens_transformers.report import evaluate_checkpoint

from .results import write_results


TRAINING = Path(__file__).parents[1] / "training"
# What is run, by name: a script, or a peer that takes the place of its network, and a recipe.
RUNS = {
    "sr_deeplense": ("run_sr", "sr_deeplense/train"),
    "sr_physical": ("run_sr", "sr_physical/train"),
    "sr_physical_edsr": ("edsr", "sr_physical/train"),
    "deeplense_model_2": ("run_classification", "deeplense_model_2/classify"),
    "deeplense_model_2_resnet": ("resnet", "deeplense_model_2/classify"),
    "lens_default_pretrain": ("run_mae", "lens_default/pretrain"),
    "lens_default": ("run_classification", "lens_default/classify"),
    "lens_default_from_scratch": ("run_classification", "lens_default/classify_from_scratch"),
    "lens_default_resnet": ("resnet", "lens_default/classify_from_scratch"),
    "assignment_mae": ("run_mae", "assignment/mae"),
    "assignment_classification": ("run_classification", "assignment/mae_classification"),
    "assignment_sr": ("run_sr", "assignment/mae_sr"),
}
# Runs that start from what an earlier one leaves.
STARTING_POINTS = {
    "lens_default": "lens_default_pretrain",
    "assignment_classification": "assignment_mae",
    "assignment_sr": "assignment_mae",
}
# The systems that this project started from, cut down in width, depth and images to half an hour on one core. A narrow
# autoencoder wants a higher rate; all else is as they had it.
CUT_DOWN = {
    "assignment_mae": [
        *("--dataset", "simulate:deeplense_model_2?num_train=12000", "--learning_rate", "1e-3", "--config_overrides"),
        "position_embedding_type=learned,initializer_range=0.05,hidden_size=128,num_hidden_layers=4,"
        "num_attention_heads=4,intermediate_size=512,decoder_hidden_size=64,decoder_num_hidden_layers=2,"
        "decoder_num_attention_heads=2,decoder_intermediate_size=256",
    ],
    "assignment_classification": ["--dataset", "simulate:deeplense_model_2?num_train=12000"],
    "assignment_sr": [
        *("--dataset", "simulate:sr_deeplense?num_train=4000", "--config_overrides"),
        "sr_head=staged,sr_skip=false,sr_decoder_hidden_size=128,sr_decoder_num_hidden_layers=2",
    ],
}
PEERS = ("edsr", "resnet")


def main() -> None:
    """Runs them one after the other and writes results/training.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--output_dir", type=Path, default=Path("runs/benchmarks"), help="where the runs are left")
    parser.add_argument("--sr_pairs", type=Path, help="folder of official pairs, to try sr_deeplense's networks on")
    parser.add_argument("--max_steps", type=int, help="of every run, to see that all of them work")
    arguments = parser.parse_args()
    results: dict[str, list[dict]] = {}
    for name in arguments.runs:
        for seed in arguments.seeds:
            folder = arguments.output_dir / f"{name}_seed_{seed}"
            if not (folder / "results.json").is_file():
                run(name, seed, folder, arguments.max_steps)
            results.setdefault(name, []).append(read(folder))
            if arguments.sr_pairs is not None and name == "sr_deeplense":
                evaluation = evaluate_checkpoint(folder, str(arguments.sr_pairs), "all", in_full=False)
                # The filter among them is fitted to the pairs that the network was trained on.
                results[name][-1]["on_official_pairs"] = evaluation.results["rows"]
    print(f"Wrote {write_results('training', results)}")


def run(name: str, seed: int, folder: Path, max_steps: int | None) -> None:
    """Makes one run, in a process of its own."""
    program, recipe = RUNS[name]
    launched = ["-m", "benchmarks.peers", program] if program in PEERS else [str(TRAINING / f"{program}.py")]
    command = [sys.executable, *launched, str(TRAINING / f"recipes/{recipe}.yaml")]
    command += ["--output_dir", str(folder), "--overwrite_output_dir", "True", "--seed", str(seed)]
    command += CUT_DOWN.get(name, [])
    if name in STARTING_POINTS:
        start = folder.with_name(f"{STARTING_POINTS[name]}_seed_{seed}")
        command += ["--model_name_or_path", str(start)]
    if max_steps is not None:
        command += ["--max_steps", str(max_steps)]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(TRAINING.parent)})


def read(folder: Path) -> dict:
    """What a run left: its data, training and rows, without the folder of its starting point."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    minutes = results["training"]["train_runtime_s"] / 60
    kept = {"data": results["data"], "training": results["training"], "minutes": round(minutes, 1)}
    return {**kept, "parameters": results["model"]["parameters"], "rows": results["rows"]}


if __name__ == "__main__":
    main()
