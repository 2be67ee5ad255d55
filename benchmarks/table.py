"""Writes benchmarks/README.md, and the README's claims, from benchmarks/results: `python -m benchmarks.table`."""

import json
from collections.abc import Iterator
from pathlib import Path

from .accuracy import claims_table, official_tables, training_tables
from .pretraining_table import pretraining_claim, pretraining_tables
from .results import FOLDER


# Beside the results: `python -m benchmarks --quick` has both elsewhere.
PATH = FOLDER.with_name("README.md")
HEAD = """# Benchmarks

How fast and how lean this is, beside what one would take instead. `make bench` measures the rows that need no GPU in
at most 20 minutes, and those of a GPU where there is one; `python -m benchmarks --quick` sees in two minutes that all
of it still works. Each module says what it measures and how, and its peers that are no dependencies stand in
`requirements.txt`. This file is written from `results/`, by `python -m benchmarks.table`.

A ratio is ours over the fastest peer's, measured in turns, with its lowest and highest round in brackets; what it must
be, and the goal, follow. {good} of the {total} rows that have to be something are as they must be.

| what | ours | best peer | ratio | must | goal | as it must be |
|---|---|---|---|---|---|---|
"""
TRAINING_HEAD = """
## What networks reach

Each run is one of `training/recipes/`, or a plain network trained by one, and is measured on simulated test images
which nothing was chosen by. Of one run the 95% interval over images stands in brackets, of several seeds the mean with
the spread between them; the rows without a number of seeds are baselines on the same images. Minutes are those of a
core of {processors}, in bfloat16 where nothing else is said. `python -m benchmarks.training` makes them anew.
"""
EQUAL_TIME_HEAD = """
## What they reach in the same time

All are given the same minutes; what is pretrained, as many again before. `python -m benchmarks.training
--max_train_seconds {seconds}` makes them anew.
"""
OFFICIAL_HEAD = """
## On the official samples, zero-shot

What the networks in `checkpoints/` make of official images, which none was trained on. They are few: mind the
intervals. `python -m benchmarks.official_samples` measures it, and needs the samples.
"""
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- claims:begin, written by python -m benchmarks.table -->", "<!-- claims:end -->"
PEERS = {
    "vit_mae_sdpa": "ViTMAE, sdpa",
    "vit_mae_eager": "ViTMAE, eager",
    "vit_sdpa": "ViT, sdpa",
    "vit_eager": "ViT, eager",
    "step_in_memory": "the step in memory",
    "scikit_learn": "scikit-learn",
    "scikit_image": "scikit-image",
    "edsr": "EDSR",
    "swin2sr": "Swin2SR",
}


def main() -> None:
    """Writes the tables, and of the full results the few lines that the README shows."""
    PATH.write_text(render(FOLDER), encoding="utf-8")
    print(f"Wrote {PATH}")
    if PATH.parent == Path(__file__).parent:
        README.write_text(with_claims(README.read_text(encoding="utf-8"), read(FOLDER)), encoding="utf-8")
        print(f"Wrote {README}")


def read(folder: Path) -> dict[str, dict]:
    """The results of a folder by the name of their benchmark."""
    return {name: content["results"] for name, content in _files(folder).items()}


