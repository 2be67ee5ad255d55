"""From checkpoints to a page and its JSON: small networks on a few simulated lenses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset
from matplotlib.figure import Figure
from transformers import ResNetConfig, ResNetForImageClassification

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
)
from lens_transformers.data import LABEL_NAMES, load_lensing_dataset, simulate_dataset
from lens_transformers.evaluation.__main__ import main
from lens_transformers.evaluation.calibration import expected_calibration_error
from lens_transformers.hub.results import verdict
from lens_transformers.report import (
    classification,
    evaluate_checkpoint,
    evaluate_predictions,
    reconstruction,
    super_resolution,
    write_report,
)
from lens_transformers.report.checkpoints import group_of
from lens_transformers.report.classification import describe_answers
from lens_transformers.report.evaluated import Evaluation, parameters_of
from lens_transformers.report.loading import draw_rows
from lens_transformers.report.writing import save_figures
from lens_transformers.simulation import get_preset


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CLASSES = {
    "pretraining": LensMAEForPreTraining,
    "classification": LensMAEForClassification,
    "super_resolution": LensMAEForSuperResolution,
}
TINY = {"instrument.num_pixels": 24, "instrument.oversampling": 1}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders as training/simulate.py writes them, by task."""
    folders = {}
    presets = {"lens_default": ("classification", "pretraining"), "sr_deeplense": ("super_resolution",)}
    for preset, tasks in presets.items():
        folder = tmp_path_factory.mktemp(preset)
        (folder / "data").mkdir()
        config = get_preset(preset).with_overrides(TINY)
        for split, start in (("train", 0), ("test", 120)):
            dataset = simulate_dataset(config, 120 if split == "train" else 36, start=start)
            dataset.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        splits = {"train": {"first_sample": 0, "num_images": 120}, "test": {"first_sample": 120, "num_images": 36}}
        record = {"preset": preset, "seed": 0, "splits": splits, "config": config.to_dict()}
        (folder / "simulation.yaml").write_text(yaml.safe_dump(record))
        folders |= dict.fromkeys(tasks, str(folder))
    return folders


@pytest.fixture(autouse=True)
def few_planted(monkeypatch):
    monkeypatch.setattr(classification, "_NUM_PLANTED", 6)


def make_checkpoint(folder, task, source=None, rows=(), **results):
    config = LensMAEConfig.from_size("tiny", **SMALL, stem_hidden_size=8, num_labels=3, image_size=24)
    config.id2label = dict(enumerate(LABEL_NAMES))
    CLASSES[task](config).save_pretrained(folder)
    normalization = "none" if task == "super_resolution" else "arcsinh"
    LensMAEImageProcessor(normalization=normalization).save_pretrained(folder)
    if source is not None:
        data = {"source": source, "split": "test", "num_train": 120, "num_test": 36}
        rows = [{"name": "LensMAE", "split": "test"}, *rows]
        (folder / "results.json").write_text(json.dumps({"task": task, "data": data, "rows": rows, **results}))
    log = [{"loss": 1.0, "step": 1}, {"loss": 0.5, "step": 2}]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    return folder


@pytest.mark.parametrize(
    ("task", "metric", "baselines", "figures"),
    [
        (
            "classification",
            "auc_macro",
            ["PCA + logistic, raw pixels", "PCA + logistic, arcsinh pixels"],
            {"roc", "confusion", "calibration", "embedding_map", "attention_maps", "planted_subhalos", "worst_ten"},
        ),
        ("super_resolution", "psnr", ["Bicubic", "Bilinear"], {"super_resolution", "worst", "residual_power"}),
        (
            "pretraining",
            "masked_mse_0.9",
            ["Mean of visible pixels", "Harmonic interpolation"],
            {"reconstructions", "embedding_map", "nearest_neighbours", "attention_maps", "worst_ten"},
        ),
    ],
)
def test_a_checkpoint_is_evaluated_beside_its_baselines(sources, tmp_path, task, metric, baselines, figures):
    evaluation = evaluate_checkpoint(make_checkpoint(tmp_path / "run", task), sources[task])
    own, *others = evaluation.results["rows"]
    assert own["name"] == "lens_mae" and own["split"] == "test" and np.isfinite(own[metric])
    assert [row["name"] for row in others][: len(baselines)] == baselines
    assert figures | {"training_curves"} <= set(evaluation.figures)
    assert len(evaluation.scores) == 36 and evaluation.tables
    [worst] = [table for table in evaluation.tables if table.title == "The worst ten"]
    if task != "classification":
        sign = -1 if task == "pretraining" else 1  # an error is bad where it is large, a PSNR where it is small
        assert [row[0] for row in worst.rows] == np.argsort(sign * evaluation.scores, kind="stable")[:10].tolist()


