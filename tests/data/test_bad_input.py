"""Whatever is wrong on disk: one clear sentence that names the file or the row."""

import logging
import os
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import datasets
import numpy as np
import pytest

from lens_transformers.data import LoadReport, lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks


def _image(seed=0, shape=(8, 8)):
    return np.random.default_rng(seed).random(shape)


def _save_classes(folder, per_class=2):
    for label, name in enumerate(("no_sub", "cdm", "axion")):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            np.save(folder / name / f"{index}.npy", _image(10 * label + index))


def _spoil(path: Path, content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, int):
        path.write_bytes(path.read_bytes()[:content])
    else:
        np.save(path, content)


_HALF_NAN = np.where(np.eye(8), np.nan, 1.0)
_BAD_FILES = {
    "text": (b"1,2\n3,4\n", "named .npy but not a NumPy array file"),
    "truncated": (-9, "its header promises shape .* but 503 follow; the file is damaged"),
    "truncated in the header": (40, "named .npy but not a NumPy array file"),
    "empty": (b"", "the file is empty"),
    "NaN": (_HALF_NAN, "8 pixels are NaN or infinite in float32"),
    "infinite": (np.where(np.eye(8), -np.inf, 1.0), "8 pixels are NaN or infinite in float32"),
    "infinite in float32": (_image() * 1e300, "64 pixels are NaN or infinite in float32"),
    "constant": (np.full((8, 8), 0.5), r"the image is constant: every pixel is 0\.5"),
    "complex": (_image() + 1j, "pixels must be real numbers, got dtype complex128"),
    "texts": (np.full((8, 8), "a"), "pixels must be real numbers, got dtype <U1"),
    "another size": (_image(shape=(9, 9)), r"shape \(1, 9, 9\) .* differs from \(1, 8, 8\) .* one size"),
    "other bands": (_image(shape=(3, 8, 8)), r"shape \(3, 8, 8\) .* differs from \(1, 8, 8\) .* one size"),
    "one row of pixels": (_image(shape=(8,)), "a single row of pixels"),
}


@pytest.mark.parametrize("kind", _BAD_FILES)
def test_a_bad_file_is_named_or_skipped_counted_and_listed(kind, tmp_path, caplog):
    content, message = _BAD_FILES[kind]
    _save_classes(tmp_path)
    bad = tmp_path / "cdm/1.npy"
    _spoil(bad, content)
    with pytest.raises(ValueError, match=message) as error:
        load_lensing_dataset(tmp_path)
    assert str(error.value).startswith(f"{bad}: ") and "\n" not in str(error.value)

    report = LoadReport()
    with caplog.at_level(logging.WARNING, logger="lens_transformers"):
        dataset = load_lensing_dataset(tmp_path, on_error="skip", report=report)
    assert dataset["label"][:].tolist() == [0, 0, 1, 2, 2] and report.num_rows == 5
    assert [finding.where for finding in report.dropped] == [str(bad)]
    assert f"1 images dropped: {bad}: " in caplog.text and f"dropped: {bad}: " in str(report)


def test_the_first_few_bad_files_are_listed(tmp_path):
    _save_classes(tmp_path, per_class=10)
    for index in range(8):
        (tmp_path / f"cdm/{index}.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty") as error:
        load_lensing_dataset(tmp_path)
    assert str(error.value).splitlines() == [f"{tmp_path}/cdm/{i}.npy: the file is empty." for i in range(5)]


def test_nan_fill_repairs_and_reports(tmp_path):
    _save_classes(tmp_path)
    np.save(tmp_path / "cdm/1.npy", _HALF_NAN)
    report = LoadReport()
    dataset = load_lensing_dataset(tmp_path, nan_fill=0.25, report=report)
    np.testing.assert_array_equal(dataset[3]["image"][0], np.where(np.eye(8), 0.25, 1))
    (finding,) = report.repaired
    assert finding.where == str(tmp_path / "cdm/1.npy")
    assert finding.reason == "8 NaN or infinite pixels of image are now 0.25."


def test_a_report_is_the_same_when_the_rows_come_from_the_cache(tmp_path, caplog):
    _save_classes(tmp_path)
    (tmp_path / "cdm/1.npy").write_bytes(b"")
    reports = [LoadReport(), LoadReport()]
    with caplog.at_level(logging.WARNING, logger="lens_transformers"):
        for report in reports:
            load_lensing_dataset(tmp_path, on_error="skip", report=report)
    assert reports[0] == reports[1] and caplog.text.count("1 images dropped") == 2


