import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

import lens_transformers
from lens_transformers.hub import read_results, write_model_card


ROWS = {
    "pretraining": [
        {"name": "LensMAE", "split": "test", "masked_mse_0.75": 8.123456789e-05, "masked_mse_0.9": 2.9e-3},
        {"name": "mean patch", "split": "test", "masked_mse_0.75": 1.6e-2, "masked_mse_0.9": 1.6e-2},
    ],
    "classification": [
        {"name": "LensMAE", "split": "test", "accuracy": 0.8813333333333333, "auc_macro": 0.94, "ece": None},
        {
            "name": "PCA | arcsinh pixels",
            "split": "test",
            "accuracy": 0.96,
            "auc_macro": 0.995,
            "ece": 0.02,
        },
    ],
    "super_resolution": [
        {"name": "LensMAE", "split": "test", "psnr": 42.274913, "mse": 1e-05, "num_images": 200},
        {"name": "bicubic", "split": "test", "psnr": 41.55, "mse": 7e-05, "num_images": 200},
    ],
}
TASKS = sorted(ROWS)


def make_run(folder, task="classification", **changes):
    folder.mkdir()
    results = {
        "task": task,
        "model": {"size": "tiny", "parameters": 1010435},
        "data": {"source": "/home/someone/data", "preset": "deeplense_model_2", "num_train": 12000, "num_test": 1500},
        "training": {"max_steps": 400, "train_runtime_s": 61.2, "seed": 3},
        "rows": ROWS[task],
        "versions": {"torch": "2.13.0"},
    }
    (folder / "results.json").write_text(json.dumps(results | changes))
    (folder / "config.json").write_text(json.dumps({"image_size": 64, "num_channels": 1}))
    return folder


@pytest.mark.parametrize(
    ("source", "name", "seed"),
    [("/home/someone/official", "official", None), ("simulate:lens_default?seed=5", "lens_default (simulated)", 5)],
)
def test_numbers_on_a_set_of_its_own_are_told_of_that_set(source, name, seed, tmp_path):
    data = {"source": "/home/someone/data", "preset": "deeplense_model_2", "seed": 3, "num_test": 96}
    run = make_run(tmp_path / "lens", data={**data, "test_source": source, "split": "all"})
    for result in ModelCard.load(write_model_card(run)).data.eval_results:
        assert (result.dataset_name, result.dataset_split, result.dataset_args.get("seed")) == (name, "all", seed)


def code_block(card):
    return re.search(r"```python\n(.*?)```", card, flags=re.DOTALL).group(1)


@pytest.mark.parametrize("task", TASKS)
def test_the_hub_reads_the_same_numbers_out_of_a_card(tmp_path, task):
    card = ModelCard.load(write_model_card(make_run(tmp_path / "lens", task)))
    own = ROWS[task][0]
    measured = {key: value for key, value in own.items() if isinstance(value, (int, float)) and key != "num_images"}
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == measured
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    assert card.data.model_name == "lens"


@pytest.mark.parametrize(
    ("task", "pipeline_tag", "metrics"),
    [
        ("pretraining", "image-feature-extraction", ["mse"]),
        ("classification", "image-classification", ["accuracy", "roc_auc"]),
        ("super_resolution", "image-to-image", ["psnr", "mse"]),
    ],
)
def test_metadata_says_how_the_checkpoint_is_used(tmp_path, task, pipeline_tag, metrics):
    data = ModelCard.load(write_model_card(make_run(tmp_path / "lens", task))).data
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert (data.pipeline_tag, data.metrics) == (pipeline_tag, metrics)
    assert data.base_model is None


@pytest.mark.parametrize("task", TASKS)
def test_the_code_of_a_card_runs_as_pasted(tmp_path, monkeypatch, capsys, task):
    model_class = {
        "pretraining": lens_transformers.LensMAEForPreTraining,
        "classification": lens_transformers.LensMAEForClassification,
        "super_resolution": lens_transformers.LensMAEForSuperResolution,
    }[task]
    folder = make_run(tmp_path / "lens", task)
    config = lens_transformers.LensMAEConfig.from_size(
        "tiny", id2label={0: "no_sub", 1: "cdm", 2: "axion"}, label2id={"no_sub": 0, "cdm": 1, "axion": 2}
    )
    model_class(config).save_pretrained(folder)
    lens_transformers.LensMAEImageProcessor().save_pretrained(folder)
    code = code_block(write_model_card(folder).read_text())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "card", "exec"), {})
    expected = {
        "pretraining": "torch.Size([1, 64, 128])",
        "classification": "axion",
        "super_resolution": "torch.Size([1, 1, 128, 128])",
    }
    assert expected[task] in capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS)