def test_nothing_is_fitted_to_images_that_it_is_measured_on(sources, tmp_path):
    source = sources["super_resolution"]
    unknown = evaluate_checkpoint(make_checkpoint(tmp_path / "unknown", "super_resolution"), source, "all")
    names = [row["name"] for row in unknown.results["rows"]]
    assert "Bicubic" in names and not [name for name in names if name.startswith("Least-squares")]
    assert len(unknown.results["residual_power"]["network"]) == len(
        unknown.results["residual_power"]["cycles_per_pixel"]
    )
    trained = make_checkpoint(tmp_path / "trained", "super_resolution", source=source)
    for split in ("train", "all"):
        rows = evaluate_checkpoint(trained, source, split).results["rows"]
        assert len(rows) > 1 and not [row["name"] for row in rows if row["name"].startswith("Least-squares")]
    # Of other images all splits are new to what was trained on these.
    shutil.copytree(source, tmp_path / "copy")
    rows = evaluate_checkpoint(trained, str(tmp_path / "copy"), "all").results["rows"]
    assert "Least-squares filter 9×9" in [row["name"] for row in rows]
    lenses = sources["classification"]
    unknown = evaluate_checkpoint(make_checkpoint(tmp_path / "classifier", "classification"), lenses, "all")
    assert len(unknown.results["rows"]) == 1


def test_autoencoders_are_compared_at_one_ratio_whatever_they_were_trained_with(sources, tmp_path):
    scores = []
    for ratio in (0.75, 0.9, 0.6):
        run = make_checkpoint(tmp_path / f"{ratio}", "pretraining")
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | {"mask_ratio": ratio}))
        if scores:
            shutil.copy(tmp_path / "0.75" / "model.safetensors", run)
        evaluation = evaluate_checkpoint(run, sources["pretraining"], in_full=False)
        assert evaluation.score_name == "masked MSE at 0.75"
        scores.append(evaluation.scores)
    np.testing.assert_allclose(scores[1:], [scores[0]] * 2, rtol=1e-4)


def test_a_training_split_without_a_class_leaves_the_linear_models_out(sources, tmp_path, caplog):
    (tmp_path / "two/data").mkdir(parents=True)
    for split in ("train", "test"):
        dataset = load_lensing_dataset(sources["classification"], split)
        kept = dataset.select(np.flatnonzero(dataset["label"][:] < 2)) if split == "train" else dataset
        kept.to_parquet(tmp_path / f"two/data/{split}-00000-of-00001.parquet")
    checkpoint = make_checkpoint(tmp_path / "run", "classification")
    evaluation = evaluate_checkpoint(checkpoint, str(tmp_path / "two"), in_full=False)
    assert [row["name"] for row in evaluation.results["rows"]] == ["lens_mae"]
    assert "no training image is of axion" in caplog.text


