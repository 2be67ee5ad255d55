"""demo.py: what it plans, how it goes on, and how it tells what was measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lens_transformers.evaluation.__main__ import make_parser


SCRIPTS = Path(__file__).parents[2] / "training"
sys.path.insert(0, str(SCRIPTS))  # as Python does for a script that is launched

import demo  # noqa: E402


NO_FLAGS = {"classification": [], "super_resolution": []}


def flag(command, name):
    return command[command.index(name) + 1]


@pytest.mark.parametrize("budget", [2, 10, 60])
def test_training_fits_into_the_budget(budget):
    steps = demo.plan(Path("runs"), budget, NO_FLAGS)
    seconds = [
        float(flag(step.command, "--max_train_seconds")) for step in steps if "--max_train_seconds" in step.command
    ]
    assert 0.45 * 60 * budget < sum(seconds) < 0.9 * 60 * budget


def test_the_shortest_demo_has_images_enough_for_few_labels():
    simulated = next(
        step.command for step in demo.plan(Path("runs"), 0.1, NO_FLAGS) if "deeplense_model_2" in step.command
    )
    assert int(flag(simulated, "--num_train")) >= 3 * demo.FEW_LABELS


def test_every_command_names_a_script_and_a_recipe_that_exist():
    for step in demo.plan(Path("runs"), 60, NO_FLAGS):
        assert Path(step.command[1]).is_file()
        for word in step.command:
            assert not word.endswith(".yaml") or Path(word).is_file(), word


def test_the_page_is_made_by_a_command_that_exists():
    step = demo.report(Path("runs"), [Path("runs/pretrain"), Path("runs/classify")])
    assert step.command[1:4] == ["-m", "lens_transformers.evaluation", "report"]
    options = make_parser().parse_args(step.command[3:])
    assert options.checkpoints == ["runs/pretrain", "runs/classify"]
    assert (options.output, options.words) == (Path("runs/report.html"), Path("runs/summary.json"))


def test_the_scratch_run_of_equal_total_time_gets_the_pretraining_time_too():
    commands = {step.output.name: step.command for step in demo.plan(Path("runs"), 10, NO_FLAGS)}
    names = [name for name in commands if name.startswith(("pretrain", "classify"))]
    seconds = {name: float(flag(commands[name], "--max_train_seconds")) for name in names}
    for name in ("classify", "classify_few"):
        assert seconds[f"{name}_scratch"] == seconds[name]
        assert seconds[f"{name}_scratch_total"] == pytest.approx(seconds[name] + seconds["pretrain"], abs=1)
        assert "--model_name_or_path" in commands[name]
        assert "--model_name_or_path" not in commands[f"{name}_scratch"]


def test_an_hour_adds_honest_scenes_with_three_seeds():
    short, long = ([step.output.name for step in demo.plan(Path("runs"), budget, NO_FLAGS)] for budget in (10, 60))
    assert set(long) - set(short) == {"lens_default", "pretrain_honest"} | {
        f"classify_honest_seed{seed}" for seed in (0, 1, 2)
    }


def test_official_folders_are_told_apart(tmp_path):
    for index in range(2):
        for name, folder, side in (("LR", "pairs", 8), ("HR", "pairs", 16), ("no_sub", "classes", 8)):
            (tmp_path / folder).mkdir(exist_ok=True)
            np.save(tmp_path / folder / f"{name}_{index}.npy", np.random.default_rng(index).random((1, side, side)))
    for name in ("cdm", "axion"):
        np.save(tmp_path / "classes" / f"{name}_0.npy", np.random.default_rng(2).random((1, 8, 8)))
    (tmp_path / "empty").mkdir()
    assert demo.find_task(tmp_path / "pairs") == "super_resolution"
    assert demo.find_task(tmp_path / "classes") == "classification"
    with pytest.raises(ValueError, match="has neither pairs .* nor classes"):
        demo.find_task(tmp_path / "empty")


def test_a_finished_command_is_run_again_only_if_it_changed_or_is_asked_for(tmp_path, capsys):
    log = tmp_path / "log"

    def step(word):
        code = f"import pathlib; pathlib.Path({str(tmp_path / 'out')!r}).mkdir(exist_ok=True); " + (
            f"open({str(log)!r}, 'a').write({word!r})"
        )
        return demo.Step("writes", tmp_path / "out", [sys.executable, "-c", code])

    for word in ("a", "a", "b"):
        demo.run(step(word), "1/1", 0.0)
    assert log.read_text() == "ab"
    assert capsys.readouterr().out.count("Already done.") == 1
    demo.run(step("b"), "1/1", 0.0, again=True)
    assert log.read_text() == "abb"


def test_a_failing_command_stops_the_demo_and_is_run_again(tmp_path):
    failing = demo.Step("fails", tmp_path / "out", [sys.executable, "-c", "raise SystemExit(3)"])
    for _ in range(2):
        with pytest.raises(SystemExit, match="failed with status 3"):
            demo.run(failing, "1/1", 0.0)


def write_results(root, name, metric, **values):
    (root / name).mkdir()
    rows = [{"name": row, "split": "test", metric: value} for row, value in values.items()]
    (root / name / "results.json").write_text(json.dumps({"task": "x", "rows": rows}))


def test_the_summary_says_what_came_out_whichever_way(tmp_path):
    write_results(tmp_path, "pretrain", "masked_mse_0.75", **{"LensMAE": 0.2, "Mean of visible pixels": 0.1})
    for name, accuracy in (("classify", 0.9), ("classify_scratch", 0.8), ("classify_scratch_total", 0.95)):
        write_results(tmp_path, name, "accuracy", **{"LensMAE": accuracy, "PCA": 0.96})
        write_results(tmp_path, name.replace("classify", "classify_few"), "accuracy", LensMAE=accuracy - 0.3)
    write_results(tmp_path, "sr_deeplense", "psnr", **{"LensMAE": 42.4, "Bicubic": 41.7, "Least-squares": 42.3})
    write_results(tmp_path, "sr_physical", "psnr", **{"LensMAE": 47.0, "Bicubic": 36.5, "Least-squares": 48.0})
    summary = demo.summarize(tmp_path, honest=False)
    passed = [highlight["passed"] for highlight in summary["highlights"]]
    # Worse than a baseline, above 0.85, 0.7 dB above bicubic, above bicubic but below the filter, and no verdict.
    assert passed == [False, True, True, False, None, None]
    for task, place in (("classification", 1), ("super_resolution", 2)):
        elsewhere = demo.summarize(tmp_path, honest=False, task=task, tested_on=tmp_path)["highlights"]
        assert [index for index, mark in enumerate(passed) if elsewhere[index]["passed"] != mark] == [place]
    details = [highlight["value"] + highlight["detail"] for highlight in summary["highlights"]]
    assert "PCA 0.960" in details[1]
    assert "-0.050 at equal total time" in details[4] and "+0.100 at equal fine-tuning" in details[4]
