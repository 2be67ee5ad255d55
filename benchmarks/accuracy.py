"""Tables of what networks reach beside baselines and peers: all for benchmarks/README.md, some for the README."""

import math
import statistics
from collections.abc import Iterator
from typing import Any


__all__ = ["claims_table", "header", "line", "official_tables", "training_tables", "zero_shot_claims"]

# By the number that tells what a network is for: what is shown of it, with its name.
COLUMNS = {
    "accuracy": {
        "accuracy": "accuracy",
        "auc_macro": "AUC",
        "auc_no_sub": "of no_sub",
        "auc_cdm": "of cdm",
        "auc_axion": "of axion",
        "ece": "ECE",
    },
    "psnr": {"psnr": "PSNR [dB]", "psnr_ring": "in the ring [dB]", "ssim": "SSIM", "flux_ratio": "flux ratio"},
    "masked_mse_0.75": {
        "masked_mse_0.75": "MSE of the hidden 75%",
        "imprint_mse": "MSE of the imprint",
        "anomaly_auc_cdm": "AUC of cdm",
        "anomaly_auc_axion": "AUC of axion",
    },
}
ANOMALY = ("anomaly_auc_cdm", "anomaly_auc_axion")
# What the README claims: a run, what of it, and the plain network of the same cost.
CLAIMS = {
    "deeplense_model_2": (("accuracy",), "deeplense_model_2_resnet"),
    "lens_default": (("accuracy",), "lens_default_resnet"),
    "sr_deeplense": (("psnr",), "sr_deeplense_edsr"),
    "sr_physical": (("psnr",), "sr_physical_edsr"),
    "deeplense_model_2_anomaly": (ANOMALY, None),
    "lens_default_anomaly": (ANOMALY, None),
}


def training_tables(results: dict[str, list[dict]]) -> Iterator[str]:
    """A table for each set of test images: its runs, each with the mean over its seeds, and their baselines."""
    sets: dict[tuple[str, str, int], dict[str, list[dict]]] = {}
    for name, runs in results.items():
        kind = next(kind for kind in COLUMNS if kind in runs[0]["rows"][0])
        sets.setdefault((kind, runs[0]["data"]["preset"], runs[0]["data"]["num_test"]), {})[name] = runs
    for (kind, preset, num_test), of_set in sorted(sets.items()):
        columns = COLUMNS[kind]
        yield f"\n`{preset}`, {num_test:,} test images:\n\n"
        yield from header("network", "seeds", "minutes", *columns.values())
        baselines: dict[str, dict] = {}
        for name, runs in of_set.items():
            own, others = divide(runs[0]["rows"])
            for row in others:
                baselines.setdefault(row["name"], {}).update(row)
            for place, row in enumerate(own):
                rows = [run["rows"][place] for run in runs]
                numbers = [over_seeds(rows, metric) for metric in columns]
                yield line(f"{row['name']} ({runs[0]['words']})", str(len(runs)), minutes(name, results), *numbers)
        for row in baselines.values():
            yield line(row["name"], "", "", *(over_seeds([row], metric) for metric in columns))


def official_tables(zero_shot: dict[str, list[dict]]) -> Iterator[str]:
    """A table for each set of official samples."""
    for name, rows in zero_shot.items():
        columns = next((columns for kind, columns in COLUMNS.items() if kind in rows[0]), None)
        if columns is None:
            columns = {metric: metric.replace("_", " ") for row in rows for metric in row if metric != "name"}
        yield f"\n{name}:\n\n"
        yield from header("", *columns.values())
        for row in rows:
            yield line(row["name"], *(over_seeds([row], metric) for metric in columns))


def claims_table(results: dict[str, dict]) -> str:
    """The few lines that the README shows.

    Args:
        results: Of each benchmark that was run, by its name, what it measured.
    """
    lines = list(header("test images", "measure", "LensMAE", "best baseline", "plain network of equal cost"))
    training = results.get("training", {})
    for name, (metrics, peer) in CLAIMS.items():
        if name not in training:
            continue
        runs, peers = training[name], training.get(peer or "", [])
        _, baselines = divide(runs[0]["rows"])
        for metric in metrics:
            # What knows the truth is none.
            rivals = [row for row in baselines if metric in row and row.get("kind") != "ceiling"]
            best = max(rivals, key=lambda row: row[metric])
            ours, theirs = ([run["rows"][0] for run in some] for some in (runs, peers))
            lines.append(line(f"`{runs[0]['data']['preset']}`", words(metric), *compared(metric, ours, best, theirs)))
    for name, metric, own, best in zero_shot_claims(results.get("official_samples", {})):
        cells = compared(metric, [own], best, [])
        lines.append(line(f"{name}, zero-shot, by `{own['name']}`", words(metric), *cells))
    return "".join(lines)


def zero_shot_claims(official: dict[str, Any]) -> Iterator[tuple[str, str, dict, dict]]:
    """Of official samples and each network the set, what is shown of it, the network's row and the best baseline's."""
    for name, rows in official.get("zero_shot", {}).items():
        metric = next((metric for metric in ("accuracy", "psnr") if metric in rows[0]), None)
        if metric is None:
            continue
        # Every network, for none is chosen by these images.
        ours = [row for row in rows if row["name"].startswith("lens-")]
        best = max((row for row in rows if row not in ours), key=lambda row: row[metric])
        for own in ours:
            yield name, metric, own, best


def words(metric: str) -> str:
    """What a number is called where its kind does not stand beside it."""
    names = {"accuracy": "accuracy", "psnr": "PSNR [dB]"}
    return names.get(metric) or f"AUC of {metric.rpartition('_')[2]} by the error of reconstruction"


def compared(metric: str, ours: list[dict], baseline: dict, theirs: list[dict]) -> list[str]:
    """The numbers of our runs, of a baseline, with whose it is, and of a plain network's runs; the best is bold."""
    texts = [over_seeds(ours, metric), f"{baseline[metric]:.4g} ({baseline['name']})", over_seeds(theirs, metric)]
    means = [
        statistics.mean(row[metric] for row in rows) if rows else -math.inf for rows in (ours, [baseline], theirs)
    ]
    return [f"**{text}**" if mean == max(means) else text for text, mean in zip(texts, means, strict=True)]


def divide(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """The network's own rows, as it is and over the symmetries, and those of the baselines."""
    own = [row for row in rows if row["name"].partition(", ")[0] == rows[0]["name"]]
    return own, [row for row in rows if row not in own]


def over_seeds(rows: list[dict], metric: str) -> str:
    """A number of one run with its interval over images, or the mean of several and its spread between seeds."""
    values = [row[metric] for row in rows if metric in row]
    if not values:
        return ""
    if len(values) > 1:
        return f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"
    low, high = rows[0].get("intervals", {}).get(metric, (None, None))
    return f"{values[0]:.4g}" + ("" if low is None else f" [{low:.4g}, {high:.4g}]")


def minutes(name: str, results: dict[str, list[dict]]) -> str:
    """How long a run trains, and before it the one that it starts from."""
    runs = results[name]
    own = f"{statistics.mean(run['minutes'] for run in runs):.3g}"
    if runs[0]["training"].get("precision") == "float32":
        own += " in float32"
    start = runs[0]["start"]
    return f"{minutes(start, results)} + {own}" if start in results else own


def header(*names: str) -> Iterator[str]:
    """The first two lines of a table."""
    yield line(*names)
    yield f"|{'---|' * len(names)}\n"


def line(*cells: Any) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |\n"
