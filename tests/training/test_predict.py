"""Files in, a table and super-resolved files out."""

import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import predict
import pytest
import run_mae
import table_parts
import torch
from astropy.io import fits
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    pipeline,
)


ROOT = Path(predict.__file__).parents[1]
IMAGES = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    config = {"image_size": 32, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
    for name, model_class in (
        ("classify", LensMAEForClassification),
        ("pretrain", LensMAEForPreTraining),
        ("sr", LensMAEForSuperResolution),
    ):
        model_class(LensMAEConfig.from_size("tiny", intermediate_size=32, **config)).save_pretrained(folder / name)
        LensMAEImageProcessor(normalization="none" if name == "sr" else "arcsinh").save_pretrained(folder / name)
    return folder


@pytest.fixture
def night(tmp_path):
    folder = tmp_path / "night"
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-5, "CDELT2": 1e-5})
        fits.PrimaryHDU(image, header).writeto(folder / f"{number}.fits")
    return folder


def test_a_table_has_probabilities_anomaly_scores_and_embeddings(run_script, checkpoints, night, tmp_path):
    names = [str(checkpoints / name) for name in ("classify", "pretrain")]
    flags = ["--checkpoints", *names, "--files", night, "--embedding", "True", "--batch_size", 2]
    run_script(predict, *flags, "--output", tmp_path / "table.parquet")
    run_script(predict, *flags, "--output", tmp_path / "table.csv")
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert [file[-6:] for file in table["file"]] == ["0.fits", "1.fits", "2.fits"]
    probabilities = table.filter(like="probability_").to_numpy()
    expected = pipeline("classification", names[0], device="cpu")(IMAGES[:, None]).probabilities
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    embedding = pipeline("embedding", names[0], device="cpu")(IMAGES[:, None])
    np.testing.assert_allclose(table.filter(like="embedding_").to_numpy(), embedding, rtol=1e-3, atol=1e-5)
    assert (table["anomaly_score"] > 0).all()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table, check_dtype=False, rtol=1e-4)


def test_the_anomaly_score_is_the_error_that_pretraining_reports(run_script, night, tmp_path):
    flags = ["--dataset", night, "--test_dataset", night, "--max_steps", 1, "--per_device_train_batch_size", 2]
    run_script(run_mae, *flags, "--output_dir", tmp_path / "run", "--config_overrides", "num_hidden_layers=1")
    flags = ["--checkpoints", tmp_path / "run", "--files", night, "--batch_size", 2]
    run_script(predict, *flags, "--output", tmp_path / "table.csv")
    reported = json.loads((tmp_path / "run/results.json").read_text())["rows"][0]["masked_mse_0.75"]
    assert pd.read_csv(tmp_path / "table.csv")["anomaly_score"].mean() == pytest.approx(reported, rel=1e-4)


