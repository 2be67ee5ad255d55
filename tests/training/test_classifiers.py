"""run_classification.py with networks of transformers, its freeze policies, losses, and what it leaves."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BertConfig,
    ConvNextConfig,
    Dinov2Config,
    PoolFormerConfig,
    ResNetConfig,
    SiglipConfig,
    SwinConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

from lens_transformers import LensMAEConfig, LensMAEForClassification, pipeline
from lens_transformers.data import LABEL_NAMES, lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks
from lens_transformers.evaluation import calibration
from lens_transformers.evaluation.symmetries import turn
from lens_transformers.hub import check


sys.path.insert(0, str(Path(__file__).parents[2] / "training"))  # as Python does for a script that is launched

import classifiers  # noqa: E402
import command_line  # noqa: E402
import run_classification  # noqa: E402
import splits  # noqa: E402
from layer_decay import learning_rate_scales  # noqa: E402


LAYERS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
STAGES = {"hidden_sizes": [8, 8, 8], "depths": [1, 1, 1]}
SMALL = {"image_size": 32, "num_labels": 3}
TINY = {
    "vit": ViTConfig(**LAYERS, **SMALL),
    "dinov2": Dinov2Config(**LAYERS, **SMALL, patch_size=8),
    "convnext": ConvNextConfig(**STAGES, **SMALL, num_stages=3),
    "resnet": ResNetConfig(**STAGES, num_labels=3, embedding_size=8, layer_type="basic"),
    "swin": SwinConfig(**SMALL, embed_dim=8, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=2),
}
MEAN, STD = [0.1, 0.5, 0.6], [0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def lenses(tmp_path_factory):
    """Rings of 24 by 24 pixels whose radius tells the class, with a parameter, in the house's schema."""
    folder = tmp_path_factory.mktemp("lenses")
    (folder / "data").mkdir()
    for split, num_rows in (("train", 12), ("test", 9)):
        y, x = np.mgrid[-1:1:24j, -1:1:24j]
        labels = np.arange(num_rows) % 3
        radius = 0.3 + 0.15 * labels + 0.02 * np.random.default_rng(num_rows).standard_normal(num_rows)
        images = np.exp(-(((np.hypot(x, y) - radius[:, None, None]) / 0.1) ** 2)).astype(np.float32)[:, None]
        features = lens_features((1, 24, 24), parameters={"einstein_radius_arcsec": "float32"})
        rows = {"image": list(images), "label": labels, "einstein_radius_arcsec": radius}
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"data/{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def launch(lenses, tmp_path, monkeypatch):
    def launch(*flags, steps=2, dataset=lenses):
        arguments = ["--dataset", dataset, "--output_dir", tmp_path / "run", "--max_steps", steps]
        arguments += ["--learning_rate", 1e-2, "--per_device_train_batch_size", 6, "--baselines", False]
        monkeypatch.setattr(sys, "argv", [run_classification.__file__, *map(str, [*arguments, *flags])])
        run_classification.main()
        return tmp_path / "run"

    return launch


@pytest.fixture
def checkpoint(tmp_path):
    """A pretrained classifier of five classes of pictures, with its own size, mean and deviation."""

    def save(architecture):
        config = copy.deepcopy(TINY[architecture])
        config.num_labels = 5
        folder = tmp_path / architecture
        AutoModelForImageClassification.from_config(config).save_pretrained(folder)
        ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=MEAN, image_std=STD).save_pretrained(folder)
        return folder

    return save


def read_rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def read_images(folder, split="test"):
    return Dataset.from_parquet(str(folder / f"data/{split}-00000-of-00001.parquet")).with_format("numpy")["image"][:]