def test_a_report_goes_on_where_no_subhalo_can_be_planted(sources, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise ValueError("Only 0 of 100 scenes have one on the ring.")

    monkeypatch.setattr(classification, "plant_subhalos", refuse)
    checkpoint = make_checkpoint(tmp_path / "run", "classification")
    evaluation = evaluate_checkpoint(checkpoint, sources["classification"])
    assert "worst_ten" in evaluation.figures and "planted_subhalos" not in evaluation.figures
    assert "No planted subhalos: Only 0 of 100" in caplog.text


def test_blocks_are_hidden_alike_whatever_the_seed_of_the_runs(sources, tmp_path):
    first, second = (
        make_checkpoint(tmp_path / str(seed), "pretraining", sources["pretraining"], training={"seed": seed})
        for seed in (1, 2)
    )
    rows = [evaluate_checkpoint(run, in_full=False).results["rows"] for run in (first, second)]
    (filled,), (again,) = ([row for row in one if row["name"] == "Mean of visible pixels"] for one in rows)
    assert filled == again


def test_one_image_and_no_checkpoint(tmp_path):
    probabilities = {f"probability_{name}": [1 / 3] for name in LABEL_NAMES}
    folder = tmp_path / "run[1]"
    folder.mkdir()
    Dataset.from_dict({"label": ["cdm"], **probabilities}).to_parquet(folder / "one.parquet")
    with pytest.warns(UserWarning, match="AUC of class"):
        page = write_report([folder / "one.parquet"] * 2, tmp_path / "page.html")
    assert page.is_file()
    with pytest.raises(ValueError, match="checkpoints are missing"):
        write_report([], tmp_path / "none.html")


def test_the_worst_images_are_named_by_their_row_in_the_split(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "_MAX_IMAGES", 15)
    run = make_checkpoint(tmp_path / "run", "pretraining")
    evaluation = evaluate_checkpoint(run, sources["pretraining"])
    worst = np.argsort(-evaluation.scores, kind="stable")[:10]
    assert [row[0] for row in evaluation.tables[-1].rows] == draw_rows(36, 15, seed=0)[worst].tolist()


def test_images_that_were_resized_keep_their_place_on_the_sky(sources, tmp_path):
    finer = get_preset("lens_default").with_overrides({**TINY, "instrument.num_pixels": 30})
    (tmp_path / "finer" / "data").mkdir(parents=True)
    simulate_dataset(finer, 36).to_parquet(tmp_path / "finer" / "data" / "test-00000-of-00001.parquet")
    record = {"preset": "lens_default", "seed": 0, "splits": {"test": {"first_sample": 0, "num_images": 36}}}
    (tmp_path / "finer" / "simulation.yaml").write_text(yaml.safe_dump(record | {"config": finer.to_dict()}))
    run = make_checkpoint(tmp_path / "run", "classification", sources["classification"])
    results = json.loads((run / "results.json").read_text())
    results["data"]["test_source"] = str(tmp_path / "finer")
    (run / "results.json").write_text(json.dumps(results))
    evaluation = evaluate_checkpoint(run)
    assert evaluation.pixel_scale == pytest.approx(finer.instrument.pixel_scale_arcsec * 30 / 24)
    planted = evaluation.figures["planted_subhalos"].axes[0].images[0]
    assert planted.get_array().shape == (24, 24)
    assert planted.get_extent()[1] == pytest.approx(finer.instrument.pixel_scale_arcsec * 30 / 2)


def test_signal_to_noise_is_said_of_images_whose_own_peak_is_the_unit():
    columns = {"peak_counts": [100.0, 400.0], "background_rms": [0.0, 0.0]}
    np.testing.assert_allclose(parameters_of(Dataset.from_dict(columns))["peak_signal_to_noise"], [10, 20])
    pairs = Dataset.from_dict(columns | {"target": [0, 0]})
    assert "peak_signal_to_noise" not in parameters_of(pairs)


def test_every_number_of_a_pretraining_checkpoint_has_an_interval(sources, tmp_path):
    evaluation = evaluate_checkpoint(make_checkpoint(tmp_path / "run", "pretraining"), sources["pretraining"])
    for row in evaluation.results["rows"]:
        for ratio in (0.5, 0.75, 0.9):
            low, high = row["intervals"][f"masked_mse_{ratio:g}"]
            assert low < row[f"masked_mse_{ratio:g}"] < high
    classes, anomalies, _ = evaluation.tables
    features = [
        "embeddings",
        "embeddings before training",
        "PCA + logistic, raw pixels",
        "PCA + logistic, arcsinh pixels",
    ]
    assert [row[0] for row in classes.rows] == features
    scores = ["error of reconstruction", "distance from embeddings of no_sub"]
    assert [row[:2] for row in anomalies.rows] == [[score, name] for score in scores for name in LABEL_NAMES[1:]]
    for row in (*classes.rows[:2], *(row[1:] for row in anomalies.rows)):
        assert all(measured.low <= measured.value <= measured.high for measured in row[1:])


def test_what_only_the_run_has_measured_stays_in_its_rows(sources, tmp_path):
    source = sources["pretraining"]
    run = make_checkpoint(tmp_path / "run", "pretraining")
    own = {"name": "LensMAE", "imprint_mse": 0.5, "masked_mse_0.75": 9.0, "intervals": {"imprint_mse": [0.4, 0.6]}}
    rows = [own, {"name": "No imprint", "imprint_mse": 0.7, "intervals": {"imprint_mse": [0.6, 0.8]}}]
    data = {"source": str(source), "num_train": 24}
    results = {"task": "pretraining", "model": {}, "data": data, "training": {}, "versions": {}, "rows": rows}
    (run / "results.json").write_text(json.dumps(results))
    first, *others = evaluate_checkpoint(run).results["rows"]
    assert first["imprint_mse"] == 0.5 and first["masked_mse_0.75"] != 9.0 and first["intervals"]["imprint_mse"]
    assert [row["name"] for row in others][0] == "No imprint" and len(others) == 3


def test_the_neighbours_of_an_image_are_training_images(sources, tmp_path):
    evaluation = evaluate_checkpoint(make_checkpoint(tmp_path / "run", "pretraining"), sources["pretraining"])
    panels = [ax for ax in evaluation.figures["nearest_neighbours"].axes if ax.images]
    assert [ax.get_title() for ax in panels[::6]] == [f"query: {name}" for name in LABEL_NAMES]
    pixels = {}
    for split in ("train", "test"):
        images = load_lensing_dataset(sources["pretraining"], split=split, task="pretraining")["image"][:]
        pixels[split] = {image[0].astype(float).tobytes() for image in images}
    for index, ax in enumerate(panels):
        assert ax.images[0].get_array().data.tobytes() in pixels["train" if index % 6 else "test"]


def test_noisy_targets_have_a_floor_if_their_simulation_makes_them_again(sources, tmp_path, caplog):
    run, source = make_checkpoint(tmp_path / "run", "super_resolution"), sources["super_resolution"]
    names = [row["name"] for row in evaluate_checkpoint(run, source, in_full=False).results["rows"]]
    assert names[-3:] == ["Least-squares filter 9×9", "Noise-free image", "Noise-free image and the input's noise"]
    other = tmp_path / "other"
    shutil.copytree(source, other)
    record = yaml.safe_load((other / "simulation.yaml").read_text())
    (other / "simulation.yaml").write_text(yaml.safe_dump(record | {"seed": 1}))
    names = [row["name"] for row in evaluate_checkpoint(run, str(other), in_full=False).results["rows"]]
    assert names[-1] == "Least-squares filter 9×9" and "does not make these targets again" in caplog.text


def test_a_range_of_brightness_that_is_not_known_has_to_be_given(sources, tmp_path, capsys):
    brighter = tmp_path / "brighter"
    (brighter / "data").mkdir(parents=True)
    for split in ("train", "test"):
        pairs = load_lensing_dataset(sources["super_resolution"], split=split, task="super_resolution")
        pairs = pairs.map(lambda row: {name: 10 * row[name] for name in ("image", "target")}, features=pairs.features)
        pairs.to_parquet(brighter / "data" / f"{split}-00000-of-00001.parquet")
    run = make_checkpoint(tmp_path / "run", "super_resolution")
    with pytest.raises(ValueError, match="data_range must be a brightness above 0, got inf"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html", brighter, data_range=float("inf"))
    with pytest.raises(ValueError, match="data_range is not known: references reach from 0 to 10"):
        evaluate_checkpoint(run, str(brighter), in_full=False)
    evaluation = evaluate_checkpoint(run, str(brighter), data_range=10.0, in_full=False)
    usual = evaluate_checkpoint(run, sources["super_resolution"], in_full=False)
    # Upsampling does not depend on the unit; nor does the network's score, its image by image.
    assert evaluation.results["rows"][1]["psnr"] == pytest.approx(usual.results["rows"][1]["psnr"], abs=1e-3)
    assert evaluation.results["rows"][0]["psnr"] == pytest.approx(evaluation.scores.mean())


def test_accuracy_against_what_made_the_images_counts_only_images_that_have_it(sources, tmp_path):
    evaluation = evaluate_checkpoint(make_checkpoint(tmp_path / "run", "classification"), sources["classification"])
    names = [name for name in evaluation.figures if name.startswith("score_against_")]
    assert names[:3] == [
        f"score_against_{name}" for name in ("subhalo_mass_msun", "vortex_half_length_arcsec", "peak_signal_to_noise")
    ]
    titles = [evaluation.figures[name].axes[0].get_title(loc="left").split(" in ")[0] for name in names[:3]]
    labels = [evaluation.figures[name].axes[0].get_ylabel() for name in names[:3]]
    assert titles == ["12 images", "12 images", "36 images"]
    assert labels == ["accuracy, cdm", "accuracy, axion", "accuracy"]


def test_a_run_is_evaluated_on_its_own_test_images_with_the_baselines_that_it_measured(sources, tmp_path):
    baseline = {"name": "measured in training", "split": "test", "accuracy": 0.5}
    source = sources["classification"]
    run = make_checkpoint(tmp_path / "run", "classification", source, [baseline], title="Fine-tuned")
    evaluation = evaluate_checkpoint(run)
    assert evaluation.results["rows"][1:] == [baseline]
    assert evaluation.title == "Fine-tuned"
    roc = evaluation.figures["roc"].axes[0].get_legend().get_texts()
    assert all("training" in text.get_text() for text in roc[1:])
    elsewhere = evaluate_checkpoint(run, source, split="train")
    assert "measured in training" not in [row["name"] for row in elsewhere.results["rows"]]


def test_images_of_another_source_that_a_run_was_tested_on_keep_their_baselines(sources, tmp_path):
    baseline = {"name": "Bicubic", "split": "test", "psnr": 50.0}
    source = sources["super_resolution"]
    run = make_checkpoint(tmp_path / "run", "super_resolution", source, [baseline])
    results = json.loads((run / "results.json").read_text())
    results["data"] |= {"split": "all", "test_source": source, "num_test": 156}  # as of --test_dataset
    (run / "results.json").write_text(json.dumps(results))
    evaluation = evaluate_checkpoint(run, in_full=False)
    assert [row["split"] for row in evaluation.results["rows"]] == ["test", "test"]
    assert "worse than the best baseline: Bicubic, 50.00 dB" in verdict(evaluation.results)


def test_images_are_read_as_the_run_read_them_or_as_asked_for(sources, tmp_path, capsys):
    broken = tmp_path / "broken"
    (broken / "data").mkdir(parents=True)
    for split in ("train", "test"):
        images = load_lensing_dataset(sources["pretraining"], split=split, task="pretraining")
        images = images.map(
            lambda row, index: {"image": np.where((index == 5) & (np.arange(24) == 3), np.nan, row["image"])},
            with_indices=True,
            features=images.features,
        )
        images.to_parquet(broken / "data" / f"{split}-00000-of-00001.parquet")
    data = {"source": str(broken), "split": "test", "on_error": "skip", "nan_fill": None, "fits_layout": None}
    run = make_checkpoint(tmp_path / "run", "pretraining", str(broken))
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"data": data}))
    assert len(evaluate_checkpoint(run, in_full=False).scores) == 35
    filled = evaluate_checkpoint(run, reading={"on_error": "raise", "nan_fill": 0.0}, in_full=False)
    assert len(filled.scores) == 36 and filled.results["data"]["nan_fill"] == 0
    other = str(make_checkpoint(tmp_path / "other", "pretraining"))
    flags = ["--dataset", str(broken), "--output", str(tmp_path / "report.html")]
    assert main(["report", other, *flags, "--on_error", "raise"]) == 1
    assert "row 5" in capsys.readouterr().err
    assert main(["report", other, *flags, "--fits_layout", "SCI"]) == 1
    assert "--fits_layout SCI is not JSON" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--fits_layout: .*hdus"):
        evaluate_checkpoint(other, str(broken), reading={"fits_layout": {"hdus": 1}})


