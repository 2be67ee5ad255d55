"""Runs recipes and, for as long, the plain networks they are measured against, with several seeds.

    python -m benchmarks.training [--runs sr_deeplense lens_default ...] [--seeds 0 1 2] [--output_dir runs/benchmarks]
    python -m benchmarks.training --max_train_seconds 300 --seeds 0 1 2   # the same time for every run

Everything is measured by the recipes' own scripts on their own test images; a run that is finished is not made again,
and what was measured of other runs stays in the results. It takes hours, so `python -m benchmarks` leaves it out.
"""

import argparse
import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lens_transformers.data.simulated import find_simulation
from lens_transformers.evaluation import noise_floor_rows
from lens_transformers.hub import read_results
from lens_transformers.hub.results import without_paths
from lens_transformers.simulation import simulate

from .results import known_results, machine, write_results


TRAINING = Path(__file__).parents[1] / "training"


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        program: A script, or a peer that takes the place of its network.
        recipe: What it is given.
        words: What tables call it.
        flags: What it is given else.
        start: The run whose weights it starts from.
    """

    program: str
    recipe: str
    words: str
    flags: tuple[str, ...] = ()
    start: str | None = None


LENS_DEFAULT = ("--dataset", "simulate:lens_default?num_train=36000&seed=0")
MODEL_2 = ("--dataset", "simulate:deeplense_model_2?num_train=36000&seed=0")
ANOMALY = ("--train_classes", "no_sub", "--max_steps", "5000")
PAIRS = {
    "sr_deeplense": ("--dataset", "simulate:sr_deeplense?num_train=4000&num_test=500&seed=0"),
    "sr_physical": ("--dataset", "simulate:sr_physical?num_train=8000&num_test=500&seed=0"),
}
# The systems that this project started from, cut down in width and depth to what a core can train. A narrow
# autoencoder wants a higher rate; all else is as they had it, but for the images, which are those of the other runs.
NARROW_ENCODER = (
    *("--learning_rate", "1e-3", "--config_overrides"),
    "position_embedding_type=learned,initializer_range=0.05,hidden_size=128,num_hidden_layers=4,"
    "num_attention_heads=4,intermediate_size=512,decoder_hidden_size=64,decoder_num_hidden_layers=2,"
    "decoder_num_attention_heads=2,decoder_intermediate_size=256",
)
NARROW_HEAD = (
    "--config_overrides",
    "sr_head=staged,sr_skip=false,sr_decoder_hidden_size=128,sr_decoder_num_hidden_layers=2",
)
# A step of the plain network takes a third longer than one of ours, in bfloat16: its minutes are more than ours.
EDSR_STEPS = {"sr_deeplense": ("--max_steps", "2625"), "sr_physical": ("--max_steps", "21000")}
UNDIVIDED = ("--split_fractions", "null")
RUNS = {
    "lens_default_pretrain": Run("run_mae", "lens_default/pretrain", "pretraining"),
    "lens_default": Run(
        "run_classification", "lens_default/classify", "pretrained, fine-tuned", start="lens_default_pretrain"
    ),
    # The encoder that knows substructure from where the main lens says nothing about it.
    "deeplense_model_2": Run(
        "run_classification",
        "deeplense_model_2/classify",
        "pretrained on lens_default, fine-tuned",
        start="lens_default_pretrain",
    ),
    "deeplense_model_2_from_scratch": Run(
        "run_classification", "deeplense_model_2/classify_from_scratch", "from scratch"
    ),
    "deeplense_model_2_resnet": Run("resnet", "deeplense_model_2/classify_from_scratch", "from scratch"),
    "lens_default_from_scratch": Run("run_classification", "lens_default/classify_from_scratch", "from scratch"),
    "lens_default_resnet": Run("resnet", "lens_default/classify_from_scratch", "from scratch"),
    # To interpolate 224x224 hidden pixels, as the rows beside it do, takes a quarter of a second an image.
    "assignment_mae": Run(
        "run_mae",
        "assignment/mae",
        "the assignment's, trained on no_sub",
        (*MODEL_2, *UNDIVIDED, "--max_test_samples", "150", *NARROW_ENCODER),
    ),
    "assignment_classification": Run(
        "run_classification",
        "assignment/mae_classification",
        "the assignment's",
        (*MODEL_2, *UNDIVIDED),
        start="assignment_mae",
    ),
    # From drawn weights: those that the assignment started from, trained on photographs, would have to be downloaded.
    "assignment_vit": Run(
        "vit",
        "assignment/vit_classification",
        "the assignment's, from scratch",
        (*MODEL_2, "--learning_rate", "1e-3", "--num_train_epochs", "5"),
    ),
    # What has no substructure has no imprint of it to learn: pixels alone.
    "deeplense_model_2_anomaly": Run(
        "run_mae", "deeplense_model_2/pretrain", "trained on no_sub", (*MODEL_2, *ANOMALY)
    ),
    "lens_default_anomaly": Run("run_mae", "lens_default/pretrain", "trained on no_sub", (*LENS_DEFAULT, *ANOMALY)),
}
for pairs, images in PAIRS.items():
    RUNS |= {
        pairs: Run("run_sr", f"{pairs}/train", "from scratch"),
        f"{pairs}_pretrain": Run("run_mae", "lens_default/pretrain", "pretraining", (*images, "--max_steps", "3000")),
        f"{pairs}_pretrained": Run("run_sr", f"{pairs}/train", "pretrained", start=f"{pairs}_pretrain"),
        f"{pairs}_edsr": Run("edsr", f"{pairs}/train", "from scratch", EDSR_STEPS[pairs]),
        f"{pairs}_assignment": Run(
            "run_sr", "assignment/mae_sr", "the assignment's", (*images, *UNDIVIDED, *NARROW_HEAD), "assignment_mae"
        ),
    }
PEERS = ("edsr", "resnet", "vit")


def main() -> None:
    """Makes those that are not there, and writes results/training.json, or results/equal_time.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--output_dir", type=Path, default=Path("runs/benchmarks"), help="where the runs are left")
    parser.add_argument("--max_train_seconds", type=int, help="give each run so long, and keep its results apart")
    parser.add_argument("--max_steps", type=int, help="of every run, to see that all of them work")
    arguments = parser.parse_args()
    results_name, folder, limits = "training", arguments.output_dir, []
    if arguments.max_train_seconds is not None:
        results_name, folder = "equal_time", folder / f"{arguments.max_train_seconds}_seconds"
        limits = ["--max_train_seconds", str(arguments.max_train_seconds)]
    if arguments.max_steps is not None:
        limits += ["--max_steps", str(arguments.max_steps)]
    for name in arguments.runs:
        known = {"seconds": arguments.max_train_seconds, "processor": machine()["processor"]}
        measured = [{**known, **read(make(name, seed, folder, limits), name)} for seed in arguments.seeds]
        print(f"Wrote {write_results(results_name, {**_known(results_name), name: measured})}", flush=True)


