import pytest

from benchmarks import shipping


DATA = {"source": "simulate:sr_physical", "num_test": 500, "split": "test"}
RESULTS = {
    "training": {
        "sr_physical_edsr": [
            {"words": "from scratch", "data": DATA, "rows": [{"name": "EDSR", "psnr": 56.0}, {"name": "Bicubic"}]}
        ]
    },
    "official_samples": {
        "zero_shot": {
            "10 pairs": [
                {"name": "lens-sr-x2-sr-deeplense", "psnr": 42.0, "ssim": 0.9, "intervals": {"psnr": [41.0, 43.0]}},
                {"name": "lens-sr-x2-sr-physical", "psnr": 34.0, "ssim": 0.9, "intervals": {"psnr": [33.0, 35.0]}},
                {"name": "Bicubic", "psnr": 41.0, "intervals": {"psnr": [40.0, 42.0]}},
                {"name": "Bilinear", "psnr": 41.5, "intervals": {"psnr": [40.5, 42.5]}},
            ],
            "two lenses of telescopes": [{"name": "HST, lens-sr-x2-sr-physical", "flux_ratio": 1.0}],
        }
    },
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(shipping, "known_results", RESULTS.get)


def test_the_plain_network_of_equal_cost_stands_beside_a_checkpoint_on_the_same_images():
    [row] = shipping.plain_rows("lens-sr-x2-sr-physical", DATA)
    assert (row["name"], row["psnr"], row["kind"]) == ("EDSR (from scratch)", 56.0, shipping.PLAIN)
    assert shipping.plain_rows("lens-sr-x2-sr-physical", DATA | {"num_test": 100}) == []
    assert shipping.plain_rows("lens-mae-tiny-64", DATA) == []


def test_a_checkpoint_is_told_what_it_makes_of_other_images_beside_the_best_baseline():
    [pairs] = shipping.measured_elsewhere("lens-sr-x2-sr-physical")
    assert (pairs["images"], pairs["metric"]) == ("10 pairs", "psnr")
    assert [(row["name"], row["psnr"]) for row in pairs["rows"]] == [
        ("lens-sr-x2-sr-physical", 34.0),
        ("Bilinear", 41.5),
    ]
    assert pairs["rows"][0]["intervals"] == {"psnr": [33.0, 35.0]}
    assert shipping.measured_elsewhere("lens-mae-tiny-64") == []