def test_the_range_of_brightness_is_that_of_the_run_on_every_split_of_its_own_data(sources, tmp_path):
    source = sources["super_resolution"]
    run = make_checkpoint(tmp_path / "run", "super_resolution", source)
    results = json.loads((run / "results.json").read_text())
    results["data"]["data_range"] = 2.0
    (run / "results.json").write_text(json.dumps(results))
    assert evaluate_checkpoint(run, source, "train", in_full=False).results["data"]["data_range"] == 2
    shutil.copytree(source, tmp_path / "copy")
    assert evaluate_checkpoint(run, str(tmp_path / "copy"), in_full=False).results["data"]["data_range"] == 1


def test_a_table_is_of_checkpoints_on_the_same_images(sources, tmp_path, monkeypatch):
    source = sources["classification"]

    def group(name, *arguments, **data):
        run = tmp_path / name
        if not run.exists():
            make_checkpoint(run, "classification", source)
            results = json.loads((run / "results.json").read_text())
            (run / "results.json").write_text(json.dumps(results | {"data": results["data"] | data}))
        return group_of(run, *arguments)

    plain = group("plain")
    division = {"split_fractions": {"train": 0.5, "test": 0.5}}
    others = [
        group("elsewhere", test_source=str(tmp_path), split="all"),
        group("divided", **division, split_seed=0),
        group("divided otherwise", **division, split_seed=1),
        group("drawn", max_test_samples=8, split_seed=0),
        group("filled", nan_fill=0.0),
    ]
    others.append(group("brighter", data_range=4.0))
    assert len({plain, *others}) == 7
    assert group("seeded", split_seed=1) == plain
    assert group("only trained", split_fractions={"train": 0.9, "validation": 0.1}) == plain
    monkeypatch.chdir(Path(source).parent)
    assert group("plain", Path(source).name) == plain == group("elsewhere", Path(source).name)
    assert group("plain", source, "train") != plain
    # Asked for its own test images a run is evaluated on those that it left out.
    assert group("divided", source) != group("plain", source)