def test_the_hub_finds_the_metadata_valid(tmp_path, hub, task):
    card = ModelCard.load(write_model_card(make_run(tmp_path / "lens", task)))
    card.validate()
    card.data["license"] = ["not", "a", "string"]
    with pytest.raises(ValueError, match="must be a string"):
        card.validate()


def test_every_number_has_its_interval(tmp_path):
    own, baseline = ROWS["classification"]
    intervals = {"accuracy": [0.8644, 0.8972], "auc_macro": [float("nan"), 1.0], "ece": [0.01, 0.02]}
    card = write_model_card(make_run(tmp_path / "lens", rows=[own | {"intervals": intervals}, baseline])).read_text()
    assert "| accuracy | 0.8813<br>(0.8644 to 0.8972) | **0.9600** |" in card
    assert "| AUC macro | 0.9400 | **0.9950** |" in card
    assert "accuracy: 0.8813 (95% interval 0.8644 to 0.8972), worse than the best baseline" in card
    assert "In brackets are 95% intervals" in card and "Intervals are not measured" not in card
    card = write_model_card(make_run(tmp_path / "without")).read_text()
    assert "Intervals are not measured." in card and "In brackets" not in card


@pytest.mark.parametrize(
    "odd",
    [
        {"intervals": None},
        {"intervals": [0.1, 0.2]},
        {"intervals": {"accuracy": 0.5, "auc_macro": [0.1], "other": [0, 1]}},
        {"confusion_matrix": [[1, 2], [3, 4]], "curve": {"x": [1.0]}, "file": "a|b", "is_best": True},
    ],
)
def test_what_is_no_number_breaks_no_card(tmp_path, odd):
    plain = write_model_card(make_run(tmp_path / "plain"), "org/lens").read_text()
    rows = [row | odd for row in ROWS["classification"]]
    assert write_model_card(make_run(tmp_path / "odd", rows=rows), "org/lens").read_text() == plain


def test_calibration_is_that_of_the_results(tmp_path):
    card = write_model_card(make_run(tmp_path / "a")).read_text()
    assert "of confidence: not measured as the network" in card and "tested on: not measured." in card
    rows = [ROWS["classification"][0] | {"ece": 0.0312, "ece_calibrated": 0.0105}]
    card = write_model_card(make_run(tmp_path / "b", rows=rows, temperature=1.37)).read_text()
    assert "of confidence: 0.0312 as the network gives its probabilities, 0.0105 at" in card
    assert "tested on: 1.3700." in card


def test_a_data_set_on_the_hub_is_linked_and_a_local_folder_is_not(tmp_path):
    for source, linked in (("org/lenses", ["org/lenses"]), ("/home/someone/lenses", None), ("lenses", None)):
        folder = make_run(tmp_path / source.replace("/", "-"), data={"source": source})
        assert ModelCard.load(write_model_card(folder)).data.datasets == linked


def test_the_code_names_the_repository_it_is_pushed_to(tmp_path):
    card = write_model_card(make_run(tmp_path / "lens"), repo_id="org/lens-mae").read_text()
    assert 'checkpoint = "org/lens-mae"' in code_block(card)
    assert "# lens-mae\n" in card


def test_a_card_of_several_bands_feeds_several_bands(tmp_path):
    folder = make_run(tmp_path / "lens")
    (folder / "config.json").write_text(json.dumps({"image_size": [48, 64], "num_channels": 3}))
    code = code_block(write_model_card(folder).read_text())
    image_lines = code[code.index("y, x") : code.index("with torch")]
    names = {}
    exec(f"import numpy as np\n{image_lines}", names)
    assert names["image"].shape == (3, 48, 64)


def test_figures_of_the_run_stand_in_the_card_by_relative_names(tmp_path):
    folder = make_run(tmp_path / "lens")
    (folder / "figures").mkdir()
    for name in ("roc.png", "a_new_one.png", "notes.txt"):
        (folder / "figures" / name).touch()
    card = write_model_card(folder).read_text()
    assert "![a new one.](figures/a_new_one.png)\n\n*a new one.*" in card
    assert "![ROC curves, each class against the rest.](figures/roc.png)" in card
    assert card.count("](figures/") == 2


