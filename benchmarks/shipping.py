"""Makes the checkpoints that this repository carries of what `benchmarks.training` leaves.

    python -m benchmarks.shipping --runs runs/benchmarks   # from trained networks
    python -m benchmarks.shipping                          # renews code, configurations and cards of those here

Each becomes the files that `python -m lens_transformers.hub push` uploads, with the code of this version: a change to
the network's code, the image processor's or the cards' templates calls for renewal.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoImageProcessor

import lens_transformers
from lens_transformers.hub import check, read_results, write_model_card
from lens_transformers.hub.files import write_text_atomically
from lens_transformers.hub.results import without_paths

from .accuracy import CLAIMS, zero_shot_claims
from .results import known_results


__all__ = ["CHECKPOINTS", "SHIPPED", "repository_name"]

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
# Names of checkpoints, and the runs that they are made of.
SHIPPED = {
    "lens-mae-tiny-64": "lens_default_pretrain",
    "lens-mae-tiny-64-lens-default": "lens_default",
    "lens-mae-tiny-64-deeplense-model-2": "deeplense_model_2",
    "lens-sr-x2-sr-deeplense": "sr_deeplense",
    "lens-sr-x2-sr-physical": "sr_physical",
}
# Of a row of a network that is not the checkpoint's.
PLAIN = "plain network"


def main() -> None:
    """Makes or renews them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(SHIPPED), choices=list(SHIPPED), help="default: all")
    parser.add_argument("--runs", type=Path, help="folder of the runs to make them of")
    parser.add_argument("--seed", type=int, default=42, help="which runs are taken")
    arguments = parser.parse_args()
    for name in arguments.names:
        if arguments.runs is not None:
            take(arguments.runs / f"{SHIPPED[name]}_seed_{arguments.seed}", name)
        renew(name)
        found = check(CHECKPOINTS / name)
        print(f"{found.num_bytes:>12,} bytes  {repository_name(name)}", *found.problems)


def take(run: Path, name: str) -> None:
    """Copies of a run what a push would upload, under the checkpoint's name.

    Raises:
        ValueError: If the run is not ready to be pushed.
    """
    found = check(run)
    if found.problems:
        raise ValueError(f"{run} cannot be shipped: {' '.join(found.problems)}")
    folder = CHECKPOINTS / name
    shutil.rmtree(folder / "figures", ignore_errors=True)
    # The card is that of this name, and keeps what is written into it by hand.
    for file in set(found.files) - {"README.md"}:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.files[file], folder / file)
    results = without_paths(read_results(run)) | {"title": name}
    start = results["model"].get("base_model")
    if start is not None:
        start_run = start.partition("_seed_")[0]
        results["model"]["base_model"] = next((key for key, value in SHIPPED.items() if value == start_run), start_run)
    write_text_atomically(folder / "results.json", json.dumps(results, indent=2) + "\n")


def renew(name: str) -> None:
    """Saves a checkpoint again as this version does, and writes its card, with what else was measured of it."""
    folder = CHECKPOINTS / name
    results = read_results(folder)
    results["rows"] = [row for row in results["rows"] if row.get("kind") != PLAIN] + plain_rows(name, results["data"])
    results["elsewhere"] = measured_elsewhere(name)
    write_text_atomically(folder / "results.json", json.dumps(results, indent=2) + "\n")
    (architecture,) = AutoConfig.from_pretrained(folder).architectures
    getattr(lens_transformers, architecture).from_pretrained(folder).save_pretrained(folder)
    AutoImageProcessor.from_pretrained(folder).save_pretrained(folder)
    write_model_card(folder, repository_name(name))


def plain_rows(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The row of the plain network of equal cost, where one was measured on the same images."""
    runs = known_results("training")
    _, peer = CLAIMS.get(SHIPPED[name], ((), None))
    same = ("source", "num_test", "split")
    return [
        {**run["rows"][0], "name": f"{run['rows'][0]['name']} ({run['words']})", "kind": PLAIN}
        for run in runs.get(peer, [])[:1]
        if all(run["data"].get(key) == data.get(key) for key in same)
    ]


def measured_elsewhere(name: str) -> list[dict[str, Any]]:
    """What the checkpoint makes of official samples, and the best baseline of each set."""
    measured = []
    for images, metric, own, best in zero_shot_claims(known_results("official_samples")):
        if own["name"] == name:
            rows = [
                {"name": row["name"], metric: row[metric], "intervals": {metric: row["intervals"][metric]}}
                for row in (own, best)
            ]
            measured.append({"images": images, "metric": metric, "rows": rows})
    return measured


def repository_name(name: str) -> str:
    """Where a clone has a checkpoint, which is also what its card's code loads."""
    return f"{CHECKPOINTS.name}/{name}"


if __name__ == "__main__":
    main()