def test_a_split_is_one_of_a_data_set_that_is_named(sources, tmp_path, capsys):
    run = make_checkpoint(tmp_path / "run", "classification", sources["classification"])
    assert main(["report", str(run), "--split", "train", "--output", str(tmp_path / "report.html")]) == 1
    assert "--split train is a split of --dataset: name that as well." in capsys.readouterr().err


def test_any_image_classifier_is_evaluated_if_its_classes_are_ours(sources, tmp_path):
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    for name, id2label in (("ours", dict(enumerate(LABEL_NAMES[::-1]))), ("other", {0: "a", 1: "b", 2: "c"})):
        model = ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=3, id2label=id2label, **sizes))
        model.save_pretrained(tmp_path / name)
        LensMAEImageProcessor().save_pretrained(tmp_path / name)
    evaluation = evaluate_checkpoint(tmp_path / "ours", sources["classification"])
    assert 0 <= evaluation.results["rows"][0]["accuracy"] <= 1
    # Such networks have no place for it in their configuration.
    record = {"task": "classification", "rows": [{"name": "ResNet"}], "data": {}, "temperature": 2.0}
    (tmp_path / "ours/results.json").write_text(json.dumps(record))
    calibrated = evaluate_checkpoint(tmp_path / "ours", sources["classification"], in_full=False)
    assert "ece_calibrated" in calibrated.results["rows"][0]
    [pointing] = [table for table in evaluation.tables if "planted" in table.title]
    assert [row[0] for row in pointing.rows] == ["grad cam", "brightest pixel of the image"]
    assert "No attention rollout: ResNetForImageClassification does not attend" in pointing.note
    with pytest.raises(ValueError, match="The classes of the checkpoint are a, b, c, those of the data no_sub, cdm"):
        evaluate_checkpoint(tmp_path / "other", sources["classification"])