def test_another_architecture_is_not_passed_off_as_ours(tmp_path):
    model = {"architecture": "resnet", "parameters": 900000}
    card = write_model_card(make_run(tmp_path / "lens", model=model))
    assert "lens_mae" not in ModelCard.load(card).data.tags
    assert "logits.softmax" in code_block(card.read_text())


def test_a_missing_number_prints_as_not_measured(tmp_path):
    folder = make_run(tmp_path / "lens", training={"max_steps": 400})
    card = write_model_card(folder).read_text()
    assert [line for line in card.splitlines() if line.startswith("| ECE")] == ["| ECE | not measured | 0.0200 |"]
    assert "| training time | not measured |" in card


def test_the_seed_of_the_training_is_not_taken_for_that_of_the_data(tmp_path):
    data = {"preset": "lens_default", "seed": 7, "split": "test"}
    card = write_model_card(make_run(tmp_path / "lens", data=data, training={"seed": 42})).read_text()
    assert "| seed | 7 |" in card and "| test split | test |" in card
    assert "One training run with one seed (42)" in card


def test_images_that_are_simulated_by_their_name_are_known_by_preset_and_seed(tmp_path):
    data = {"source": "simulate:deeplense_model_2?num_train=36000&seed=7", "split": "test"}
    card = write_model_card(make_run(tmp_path / "lens", data=data))
    assert f"| source | {data['source']} |" in card.read_text() and "| seed | 7 |" in card.read_text()
    assert "has a shortcut" in card.read_text()
    assert {result.dataset_type for result in ModelCard.load(card).data.eval_results} == {"deeplense_model_2"}


def test_what_is_known_of_a_preset_is_not_said_of_one_that_was_changed(tmp_path):
    data = {"source": "lenses", "preset": "deeplense_model_2", "seed": 7, "preset_is_changed": False}
    cards = {}
    for is_changed in (False, True):
        run = make_run(tmp_path / str(is_changed), data=data | {"preset_is_changed": is_changed})
        cards[is_changed] = write_model_card(run).read_text()
    assert "has a shortcut" in cards[False] and "has a shortcut" not in cards[True]
    assert "| source | deeplense_model_2, changed (simulated) |" in cards[True]


def test_the_flux_that_a_network_knows_is_that_of_its_training_images(tmp_path):
    run = make_run(tmp_path / "run")
    assert "scale images of yours" not in write_model_card(run).read_text()
    (run / "preprocessor_config.json").write_text(json.dumps({"white_flux": 0.6712}))
    assert "has a flux of about 0.67 (the median)" in write_model_card(run).read_text()


def test_the_range_of_brightness_is_that_of_the_numbers(tmp_path):
    data = {"source": "simulate:sr_deeplense", "data_range": 2.0}
    card = write_model_card(make_run(tmp_path / "two", "super_resolution", data=data)).read_text()
    assert "with `data_range=2`," in card and "PSNR has a ceiling" not in card
    card = write_model_card(
        make_run(tmp_path / "one", "super_resolution", data=data | {"data_range": 1.0})
    ).read_text()
    assert "with `data_range=1`," in card and "PSNR has a ceiling" in card


def test_the_same_network_over_the_symmetries_is_no_rival_of_itself(tmp_path):
    ensemble = {"name": "LensMAE, mean over the eight symmetries", "split": "test", "psnr": 43.0}
    own, bicubic = ROWS["super_resolution"]
    card = write_model_card(make_run(tmp_path / "lens", "super_resolution", rows=[own, ensemble, bicubic])).read_text()
    assert "PSNR: 42.27 dB, better than the best baseline: bicubic, 41.55 dB." in card


def test_further_baselines_stand_in_the_card_and_the_best_of_all_is_the_rival(tmp_path):
    own, pca = (
        row | {"num_train": 12000, "intervals": {"accuracy": [row["accuracy"] - 0.01, row["accuracy"] + 0.01]}}
        for row in ROWS["classification"]
    )
    rows = [own, pca, {"name": "ResNet", "split": "test", "accuracy": 0.9783}, {"name": "EDSR", "split": "test"}]
    card = write_model_card(make_run(tmp_path / "lens", rows=rows)).read_text()
    assert "worse than the best baseline: ResNet, 0.9783." in card
    [line] = [line for line in card.splitlines() if line.startswith("| accuracy |")]
    assert line.endswith("| 0.9600<br>(0.9500 to 0.9700) | **0.9783** | not measured |")
    assert "| training images | 12,000 | 12,000 | not measured | not measured |" in card
    assert "PCA \\| arcsinh pixels | ResNet | EDSR |" in card


