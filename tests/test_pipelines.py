import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from datasets import Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import AutoImageProcessor, ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

import lens_transformers
from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
    pipeline,
)
from lens_transformers.data import lens_features


NAMES = {0: "no_sub", 1: "cdm", 2: "axion"}
IMAGES = np.random.default_rng(0).random((5, 1, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = LensMAEConfig.from_size(
        "tiny",
        image_size=32,
        num_hidden_layers=1,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
    )
    model = LensMAEForClassification(config)
    # Untrained, it would tell no image from another; with larger weights all would be one class for certain.
    torch.nn.init.normal_(model.classifier.weight, std=0.2)
    model.save_pretrained(folder)
    LensMAEImageProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classify(checkpoint):
    return pipeline("classification", checkpoint, device="cpu")


def test_probabilities_are_those_of_the_network(checkpoint, classify):
    model = LensMAEForClassification.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        logits = model(LensMAEImageProcessor()(IMAGES, return_tensors="pt").pixel_values).logits
    answer = classify(IMAGES)
    np.testing.assert_allclose(answer.probabilities, logits.softmax(1).numpy(), rtol=1e-5)
    assert answer.class_names == ("no_sub", "cdm", "axion")
    assert answer.labels == [NAMES[index] for index in logits.argmax(1).tolist()]


def test_every_way_to_give_images_gives_the_same(classify, tmp_path):
    for index, image in enumerate(IMAGES):
        np.save(tmp_path / f"lens_{index}.npy", image[0])
    dataset = Dataset.from_dict({"image": list(IMAGES)}, features=lens_features((1, 32, 32), label=False))
    expected = classify(IMAGES).probabilities
    for images in (
        list(IMAGES),
        torch.from_numpy(IMAGES),
        (image[0] for image in IMAGES),
        tmp_path,
        str(tmp_path / "lens_*.npy"),
        sorted(tmp_path.iterdir()),
        dataset,
        dataset.to_iterable_dataset(),
    ):
        np.testing.assert_array_equal(classify(images).probabilities, expected)
    np.testing.assert_allclose(classify(tmp_path / "lens_3.npy").probabilities, expected[3:4], rtol=1e-5)


def test_whatever_the_data_room_reads_is_taken(classify, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("fits", "classes/no_sub", "classes/axion"):
        (tmp_path / name).mkdir(parents=True)
    for index, image in enumerate(IMAGES):
        fits.writeto(tmp_path / f"fits/lens_{index}.fits", image[0])
        Image.fromarray(image[0]).save(tmp_path / f"lens_{index}.tif")
        # By class: the order of the data room.
        np.save(tmp_path / "classes" / ("no_sub" if index < 3 else "axion") / f"{index}.npy", image[0])
    with h5py.File(tmp_path / "lenses.h5", "w") as file:
        file["image"] = IMAGES
    Dataset.from_dict({"image": list(IMAGES)}, features=lens_features((1, 32, 32), label=False)).to_parquet(
        tmp_path / "table" / "data" / "test-00000-of-00001.parquet"
    )
    expected = classify(IMAGES).probabilities
    for source in ("fits", "fits/*.fits", "lens_*.tif", "classes", "lenses.h5", "table"):
        np.testing.assert_array_equal(classify(tmp_path / source).probabilities, expected, err_msg=source)
    for file in ("fits/lens_3.fits", "lens_3.tif"):
        np.testing.assert_allclose(classify(str(tmp_path / file)).probabilities, expected[3:4], rtol=1e-5)


def test_pictures_are_as_bright_as_the_checkpoint_says_white_is(classify, tmp_path):
    levels = np.round(255 * IMAGES[:, 0] / IMAGES.max()).astype(np.uint8)
    for index, picture in enumerate(levels):
        Image.fromarray(picture).save(tmp_path / f"lens_{index}.png")
    bright = pipeline("classification", classify.model, LensMAEImageProcessor(white_flux=0.7), device="cpu")
    expected = classify((levels * np.float32(0.7 / 255))[:, None])
    images = [Image.fromarray(picture) for picture in levels]
    dataset = Dataset.from_dict({"image": images}, features=Features({"image": ImageFeature()}))
    in_classes = tmp_path / "classes/test"
    for index, image in enumerate(images):
        folder = in_classes / sorted(NAMES.values())[index // 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{index}.png")
    ways = (sorted(tmp_path.glob("*.png")), tmp_path / "lens_*.png", images, dataset, in_classes.parent)
    for pictures in ways:
        np.testing.assert_allclose(bright(pictures).probabilities, expected.probabilities, rtol=1e-5)
    # Without a word about white they are the numbers that they hold.
    as_they_are = classify(levels[:, None].astype(np.float32)).probabilities
    for pictures in ways:
        np.testing.assert_array_equal(classify(pictures).probabilities, as_they_are)
    assert not np.allclose(as_they_are, expected.probabilities)


def test_a_folder_of_several_kinds_is_taken_as_a_whole_but_for_pictures_beside_data(classify, tmp_path):
    np.save(tmp_path / "a.npy", IMAGES[0, 0])
    fits.writeto(tmp_path / "b.fits", IMAGES[1, 0])
    Image.fromarray(IMAGES[2, 0]).save(tmp_path / "c.tif")
    np.testing.assert_array_equal(classify(tmp_path).probabilities, classify(IMAGES[:3]).probabilities)
    (tmp_path / "data").mkdir()
    np.testing.assert_array_equal(classify(tmp_path).probabilities, classify(IMAGES[:2]).probabilities)


def test_the_image_processor_is_looked_for_where_the_network_is(checkpoint, monkeypatch):
    asked, load = [], AutoImageProcessor.from_pretrained
    monkeypatch.setattr(
        AutoImageProcessor, "from_pretrained", lambda source, **where: asked.append(where) or load(source, **where)
    )
    pipeline("classification", str(checkpoint), device="cpu", local_files_only=True, revision="main", dtype="float32")
    assert asked == [{"local_files_only": True, "revision": "main"}]


def test_bad_pixels_of_files_are_filled_as_the_checkpoint_does(checkpoint, classify, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "night").mkdir()
    image = IMAGES[0, 0].copy()
    image[5, 5] = np.nan
    fits.writeto(tmp_path / "night/lens.fits", image)
    filling = pipeline("classification", classify.model, LensMAEImageProcessor(nan_fill=0.25), device="cpu")
    image[5, 5] = 0.25
    for source in ("night", "night/lens.fits"):
        np.testing.assert_array_equal(
            filling(tmp_path / source).probabilities, classify(image).probabilities, err_msg=source
        )
        with pytest.raises(ValueError, match="NaN"):
            classify(tmp_path / source)


def test_the_size_of_the_batches_changes_nothing(checkpoint, classify):
    small = pipeline("image-classification", str(checkpoint), batch_size=2, device="cpu")
    np.testing.assert_allclose(small(IMAGES).probabilities, classify(IMAGES).probabilities, rtol=1e-4)


def test_a_checkpoint_brings_its_temperature(checkpoint, tmp_path):
    model = LensMAEForClassification.from_pretrained(checkpoint)
    model.config.temperature = 0.01
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = model.eval()(LensMAEImageProcessor()(IMAGES, return_tensors="pt").pixel_values).logits
    probabilities = pipeline("classification", tmp_path, LensMAEImageProcessor(), device="cpu")(IMAGES).probabilities
    np.testing.assert_allclose(probabilities, (logits / 0.01).softmax(1).numpy(), rtol=1e-4, atol=1e-6)


def test_calibration_finds_the_temperature_of_overconfident_logits_and_keeps_it(checkpoint, monkeypatch, tmp_path):
    calibrated = pipeline("classification", checkpoint, device="cpu")
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]
    monkeypatch.setattr(calibrated, "logits", lambda images, progress=False: 4.0 * honest)
    temperature = calibrated.calibrate(None, labels.tolist()).model.config.temperature
    assert temperature == pytest.approx(4.0, rel=0.1)
    np.testing.assert_allclose(calibrated(None).probabilities, honest.softmax(1), atol=0.03)
    calibrated.model.save_pretrained(tmp_path)
    assert LensMAEConfig.from_pretrained(tmp_path).temperature == temperature


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"shape \(2,\) for 5 images"),
        ([0, 1, 2, 3, 0], "class ids from 0 to 2"),
        ([0.5] * 5, "class ids from 0 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(checkpoint, labels, message):
    with pytest.raises(ValueError, match=message):
        pipeline("classification", checkpoint, device="cpu").calibrate(IMAGES, labels)


@pytest.mark.parametrize("normalization", ["none", "min_max"])
def test_super_resolution_gives_flux_in_the_units_that_came_in(normalization):
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, sr_num_blocks=1, upscale=2)
    settings = {"return_scaling": True} if normalization == "min_max" else {}
    processor = LensMAEImageProcessor(normalization=normalization, **settings)
    sharpen = pipeline("super-resolution", LensMAEForSuperResolution(config), processor, batch_size=2, device="cpu")
    counts = 1e4 * IMAGES
    sharp = sharpen(counts)
    bicubic = torch.nn.functional.interpolate(torch.from_numpy(counts), scale_factor=2.0, mode="bicubic")
    assert sharp.dtype == np.float32 and sharp.shape == (5, 1, 64, 64)
    np.testing.assert_allclose(sharp, bicubic.numpy(), rtol=1e-4, atol=1e-1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_super_resolution_in_half_precision_keeps_the_digits_of_flux(dtype):
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, sr_num_blocks=1, sr_pixel_std=3e4)
    model, processor = LensMAEForSuperResolution(config).to(dtype), LensMAEImageProcessor(normalization="none")
    sharp = pipeline("super-resolution", model, processor, device="cpu")(np.full((1, 1, 32, 32), 100_003.0))
    np.testing.assert_allclose(sharp, 100_003.0, rtol=1e-6)


def test_embeddings_are_the_pooled_output(checkpoint):
    embed = pipeline("embedding", checkpoint, device="cpu", dtype=torch.float32)
    model = LensMAEModel.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        expected = model(LensMAEImageProcessor()(IMAGES, return_tensors="pt").pixel_values).pooler_output
    np.testing.assert_allclose(embed(IMAGES), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_loaded_classifier_embeds_by_its_encoder(classify):
    images = np.random.default_rng(0).random((2, 1, 32, 32), dtype=np.float32)
    embedded = pipeline("embedding", classify.model, classify.image_processor)(images)
    own = pipeline("embedding", classify.model.base_model, classify.image_processor)(images)
    np.testing.assert_array_equal(embedded, own)


def test_half_precision_gives_float32(checkpoint):
    embed = pipeline("image-feature-extraction", checkpoint, dtype=torch.bfloat16, device="cpu")
    assert embed.model.dtype == torch.bfloat16
    assert embed(IMAGES).dtype == np.float32


def test_what_cannot_be_used_is_refused_in_words(checkpoint, classify, tmp_path):
    with pytest.raises(ValueError, match="no task 'segmentation'; choose one of classification"):
        pipeline("segmentation", checkpoint)
    sharpener = LensMAEForSuperResolution(LensMAEConfig.from_size("tiny", image_size=32))
    sharpener.save_pretrained(tmp_path / "sr")
    LensMAEImageProcessor(normalization="none").save_pretrained(tmp_path / "sr")
    with pytest.raises(ValueError, match="sr super-resolves: its network scales flux after the image processor"):
        pipeline("embedding", tmp_path / "sr")
    with pytest.raises(ValueError, match="classification needs a LensMAEForClassification; this is a LensMAEForS"):
        pipeline("classification", sharpener, LensMAEImageProcessor())
    with pytest.raises(ValueError, match="needs its image_processor beside it"):
        pipeline("classification", classify.model)
    with pytest.raises(ValueError, match="revision say how to load a model"):
        pipeline("classification", classify.model, classify.image_processor, revision="main")
    with pytest.raises(FileNotFoundError, match=r"nowhere.npy: there is no such file"):
        classify(tmp_path / "nowhere.npy")
    with pytest.raises(ValueError, match="There are no images"):
        classify([])
    with pytest.raises(TypeError, match=r"this has \(3,\)"):
        classify(np.zeros(3))
    with pytest.raises(TypeError, match=r"this has \(1,\)"):
        classify([3])
    with pytest.raises(TypeError, match="not int"):
        classify(3)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, not 2.5"):
        pipeline("classification", checkpoint, batch_size=2.5)
    with pytest.raises(FileNotFoundError, match=r"lens_\*.npy: no file fits this pattern"):
        classify(tmp_path / "lens_*.npy")
    (tmp_path / "lens.fits").touch()
    with pytest.raises(ValueError, match=r"lens.fits: "):
        classify(tmp_path / "lens.fits")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes.txt: one image is read from .npy, .fits"):
        classify(tmp_path / "*.txt")
    with pytest.raises(NotADirectoryError, match="give the folder that holds the images"):
        classify(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="needs a column 'image'; this has label"):
        classify(Dataset.from_dict({"label": [1]}))


@pytest.mark.parametrize(("num_labels", "problem"), [(1, None), (3, "multi_label_classification")])
def test_a_network_that_tells_no_one_class_has_no_probabilities(num_labels, problem):
    config = LensMAEConfig.from_size("tiny", image_size=32, num_labels=num_labels, problem_type=problem)
    with pytest.raises(ValueError, match=f"does not tell one class of each image .num_labels={num_labels}"):
        pipeline("classification", LensMAEForClassification(config), LensMAEImageProcessor())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_of_two_sizes_are_refused_whatever_the_batches(classify, batch_size):
    one_by_one = pipeline("classification", classify.model, classify.image_processor, batch_size=batch_size)
    with pytest.raises(ValueError, match="must have one size|different shapes"):
        one_by_one([IMAGES[0], IMAGES[1], np.zeros((1, 40, 32), np.float32)])


def test_a_network_of_transformers_runs_in_its_precision_and_keeps_its_temperature_here(tmp_path):
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    config = ResNetConfig(num_channels=1, num_labels=3, **sizes)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    LensMAEImageProcessor().save_pretrained(tmp_path / "resnet")
    for dtype in ("bfloat16", "float64"):
        pipe = pipeline("classification", tmp_path / "resnet", dtype=dtype, device="cpu")
        before = pipe(IMAGES).probabilities
        assert before.shape == (5, 3)
    warmer = pipe.calibrate(IMAGES, [0, 1, 2, 0, 1])
    assert warmer.temperature != 1
    assert not np.array_equal(warmer(IMAGES).probabilities, before)
    warmer.model.save_pretrained(tmp_path / "again")


def test_the_package_hands_it_on():
    assert lens_transformers.pipeline is pipeline


def test_a_checkpoint_for_another_task_is_refused_rather_than_given_a_head_of_random_weights(checkpoint, tmp_path):
    LensMAEForPreTraining(LensMAEConfig.from_size("tiny", image_size=32)).save_pretrained(tmp_path)
    LensMAEImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="needs a LensMAEForClassification; .* is a LensMAEForPreTraining"):
        pipeline("classification", tmp_path)
    with pytest.raises(ValueError, match="needs a LensMAEForSuperResolution; .* is a LensMAEForClassification"):
        pipeline("super-resolution", checkpoint)
    assert pipeline("embedding", tmp_path)(IMAGES).shape[0] == len(IMAGES)


def test_an_image_processor_may_be_named(checkpoint, classify, tmp_path):
    LensMAEImageProcessor(normalization="none").save_pretrained(tmp_path)
    named = pipeline("classification", checkpoint, tmp_path, device="cpu")
    assert named.image_processor.normalization == "none"
    assert not np.allclose(named(IMAGES).probabilities, classify(IMAGES).probabilities)
    ViTImageProcessorPil().save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="vit has a ViTImageProcessor.*, which makes pictures of flux"):
        pipeline("classification", checkpoint, tmp_path / "vit")


def test_images_of_a_data_set_without_a_format_are_taken_as_lists(classify):
    dataset = Dataset.from_dict({"image": IMAGES})
    for images in (dataset["image"], dataset[:]["image"], dataset[:]["image"][0]):
        answer = classify(images).probabilities
        np.testing.assert_allclose(answer, classify(IMAGES).probabilities[: len(answer)], rtol=1e-5)


def test_every_split_of_a_set_is_taken_in_turn(classify):
    splits = DatasetDict(
        {"train": Dataset.from_dict({"image": IMAGES[:3]}), "test": Dataset.from_dict({"image": IMAGES[3:]})}
    )
    np.testing.assert_array_equal(classify(splits).probabilities, classify(IMAGES).probabilities)