def test_super_resolved_files_keep_their_coordinates_scaled(run_script, checkpoints, night, tmp_path):
    flags = ["--checkpoints", checkpoints / "sr", "--files", night, "--batch_size", 2]
    run_script(predict, *flags, "--output_dir", tmp_path / "sharp")
    expected = pipeline("super-resolution", checkpoints / "sr", device="cpu")(IMAGES[:, None])
    with fits.open(tmp_path / "sharp" / "000002_2.fits") as hdus:
        np.testing.assert_allclose(hdus[0].data, expected[2, 0], rtol=1e-3, atol=1e-5)
        assert hdus[0].header["CDELT2"] == pytest.approx(5e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night", "sharp"]


def test_images_of_any_unit_are_scaled_to_what_the_networks_know(run_script, checkpoints, night, tmp_path):
    for number, image in enumerate(IMAGES):
        fits.PrimaryHDU(10.0**number * image).writeto(night / f"{number}.fits", overwrite=True)
    flags = ["--checkpoints", checkpoints / "classify", checkpoints / "sr", "--files", night, "--scale_to_peak", True]
    run_script(predict, *flags, "--output", tmp_path / "table.csv", "--output_dir", tmp_path / "sharp")
    scaled = [image[None] / image.max() for image in IMAGES]
    expected = pipeline("classification", checkpoints / "classify", device="cpu")(scaled).probabilities
    table = pd.read_csv(tmp_path / "table.csv")
    np.testing.assert_allclose(table.filter(like="probability_"), expected, rtol=1e-4)
    sharp = 100 * IMAGES[2].max() * pipeline("super-resolution", checkpoints / "sr", device="cpu")(scaled)[2, 0]
    np.testing.assert_allclose(fits.getdata(tmp_path / "sharp" / "000002_2.fits"), sharp, rtol=1e-3)

    np.save(night / "dark.npy", np.zeros((32, 32)))
    with pytest.raises(ValueError, match="dark.npy: --scale_to_peak: the brightest pixel is 0, by which"):
        run_script(predict, *flags, "--output", tmp_path / "dark.csv", "--output_dir", tmp_path / "dark")


def test_a_pattern_names_files_and_a_name_with_brackets_itself(night, tmp_path):
    np.save(night / "a[1].npy", IMAGES[0])
    assert [Path(file).name for file in predict.list_files([f"{night}/[01].fits"])] == ["0.fits", "1.fits"]
    assert [Path(file).name for file in predict.list_files([f"{tmp_path}/**/?.fits"])] == [
        f"{n}.fits" for n in range(3)
    ]
    assert predict.list_files([f"{night}/a[1].npy"]) == [f"{night}/a[1].npy"]
    with pytest.raises(FileNotFoundError, match=r"\*.npz: no file fits this pattern"):
        predict.list_files([f"{night}/*.npz"])


def test_what_is_wrong_is_said_in_a_line_where_it_is_launched(checkpoints, night, tmp_path):
    script, command = predict.__file__, ["--checkpoints", checkpoints / "classify", "--files", night / "9.fits"]
    command = [sys.executable, script, *map(str, command), "--output", str(tmp_path / "table.csv")]
    finished = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "predict.py: " in finished.stderr and "9.fits: there is no such file" in finished.stderr


def test_files_of_all_kinds_and_sizes_share_a_folder(run_script, checkpoints, night, tmp_path):
    images = {
        "0.npy": IMAGES[0, :24, :20],
        "1.fits": IMAGES[1],
        "2.fits": IMAGES[2],
        "3.npy": IMAGES[None, 0, :24, :20],
    }
    (night / "0.fits").unlink()
    for name, image in images.items():
        if name.endswith(".npy"):
            np.save(night / name, image)
    Image.fromarray((255 * IMAGES[0]).astype(np.uint8)).save(night / "4.png")
    names = [checkpoints / "sr", checkpoints / "pretrain"]
    flags = ["--checkpoints", *names, "--files", night, night / "1.fits", "--save_outputs", "npy"]
    run_script(predict, *flags, "--output", tmp_path / "table.csv", "--output_dir", tmp_path / "sharp")
    table = pd.read_csv(tmp_path / "table.csv")
    assert [Path(file).name for file in table["file"]] == ["0.npy", "1.fits", "2.fits", "3.npy", "4.png"]
    assert (table["anomaly_score"] > 0).all()
    sharpen = pipeline("super-resolution", checkpoints / "sr", device="cpu")
    for row, image in enumerate(images.values()):
        sharp = np.load(table["super_resolved"][row])
        np.testing.assert_allclose(sharp, sharpen(image)[0], rtol=1e-3, atol=1e-5)
        assert sharp.shape[1:] == (2 * image.shape[-2], 2 * image.shape[-1])


def test_a_picture_is_as_bright_as_the_checkpoint_says_white_is(run_script, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints / "pretrain", tmp_path / "pretrain")
    LensMAEImageProcessor(white_flux=0.5).save_pretrained(folder)
    levels = (255 * IMAGES[0]).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "lens.png")
    np.save(tmp_path / "lens.npy", levels * np.float32(0.5 / 255))
    files = [tmp_path / "lens.png", tmp_path / "lens.npy"]
    run_script(predict, "--checkpoints", folder, "--files", *files, "--output", tmp_path / "table.csv")
    picture, flux = pd.read_csv(tmp_path / "table.csv")["anomaly_score"]
    assert picture == flux

    flags = ["--checkpoints", folder, checkpoints / "classify", "--files", *files, "--output", tmp_path / "both.csv"]
    with pytest.raises(ValueError, match=r"lens.png: the flux of a picture's white is 0.5 or its level"):
        run_script(predict, *flags)
    run_script(predict, *flags, "--scale_to_peak", "True")
    picture, flux = pd.read_csv(tmp_path / "both.csv")["anomaly_score"]
    assert picture == pytest.approx(flux, rel=1e-4)