@pytest.mark.parametrize("task", TASKS)
def test_paragraphs_are_told_apart_by_one_empty_line(tmp_path, task):
    card = write_model_card(make_run(tmp_path / "lens", task)).read_text()
    assert "\n\n\n" not in card.replace(code_block(card), "")
    assert "\n\nOn held-out images" in card


def test_a_run_without_any_number_has_no_model_index(tmp_path):
    folder = make_run(tmp_path / "lens", rows=[{"name": "LensMAE", "accuracy": float("nan")}])
    card = ModelCard.load(write_model_card(folder))
    assert card.data.eval_results is None
    assert "| not measured |" in card.text


def test_a_checkpoint_below_its_baseline_is_said_to_be(tmp_path):
    card = write_model_card(make_run(tmp_path / "lens")).read_text()
    assert "accuracy: 0.8813, worse than the best baseline: PCA | arcsinh pixels, 0.9600." in card
    assert "|  | **LensMAE** (this checkpoint) | PCA \\| arcsinh pixels |" in card
    assert "| accuracy | 0.8813 | **0.9600** |" in card and "| AUC macro | 0.9400 | **0.9950** |" in card


def test_a_lower_error_is_the_better_one(tmp_path):
    card = write_model_card(make_run(tmp_path / "lens", "pretraining")).read_text()
    assert "masked MSE 0.75: 8.12e-5, better than the best baseline: mean patch, 1.60e-2." in card


@pytest.mark.parametrize(
    ("preset", "fact"),
    [
        ("deeplense_model_1", "Poisson noise twice"),
        ("deeplense_model_2", "has a shortcut"),
        ("deeplense_model_3", "has a shortcut"),
        ("deeplense_model_4", "another main lens and no shear"),
        ("deeplense_common", "do not carry over"),
        ("lens_default", "cannot be read off"),
        (None, "is told by the columns"),
    ],
)
def test_limits_name_what_is_known_of_the_data(tmp_path, preset, fact):
    card = write_model_card(make_run(tmp_path / "lens", data={"source": "lenses", "preset": preset})).read_text()
    assert fact in card


def test_no_path_of_the_machine_is_published(tmp_path):
    folder = make_run(
        tmp_path / "lens",
        data={"source": "/home/someone/lenses"},
        model={"base_model": str(tmp_path / "pretrained")},
        training={"recipe": "/home/someone/recipe.yaml"},
    )
    card = write_model_card(folder).read_text()
    assert "/home/someone" not in card and str(tmp_path) not in card
    assert "| source | lenses |" in card
    assert "weights of `pretrained`" in card


def test_a_base_model_on_the_hub_is_linked_and_a_local_folder_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "pretrain").mkdir(parents=True)
    for name, linked in (("org/lens-mae", "org/lens-mae"), ("runs/pretrain", None)):
        folder = make_run(tmp_path / name.replace("/", "-"), model={"base_model": name})
        assert ModelCard.load(write_model_card(folder)).data.base_model == linked


def test_writing_a_card_twice_changes_nothing(tmp_path):
    folder = make_run(tmp_path / "lens")
    first = write_model_card(folder).read_bytes()
    assert write_model_card(folder).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "results.json"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_what_a_person_wrote_is_kept(tmp_path, line_break):
    folder = make_run(tmp_path / "lens")
    readme = write_model_card(folder)
    card = ModelCard.load(readme)
    card.data.license = "mit"
    card.data.tags = ["my-tag"]
    card.data["datasets"] = ["org/my-lenses"]
    text = f"{card}\n## Thanks\n\nTo my group.\n"
    text = text.replace("<!-- lens_transformers:begin", "By hand, above.\n\n<!-- lens_transformers:begin")
    readme.write_text(text.replace("\n", line_break), newline="")

    rows = [ROWS["classification"][0] | {"accuracy": 0.5}]
    (folder / "results.json").write_text(json.dumps(read_results(folder) | {"rows": rows}))
    raw = write_model_card(folder).read_bytes().decode()
    renewed = ModelCard.load(readme)
    assert f"{line_break}By hand, above.{line_break}{line_break}<!--" in raw
    assert raw.endswith(f"## Thanks{line_break}{line_break}To my group.{line_break}")
    assert ("\r\n" in raw) == (line_break == "\r\n") and raw.count("\n") == raw.count(line_break)
    assert (renewed.data.license, renewed.data.tags) == ("mit", ["my-tag"])
    assert renewed.data["datasets"] == ["org/my-lenses"]
    assert renewed.data.eval_results[0].metric_value == 0.5
    assert "0.8813" not in raw


