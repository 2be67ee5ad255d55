import numpy as np
import pytest
import tifffile
from PIL import Image

from lens_transformers.data import LoadReport, load_lensing_dataset
from lens_transformers.data.images import flux_of_white


def _save_classes(folder, names=("no_sub", "cdm", "axion"), suffix=".png", first=0):
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(_levels(first + index)).save(folder / name / f"{index}{suffix}")


def _levels(seed, dtype=np.uint8, shape=(8, 9)):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("names", [("no_sub", "cdm", "axion"), ("no", "sphere", "vort")])
def test_class_folders_keep_the_house_order_of_classes(names, tmp_path):
    _save_classes(tmp_path, names)
    dataset = load_lensing_dataset(tmp_path)
    for row in dataset:
        np.testing.assert_array_equal(row["image"][0], _levels(int(row["label"])))
    assert sorted(dataset["label"][:].tolist()) == [0, 1, 2]


def test_split_folders_are_kept_apart(tmp_path):
    _save_classes(tmp_path / "train")
    _save_classes(tmp_path / "test", first=10)
    assert len(load_lensing_dataset(tmp_path, "all")) == 6
    images = load_lensing_dataset(tmp_path, "test")["image"][:]
    assert any(np.array_equal(image[0], _levels(10)) for image in images) and len(images) == 3
    with pytest.raises(ValueError, match="has no 'validation' split; it has train, test"):
        load_lensing_dataset(tmp_path, "validation")


@pytest.mark.parametrize(("name", "neighbour"), [("set[1]", "set1"), ("st*r", "star")])
def test_a_folder_is_no_pattern_that_finds_its_neighbour(name, neighbour, tmp_path):
    _save_classes(tmp_path / name)
    _save_classes(tmp_path / neighbour, first=10)
    rows = load_lensing_dataset(tmp_path / name)
    assert len(rows) == 3
    for row in rows:
        np.testing.assert_array_equal(row["image"][0], _levels(int(row["label"])))


def test_folders_that_name_no_class_do_for_pretraining(tmp_path):
    _save_classes(tmp_path, ("tile 1", "tile 2"))
    rows = load_lensing_dataset(tmp_path, task="pretraining")
    assert len(rows) == 2 and "label" not in rows.features
    with pytest.raises(ValueError, match="no images of class .* 2 of 2 labels name no class, first 'tile 1'"):
        load_lensing_dataset(tmp_path)


def _one(tmp_path):
    return load_lensing_dataset(tmp_path, task="pretraining")[0]["image"]


def test_sixteen_bits_and_floats_keep_every_value(tmp_path):
    grey = _levels(0, np.uint16)
    (tmp_path / "png").mkdir()
    Image.fromarray(grey).save(tmp_path / "png/a.png")
    np.testing.assert_array_equal(_one(tmp_path / "png")[0], grey)
    floats = np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)
    (tmp_path / "tiff").mkdir()
    Image.fromarray(floats).save(tmp_path / "tiff/a.tiff")
    np.testing.assert_array_equal(_one(tmp_path / "tiff")[0], floats)


def test_frames_of_a_tiff_are_bands(tmp_path):
    bands = np.random.default_rng(0).normal(size=(3, 8, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack")
    np.testing.assert_array_equal(_one(tmp_path), bands)


def test_colours_are_bands(tmp_path):
    colours = _levels(0, shape=(8, 9, 3))
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(_one(tmp_path), np.moveaxis(colours, -1, 0))


def test_jpeg_is_read(tmp_path):
    Image.fromarray(np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))).save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(_one(tmp_path)[0], np.tile(np.arange(0, 160, 10), (16, 1)), atol=3)


def test_numbers_of_metadata_become_columns(tmp_path):
    for index in range(2):
        Image.fromarray(_levels(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "metadata.csv").write_text("file_name,label,z_lens\n0.png,no,0.5\n1.png,vort,0.25\n")
    dataset = load_lensing_dataset(tmp_path, task="pretraining")
    assert dataset["label"][:].tolist() == [0, 2] and dataset["z_lens"][:].tolist() == [0.5, 0.25]


def _png16_colour(path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes(range(6 * 8)) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def _bad(kind, path):
    if kind == "colour of 16 bits":
        _png16_colour(path)
    elif kind == "transparency":
        Image.new("RGBA", (8, 8)).save(path)
    elif kind == "palette":
        Image.new("P", (8, 8)).save(path)
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        Image.fromarray(_levels(0, shape=(64, 64))).save(path)
        path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("colour of 16 bits", "colour of 16 bits would be cut to 8"),
        ("transparency", "a picture of mode RGBA holds no surface brightness"),
        ("palette", "a picture of mode P holds no surface brightness"),
        ("text", "no picture file that can be read"),
        ("empty", "no picture file that can be read"),
        ("truncated", "a damaged picture"),
    ],
)
def test_a_picture_of_no_brightness_is_refused_by_name_or_skipped(kind, message, tmp_path):
    _bad(kind, tmp_path / "bad one.png")
    Image.fromarray(_levels(1)).save(tmp_path / "good.png")
    with pytest.raises(ValueError, match=rf"bad one\.png: .*{message}"):
        _one(tmp_path)
    report = LoadReport()
    assert len(load_lensing_dataset(tmp_path, task="pretraining", on_error="skip", report=report)) == 1
    assert [finding.where for finding in report.dropped] == [str(tmp_path / "bad one.png")]


def test_white_stands_for_the_peak_of_flux_and_for_itself_of_grey_levels():
    flux = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    assert flux_of_white(flux) == pytest.approx(np.median(flux.max(axis=(1, 2, 3))))
    assert flux_of_white(np.round(200 * flux)) == 255
    assert flux_of_white(np.round(2000 * flux)) == np.median(np.round(2000 * flux).max(axis=(1, 2, 3)))
    assert flux_of_white(-flux) is None
