"""run_sr.py: ratios, losses, the eight symmetries, and the images that it writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from torch.nn import functional as F
from transformers import AutoModelForImageToImage

from lens_transformers import LensMAEConfig, LensMAEForSuperResolution
from lens_transformers.evaluation import LeastSquaresDownsampler
from lens_transformers.evaluation.symmetries import turn
from lens_transformers.report import evaluate_checkpoint


sys.path.insert(0, str(Path(__file__).parents[2] / "training"))  # as Python does for a script that is launched

import outputs  # noqa: E402
import run_sr  # noqa: E402


SIZE = 12


def make_pairs(num_pairs, upscale, seed=0):
    """Rings, and the same with their pixels averaged."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE * upscale * 1j, -1 : 1 : SIZE * upscale * 1j]
    centre = 0.1 * generator.standard_normal((2, num_pairs, 1, 1))
    high = np.exp(-(((np.hypot(x - centre[0], y - centre[1]) - 0.5) / 0.2) ** 2)).astype(np.float32)[:, None]
    high = (high + 0.01 * generator.standard_normal(high.shape, dtype=np.float32)).clip(0, 1)
    return F.avg_pool2d(torch.from_numpy(high), upscale).numpy(), high


def write_pairs(folder, upscale=2, symmetry=0):
    """A folder of `.npy` pairs; the test images may be turned."""
    for split, num_pairs in (("train", 6), ("test", 3)):
        low, high = make_pairs(num_pairs, upscale, seed=num_pairs)
        for resolution, images in (("LR", low), ("HR", high)):
            (folder / split / resolution).mkdir(parents=True)
            images = turn(torch.from_numpy(images), symmetry if split == "test" else 0).numpy()
            for index, image in enumerate(images):
                np.save(folder / split / resolution / f"ring_{index}.npy", image)
    return folder


@pytest.fixture
def launch(tmp_path, monkeypatch):
    def launch(dataset, *flags):
        arguments = ["--dataset", dataset, "--output_dir", tmp_path / "run", "--max_steps", 2, "--filter_size", 3]
        arguments += ["--per_device_train_batch_size", 3, "--overwrite_output_dir", True]
        arguments += ["--config_overrides", "num_hidden_layers=1,sr_num_blocks=1", "--learning_rate", 1e-3]
        monkeypatch.setattr(sys, "argv", [run_sr.__file__, *map(str, [*arguments, *flags])])
        run_sr.main()
        return tmp_path / "run"

    return launch


def read_rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("upscale", "flags", "distance"),
    [(3, ["--sr_loss", "l1", "--consistency_weight", 2], torch.abs), (4, ["--sr_loss", "mse"], torch.square)],
)
def test_the_ratio_is_that_of_the_pairs_and_the_loss_the_one_asked_for(launch, tmp_path, upscale, flags, distance):
    run = launch(
        write_pairs(tmp_path / "pairs", upscale), *flags, "--learning_rate", 0, "--per_device_train_batch_size", 6
    )
    first_loss = json.loads((run / "trainer_state.json").read_text())["log_history"][0]["loss"]
    model = AutoModelForImageToImage.from_pretrained(run)
    assert model.config.upscale == upscale
    low, high = map(torch.from_numpy, make_pairs(6, upscale, seed=6))
    deviation = torch.tensor(model.config.sr_pixel_std).reshape(-1, 1, 1)
    with torch.no_grad():
        sharp = model(low).reconstruction
    expected = distance((sharp - high) / deviation).mean()
    if "--consistency_weight" in flags:
        downsampler = LeastSquaresDownsampler(upscale=upscale).fit(low.numpy(), high.numpy())
        expected += 2 * run_sr.inconsistency(downsampler, sharp, low, deviation)
    assert first_loss == pytest.approx(expected.item(), rel=1e-2)


def test_a_ratio_that_no_head_has_is_refused(launch, tmp_path):
    with pytest.raises(ValueError, match="targets are 5 times as wide as the images"):
        launch(write_pairs(tmp_path / "pairs", 5))