BAD = {
    "unreadable.fits": (b"no image", "unreadable.fits"),
    "bands.npy": (np.zeros((3, 32, 32)), "num_channels"),
    "small.npy": (np.ones((4, 4)), "4x4 pixels"),
    "nan.npy": (np.full((32, 32), np.nan), "NaN"),
}


def test_the_image_and_the_coordinates_may_be_in_any_hdu(run_script, checkpoints, night, tmp_path):
    (tmp_path / "deep").mkdir()
    for path in night.iterdir():
        with fits.open(path) as hdus:
            science = fits.ImageHDU(hdus[0].data, hdus[0].header, name="SCI")
            fits.HDUList([fits.PrimaryHDU(1 + hdus[0].data), science]).writeto(tmp_path / "deep" / path.name)
    names = [checkpoints / "classify", checkpoints / "sr"]
    for folder, layout in ((night, []), (tmp_path / "deep", ["--fits_layout", '{"hdu": "SCI"}'])):
        flags = ["--files", folder, "--output", f"{folder}.csv", "--output_dir", f"{folder}_sharp"]
        run_script(predict, "--checkpoints", *names, *flags, *layout)
    tables = [pd.read_csv(f"{folder}.csv").filter(like="probability") for folder in (night, tmp_path / "deep")]
    pd.testing.assert_frame_equal(*tables)
    headers = [fits.getheader(tmp_path / folder / "000001_1.fits") for folder in ("night_sharp", "deep_sharp")]
    assert headers[0]["CDELT1"] == headers[1]["CDELT1"] == -5e-6


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_named_and_skipped_only_if_asked(
    run_script, checkpoints, night, tmp_path, caplog, name
):
    content, words = BAD[name]
    (night / name).write_bytes(content) if isinstance(content, bytes) else np.save(night / name, content)
    (night / name).rename(night / f"1_{name}")  # in the middle of a batch
    flags = ["--checkpoints", checkpoints / "pretrain", "--files", night, "--output", tmp_path / "table.csv"]
    with pytest.raises(ValueError, match=rf"1_{name}.*--on_error skip"):
        run_script(predict, *flags)
    run_script(predict, *flags, "--on_error", "skip")
    assert [Path(file).name for file in pd.read_csv(tmp_path / "table.csv")["file"]] == ["0.fits", "1.fits", "2.fits"]
    assert f"1_{name}" in caplog.text and words in caplog.text


def test_coordinates_that_cannot_be_scaled_spoil_one_file_alone(run_script, checkpoints, night, tmp_path, monkeypatch):
    write = predict.save_output

    def fail(folder, image, number, file, *settings):
        if number == 1:
            raise ValueError("its coordinates are distorted by tables")
        return write(folder, image, number, file, *settings)

    monkeypatch.setattr(predict, "save_output", fail)
    flags = ["--checkpoints", checkpoints / "sr", "--files", night, "--output_dir", tmp_path / "sharp"]
    with pytest.raises(ValueError, match=r"1\.fits: its coordinates"):
        run_script(predict, *flags)
    run_script(predict, *flags, "--on_error", "skip")
    assert sorted(os.listdir(tmp_path / "sharp")) == ["000000_0.fits", "000002_2.fits"]