def test_the_command_writes_a_page_and_the_same_as_json(sources, tmp_path, monkeypatch, capsys):
    # Figures are the same in the page of one task as of another, and the slowest part of it.
    monkeypatch.setattr(super_resolution, "parameter_figures", lambda *arguments: {})
    runs = [make_checkpoint(tmp_path / name, "super_resolution") for name in ("a", "b")]
    output = tmp_path / "report.html"
    words = tmp_path / "words.json"
    words.write_text('{"headline": "Two networks"}')
    arguments = ["--dataset", sources["super_resolution"], "--output", str(output), "--words", str(words)]
    assert main(["report", *map(str, runs), *arguments]) == 0
    assert capsys.readouterr().out == f"Wrote {output} and report.json.\n"
    page = output.read_text()
    assert "<span>Two networks</span>" in page and "a minus b, on the same 36 images" in page
    assert "PSNR and SSIM refer to a range of brightness of 1." in page
    record = json.loads(output.with_suffix(".json").read_text())
    first, second = record["evaluations"]
    assert (first["title"], second["title"], first["task"]) == ("a", "b", "super_resolution")
    assert first["data"]["num_test"] == 36 and first["data"]["preset"] == "sr_deeplense"
    assert {"lens_transformers", "torch", "transformers"} <= first["versions"].keys()
    assert f"{first['rows'][0]['psnr']:.2f}" in page
    assert "PSNR [dB]" in first["tables"][0]["rows"][0]
    assert record["comparisons"][0]["num_images"] == 36
    assert str(tmp_path) not in output.with_suffix(".json").read_text()