def _known(results_name: str) -> dict[str, list[dict]]:
    """What was measured of runs that there still are."""
    return {name: runs for name, runs in known_results(results_name).items() if name in RUNS}


def make(name: str, seed: int, parent: Path, limits: list[str]) -> Path:
    """Makes one run, in a process of its own, and first the one that it starts from; returns its folder."""
    run, folder = RUNS[name], parent / f"{name}_seed_{seed}"
    if (folder / "results.json").is_file():
        return folder
    launched = ["-m", "benchmarks.peers", run.program] if run.program in PEERS else [f"{TRAINING}/{run.program}.py"]
    command = [sys.executable, *launched, f"{TRAINING}/recipes/{run.recipe}.yaml", "--output_dir", str(folder)]
    command += ["--overwrite_output_dir", "True", "--seed", str(seed), *run.flags, *limits]
    if run.start is not None:
        command += ["--model_name_or_path", str(make(run.start, seed, parent, limits))]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(TRAINING.parent)})
    return folder


def read(folder: Path, name: str) -> dict:
    """What a run left: its data, training and rows, and the ceiling that noise sets, without any folder's name."""
    results = without_paths(read_results(folder))
    data = results["data"]
    is_whole = results["task"] == "super_resolution" and not data.get("split_fractions")
    return {
        "words": RUNS[name].words,
        "start": RUNS[name].start,
        "data": data,
        "training": results["training"],
        "minutes": round(results["training"]["train_runtime_s"] / 60, 1),
        "parameters": results["model"]["parameters"],
        "rows": results["rows"] + (ceilings(data["source"], data["num_test"]) if is_whole else []),
    }


@functools.cache
def ceilings(source: str, num_test: int) -> list[dict]:
    """Rows of what no network can pass on the first test pairs of a set; none where targets are free of noise."""
    simulated = find_simulation(source, "test")
    pairs = simulate(simulated.config, num_test, simulated.seed, start=simulated.first_sample)
    noise_free, low, target = (images.numpy() for images in (pairs.noise_free, pairs.image, pairs.target))
    return [] if (noise_free == target).all() else noise_floor_rows(noise_free, low, target)


if __name__ == "__main__":
    main()