def test_a_run_that_is_stopped_goes_on_where_it_was(run_script, checkpoints, night, tmp_path, monkeypatch):
    names = [checkpoints / "sr", checkpoints / "classify"]
    flags = ["--checkpoints", *names, "--files", night, "--batch_size", 1, "--output_dir", tmp_path / "sharp"]
    run_script(predict, *flags, "--output", tmp_path / "unbroken.csv")
    flags += ["--output", tmp_path / "table.csv"]
    write = table_parts.pq.write_table

    def stopped(table, path):
        path.write_bytes(b"half of it")
        if path.name.startswith(".0000001"):
            raise KeyboardInterrupt
        write(table, path)

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="Go on with: .*--batch_size 1"):
        patch.setattr(table_parts.pq, "write_table", stopped)
        run_script(predict, *flags)
    assert not (tmp_path / "table.csv").exists()
    assert os.listdir(tmp_path / ".table.csv.parts") == ["0000000.parquet"]
    with pytest.raises(ValueError, match=r"\.table\.csv\.parts holds what a stopped run with other"):
        run_script(predict, *flags, "--save_outputs", "npy")

    first = tmp_path / "sharp/000000_0.fits"
    written_at = first.stat().st_mtime_ns
    read = []
    with monkeypatch.context() as patch:
        reading = predict.read_image_file
        patch.setattr(predict, "read_image_file", lambda path, *how: read.append(path.name) or reading(path))
        run_script(predict, *flags)
    assert read == ["1.fits", "2.fits"] and first.stat().st_mtime_ns == written_at
    assert (tmp_path / "table.csv").read_text() == (tmp_path / "unbroken.csv").read_text()
    assert not list(tmp_path.glob(".*")) and not list((tmp_path / "sharp").glob(".*"))


def test_rows_of_other_files_do_not_come_into_the_table(run_script, checkpoints, night, tmp_path):
    np.save(night / "3.npy", np.full((32, 32), np.nan, np.float32))
    flags = ["--checkpoints", checkpoints / "pretrain", "--output", tmp_path / "table.csv", "--batch_size", 1]
    with pytest.raises(ValueError, match=r"3\.npy"):
        run_script(predict, *flags, "--files", night / "0.fits", night / "3.npy")
    with pytest.raises(ValueError, match=r"a stopped run on other files finished, such as .*0\.fits"):
        run_script(predict, *flags, "--files", night / "1.fits")
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("what", ["a checkpoint", "an image"])
def test_what_was_changed_since_a_run_was_stopped_does_not_come_into_its_table(
    run_script, checkpoints, night, tmp_path, monkeypatch, what
):
    folder = shutil.copytree(checkpoints / "classify", tmp_path / "classify")
    flags = ["--checkpoints", folder, "--files", night, "--output", tmp_path / "table.csv", "--batch_size", 1]
    applied = []

    def stopped(batch, *arguments):
        if applied:
            raise KeyboardInterrupt
        applied.append(batch)
        return rows_of(batch, *arguments)

    rows_of = predict.predict
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="Go on with"):
        patch.setattr(predict, "predict", stopped)
        run_script(predict, *flags)
    if what == "a checkpoint":
        model = LensMAEForClassification.from_pretrained(folder)
        torch.nn.init.ones_(model.classifier.weight)
        model.save_pretrained(folder)
        message = "or with these checkpoints before they were changed"
    else:
        fits.PrimaryHDU(IMAGES[1]).writeto(night / "0.fits", overwrite=True)
        message = r"made of .*0\.fits before that file was changed: delete that folder"
    with pytest.raises(ValueError, match=message):
        run_script(predict, *flags)
    assert not (tmp_path / "table.csv").exists()


