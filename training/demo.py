"""The main job, start to end: simulate, pretrain, classify, super-resolve, evaluate, one page about it all.

    make demo                    at most ten minutes on two CPU cores
    make demo BUDGET=60          an hour on the same, and honest scenes
    make demo DATA=folder        tested on official DeepLense .npy files instead of held-out simulations

It runs nothing but the commands that it prints. Stopped and started again, it goes on after the last finished one.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from command_line import launch

from lens_transformers.data import load_lensing_dataset
from lens_transformers.data.tasks import Task
from lens_transformers.hub.files import write_text_atomically


HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
# How the time for training is shared out among the kinds of runs, in parts.
SHARES = {"pretrain": 35, "classify": 48, "classify_few": 12, "sr_deeplense": 35, "sr_physical": 50}
HONEST_SHARES = {"pretrain_honest": 60, "classify_honest": 55}
# The part of the budget that is spent on training; the rest pays for starting, simulating and evaluating.
TRAINING_FRACTION, HONEST_TRAINING_FRACTION = 0.48, 0.8
FEW_LABELS = 120
FULL_BUDGET, HONEST_BUDGET = 10, 60
HONEST_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Step:
    """One command: what it does, in words, and the folder or file that it makes."""

    title: str
    output: Path
    command: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=10.0, help="minutes to spend (default: 10)")
    parser.add_argument("--data", type=Path, help="folder of official .npy files to test on")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/demo"), help="where to leave everything")
    options = parser.parse_args()
    if options.budget <= 0:
        parser.error(f"--budget is a number of minutes above 0, not {options.budget}.")
    test_flags: dict[str, list[str]] = {"classification": [], "super_resolution": []}
    task = None
    if options.data is not None:
        try:
            task = find_task(options.data)
            test_flags[task] = ["--test_dataset", str(options.data)]
        except (OSError, ValueError) as error:
            parser.error(f"--data: {error}")

    root = options.output_dir
    steps = plan(root, options.budget, test_flags)
    start = time.monotonic()
    for number, step in enumerate(steps, start=1):
        run(step, f"{number}/{len(steps) + 1}", time.monotonic() - start)

    summary = summarize(root, honest=options.budget >= HONEST_BUDGET, task=task, tested_on=options.data)
    if options.budget < FULL_BUDGET:
        # What has to be reached was set for ten minutes.
        summary["highlights"] = [{**highlight, "passed": None} for highlight in summary["highlights"]]
    write_text_atomically(root / "summary.json", json.dumps(summary, indent=2) + "\n")
    page = report(root, [step.output for step in steps if (step.output / "results.json").is_file()])
    # Its command stays the same whatever was run again.
    run(page, f"{len(steps) + 1}/{len(steps) + 1}", time.monotonic() - start, again=True)
    print_summary(summary, page.output, time.monotonic() - start)


def find_task(folder: Path) -> str:
    """What a folder of official files is for: pairs for super-resolution, classes for classification.

    Raises:
        ValueError: If it is neither; the message says why not.
    """
    reasons = []
    tasks: tuple[Task, ...] = ("super_resolution", "classification")
    for task in tasks:
        try:
            load_lensing_dataset(folder, split="all", task=task)
        except ValueError as error:
            reasons.append(str(error))
        else:
            return task
    raise ValueError(f"{folder} has neither pairs ({reasons[0]}) nor classes ({reasons[1]}).")


def plan(root: Path, budget: float, test_flags: dict[str, list[str]]) -> list[Step]:
    """The commands, with training times that fit into the budget (in minutes)."""
    honest = budget >= HONEST_BUDGET
    seconds = share_out(budget, honest)
    # A short demo would spend its time on simulating what it cannot train on; a step takes 64 images.
    pairs, images = (
        max(round(count * min(budget / 10, 1)), fewest) for count, fewest in ((600, 96), (9000, 3 * FEW_LABELS + 60))
    )

    simulated = {name: root / "data" / name for name in ("deeplense_model_2", "sr_deeplense", "sr_physical")}
    steps = [
        simulate("deeplense_model_2", simulated["deeplense_model_2"], images, images // 6, imprint=True),
        simulate("sr_deeplense", simulated["sr_deeplense"], pairs, pairs // 6),
        simulate("sr_physical", simulated["sr_physical"], pairs, pairs // 6),
        pretrain(root / "pretrain", "deeplense_model_2", simulated["deeplense_model_2"], seconds["pretrain"]),
    ]
    steps += compare_classifiers(root, simulated["deeplense_model_2"], seconds, test_flags["classification"])
    for name in ("sr_deeplense", "sr_physical"):
        flags = ["--model_name_or_path", str(root / "pretrain"), "--title", name]
        if name == "sr_deeplense":
            flags += test_flags["super_resolution"]
        else:
            # Eight passes over every test image would take longer than training.
            flags += ["--self_ensemble", "False"]
        steps.append(train("run_sr.py", f"{name}/train", root / name, simulated[name], seconds[name], flags))
    if honest:
        data = root / "data" / "lens_default"
        steps.append(simulate("lens_default", data, 12000, 2000, imprint=True))
        steps.append(pretrain(root / "pretrain_honest", "lens_default", data, seconds["pretrain_honest"]))
        for seed in HONEST_SEEDS:
            flags = ["--model_name_or_path", str(root / "pretrain_honest"), "--seed", str(seed)]
            flags += ["--title", f"pretrained, seed {seed}"]
            output = root / f"classify_honest_seed{seed}"
            steps.append(classify(output, "lens_default", data, seconds["classify_honest"], flags))
    return steps


def share_out(budget: float, honest: bool) -> dict[str, float]:
    """Seconds of training for each kind of run, in a budget in minutes."""
    shares = {**SHARES, **(HONEST_SHARES if honest else {})}
    # Each classification is run three times: pretrained, from scratch as long, from scratch as long as both together.
    total = sum(shares[name] for name in ("pretrain", "sr_deeplense", "sr_physical"))
    total += sum(3 * shares[name] + shares["pretrain"] for name in ("classify", "classify_few"))
    if honest:
        total += shares["pretrain_honest"] + len(HONEST_SEEDS) * shares["classify_honest"]
    training_seconds = 60 * budget * (HONEST_TRAINING_FRACTION if honest else TRAINING_FRACTION)
    return {name: max(training_seconds * share / total, 1.0) for name, share in shares.items()}


def compare_classifiers(root: Path, data: Path, seconds: dict[str, float], flags: list[str]) -> list[Step]:
    """What pretraining brings: beside it, from scratch, as long a fine-tuning and as long in total."""
    steps = []
    for name, labels, label_flags in (
        ("classify", "all labels", []),
        ("classify_few", f"{FEW_LABELS} labels a class", ["--labels_per_class", str(FEW_LABELS)]),
    ):
        pretrained = ["--model_name_or_path", str(root / "pretrain")]
        for suffix, title, extra_flags, duration in (
            ("", "pretrained", pretrained, seconds[name]),
            ("_scratch", "from scratch, equal fine-tuning", [], seconds[name]),
            ("_scratch_total", "from scratch, equal total time", [], seconds["pretrain"] + seconds[name]),
        ):
            all_flags = [*label_flags, *extra_flags, "--title", f"{labels}: {title}", *flags]
            steps.append(classify(root / f"{name}{suffix}", "deeplense_model_2", data, duration, all_flags))
    return steps


def python(script: str, *arguments) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def simulate(preset: str, output: Path, num_train: int, num_test: int, *, imprint: bool = False) -> Step:
    flags = ["--num_train", num_train, "--num_validation", 0, "--num_test", num_test, "--overwrite", True]
    if imprint:
        flags += ["--imprint", True]
    command = python("simulate.py", "--preset", preset, *flags, "--output_dir", output)
    return Step(f"Simulate {num_train + num_test} images of {preset}", output, command)


def pretrain(output: Path, preset: str, data: Path, seconds: float) -> Step:
    # To interpolate hidden pixels, as the row beside the network does, takes long.
    return train("run_mae.py", f"{preset}/pretrain", output, data, seconds, ["--max_test_samples", "300"])


def classify(output: Path, preset: str, data: Path, seconds: float, flags: list[str]) -> Step:
    # The recipe's grey levels are for images that have been through 8 bits, and take more steps than time allows.
    flags = [*flags, "--augmentation_settings", "{}"]
    return train("run_classification.py", f"{preset}/classify_from_scratch", output, data, seconds, flags)


def train(script: str, recipe: str, output: Path, data: Path, seconds: float, flags: list[str] | None = None) -> Step:
    flags = flags or []
    command = python(script, RECIPES / f"{recipe}.yaml", "--dataset", data, "--output_dir", output)
    command += [*flags, "--max_train_seconds", f"{seconds:.0f}", "--overwrite_output_dir", "True"]
    title = flags[flags.index("--title") + 1] if "--title" in flags else recipe
    return Step(f"{script}: {title}", output, command)


def report(root: Path, runs: list[Path]) -> Step:
    output = root / "report.html"
    command = [sys.executable, "-m", "lens_transformers.evaluation", "report", *map(str, runs), "--brief"]
    command += ["--output", str(output), "--title", "lens_transformers demo", "--words", str(root / "summary.json")]
    return Step("One page about all of it", output, command)


def run(step: Step, number: str, elapsed: float, *, again: bool = False) -> None:
    """Print a command and run it, unless it has been run to its end already and is not asked for again."""
    words = shlex.join(step.command)
    record = step.output.parent / f".{step.output.name}.done"
    print(f"\n[{number}, {elapsed:.0f} s] {step.title}\n$ {words}", flush=True)
    if not again and record.is_file() and record.read_text(encoding="utf-8") == words and step.output.exists():
        print("Already done.")
        return
    step.output.parent.mkdir(parents=True, exist_ok=True)
    status = subprocess.run(step.command).returncode
    if status:
        sys.exit(f"demo: this command failed with status {status}; mend its cause and run the demo again to go on.")
    write_text_atomically(record, words)


def summarize(root: Path, honest: bool, task: str | None = None, tested_on: Path | None = None) -> dict:
    """What was measured, in words, each beside its baselines; without a mark what was tested on other data."""
    results = {path.parent.name: json.loads(path.read_text()) for path in sorted(root.glob("*/results.json"))}

    def rows(name: str, metric: str) -> dict[str, float]:
        return {row["name"]: row[metric] for row in results[name]["rows"] if metric in row}

    highlights = []
    reconstruction = rows("pretrain", "masked_mse_0.75")
    own = reconstruction.pop("LensMAE")
    highlights.append(
        {
            "label": "Reconstruction of hidden pixels, MSE in flux",
            "value": f"{own:.2e}",
            "detail": _list_rows(reconstruction, ".2e"),
            "passed": own < min(reconstruction.values()),
        }
    )
    accuracy = rows("classify", "accuracy")
    own = accuracy.pop("LensMAE")
    highlights.append(
        {
            "label": "Classification accuracy, deeplense_model_2",
            "value": f"{own:.3f}",
            "detail": _list_rows(accuracy, ".3f"),
            "passed": own >= 0.85 if task != "classification" else None,
        }
    )
    for name, gain in (("sr_deeplense", 0.65), ("sr_physical", 10.0)):
        psnr = rows(name, "psnr")
        own = psnr.pop("LensMAE")
        linear_filter = max(value for row, value in psnr.items() if row.startswith("Least"))
        passed = own >= psnr["Bicubic"] + gain and (name == "sr_deeplense" or own > linear_filter)
        is_elsewhere = (task, name) == ("super_resolution", "sr_deeplense")
        highlights.append(
            {
                "label": f"Super-resolution PSNR, {name}",
                "value": f"{own:.2f} dB",
                "detail": _list_rows(psnr, ".2f"),
                "passed": None if is_elsewhere else passed,
            }
        )
    for name, labels in (("classify", "all labels"), ("classify_few", f"{FEW_LABELS} labels a class")):
        scores = {
            suffix: results[name + suffix]["rows"][0]["accuracy"] for suffix in ("", "_scratch", "_scratch_total")
        }
        highlights.append(
            {
                "label": f"What pretraining brought, {labels}",
                "value": f"{scores[''] - scores['_scratch_total']:+.3f} at equal total time",
                "detail": (
                    f"{scores[''] - scores['_scratch']:+.3f} at equal fine-tuning; accuracy {scores['']:.3f}, from "
                    f"scratch {scores['_scratch']:.3f} and {scores['_scratch_total']:.3f}"
                ),
                "passed": None,
            }
        )
    if honest:
        own_values = [results[f"classify_honest_seed{seed}"]["rows"][0]["accuracy"] for seed in HONEST_SEEDS]
        baselines = rows("classify_honest_seed0", "accuracy")
        del baselines["LensMAE"]
        spread = max(own_values) - min(own_values)
        highlights.append(
            {
                "label": "Classification accuracy, honest scenes, mean of three seeds",
                "value": f"{statistics.mean(own_values):.3f}",
                "detail": f"spread {spread:.3f}; {_list_rows(baselines, '.3f')}",
                "passed": statistics.mean(own_values) - max(baselines.values()) > spread,
            }
        )
    source = "held-out simulations" if tested_on is None else f"held-out simulations and {tested_on.name}"
    return {
        "headline": f"One encoder, three heads; tested on {source}.",
        "highlights": highlights,
        "next": [
            f"python training/run_classification.py training/recipes/lens_default/classify.yaml --dataset YOUR_IMAGES "
            f"--model_name_or_path {root}/pretrain --output_dir runs/mine",
            f'python -c "import lens_transformers; from transformers import AutoModel; '
            f"print(AutoModel.from_pretrained('{root}/pretrain'))\"",
            "make demo BUDGET=60",
        ],
    }


def _list_rows(rows: dict[str, float], digits: str) -> str:
    return ", ".join(f"{name} {value:{digits}}" for name, value in rows.items())


def print_summary(summary: dict, page: Path, seconds: float) -> None:
    marks = {True: "yes", False: "NO ", None: "   "}
    print(f"\nDone in {seconds / 60:.1f} minutes. {summary['headline']}\n")
    for highlight in summary["highlights"]:
        print(f"  {marks[highlight['passed']]}  {highlight['label']}: {highlight['value']}")
        print(f"       beside it: {highlight['detail']}")
    print(f"\nThe page: {page}\n\nWhat to type next:")
    for command in summary["next"]:
        print(f"  {command}")


if __name__ == "__main__":
    launch(main)