def test_figures_are_left_as_vectors_in_a_folder_a_checkpoint(tmp_path):
    evaluation = Evaluation("run", {"title": "all labels: pretrained"}, figures={"roc": Figure()})
    save_figures([evaluation], tmp_path / "figures")
    assert (tmp_path / "figures" / "all_labels_pretrained" / "roc.pdf").read_bytes().startswith(b"%PDF")
    save_figures([evaluation, evaluation], tmp_path / "both")
    assert len(list((tmp_path / "both").glob("*/roc.pdf"))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "none/report.html"}, "is not a folder; create it before report.html"),
        ({}, "does not say on what it was tested: name the data with --dataset"),
        ({"dataset": "lenses"}, "no such folder of lens images"),
        ({"words": "list.json"}, "must hold an object with headline"),
        ({"words": "tile.json"}, r"highlights\[0\] must be an object"),
        ({"checkpoint": "missing"}, "missing: there is no such folder"),
        ({"output": "report.json"}, "a page is no JSON, which is written beside it"),
        ({"output": "."}, "is a folder: give the name of a page in it, such as"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(tmp_path, capsys, changes, message):
    make_checkpoint(tmp_path / "run", "classification")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "tile.json").write_text('{"highlights": ["fast"]}')
    options = {"checkpoint": "run", "output": "report.html", **changes}
    checkpoint = str(tmp_path / options.pop("checkpoint"))
    flags = [word for name, path in options.items() for word in (f"--{name}", str(tmp_path / path))]
    assert main(["report", checkpoint, *flags]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "report.html").exists()


def test_an_encoder_without_a_head_is_refused(sources, tmp_path):
    config = LensMAEConfig.from_size("tiny", **SMALL, stem_hidden_size=8)
    config.architectures = ["LensMAEModel"]
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a LensMAEModel; a report is about one that ends in ForPreTraining"):
        write_report([tmp_path], tmp_path / "report.html", sources["classification"])


def write_predictions(path, **changes):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=60)
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(LABEL_NAMES)}
    mass = np.where(np.arange(60) % 3 == 1, rng.uniform(1e9, 1e10, 60), 0.0)
    columns |= {"label": np.arange(60) % 3, "subhalo_mass_msun": mass, **changes}
    Dataset.from_dict({name: values for name, values in columns.items() if values is not None}).to_parquet(path)
    return path


