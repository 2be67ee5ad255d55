"""The benchmarks' table says what their results say, and compares with the fastest peer."""

import pytest

from benchmarks.__main__ import QUICK
from benchmarks.results import FOLDER
from benchmarks.table import (
    README,
    ROWS,
    evaluation_rows,
    judge_least,
    judge_most,
    memory_rows,
    read,
    render,
    training_step_rows,
)
from benchmarks.timing import compare, time_in_turns


def test_the_table_is_that_of_the_results():
    assert FOLDER.with_name("README.md").read_text(encoding="utf-8") == render(FOLDER)


def test_every_benchmark_has_its_results_in_the_table_or_is_no_comparison():
    assert set(QUICK) - {"shortcuts"} == set(ROWS)


def test_ratios_are_those_of_each_round_and_the_fastest_peer_counts():
    result = compare(
        {"ours": [1.0, 2.0, 1.0], "slow": [4.0, 8.0, 4.0], "fast": [1.5, 4.0, 2.0]}, num_images=8, must=2.5
    )
    assert result["images_per_second"]["ours"] == {"median": 8.0, "low": 4.0, "high": 8.0}
    assert result["ratios"]["fast"] == {"median": 2.0, "low": 1.5, "high": 2.0}
    assert result["fastest_peer"] == "fast"


def test_every_way_takes_its_turn_and_the_warm_up_does_not_count():
    calls = []
    ways = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    seconds = time_in_turns(ways, rounds=2)
    assert calls == list("baabba")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(("ratio", "least", "most"), [(1.04, "no", "yes"), (1.05, "yes", "yes"), (1.06, "yes", "no")])
def test_a_row_is_as_it_must_be_or_not(ratio, least, most):
    assert judge_least(ratio, 1.05, 1.3) == [f"{ratio:.2f}", "≥ 1.05", "≥ 1.3", least]
    assert judge_most(ratio, 1.05, 1.0)[-1] == most


def test_memory_is_judged_with_partial_decoding():
    peaks = {"full": 110.0, "partial": 80.0, "vit_mae_sdpa": 100.0}
    row = {"batch_size": 6, "peak_mib": peaks, "must": 0.85, "goal": 0.6}
    full, partial = memory_rows({"tiny, float32, cpu": row})
    assert full[3:] == ["1.10", "", "", ""] and partial[3:] == ["0.80", "≤ 0.85", "≤ 0.6", "yes"]


def test_a_training_steps_row_names_its_fastest_peer_and_counts_the_operations_of_both():
    row = compare({"ours": [1.0], "vit_mae_sdpa": [3.0], "vit_mae_eager": [2.0]}, num_images=6, must=1.05, goal=1.3)
    operations = {"full": 10**9, "partial": 10**9, "vit_mae_eager": 3 * 10**9}
    results = {"batch_size": 6, "full": row, "partial": row}
    steps = {
        "tiny, float32, cpu": {**results, "operations": {}},
        "tiny, bfloat16, cpu": {**results, "operations": operations},
    }
    line, _, counted, *others = training_step_rows(steps)
    assert line[1:4] == ["6 images/s", "3 images/s (ViTMAE, eager)", "2.00 [2.00, 2.00]"]
    assert counted[1:] == ["1·10⁹ operations", "3·10⁹ operations (ViTMAE)", "3.00", "", "", ""]
    assert len(others) == 3


def test_evaluation_is_judged_by_the_time_of_all_that_the_loops_compute():
    row = {"largest_difference": 1e-8, "num_images": 6, "num_threads": 2}
    areas = row | compare({"ours": [1.0], "scikit_learn": [40.0]}, num_images=6, must=5, goal=20)
    images = row | compare({"ours": [5.0], "scikit_image": [8.0]}, num_images=6, must=5, goal=20)
    all_of_it, *parts = evaluation_rows({"classification": areas, "psnr_and_ssim": images, "super_resolution": images})
    assert all_of_it[3:] == ["8.00", "≥ 5", "≥ 20", "yes"]
    assert [part[3:] for part in parts] == [
        ["40.00 [40.00, 40.00]", "", "", ""],
        *2 * [["1.60 [1.60, 1.60]", "", "", ""]],
    ]
    assert parts[1][0] == "of it PSNR and SSIM (2 threads, the loop 1), values within 1e-08"


def test_the_readme_says_of_the_classes_what_a_linear_model_finds():
    table = read(FOLDER)["shortcuts"]["mean_of_five_folds"]
    official, compensated, _, honest = (rows["PCA + logistic, arcsinh pixels"]["accuracy"] for rows in table.values())
    readme = README.read_text(encoding="utf-8")
    assert f"an accuracy of {official:.2f}, of the same" in readme
    assert f"mass compensated with {compensated:.2f}, and of `lens_default` with {honest:.2f}" in readme