def test_pairs_in_counts_need_the_range_of_brightness_before_anything_is_trained(launch, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", 2)
    for file in pairs.glob("*/*/*.npy"):
        np.save(file, 1000 * np.load(file))
    with pytest.raises(ValueError, match="data_range is not known: references reach from"):
        launch(pairs)
    assert not (tmp_path / "run/model.safetensors").exists()
    run = launch(pairs, "--data_range", 1000)
    assert json.loads((run / "results.json").read_text())["data"]["data_range"] == 1000


def test_what_would_fail_after_training_is_refused_before(launch, tmp_path):
    with pytest.raises(ValueError, match="--filter_size must be odd, got 8"):
        run_sr.SuperResolutionArguments("pairs", filter_size=8)
    pairs, others = write_pairs(tmp_path / "pairs"), write_pairs(tmp_path / "others", 3)
    words = "others: the targets to test on are 3 times as wide as their images, those to train on 2 times"
    with pytest.raises(ValueError, match=words):
        launch(pairs, "--test_dataset", others)
    assert not (tmp_path / "run/model.safetensors").exists()


def test_another_optimizer_than_its_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--optim sgd: run_sr.py trains by AdamW"):
        run_sr.SuperResolutionTrainingArguments(output_dir=str(tmp_path), optim="sgd")


def test_the_perfect_answer_is_consistent_and_a_blurred_or_fainter_one_is_not():
    low, high = map(torch.from_numpy, make_pairs(6, 2))
    downsampler = LeastSquaresDownsampler(upscale=2).fit(low.numpy(), high.numpy())
    deviation = low.std().reshape(1, 1, 1)
    assert run_sr.inconsistency(downsampler, high, low, deviation) < 1e-3
    bicubic = F.interpolate(low, scale_factor=2, mode="bicubic")
    assert run_sr.inconsistency(downsampler, bicubic, low, deviation) > 1e-2
    assert run_sr.inconsistency(downsampler, 0.9 * high, low, deviation) > 1e-2


def test_the_weight_of_consistency_enters_the_loss_and_its_gradients(tmp_path):
    low, high = map(torch.from_numpy, make_pairs(6, 2))
    model = LensMAEForSuperResolution(LensMAEConfig.from_size("tiny", num_hidden_layers=1, sr_num_blocks=1))
    downsampler = LeastSquaresDownsampler(upscale=2).fit(low.numpy(), high.numpy())
    losses = {}
    for weight in (0.0, 2.0):
        arguments = run_sr.SuperResolutionTrainingArguments(output_dir=str(tmp_path), consistency_weight=weight)
        trainer = run_sr.SuperResolutionTrainer(model, arguments, downsampler=downsampler, data_range=1.0)
        losses[weight] = trainer.compute_loss(model, {"pixel_values": low, "labels": high})
    term = run_sr.inconsistency(downsampler, model(low).reconstruction, low, torch.ones(1, 1, 1))
    torch.testing.assert_close(losses[2.0] - losses[0.0], 2 * term)
    weight = list(model.parameters())[-1]
    (gradient,) = torch.autograd.grad(losses[2.0] - losses[0.0], weight)
    assert gradient.abs().max() > 0


def test_the_self_ensemble_stands_beside_the_single_pass_and_turns_with_the_images(launch, tmp_path):
    rows, turned = (
        read_rows(launch(write_pairs(tmp_path / str(symmetry), symmetry=symmetry), "--self_ensemble", True))
        for symmetry in (0, 5)
    )
    assert [row["name"] for row in rows[:3]] == ["LensMAE", "LensMAE, mean over the eight symmetries", "Bicubic"]
    assert rows[1]["psnr"] != rows[0]["psnr"]
    assert turned[1]["psnr"] == pytest.approx(rows[1]["psnr"], abs=1e-4)
    assert turned[0]["psnr"] != pytest.approx(rows[0]["psnr"], abs=1e-4)


def test_an_output_is_written_as_an_array_named_as_what_it_was_made_of(tmp_path):
    image = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    for original, name in (("somewhere/b.0.npy", "000001_b.npy"), (None, "000001.npy")):
        assert outputs.save_output(tmp_path, image, 1, original, 2, "npy") == tmp_path / name
        assert np.array_equal(np.load(tmp_path / name), image)
    assert len(list(tmp_path.iterdir())) == 2


def write_fits_pairs(folder, num_pairs=4):
    """Pairs whose images are in an HDU of their own, behind one of random numbers and other coordinates."""
    for split in ("train", "test"):
        for resolution, images in zip(("LR", "HR"), make_pairs(num_pairs, 2, seed=len(split)), strict=True):
            (folder / split / resolution).mkdir(parents=True)
            for index, image in enumerate(images):
                wcs = WCS(naxis=2)
                wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
                wcs.wcs.crval, wcs.wcs.cdelt = [150 + index, 2], [-1e-5, 1e-5]
                science = fits.ImageHDU(image[0], wcs.to_header(), name="SCI")
                other = np.random.default_rng(index).random(image[0].shape)
                hdus = fits.HDUList([fits.PrimaryHDU(other, WCS(naxis=2).to_header()), science])
                hdus.writeto(folder / split / resolution / f"lens_{index}.fits")
    return folder


def test_images_coordinates_names_and_the_report_are_of_the_hdu_and_files_that_were_tested_on(launch, tmp_path):
    flags = ["--fits_layout", '{"hdu": "SCI"}', "--save_outputs", "fits", "--max_test_samples", 2]
    run = launch(write_fits_pairs(tmp_path / "pairs"), *flags)
    written = sorted((run / "super_resolved").iterdir())
    originals = sorted(path.name for path in (tmp_path / "pairs/test/LR").iterdir())
    names = [path.name.partition("_")[2] for path in written]
    assert len(names) == 2 and names != originals[:2]  # the seed draws others
    for path, name in zip(written, names, strict=True):
        old = fits.getheader(tmp_path / "pairs/test/LR" / name, "SCI")
        assert fits.getheader(path)["CRVAL1"] == old["CRVAL1"] > 100
    own = evaluate_checkpoint(run, in_full=False).results["rows"][0]
    assert own["psnr"] == pytest.approx(read_rows(run)[0]["psnr"], rel=1e-5)


def test_cutouts_are_not_given_the_coordinates_of_whole_files():
    with pytest.raises(ValueError, match="cutouts do not have the coordinates .* take --save_outputs npy"):
        run_sr.SuperResolutionArguments("pairs", save_outputs="fits", fits_layout='{"cutout": 8}')


def test_fits_outputs_have_the_coordinates_of_their_originals(launch, tmp_path):
    for split in ("train", "test"):
        low, high = make_pairs(3, 2, seed=len(split))
        for resolution, images in (("LR", low), ("HR", high)):
            (tmp_path / "pairs" / split / resolution).mkdir(parents=True)
            for index, image in enumerate(images):
                wcs = WCS(naxis=2)
                wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
                wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150 + index, 2], [4, 7], [-1e-5, 1e-5]
                path = tmp_path / "pairs" / split / resolution / f"lens_{index}.fits"
                fits.PrimaryHDU(image[0], wcs.to_header()).writeto(path)
    run = launch(tmp_path / "pairs", "--save_outputs", "fits")
    model = AutoModelForImageToImage.from_pretrained(run)
    with torch.no_grad():
        sharp = model(torch.from_numpy(make_pairs(3, 2, seed=len("test"))[0])).reconstruction
    written = sorted((run / "super_resolved").iterdir())
    assert [path.name for path in written] == [f"00000{index}_lens_{index}.fits" for index in range(3)]
    for index, path in enumerate(written):
        old = WCS(fits.getheader(tmp_path / "pairs/test/LR" / f"lens_{index}.fits"))
        np.testing.assert_allclose(fits.getdata(path), sharp[index, 0], atol=1e-5)
        sky = WCS(fits.getheader(path)).pixel_to_world_values(2 * (3 + 0.5) - 0.5, 2 * (8 + 0.5) - 0.5)
        np.testing.assert_allclose(sky, old.pixel_to_world_values(3, 8), atol=1e-10)