@pytest.mark.parametrize("architecture", TINY)
def test_a_classifier_of_pictures_starts_from_its_weights_with_a_head_for_lenses(checkpoint, lenses, architecture):
    folder = checkpoint(architecture)
    train = load_lensing_dataset(lenses)
    model, processor = classifiers.make_classifier(
        classifiers.ClassifierArguments(model_name_or_path=str(folder)), train
    )
    assert model.config.id2label == dict(enumerate(LABEL_NAMES))
    before = AutoModelForImageClassification.from_pretrained(folder)
    for name, value in before.base_model.named_parameters():
        assert torch.equal(model.base_model.get_parameter(name), value), name
    # Lenses, in whatever flux, come as the pictures that the network knows.
    pixel_values = processor(7 * train[0]["image"], return_tensors="pt").pixel_values
    assert pixel_values.shape == (1, 3, 32, 32)
    pictures = pixel_values[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(pictures[0], pictures[1])
    assert pictures.min().item() == pytest.approx(0, abs=1e-6) and pictures.max().item() == pytest.approx(1)
    assert model(pixel_values).logits.shape == (1, len(LABEL_NAMES))


@pytest.mark.parametrize("architecture", TINY)
def test_every_architecture_takes_a_step_and_leaves_its_curves(launch, checkpoint, architecture):
    run = launch("--model_name_or_path", checkpoint(architecture), steps=1)
    assert 0 <= read_rows(run)[0]["accuracy"] <= 1
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(logged[0]["loss"]) and logged[0]["step"] == 1
    assert (run / "figures/training_curves.png").stat().st_size > 1000


ELSEWHERE = """
import sys

sys.modules["lens_transformers"] = None  # importing it fails, as where it is not installed

import numpy as np
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained(sys.argv[1])
processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
image = np.random.default_rng(0).random((24, 24), dtype=np.float32)
print(model(**processor(image, return_tensors="pt")).logits[0].tolist())
"""


def test_a_run_leaves_a_card_and_what_loads_where_only_transformers_is_installed(launch, checkpoint, tmp_path):
    run = launch("--model_name_or_path", checkpoint("resnet"))
    assert read_rows(run)[0]["name"] == "ResNet"
    card = (run / "README.md").read_text()
    assert "| network | resnet |" in card and "masked-autoencoder encoder" not in card
    assert "config.temperature" not in card and "divide by the temperature" not in card
    assert not check(run).problems
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(run)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(0).random((24, 24), dtype=np.float32)
    inputs = AutoImageProcessor.from_pretrained(run)(image, return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(run)(**inputs).logits[0].tolist()
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(logits, rel=1e-4)
    probabilities = pipeline("image-classification", run, device="cpu")(image).probabilities[0]
    assert probabilities == pytest.approx(np.exp(logits) / np.exp(logits).sum(), rel=1e-4)
    with pytest.raises(ValueError, match="has a ViTImageProcessor.*, which makes pictures of flux"):
        pipeline("image-classification", checkpoint("resnet"))


def test_a_network_from_scratch_takes_the_images_as_they_are_and_is_calibrated_in_its_results_alone(launch):
    overrides = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=16,patch_size=8"
    run = launch(
        "--model_type", "vit", "--config_overrides", overrides, "--validation_fraction", 0.5, "--split_seed", 0
    )
    config = AutoModelForImageClassification.from_pretrained(run).config
    assert (config.num_channels, config.image_size, config.hidden_size) == (1, 24, 16)
    processor = AutoImageProcessor.from_pretrained(run)
    assert processor.normalization == "arcsinh" and not processor.do_resize
    assert "temperature" in json.loads((run / "results.json").read_text())
    assert "temperature" not in json.loads((run / "config.json").read_text())


def test_a_network_from_scratch_by_a_configuration_gets_images_of_its_size(launch, lenses, tmp_path):
    TINY["vit"].save_pretrained(tmp_path / "config")
    run = launch("--config_name", tmp_path / "config")
    pixel_values = AutoImageProcessor.from_pretrained(run)(list(read_images(lenses, "train")), return_tensors="pt")
    assert pixel_values.pixel_values.shape[1:] == (3, 32, 32)
    # Measured on the training images.
    assert abs(pixel_values.pixel_values.mean()) < 1e-4


def test_a_model_that_classifies_no_images_is_refused(launch, tmp_path):
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="transformers has no 'bert' image classifier"):
        launch("--config_name", tmp_path / "bert")


def test_a_change_that_would_lose_pretrained_weights_is_refused(launch, checkpoint):
    flags = ["--model_name_or_path", checkpoint("vit"), "--config_overrides"]
    for change in ("image_size=64", "num_hidden_layers=2", "num_hidden_layers=4"):
        with pytest.raises(ValueError, match=f"weights would be lost or drawn at random, such as vit.*{change}"):
            launch(*flags, change)
    launch(*flags, "layer_norm_eps=1e-6", steps=1)


def test_a_network_of_pictures_and_text_is_refused(launch):
    with pytest.raises(ValueError, match="the configuration of 'clip' has no num_channels"):
        launch("--model_type", "clip")


LENS_MAE = LensMAEConfig.from_size("tiny", **LAYERS, image_size=24, num_labels=3)


@pytest.mark.parametrize("architecture", [*TINY, "lens_mae"])
@pytest.mark.parametrize("policy", ["none", "patch_embeddings", "encoder", "first_n:2"])
def test_what_is_frozen_stays_bit_equal_and_the_rest_learns(architecture, policy):
    config = LENS_MAE if architecture == "lens_mae" else TINY[architecture]
    torch.manual_seed(0)
    model = AutoModelForImageClassification.from_config(config)
    classifiers.freeze(model, policy)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    size = 24 if architecture == "lens_mae" else 32
    for _ in range(2):
        model.train()
        images = torch.randn(4, config.num_channels, size, size)
        model(images, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    prefix = f"{model.base_model_prefix}."
    of_head = {name for name in before if not name.startswith(prefix)}
    of_embeddings = {name for name in before if name.startswith((f"{prefix}embeddings.", f"{prefix}embedder."))}
    of_layers = {name for name in before if re.match(prefix + r"(encoder\.)?(layers?|stages)\.[01]\.", name)}
    assert of_head & changed
    if policy == "none":
        assert of_embeddings & changed and of_layers & changed
    elif policy == "patch_embeddings":
        assert not {name for name in changed if "patch_embeddings" in name or "embedder" in name}
        assert of_layers & changed
    elif policy == "encoder":
        assert changed <= of_head
    else:
        assert not changed & (of_embeddings | of_layers)
        assert changed - of_head


@pytest.mark.parametrize(
    ("policy", "message"),
    [("half", "must be none"), ("first_n", "must be none"), ("first_n:9", "has 3 layers"), ("first_n:0", "has 3")],
)
def test_a_part_that_cannot_be_frozen_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        classifiers.freeze(AutoModelForImageClassification.from_config(TINY["vit"]), policy)


@pytest.mark.parametrize("architecture", ["poolformer", "siglip"])
def test_only_what_needs_the_parts_of_an_encoder_is_refused_where_there_are_none(architecture):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = {
        "poolformer": PoolFormerConfig(hidden_sizes=[8] * 4, depths=[1] * 4, num_labels=3),
        "siglip": SiglipConfig(vision_config={**sizes, "image_size": 32}, text_config=sizes, num_labels=3),
    }[architecture]
    model = AutoModelForImageClassification.from_config(config)
    classifiers.freeze(model, "none")
    with pytest.raises(ValueError, match=f"{type(model).__name__} does not have embeddings and then a list of layers"):
        classifiers.freeze(model, "first_n:1")
    with pytest.raises(ValueError, match=f"{type(model).__name__}.*--layer_decay"):
        learning_rate_scales(model, 0.75)
    if architecture == "poolformer":
        classifiers.freeze(model, "encoder")
        assert all(parameter.requires_grad for parameter in model.classifier.parameters())
    else:
        with pytest.raises(ValueError, match="SiglipForImageClassification has no encoder apart from its head"):
            classifiers.freeze(model, "encoder")


def test_of_several_classes_of_an_architecture_the_first_is_taken(lenses):
    overrides = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=16,patch_size=8"
    arguments = classifiers.ClassifierArguments(model_type="deit", config_overrides=overrides)
    model, _ = classifiers.make_classifier(arguments, load_lensing_dataset(lenses))
    assert type(model).__name__ == "DeiTForImageClassification"


def test_a_run_leaves_the_frozen_encoder_as_it_was_and_free_to_learn_again(launch, tmp_path):
    start = LensMAEForClassification(LENS_MAE)
    start.freeze_patch_embeddings()
    start.config.temperature = 3.0
    start.save_pretrained(tmp_path / "start")
    classifiers.LensMAEImageProcessor(num_bands=1).save_pretrained(tmp_path / "start")
    run = launch("--model_name_or_path", tmp_path / "start", "--freeze", "encoder")
    before, after = (LensMAEForClassification.from_pretrained(folder) for folder in (tmp_path / "start", run))
    for name, value in before.base_model.state_dict().items():
        assert torch.equal(after.base_model.state_dict()[name], value), name
    assert not torch.equal(before.classifier.weight, after.classifier.weight)
    # Neither what was frozen nor the temperature is handed down.
    assert all(parameter.requires_grad for parameter in after.parameters())
    assert after.config.temperature == 1.0


def test_mixup_blends_images_and_labels_by_the_same_share():
    labels = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 2])]
    images = labels.argmax(dim=1).float()[:, None, None, None].expand(-1, 1, 4, 4)
    torch.manual_seed(1)
    blended, soft = run_classification.mixup(images, labels, alpha=1.0)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(6))
    assert ((soft > 0) & (soft < 1)).any()
    torch.testing.assert_close(blended[:, 0, 0, 0], soft @ torch.arange(3.0))


