"""The tables of what networks reach: means over seeds, baselines once, and the README's lines of the same numbers."""

import json

from benchmarks.accuracy import claims_table, official_tables, training_tables
from benchmarks.results import FOLDER
from benchmarks.table import README, read, render, with_claims


def make_run(psnr, name="LensMAE", words="from scratch", start=None, **baselines):
    rows = [{"name": name, "psnr": psnr, "ssim": 0.9, "intervals": {"psnr": [psnr - 1, psnr + 1]}}]
    rows += [{"name": name, "psnr": value} for name, value in baselines.items()]
    data = {"preset": "sr_physical", "num_test": 500}
    known = {"data": data, "minutes": 5.0, "processor": "a chip", "training": {"precision": "bfloat16"}}
    return {"words": words, "start": start, **known, "rows": rows}


RESULTS = {
    "sr_physical": [make_run(psnr, Bicubic=36.0, Filter=43.0) for psnr in (55.0, 56.0, 57.0)],
    "sr_physical_pretrained": [make_run(58.0, words="pretrained", start="sr_physical", Bicubic=36.0)],
    "sr_physical_edsr": [make_run(54.0, "EDSR", Bicubic=36.0)],
}


def test_several_seeds_are_a_mean_and_a_spread_and_one_is_an_interval():
    text = "".join(training_tables(RESULTS))
    assert "| LensMAE (from scratch) | 3 | 5 | 56 ± 1 |  | 0.9 ± 0 |  |\n" in text
    assert "| EDSR (from scratch) | 1 | 5 | 54 [53, 55] |  | 0.9 |  |\n" in text


def test_runs_of_equal_time_stand_apart_with_the_command_that_made_them(tmp_path):
    machine = {"processor": "x", "cores": 2, "python": "3.11", "versions": {}}
    runs = {name: [run | {"seconds": 300} for run in runs] for name, runs in RESULTS.items()}
    for name, results in (("training", RESULTS), ("equal_time", runs)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"machine": machine, "results": results}))
    text = render(tmp_path)
    assert text.count("| LensMAE (pretrained) | 1 | 5 + 5 |") == 2
    assert "core of a chip, in bfloat16" in text
    assert "--max_train_seconds 300` makes them anew" in text


def test_a_run_that_starts_from_another_has_its_minutes_as_well():
    assert "| LensMAE (pretrained) | 1 | 5 + 5 | 58 " in "".join(training_tables(RESULTS))


def test_minutes_in_float32_say_so():
    run = make_run(50.0) | {"training": {"precision": "float32"}}
    assert "| LensMAE (from scratch) | 1 | 5 in float32 | 50 " in "".join(training_tables({"sr_physical": [run]}))


def test_a_baseline_stands_once_below_all_runs_on_the_same_images():
    text = "".join(training_tables(RESULTS))
    assert text.count("| Bicubic |") == 1 and text.index("| Bicubic |") > text.index("| EDSR")
    elsewhere = make_run(50.0, Bicubic=30.0) | {"data": {"preset": "sr_physical", "num_test": 100}}
    assert "".join(training_tables({**RESULTS, "other": [elsewhere]})).count("| Bicubic |") == 2


def test_the_readme_claims_the_mean_beside_the_best_baseline_and_the_plain_network():
    table = claims_table({"training": RESULTS})
    assert "| `sr_physical` | PSNR [dB] | **56 ± 1** | 43 (Filter) | 54 [53, 55] |\n" in table


def test_what_knows_the_truth_is_no_baseline():
    run = make_run(42.0, Bicubic=41.0)
    run["rows"].append({"name": "Noise-free image", "psnr": 45.0, "kind": "ceiling"})
    assert "| 41 (Bicubic) |" in claims_table({"training": {"sr_deeplense": [run]}})


def test_anomalies_are_claimed_class_by_class():
    rows = [{"name": name, "masked_mse_0.75": 0.1} for name in ("LensMAE", "Harmonic interpolation")]
    for row, values in zip(rows, ((0.7, 0.6), (0.5, 0.55)), strict=True):
        row |= {"anomaly_auc_cdm": values[0], "anomaly_auc_axion": values[1]}
    table = claims_table({"training": {"lens_default_anomaly": [make_run(0.0) | {"rows": rows}]}})
    assert "AUC of cdm by the error of reconstruction | **0.7** | 0.5 (Harmonic interpolation) |" in table
    assert "AUC of axion by the error of reconstruction | **0.6** | 0.55 (Harmonic interpolation) |" in table


def test_official_samples_have_a_line_for_every_network_and_a_claim_of_each():
    rows = [{"name": "lens-a", "psnr": 40.0}, {"name": "lens-b", "psnr": 42.0}, {"name": "Bicubic", "psnr": 41.0}]
    lenses = [{"name": "HST, lens-a", "probability_of_cdm": 0.5}, {"name": "HST, lens-b", "flux_ratio": 1.0}]
    text = "".join(official_tables({"10 pairs": rows, "a lens": lenses}))
    assert "| lens-b | 42 |" in text and "| HST, lens-b |  | 1 |" in text and "probability of cdm" in text
    claims = claims_table({"official_samples": {"zero_shot": {"10 pairs": rows, "a lens": lenses}}})
    assert "| 10 pairs, zero-shot, by `lens-a` | PSNR [dB] | 40 | **41 (Bicubic)** |" in claims
    assert "| 10 pairs, zero-shot, by `lens-b` | PSNR [dB] | **42** | 41 (Bicubic) |" in claims
    assert "a lens" not in claims


def test_the_readmes_claims_are_those_of_the_results():
    readme = README.read_text(encoding="utf-8")
    assert with_claims(readme, read(FOLDER)) == readme
    assert "| `sr_physical` | PSNR [dB] | **" in readme