def test_a_run_from_scratch_has_no_base_model_whatever_its_card_said(tmp_path):
    model = {"parameters": 5, "base_model": "org/vit"}
    folder = make_run(tmp_path / "lens", model=model)
    assert ModelCard.load(write_model_card(folder)).data.base_model == "org/vit"
    (folder / "results.json").write_text(json.dumps(read_results(folder) | {"model": {**model, "base_model": None}}))
    assert ModelCard.load(write_model_card(folder)).data.base_model is None
    # A local folder, which a person may have given its name on the Hub.
    card = ModelCard.load(folder / "README.md")
    card.data.base_model = "org/mine"
    card.save(folder / "README.md")
    local = {"model": {**model, "base_model": str(tmp_path)}}
    (folder / "results.json").write_text(json.dumps(read_results(folder) | local))
    assert ModelCard.load(write_model_card(folder)).data.base_model == "org/mine"


def test_the_code_gives_a_network_of_colours_the_bands_that_its_image_processor_takes(tmp_path):
    folder = make_run(tmp_path / "lens", model={"parameters": 5, "architecture": "vit"})
    (folder / "config.json").write_text(json.dumps({"image_size": 64, "num_channels": 3}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"num_bands": 1, "do_convert_rgb": True}))
    code = code_block(write_model_card(folder).read_text())
    assert "(height, width)" in code and "np.stack" not in code


def test_a_card_that_is_all_a_persons_own_stays_below_the_generated_part(tmp_path):
    folder = make_run(tmp_path / "lens")
    (folder / "README.md").write_text("# Mine\n\nWords.\n")
    card = write_model_card(folder).read_text()
    assert card.startswith("---\n")
    assert card.endswith("<!-- lens_transformers:end -->\n\n# Mine\n\nWords.\n")
    assert write_model_card(folder).read_text() == card


def test_broken_markers_are_refused_and_the_card_is_left_alone(tmp_path):
    folder = make_run(tmp_path / "lens")
    readme = write_model_card(folder)
    broken = readme.read_text().replace("<!-- lens_transformers:end -->", "")
    readme.write_text(broken)
    with pytest.raises(ValueError, match=r"README\.md: the comments that mark the generated part"):
        write_model_card(folder)
    assert readme.read_text() == broken


def test_metadata_that_cannot_be_read_is_refused(tmp_path):
    folder = make_run(tmp_path / "lens")
    (folder / "README.md").write_text("---\nlicense: [mit\n---\n# Mine\n")
    with pytest.raises(ValueError, match=r"README\.md: the metadata between the two --- lines"):
        write_model_card(folder)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json does not exist; it is written at the end of a train"):
        write_model_card(tmp_path)
    folder = make_run(tmp_path / "lens")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist"):
        write_model_card(folder)
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", r"task is \[\]; it must be one of pretraining, classification, super_resolution"),
        ('{"task": "segmentation"}', "task is 'segmentation'"),
        ('{"task": "classification", "rows": []}', "rows must be a list that starts with the checkpoint"),
        ('{"task": "classification", "rows": [{"accuracy": 1.0}]}', r"rows\[0\] must be an object with a name"),
        ('{"task": "classification", "rows": [{"name": "x"}], "data": 3}', "data must be an object, got 3"),
    ],
)
def test_results_that_are_wrong_are_refused_in_words(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_the_front_matter_is_plain_yaml(tmp_path):
    text = write_model_card(make_run(tmp_path / "lens")).read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "deeplense_model_2 (simulated)"


def test_what_was_measured_on_other_images_stands_in_the_limits_beside_the_best_baseline(tmp_path):
    own = {"name": "lens", "psnr": 34.1, "intervals": {"psnr": [33.3, 34.9]}}
    pairs = {"images": "10 pairs", "metric": "psnr", "rows": [own, {"name": "Bilinear", "psnr": 41.85}]}
    card = write_model_card(make_run(tmp_path / "lens", "super_resolution", elsewhere=[pairs])).read_text()
    limits = card[card.index("## Limits") : card.index("## Compute")]
    assert "| 10 pairs | PSNR [dB] | 34.10 (33.30 to 34.90) | **41.85**, Bilinear |" in limits
    assert "real telescopes" not in card
    card = write_model_card(make_run(tmp_path / "other", "super_resolution")).read_text()
    assert "Performance on images of real telescopes is not measured" in card