def test_files_that_are_not_read_are_reported(tmp_path):
    _save_classes(tmp_path)
    (tmp_path / "cdm/preview.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    report = LoadReport()
    load_lensing_dataset(tmp_path, report=report)
    assert report.not_read == {".png": 1}


def test_when_every_file_is_bad_the_first_is_named(tmp_path):
    for index in range(2):
        (tmp_path / f"{index}.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"None of the images can be read, first .*0\.npy: the file is empty"):
        load_lensing_dataset(tmp_path, task="pretraining", on_error="skip")


@pytest.mark.parametrize("task", ["classification", "pretraining", "super_resolution"])
def test_an_empty_folder_says_what_is_expected(task, tmp_path):
    with pytest.raises(ValueError, match=r"no (lens images|super-resolution pairs) found\. Expected"):
        load_lensing_dataset(tmp_path, task=task)


def test_a_missing_class_folder_is_named(tmp_path):
    _save_classes(tmp_path)
    for path in (tmp_path / "cdm").iterdir():
        path.unlink()
    (tmp_path / "cdm").rmdir()
    with pytest.raises(ValueError, match="split 'train': no images of class cdm"):
        load_lensing_dataset(tmp_path)


@pytest.mark.parametrize("name", ["with space.npy", "größe λ.npy", "two\nlines.npy", "-dash.npy", "100%d.npy"])
def test_any_name_is_read_and_named_on_one_line(name, tmp_path):
    _save_classes(tmp_path)
    np.save(tmp_path / "cdm" / name, _image(99))
    assert len(load_lensing_dataset(tmp_path)) == 7
    (tmp_path / "cdm" / name).write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty") as error:
        load_lensing_dataset(tmp_path)
    assert "\n" not in str(error.value) and name.replace("\n", "\\n") in str(error.value)


def test_links_that_lead_in_circles_or_nowhere_are_named_and_do_not_hang(tmp_path):
    _save_classes(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "cdm/again").symlink_to(tmp_path / "cdm")
    assert len(load_lensing_dataset(tmp_path)) == 6
    (tmp_path / "cdm/self.npy").symlink_to("self.npy")
    with pytest.raises(ValueError, match=r"cdm/self\.npy: cannot be read: Too many levels of symbolic links"):
        load_lensing_dataset(tmp_path)
    (tmp_path / "cdm/self.npy").unlink()
    (tmp_path / "cdm/gone.npy").symlink_to("nothing.npy")
    with pytest.raises(ValueError, match=r"cdm/gone\.npy: cannot be read: No such file or directory"):
        load_lensing_dataset(tmp_path)


def test_class_folders_may_be_links(tmp_path):
    _save_classes(tmp_path / "disk")
    (tmp_path / "set").mkdir()
    for name in ("no_sub", "cdm", "axion"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "disk" / name)
    assert len(load_lensing_dataset(tmp_path / "set")) == 6


@pytest.fixture
def without_rights(tmp_path, monkeypatch):
    """A context in which nothing is read by right of being root, who may read everything."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    if os.geteuid() != 0:
        return nullcontext
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    # pytest closes its folders to others: one or, where several processes test, two above the test's own.
    root = Path(tempfile.gettempdir())
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(root) and folder != root:
            folder.chmod(0o755)
    return _as_nobody


@contextmanager
def _as_nobody():
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_named(tmp_path, without_rights):
    _save_classes(tmp_path / "set")
    (tmp_path / "set/cdm/1.npy").chmod(0)
    with without_rights(), pytest.raises(ValueError, match=r"cdm/1\.npy: cannot be read: Permission denied"):
        load_lensing_dataset(tmp_path / "set")


def test_a_folder_without_permission_is_named(tmp_path, without_rights):
    _save_classes(tmp_path / "set")
    (tmp_path / "set/cdm").chmod(0)
    with without_rights(), pytest.raises(PermissionError, match=r"cdm: cannot be read: Permission denied"):
        load_lensing_dataset(tmp_path / "set")


def test_a_cache_without_permission_is_named(tmp_path, without_rights):
    _save_classes(tmp_path / "set")
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache").chmod(0o555)
    with (
        without_rights(),
        pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\).*HF_DATASETS"),
    ):
        load_lensing_dataset(tmp_path / "set")


def _save_table(folder):
    (folder / "data").mkdir(parents=True)
    chunk = {"image": _image(0, (3, 1, 8, 8)).astype(np.float32)}
    dataset_from_chunks([chunk], lens_features((1, 8, 8), label=False)).to_parquet(folder / "data/train.parquet")


@pytest.mark.parametrize("kind", ["files", "table", "simulated"])
def test_a_cache_folder_that_cannot_be_written_is_named(kind, tmp_path, monkeypatch):
    _save_classes(tmp_path / "files")
    _save_table(tmp_path / "table")
    source = "simulate:deeplense_model_2?num_train=2" if kind == "simulated" else tmp_path / kind
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    message = r"cache: the cache of datasets cannot be written \((Not a directory|File exists)\).*HF_DATASETS_CACHE"
    with pytest.raises(OSError, match=message):
        load_lensing_dataset(source, task="pretraining")


def test_a_table_without_permission_is_named(tmp_path, without_rights):
    _save_table(tmp_path / "table")
    (tmp_path / "table/data/train.parquet").chmod(0)
    with without_rights(), pytest.raises(PermissionError, match=r"train\.parquet: cannot be read: Permission denied"):
        load_lensing_dataset(tmp_path / "table", task="pretraining")


def test_a_table_whose_cache_may_not_be_written_is_not_taken_for_damaged(tmp_path, without_rights):
    _save_table(tmp_path / "table")
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache").chmod(0o555)
    with without_rights(), pytest.raises(PermissionError, match=r"cannot be written \(Permission denied\)"):
        load_lensing_dataset(tmp_path / "table", task="pretraining")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    _save_classes(tmp_path / "set")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lens_transformers.data.reading._write", full_disk)
        with pytest.raises(OSError, match="No space left"):
            load_lensing_dataset(tmp_path / "set")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".arrow" or path.suffix == ".json"]
    assert len(load_lensing_dataset(tmp_path / "set")) == 6


def test_a_hundred_thousand_files_in_one_folder_are_listed_and_read(tmp_path):
    folder = tmp_path / "no_sub"
    folder.mkdir()
    for index in range(100_000):
        if index % 50_000 == 0:  # a file has at most 65,000 names
            np.save(folder / f"{index}.npy", np.eye(4, dtype=np.float32))
            first = folder / f"{index}.npy"
        else:
            os.link(first, folder / f"{index}.npy")
    start = time.perf_counter()
    dataset = load_lensing_dataset(tmp_path, task="pretraining")
    assert len(dataset) == 100_000 and time.perf_counter() - start < 60


def test_rows_are_the_same_with_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("lens_transformers.data.reading.ROWS_PER_CHUNK", 4)
    _save_classes(tmp_path, per_class=9)
    (tmp_path / "cdm/5.npy").write_bytes(b"")
    loaded = []
    for workers in (1, 3):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / f"cache{workers}")
        report = LoadReport()
        dataset = load_lensing_dataset(tmp_path, on_error="skip", num_workers=workers, report=report)
        loaded.append((dataset["image"][:].tobytes(), dataset["label"][:].tolist(), report.dropped))
    assert loaded[0] == loaded[1] and len(loaded[0][2]) == 1
    with pytest.raises(ValueError, match=r"cdm/5\.npy: the file is empty"):
        load_lensing_dataset(tmp_path, num_workers=3)


def test_a_second_load_reads_no_file_and_a_changed_file_is_read_anew(tmp_path, monkeypatch):
    _save_classes(tmp_path)
    load_lensing_dataset(tmp_path)

    def not_again(path):
        raise AssertionError(f"{path} was read again")

    with monkeypatch.context() as patch:
        patch.setattr("lens_transformers.data.npy.read_lens_npy", not_again)
        load_lensing_dataset(tmp_path)
    np.save(tmp_path / "cdm/1.npy", 2 * _image(77))
    assert load_lensing_dataset(tmp_path)[3]["image"].max() == np.float32((2 * _image(77)).max())


def test_on_error_is_checked(tmp_path):
    with pytest.raises(ValueError, match="on_error must be one of raise, skip, got 'ignore'"):
        load_lensing_dataset(tmp_path, on_error="ignore")