def test_a_table_of_predictions_is_evaluated_without_a_network(tmp_path):
    evaluation = evaluate_predictions(write_predictions(tmp_path / "predictions.parquet"))
    [row] = evaluation.results["rows"]
    assert row["accuracy"] == pytest.approx(evaluation.scores.mean())
    assert {"roc", "confusion", "calibration", "score_against_subhalo_mass_msun"} == set(evaluation.figures)
    assert evaluation.figures["score_against_subhalo_mass_msun"].axes[0].get_ylabel() == "accuracy, cdm"
    assert evaluation.tables[0].title == "The worst ten" and len(evaluation.tables[0].rows) == 10


def test_calibrated_predictions_are_judged_as_the_network_said_them_and_as_they_are(tmp_path):
    plain, labels = write_predictions(tmp_path / "plain.parquet"), np.arange(60) % 3
    columns = Dataset.from_parquet(str(plain)).to_dict()
    said = np.stack([columns[f"probability_{name}"] for name in LABEL_NAMES], axis=1)
    calibrated = said ** (1 / 2.5) / (said ** (1 / 2.5)).sum(axis=1, keepdims=True)
    columns |= {f"probability_{name}": calibrated[:, index] for index, name in enumerate(LABEL_NAMES)}
    Dataset.from_dict(columns | {"temperature": [2.5] * 60}).to_parquet(tmp_path / "calibrated.parquet")
    [own], [row] = (
        evaluate_predictions(tmp_path / f"{name}.parquet").results["rows"] for name in ("plain", "calibrated")
    )
    assert {name: row[name] for name in ("ece", "brier", "auc_macro")} == pytest.approx(
        {name: own[name] for name in ("ece", "brier", "auc_macro")}
    )
    assert row["ece_calibrated"] == pytest.approx(expected_calibration_error(calibrated, labels))


def test_tables_of_predictions_stand_side_by_side(tmp_path):
    tables = [write_predictions(tmp_path / f"{name}.parquet") for name in ("first", "second")]
    page = write_report(tables, tmp_path / "report.html").read_text()
    assert "first minus second, on the same 60 images: accuracy +0 " in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability_cdm": None}, r"predictions\.parquet has no column probability_cdm; it has .*label"),
        ({"label": ["wdm"] * 60}, r"predictions\.parquet: label 'wdm' is none of no_sub, cdm, axion"),
        ({"probability_cdm": np.full(60, 2.0)}, "predictions must be probabilities that sum to one; 60 of 60"),
        (
            {"probability_cdm": np.full(60, 2.0), "temperature": np.full(60, 2.0)},
            "predictions must be probabilities that sum to one; 60 of 60",
        ),
        ({"temperature": np.arange(60.0)}, r"predictions\.parquet: temperature must be one positive number"),
    ],
)
def test_what_is_no_table_of_predictions_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(write_predictions(tmp_path / "predictions.parquet", **changes))


def test_probabilities_are_shown_as_they_are_and_at_the_temperature_of_the_checkpoint():
    labels = np.arange(90) % 3
    sure = np.where(labels[:, None] == np.arange(3), 0.98, 0.01)
    sure[:30] = np.roll(sure[:30], 1, axis=1)  # right of two in three, whatever it says
    evaluation = Evaluation("run", {"model": {"name": "LensMAE"}, "data": {"split": "test"}, "rows": []})
    describe_answers(evaluation, Dataset.from_dict({"label": labels}), sure, temperature=4.0)
    legend = evaluation.figures["calibration"].axes[0].get_legend().get_texts()
    # Of logits log 0.98 and log 0.01 at a temperature of four it says 0.611.
    assert [text.get_text() for text in legend] == ["as it is (ECE 0.313)", "temperature 4.00 (ECE 0.055)"]
    [row] = evaluation.results["rows"]
    assert row["ece_calibrated"] == pytest.approx(2 / 3 - 0.6114, abs=1e-4)
    assert row["intervals"]["ece_calibrated"][0] < 0.0553 < row["intervals"]["ece_calibrated"][1]