def test_missing_pixels_are_filled_if_asked_for(run_script, checkpoints, night, tmp_path, caplog):
    for name, flux in (("3.npy", np.nan), ("4.npy", 0.25)):
        image = IMAGES[0].copy()
        image[4, 5] = flux
        np.save(night / name, image)
    flags = ["--checkpoints", checkpoints / "classify", "--files", night / "3.npy", night / "4.npy"]
    caplog.set_level("INFO")
    run_script(predict, *flags, "--output", tmp_path / "table.csv", "--nan_fill", 0.25)
    filled, whole = pd.read_csv(tmp_path / "table.csv").filter(like="probability_").to_numpy()
    np.testing.assert_array_equal(filled, whole)
    assert "3.npy: 1 NaN or infinite pixels of image are now 0.25" in caplog.text


def test_files_may_go_where_the_command_is_given(run_script, checkpoints, night, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_script(predict, "--checkpoints", checkpoints / "sr", "--files", night, "--output_dir", ".")
    assert sorted(os.listdir()) == ["000000_0.fits", "000001_1.fits", "000002_2.fits"]


def test_a_checkpoint_that_is_not_there_is_no_name_on_the_hub(run_script, night, tmp_path):
    flags = ["--files", night, "--output", tmp_path / "table.csv"]
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder, and it is no name on the Hub"):
        run_script(predict, "--checkpoints", tmp_path / "nowhere", *flags)


def test_images_of_one_batch_at_a_time_are_in_memory(run_script, checkpoints, night, tmp_path, monkeypatch):
    for number in range(3, 12):
        np.save(night / f"{number}.npy", IMAGES[number % 3])
    reading, alive, most = predict.read_image_file, set(), []

    def read(path, *how):
        image = reading(path, *how)
        alive.add(path)
        most.append(len(alive))
        weakref.finalize(image, alive.discard, path)
        return image

    monkeypatch.setattr(predict, "read_image_file", read)
    flags = ["--checkpoints", checkpoints / "classify", "--files", night, "--batch_size", 2]
    run_script(predict, *flags, "--output", tmp_path / "table.csv")
    assert len(most) == 12 and max(most) <= 4


def test_parts_are_joined_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(table_parts, "PARTS_AT_ONCE", 2)
    parts = table_parts.TableParts(tmp_path / "table.parquet", "test")
    for number in range(5):
        parts.add({"file": [f"{number}.npy"], "score": [np.float32(number)]}, {})
    parts.join(tmp_path / "table.parquet")
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert table["file"].tolist() == [f"{number}.npy" for number in range(5)]
    assert table["score"].tolist() == [0, 1, 2, 3, 4]
    assert len(parts) == 5


def test_any_classifier_that_was_trained_on_lenses_predicts(run_script, night, tmp_path):
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = ViTForImageClassification(ViTConfig(image_size=32, num_channels=1, num_labels=3, **layers))
    model.save_pretrained(tmp_path / "vit")
    flags = ["--checkpoints", tmp_path / "vit", "--files", night, "--output", tmp_path / "table.parquet"]
    ViTImageProcessorPil().save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="vit holds ViTForImageClassification, which run_mae.py"):
        run_script(predict, *flags)
    LensMAEImageProcessor().save_pretrained(tmp_path / "vit")
    run_script(predict, *flags)
    probabilities = pd.read_parquet(tmp_path / "table.parquet").filter(like="probability_")
    assert probabilities.shape == (3, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_two_checkpoints_of_a_kind_are_refused_before_files_are_read(run_script, checkpoints, night, tmp_path):
    flags = ["--checkpoints", checkpoints / "classify", checkpoints / "classify", "--files", night]
    with pytest.raises(ValueError, match="one of a kind"):
        run_script(predict, *flags, "--output", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()