def _files(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def render(folder: Path) -> str:
    """The text of the table of all results of a folder."""
    files = _files(folder)
    results = {name: content["results"] for name, content in files.items()}
    rows = [row for name, make_rows in ROWS.items() if name in results for row in make_rows(results[name])]
    judged = [row[-1] for row in rows if row[-1]]
    text = HEAD.format(good=judged.count("yes"), total=len(judged))
    text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if "training" in results:
        processors = {run["processor"] for runs in results["training"].values() for run in runs}
        text += TRAINING_HEAD.format(processors=" or ".join(sorted(processors)))
        text += "".join(training_tables(results["training"]))
    if "equal_time" in results:
        seconds = max(run["seconds"] for runs in results["equal_time"].values() for run in runs)
        text += EQUAL_TIME_HEAD.format(seconds=seconds) + "".join(training_tables(results["equal_time"]))
    if "pretraining" in results:
        text += "".join(pretraining_tables(results["pretraining"]))
    official = results.get("official_samples", {})
    if "zero_shot" in official:
        text += OFFICIAL_HEAD + "".join(official_tables({**official["zero_shot"], **official["rounded"]}))
    text += "\n## Measured on\n\n"
    machines: dict[str, list[str]] = {}
    for name, content in files.items():
        machines.setdefault(describe(content["machine"]), []).append(name)
    return text + "".join(f"- {', '.join(names)}: {machine}\n" for machine, names in machines.items())


def with_claims(readme: str, results: dict) -> str:
    """The README with its table of claims renewed."""
    before, _, rest = readme.partition(BEGIN)
    claims = claims_table(results)
    if "pretraining" in results:
        claims += f"\n{pretraining_claim(results['pretraining'])}\n"
    return f"{before}{BEGIN}\n{claims}{END}{rest.partition(END)[2]}"


def describe(machine: dict) -> str:
    """A machine in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    return f"{machine['processor']}, {machine['cores']} cores{gpu}, Python {machine['python']}, {versions}"


def training_step_rows(results: dict) -> Iterator[list[str]]:
    """Training steps."""
    for decoding in ("full", "partial"):
        for name, row in results.items():
            yield rate_row(f"MAE training step, {decoding} decoding: {name}, batch {row['batch_size']}", row[decoding])
            if row["operations"]:
                ours, theirs = row["operations"][decoding], row["operations"]["vit_mae_eager"]
                yield [
                    "matrix products of that step, in either precision",
                    f"{ours / 1e9:.4g}·10⁹ operations",
                    f"{theirs / 1e9:.4g}·10⁹ operations (ViTMAE)",
                    f"{theirs / ours:.2f}",
                    *3 * [""],
                ]


def memory_rows(results: dict) -> Iterator[list[str]]:
    """Memory of training steps: judged with partial decoding, which is there to save it."""
    for decoding in ("full", "partial"):
        for name, row in results.items():
            ours, theirs = row["peak_mib"][decoding], row["peak_mib"]["vit_mae_sdpa"]
            ratio = ours / theirs
            judged = judge_most(ratio, row["must"], row["goal"])
            yield [
                f"peak memory of that step, {decoding} decoding: {name}, batch {row['batch_size']}",
                f"{ours:.0f} MiB",
                f"{theirs:.0f} MiB (ViTMAE, sdpa)",
                *(judged if decoding == "partial" else [judged[0], "", "", ""]),
            ]


def inference_rows(results: dict) -> Iterator[list[str]]:
    """Encoder inference."""
    for name, row in results.items():
        yield rate_row(f"encoder inference: {name}", row)


def super_resolution_rows(results: dict) -> Iterator[list[str]]:
    """Super-resolution, beside every peer."""
    for name, rows in results.items():
        for peer, row in rows.items():
            psnr = f"{row['psnr']['ours']:.2f} dB and {row['psnr'][peer]:.2f} dB"
            yield rate_row(f"super-resolution 75→150: {name}, {psnr}", row, peer)


def data_rows(results: dict) -> Iterator[list[str]]:
    """Image processor and collator."""
    for size, row in results["images_per_second_on_one_core"].items():
        for peer in ("vit_image_processor", "vit_image_processor_without_resizing"):
            words = "ViTImageProcessor" + (", not resizing" if peer.endswith("resizing") else "")
            yield [
                f"processor and collator, {size.replace('x', '×')}",
                f"{row['ours']:.0f} images/s",
                f"{row[peer]:.0f} images/s ({words})",
                *judge_least(row["ours"] / row[peer], 5, 20),
            ]


def simulation_rows(results: dict) -> Iterator[list[str]]:
    """Simulation, plain and compiled."""
    for way, words, must in (("ours", "", 2.5), ("ours_compiled", ", compiled", 5)):
        for preset, row in results["images_per_second_on_one_core"].items():
            if "lenstronomy" in row and way in row:
                yield [
                    f"simulation{words}: `{preset}`",
                    f"{row[way]:.0f} images/s",
                    f"{row['lenstronomy']:.0f} images/s (lenstronomy)",
                    *judge_least(row[way] / row["lenstronomy"], must, 10),
                ]


def end_to_end_rows(results: dict) -> Iterator[list[str]]:
    """Training as a whole."""
    yield rate_row("training end to end, `run_mae.py` on Parquet", results)


def cold_start_rows(results: dict) -> Iterator[list[str]]:
    """Imports and loading."""
    for what, words, peer in (
        ("package", "`import lens_transformers`", "`import transformers`"),
        ("network", "`from lens_transformers import LensMAE`", "transformers' ViTMAE"),
    ):
        ours, theirs = (results[what]["seconds"][name]["median"] for name in ("ours", "transformers"))
        more = results[what]["difference"]["median"]
        judged = ["+0.1 s", "+0 s", "yes" if more <= 0.1 else "no"]
        yield [words, f"{ours:.2f} s", f"{theirs:.2f} s ({peer})", f"{more:+.2f} s", *judged]
    row = results["from_pretrained"]
    ours, theirs = (row["seconds"][name]["median"] for name in ("ours", "transformers"))
    name = f"`from_pretrained` of `{results['loaded']}`"
    yield [name, f"{ours:.2f} s", f"{theirs:.2f} s (ViTMAE)", *judge_most(row["ratio"], 1.1, 1.0)]


def evaluation_rows(results: dict) -> Iterator[list[str]]:
    """Metrics: judged by the time of all that the loops compute as well; the rest is for information."""
    judged = [results["classification"], results["psnr_and_ssim"]]
    ours, theirs = (
        sum(1 / list(row["images_per_second"].values())[place]["median"] for row in judged) for place in (0, 1)
    )
    yield [
        f"evaluation of {judged[0]['num_images']} images, AUC and its intervals, PSNR and SSIM",
        f"{1 / ours:.4g} images/s",
        f"{1 / theirs:.4g} images/s (scikit-learn and scikit-image)",
        *judge_least(theirs / ours, judged[0]["must"], judged[0]["goal"]),
    ]
    words = {
        "classification": "AUC and its intervals",
        "psnr_and_ssim": "PSNR and SSIM",
        "super_resolution": "PSNR, SSIM and what the loop leaves out",
    }
    for name, row in results.items():
        threads = f" ({row['num_threads']} threads, the loop 1)" if "num_threads" in row else ""
        same = f"values within {row['largest_difference']:.0e}"
        yield [*rate_row(f"of it {words[name]}{threads}, {same}", row)[:4], "", "", ""]


def growth_rows(results: dict) -> Iterator[list[str]]:
    """Scaling."""
    images = results["ten_times_the_images"]
    yield ["simulating 10× the images: time", "", "itself", *judge_most(images["time_ratio"], 10.5, 10)]
    yield ["simulating 10× the images: memory", "", "itself", *judge_most(images["memory_ratio"], 1.1, 1)]
    pixels = results["four_times_the_pixels"]
    operations = round(pixels["operations_ratio"], 2)
    words = f"training on 4× the pixels, {operations}× the operations: time"
    yield [words, "", "itself", *judge_most(pixels["time_ratio"], round(1.05 * operations, 2), operations)]
    yield ["training on 4× the pixels: memory", "", "itself", *judge_most(pixels["memory_ratio"], 4.2, 4)]
    shared = results["two_processes"]["speed_ratio"]
    yield ["simulating in 2 processes: speed", "", "itself", *judge_least(shared, 1.8, 2)]


def rate_row(name: str, row: dict, peer: str | None = None) -> list[str]:
    """A row of `timing.compare`, against a peer, or the fastest one."""
    peer = peer or row["fastest_peer"]
    ours, theirs = (
        rate["median"] for rate in (next(iter(row["images_per_second"].values())), row["images_per_second"][peer])
    )
    return [
        name,
        f"{ours:.4g} images/s",
        f"{theirs:.4g} images/s ({PEERS[peer]})",
        *judge_least(row["ratios"][peer], row["must"], row["goal"]),
    ]


def judge_least(ratio: float | dict, must: float, goal: float) -> list[str]:
    """The last columns of a row whose ratio has to be at least so large, in the digits that are shown."""
    median, text = _ratio(ratio)
    return [text, f"≥ {must:g}", f"≥ {goal:g}", "yes" if round(median, 2) >= must else "no"]


def judge_most(ratio: float | dict, must: float, goal: float) -> list[str]:
    """The last columns of a row whose ratio has to be at most so large, in the digits that are shown."""
    median, text = _ratio(ratio)
    return [text, f"≤ {must:g}", f"≤ {goal:g}", "yes" if round(median, 2) <= must else "no"]


def _ratio(ratio: float | dict) -> tuple[float, str]:
    if isinstance(ratio, dict):
        return ratio["median"], f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return ratio, f"{ratio:.2f}"


ROWS = {
    "training_step": training_step_rows,
    "memory": memory_rows,
    "inference": inference_rows,
    "super_resolution": super_resolution_rows,
    "data": data_rows,
    "simulation": simulation_rows,
    "end_to_end": end_to_end_rows,
    "cold_start": cold_start_rows,
    "evaluation": evaluation_rows,
    "growth": growth_rows,
}


if __name__ == "__main__":
    main()