@pytest.fixture
def make_trainer(tmp_path):
    def make(class_weights=None, **settings):
        return run_classification.ClassificationTrainer(
            model=LensMAEForClassification(LENS_MAE),
            args=run_classification.ClassificationTrainingArguments(output_dir=str(tmp_path), **settings),
            class_weights=class_weights,
        )

    return make


def test_smoothing_and_weights_enter_the_loss_and_mixup_only_in_training(make_trainer):
    batch = {"pixel_values": torch.randn(6, 1, 24, 24), "labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    plain = make_trainer()
    model = plain.model.eval()
    torch.nn.init.normal_(model.classifier.weight)
    logits, labels = model(batch["pixel_values"]).logits, batch["labels"]
    torch.testing.assert_close(plain.compute_loss(model, batch), model(**batch).loss)
    log_probabilities = logits.log_softmax(dim=1)
    smoothed = -(0.9 * log_probabilities[torch.arange(6), labels] + 0.1 * log_probabilities.mean(dim=1)).mean()
    trainer = make_trainer(label_smoothing_factor=0.1)
    torch.testing.assert_close(trainer.compute_loss(model, batch), smoothed)
    weights = torch.tensor([1.0, 2.0, 4.0])
    weighted = -(weights[labels] * log_probabilities[torch.arange(6), labels]).sum() / weights[labels].sum()
    torch.testing.assert_close(make_trainer(class_weights=weights).compute_loss(model, batch), weighted)
    trainer = make_trainer(mixup_alpha=1.0)
    torch.testing.assert_close(trainer.compute_loss(model, batch), model(**batch).loss)
    losses = [trainer.compute_loss(model.train(), batch).item() for _ in range(2)]
    assert losses[0] != losses[1]


def test_accumulated_batches_are_averaged_whatever_the_network_takes(make_trainer):
    trainer = make_trainer(gradient_accumulation_steps=2)
    assert trainer.model_accepts_loss_kwargs is False
    stock = run_classification.ClassificationTrainer(
        model=AutoModelForImageClassification.from_config(TINY["vit"]), args=trainer.args, class_weights=None
    )
    assert stock.model_accepts_loss_kwargs is False


def test_balanced_weights_let_every_class_count_alike():
    train = Dataset.from_dict({"label": [0, 0, 0, 0, 1, 1, 2, 2]}).with_format("numpy")
    weights = run_classification.weigh_classes(["balanced"], train)
    torch.testing.assert_close(weights * torch.tensor([4.0, 2.0, 2.0]), torch.full((3,), 8 / 3))
    assert run_classification.weigh_classes(["1", "2", "0.5"], train).tolist() == [1.0, 2.0, 0.5]
    with pytest.raises(ValueError, match="a class has no training images"):
        run_classification.weigh_classes(["balanced"], train.select(range(6)))
    for wrong in (["1", "2"], ["1", "2", "x"], ["1", "2", "-1"]):
        with pytest.raises(ValueError, match="one positive number for each of no_sub cdm axion"):
            run_classification.weigh_classes(wrong, train)


def test_all_options_of_training_go_together(launch):
    options = ["--mixup_alpha", 0.4, "--label_smoothing_factor", 0.1, "--class_weights", "balanced"]
    run = launch(*options, "--config_overrides", "num_hidden_layers=1", "--eval_strategy", "steps", "--eval_steps", 1)
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert all(np.isfinite(entry["eval_loss"]) for entry in history if "eval_loss" in entry)


def test_test_time_augmentation_stands_beside_the_single_pass_and_does_not_depend_on_the_way_up(
    launch, lenses, tmp_path
):
    flags = ["--config_overrides", "num_hidden_layers=1", "--test_time_augmentation", True]
    rows = read_rows(launch(*flags))
    assert [row["name"] for row in rows] == ["LensMAE", "LensMAE, mean over the eight symmetries"]
    # The same weights on test images that are all turned another way.
    turned = tmp_path / "turned"
    (turned / "data").mkdir(parents=True)
    for split in ("train", "test"):
        name = f"data/{split}-00000-of-00001.parquet"
        dataset = Dataset.from_parquet(str(lenses / name)).with_format("numpy")
        if split == "test":
            images = torch.from_numpy(dataset["image"][:])
            rows_of = {key: dataset[key][:] for key in dataset.features}
            rows_of["image"] = list(turn(images, 5).numpy())
            dataset = Dataset.from_dict(rows_of, features=dataset.features)
        dataset.to_parquet(turned / name)
    turned_rows = read_rows(launch(*flags, "--overwrite_output_dir", True, dataset=turned))
    assert turned_rows[1]["auc_macro"] == pytest.approx(rows[1]["auc_macro"])


def test_predictions_have_probabilities_and_what_is_known_of_each_image(launch, lenses):
    run = launch("--config_overrides", "num_hidden_layers=1")
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    probabilities = [f"probability_{name}" for name in LABEL_NAMES]
    assert list(table) == ["index", "label", *probabilities, "temperature", "einstein_radius_arcsec"]
    assert table["index"] == list(range(9)) and table["label"] == [0, 1, 2] * 3
    np.testing.assert_allclose(sum(np.array(table[name]) for name in probabilities), 1, atol=1e-5)
    right = np.argmax([table[name] for name in probabilities], axis=0) == table["label"]
    assert right.mean() == pytest.approx(read_rows(run)[0]["accuracy"])
    assert not list(run.glob(".predictions*"))
    # There are no validation images, so nothing is calibrated.
    results = json.loads((run / "results.json").read_text())
    assert "temperature" not in results and "ece_calibrated" not in results["rows"][0]


def test_predictions_name_the_files_of_images_that_have_them(launch, lenses, tmp_path):
    for name in ("no_sub", "cdm", "axion"):
        (tmp_path / "official" / name).mkdir(parents=True)
        np.save(tmp_path / "official" / name / "7.npy", np.random.default_rng(len(name)).random((24, 24)))
    run = launch("--config_overrides", "num_hidden_layers=1", "--test_dataset", tmp_path / "official")
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    assert [Path(file).parent.name for file in table["file"]] == [LABEL_NAMES[label] for label in table["label"]]


def test_columns_of_the_data_do_not_take_the_place_of_predictions(tmp_path):
    parameters = {"index": "int64", "file": "string", "temperature": "float64", "mass": "float64"}
    rows = {"image": np.ones((2, 1, 8, 8), np.float32), "label": np.array([0, 1]), "index": np.array([70, 71])}
    rows |= {"file": np.array(["x", "y"]), "temperature": np.array([9.0, 9.0]), "mass": np.array([1.0, 2.0])}
    test = dataset_from_chunks([rows], lens_features((1, 8, 8), label=True, parameters=parameters))
    probabilities, path = np.full((2, 3), 1 / 3), tmp_path / "predictions.parquet"
    run_classification.write_predictions(path, test, ["a.npy", "b.npy"], np.array([0, 1]), probabilities, 1.5)
    table = pq.read_table(path).to_pydict()
    assert table["index"] == [0, 1] and table["file"] == ["a.npy", "b.npy"]
    assert table["temperature"] == [1.5, 1.5] and table["mass"] == [1.0, 2.0]


def test_baselines_are_fitted_to_as_many_images_as_memory_is_kept_for(launch, monkeypatch):
    fitted_to = []
    monkeypatch.setattr(run_classification, "MAX_BASELINE_IMAGES", 7)
    monkeypatch.setattr(
        run_classification,
        "pca_logistic_rows",
        lambda images, labels, *others, **settings: fitted_to.append((len(images), len(labels))) or [],
    )
    launch("--config_overrides", "num_hidden_layers=1", "--baselines", True)
    assert fitted_to == [(7, 7)]


@pytest.fixture(scope="module")
def lenses_with_validation(lenses, tmp_path_factory):
    """The same with a validation split, whose first images are those of the test split."""
    folder = shutil.copytree(lenses, tmp_path_factory.mktemp("with_validation") / "lenses")
    parts = [Dataset.from_parquet(str(folder / f"data/{split}-00000-of-00001.parquet")) for split in ("test", "train")]
    concatenate_datasets(parts).to_parquet(folder / "data/validation-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("held_out", [True, False])
def test_a_temperature_is_fitted_to_images_that_are_neither_trained_nor_tested_on(
    launch, lenses, lenses_with_validation, monkeypatch, held_out
):
    fitted_to = []

    def fit_temperature(logits, labels):
        fitted_to.append(len(labels))
        return calibration.fit_temperature(logits, labels)

    monkeypatch.setattr(run_classification, "fit_temperature", fit_temperature)
    dataset, flags = (
        (lenses, ["--validation_fraction", 0.5, "--split_seed", 0]) if held_out else (lenses_with_validation, [])
    )
    run = launch("--config_overrides", "num_hidden_layers=1", *flags, dataset=dataset)
    results = json.loads((run / "results.json").read_text())
    own = results["rows"][0]
    assert fitted_to == [12 - own["num_train"] if held_out else 12]
    assert results["data"]["num_train"] == own["num_train"]
    temperature = AutoModelForImageClassification.from_pretrained(run).config.temperature
    assert results["temperature"] == temperature != 1
    # What the table has are calibrated probabilities.
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    probabilities = np.stack([table[f"probability_{name}"] for name in LABEL_NAMES], axis=1)
    error = calibration.expected_calibration_error(probabilities, np.array(table["label"]))
    assert own["ece_calibrated"] == pytest.approx(error, abs=1e-6)


def test_validation_images_that_are_all_tested_on_fit_nothing(lenses_with_validation):
    arguments = command_line.DataArguments(dataset=str(lenses_with_validation))
    validation = load_lensing_dataset(lenses_with_validation, "validation")
    assert splits.load_validation(arguments, "classification", validation) is None
