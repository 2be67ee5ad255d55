"""Files in, a table and super-resolved files out."""

import numpy as np
import pandas as pd
import predict
import pytest
from astropy.io import fits

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    pipeline,
)


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


def test_super_resolved_files_keep_their_coordinates_scaled(run_script, checkpoints, night, tmp_path):
    flags = ["--checkpoints", checkpoints / "sr", "--files", night, "--batch_size", 2]
    run_script(predict, *flags, "--output_dir", tmp_path / "sharp")
    expected = pipeline("super-resolution", checkpoints / "sr", device="cpu")(IMAGES[:, None])
    with fits.open(tmp_path / "sharp" / "000002_2.fits") as hdus:
        np.testing.assert_allclose(hdus[0].data, expected[2, 0], rtol=1e-3, atol=1e-5)
        assert hdus[0].header["CDELT2"] == pytest.approx(5e-6)


def test_an_unreadable_file_is_named_and_skipped_only_if_asked(run_script, checkpoints, night, tmp_path, caplog):
    (night / "1.fits").write_bytes(b"no image")
    flags = ["--checkpoints", checkpoints / "pretrain", "--files", night, "--output", tmp_path / "table.csv"]
    with pytest.raises(ValueError, match=r"1\.fits"):
        run_script(predict, *flags)
    run_script(predict, *flags, "--on_error", "skip")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2
    assert "1.fits" in caplog.text


def test_two_checkpoints_of_a_kind_are_refused_before_files_are_read(run_script, checkpoints, night, tmp_path):
    flags = ["--checkpoints", checkpoints / "classify", checkpoints / "classify", "--files", night]
    with pytest.raises(ValueError, match="one of a kind"):
        run_script(predict, *flags, "--output", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()
