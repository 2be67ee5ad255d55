from pathlib import Path

import numpy as np
import pytest

from lens_transformers.data.npy import read_lens_npy


def _save(path: Path, array) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def _objects(*items):
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (3, 8, 9)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", ">f8", "u2"])
def test_every_numeric_layout_becomes_float32_bands_first(shape, dtype, tmp_path):
    array = (1000 * np.random.default_rng(0).random(shape)).astype(dtype)
    image, mass = read_lens_npy(_save(tmp_path / "a.npy", array))
    assert image.dtype == np.float32 and image.shape == (*([1, 8, 9] if len(shape) == 2 else shape),)
    np.testing.assert_array_equal(image.reshape(shape), array.astype(np.float32))
    assert mass is None


def test_fortran_order_is_kept(tmp_path):
    array = np.arange(72.0).reshape(8, 9)
    image, _ = read_lens_npy(_save(tmp_path / "a.npy", np.asfortranarray(array)))
    np.testing.assert_array_equal(image[0], array)


@pytest.mark.parametrize("mass", [1e-23, np.float64(1e-23), np.array(1e-23)])
def test_an_object_array_gives_image_and_mass(mass, tmp_path):
    array = np.random.default_rng(0).random((64, 64))
    image, read_mass = read_lens_npy(_save(tmp_path / "axion_0.npy", _objects(array, mass)))
    np.testing.assert_array_equal(image[0], array.astype(np.float32))
    assert read_mass == 1e-23


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(64), r"an image has shape .* got \(64,\); a single row"),
        (np.zeros((1, 64)), r"shape \(1, 64\) is no image"),
        (np.zeros((1, 1, 64)), r"shape \(1, 1, 64\) is no image"),
        (np.zeros((64, 64, 1)), "bands come first"),
        (np.zeros((64, 64, 3)), "bands come first"),
        (np.zeros((2, 1, 64, 64)), "a stack of images is not one"),
        (np.zeros((0, 64)), r"shape \(0, 64\) is no image"),
        (np.zeros((8, 8), complex), "pixels must be real numbers, got dtype complex128"),
        (np.full((8, 8), "a"), "pixels must be real numbers, got dtype <U1"),
        (_objects(np.zeros(64), 1e-23), "a single row of pixels"),
        (_objects(np.zeros((8, 8)), -1e-23), "axion mass .* must be a positive number of eV"),
        (_objects(np.zeros((8, 8)), np.zeros(2)), "axion mass .* must be a positive number of eV"),
        (_objects(np.zeros((8, 8)), 1e-23, 1), r"must be \[image, axion_mass_eV\], got shape \(3,\)"),
        (_objects(1e-23, np.zeros((8, 8))), r"must be \[image, axion_mass_eV\]"),
    ],
)
def test_what_is_no_lens_image_is_refused_by_name(array, message, tmp_path):
    path = _save(tmp_path / "bad one.npy", array)
    with pytest.raises(ValueError, match=message):
        read_lens_npy(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"x,y\n1,2\n", "named .npy but not a NumPy array file"),
        (b"\x93NUMPY", "named .npy but not a NumPy array file"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': __import__('os')}\n", "named .npy but not a NumPy array file"),
        (b"\x93NUMPY\x09\x00v\x00", "named .npy but not a NumPy array file"),
    ],
)
def test_a_file_that_is_no_npy_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "text.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lens_npy(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = _save(tmp_path / "cut.npy", np.zeros((8, 8)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"promises shape \(8, 8\) of float64, 512 bytes, but 503 follow"):
        read_lens_npy(path)


@pytest.mark.parametrize("shape", ["(9**9, 9**9)", "(99999999, 99999999)", "(-8, -8)", "(8, 8", "8"])
def test_a_hostile_header_is_refused_before_anything_is_allocated(shape, tmp_path):
    path = tmp_path / "bomb.npy"
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(512))
    with pytest.raises(ValueError, match=r"^(its header promises|named \.npy but not)"):
        read_lens_npy(path)
