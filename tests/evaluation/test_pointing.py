import numpy as np
import pytest
from transformers import ResNetConfig, ResNetForImageClassification

from lens_transformers import LensMAEImageProcessor
from lens_transformers.data.simulated import find_simulation
from lens_transformers.evaluation import pointing
from lens_transformers.evaluation.__main__ import main
from lens_transformers.evaluation.pointing import PlantedSubhalos, plant_subhalos, pointing_row
from lens_transformers.simulation import get_preset
from lens_transformers.simulation.scenes import CDM, draw_scene


def test_a_planted_subhalo_is_where_it_is_said_to_be():
    config = get_preset("lens_default").with_overrides({"noise": None, "substructure.compensate_mass": False})
    planted = plant_subhalos(config, 6)
    heaviest = config.substructure.subhalos.mass_msun.high
    assert (planted.mass_msun > heaviest / 2).all() and (planted.mass_msun <= heaviest).all()
    assert planted.images.shape == (6, 1, 64, 64)
    center = (np.array(planted.images.shape[:1:-1]) - 1) / 2
    for image, position in zip(planted.images, planted.positions, strict=True):
        column, row = np.round(position / planted.pixel_scale_arcsec + center).astype(int)
        distance = np.hypot(*(np.indices((64, 64)) - np.array([row, column])[:, None, None]))
        # A point mass bends light: near it the image is rougher than the ring is elsewhere.
        rough = np.abs(np.diff(image[0], n=2, axis=0))[:, 1:-1] + np.abs(np.diff(image[0], n=2, axis=1))[1:-1]
        near = distance[1:-1, 1:-1] < 5
        assert rough[near].max() > np.quantile(rough[~near], 0.98)


@pytest.mark.parametrize(
    "pair", [{"method": "bicubic"}, {"method": "telescope", "psf_fwhm_arcsec": 0.3}], ids=["bicubic", "telescope"]
)
def test_a_pixel_of_a_pair_is_that_of_its_low_resolution(pair):
    overrides = {"super_resolution": pair, "instrument.num_pixels": 32, "instrument.pixel_scale_arcsec": 0.15}
    planted = plant_subhalos(get_preset("lens_default").with_overrides(overrides), 2)
    assert planted.images.shape == (2, 1, 16, 16) and planted.pixel_scale_arcsec == pytest.approx(0.3)


def test_planting_is_the_same_for_the_same_seed():
    first, again = plant_subhalos("lens_default", 3, seed=1), plant_subhalos("lens_default", 3, seed=1)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions, plant_subhalos("lens_default", 3, seed=2).positions)


def test_planted_scenes_are_in_no_split_and_no_folder_of_the_same_seed(monkeypatch):
    drawn = []
    monkeypatch.setattr(pointing, "draw_scene", lambda *scene: drawn.append(scene[2]) or draw_scene(*scene))
    plant_subhalos("lens_default", 2)
    beyond = find_simulation("simulate:lens_default", "test").first_sample + 2**60
    assert min(drawn) >= beyond and {index % 3 for index in drawn} == {CDM}


def test_a_set_without_substructure_has_nothing_to_plant():
    with pytest.raises(ValueError, match="sr_physical has no substructure"):
        plant_subhalos("sr_physical", 2)


def planted_at(pixels, size=20, pixel_scale=0.1):
    positions = (np.array(pixels)[:, ::-1] - (size - 1) / 2) * pixel_scale
    return PlantedSubhalos(np.zeros((len(pixels), 1, size, size)), positions, np.ones(len(pixels)), pixel_scale)


def maps_at(pixels, size=20):
    maps = np.zeros((len(pixels), size, size))
    maps[np.arange(len(pixels)), *np.array(pixels).T] = 1
    return maps


def test_maps_that_point_at_the_subhalo_hit_and_those_of_other_images_are_chance():
    pixels = [(2, 3), (15, 4), (10, 17), (5, 12)]
    row = pointing_row(maps_at(pixels), planted_at(pixels), tolerance_arcsec=0.2)
    assert (row["hit_rate"], row["chance"], row["num_images"]) == (1.0, 0.0, 4)
    assert row["median_distance_arcsec"] == pytest.approx(0) and row["chance_distance_arcsec"] > 0.5
    assert row["hit_rate_low"] == pytest.approx(0.510, abs=1e-3)  # Wilson's, of four in four


def test_distances_are_in_arcsec_and_x_is_the_column():
    row = pointing_row(maps_at([(2, 3), (2, 3)]), planted_at([(2, 6), (2, 6)]), tolerance_arcsec=0.29)
    assert row["median_distance_arcsec"] == pytest.approx(0.3)
    assert row["hit_rate"] == 0
    assert pointing_row(maps_at([(2, 3), (2, 3)]), planted_at([(2, 6), (2, 6)]), 0.31)["hit_rate"] == 1


def test_maps_that_do_not_fit_the_images_are_refused():
    with pytest.raises(ValueError, match=r"maps must be \(2, 20, 20\), two or more; got \(2, 5, 5\)"):
        pointing_row(np.zeros((2, 5, 5)), planted_at([(0, 0), (1, 1)]))


def test_the_command_prints_the_hit_rates_beside_chance_and_says_what_it_cannot_do(tmp_path, capsys):
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    config = ResNetConfig(num_channels=1, id2label={0: "no_sub", 1: "cdm", 2: "axion"}, **sizes)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    LensMAEImageProcessor().save_pretrained(tmp_path)
    assert main(["explain", str(tmp_path), "--num_images", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 lenses of lens_default with one subhalo on the ring, ")
    assert [line.split("hit rate")[0].strip() for line in lines[2:4]] == ["grad cam", "brightest pixel of the image"]
    assert all("chance 0." in line for line in lines[2:4])
    assert lines[4].startswith("No attention rollout: ResNetForImageClassification does not attend")
    assert main(["explain", str(tmp_path), "--class_name", "wdm"]) == 1
    assert "--class_name must be one of no_sub, cdm, axion, got wdm." in capsys.readouterr().err
