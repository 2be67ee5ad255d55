"""transformers' `ImageProcessingTestMixin` on `LensMAEImageProcessor`."""

import unittest

import numpy as np
import pytest
from PIL import Image

from lens_transformers import LensMAEImageProcessor
from tests import test_image_processing_common as common


# A picture of our own in place of the one on the Hub.
common.load_test_image = lambda url: Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
)


class LensMAEImageProcessingTester(common.ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        kwargs.setdefault("do_resize", True)
        kwargs.setdefault("size", {"height": 20, "width": 18})
        kwargs.setdefault("image_mean", [0.5, 0.4, 0.3])
        kwargs.setdefault("image_std", [0.5, 0.6, 0.7])
        kwargs.setdefault("do_convert_rgb", True)
        super().__init__(parent, max_resolution=80, **kwargs)

    # The common tester looks the classes up in transformers' own tables, by the name of the test's folder. One class
    # of ours serves with torchvision and without.
    def _get_image_processing_classes(self):
        return {"pil": LensMAEImageProcessor, "torchvision": LensMAEImageProcessor}


# Skipped by the common tests themselves:
# - test_pil_can_run_without_torchvision and test_can_compile_torchvision_backend are marked slow (the first starts an
#   interpreter that does not import this package; tests/models has our own test without torchvision);
# - test_image_processor_preprocess_arguments looks for a check of arguments that transformers 5 no longer uses;
# - test_override_instance_attributes_does_not_affect_other_instances wants sizes that are plain dicts and constants
#   that are lists; both are immutable here, as in every processor of transformers 5.
class LensMAEImageProcessingTest(common.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = LensMAEImageProcessingTester
    # Any value switches test_cast_dtype_device on.
    test_cast_dtype = True

    # The common test blends an alpha channel into white, which means nothing for flux: four bands are refused.
    def test_convert_to_rgb_mixed_input_batch_2(self):
        four_bands = np.zeros((40, 100, 4), dtype=np.uint8)
        processor = LensMAEImageProcessor(**self.image_processor_dict)
        with pytest.raises(TypeError, match="PIL mode RGBA"):
            processor(Image.fromarray(four_bands), do_convert_rgb=True)
        with pytest.raises(ValueError, match="4 bands"):
            processor(four_bands, do_convert_rgb=True)
