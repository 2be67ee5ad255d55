"""transformers' `ModelTesterMixin` and `ConfigTester` on every LensMAE class, with either stem.

`LensMAEForPreTraining` has test classes of its own: it encodes only what it leaves visible, the others every patch,
and the common tests expect one sequence length of all classes they are given.
"""

import unittest

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from transformers.models.auto import modeling_auto
from transformers.testing_utils import require_torch, torch_device

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEModel,
)


# The common tests know by these tables which class is a base model and which one takes which labels.
modeling_auto.MODEL_MAPPING_NAMES["lens_mae"] = "LensMAEModel"
modeling_auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES["lens_mae"] = "LensMAEForPreTraining"
modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES["lens_mae"] = "LensMAEForClassification"
modeling_auto.MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES["lens_mae"] = "LensMAEForSuperResolution"


class LensMAEModelTester:
    """The small model and the inputs with which the common tests run."""

    batch_size = 13
    image_size = 32
    patch_size = 8
    num_channels = 2
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    num_labels = 3
    is_training = True

    def __init__(self, parent, stem, mask_ratio=None):
        self.parent = parent
        self.stem = stem
        num_blocks = (self.image_size // (self.patch_size * stem["mask_unit_size"])) ** 2
        num_seen = num_blocks if mask_ratio is None else round(num_blocks * (1 - mask_ratio))
        self.num_blocks = num_blocks
        self.mask_ratio = mask_ratio
        self.seq_length = num_seen * stem["mask_unit_size"] ** 2 + stem["use_cls_token"]

    def get_config(self):
        return LensMAEConfig(
            **self.stem,
            image_size=self.image_size,
            patch_size=self.patch_size,
            num_channels=self.num_channels,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            decoder_hidden_size=32,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=37,
            sr_hidden_size=16,
            sr_num_blocks=1,
            sr_decoder_hidden_size=32,
            sr_decoder_num_hidden_layers=1,
            sr_decoder_num_attention_heads=4,
            mask_ratio=0.5 if self.mask_ratio is None else self.mask_ratio,
            num_labels=self.num_labels,
        )

    def prepare_config_and_inputs_for_common(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])
        return self.get_config(), {"pixel_values": pixel_values}


PATCH_STEM = {
    "stem_type": "patch",
    "position_embedding_type": "learned",
    "pooling": "cls",
    "use_cls_token": True,
    "mask_unit_size": 1,
}
CONV_STEM = {
    "stem_type": "conv",
    "stem_hidden_size": 8,
    "pooling": "mean_std_max",
    "use_cls_token": False,
    "mask_unit_size": 2,
}


class LensMAEConformance(ModelTesterMixin):
    """What all test classes share."""

    stem = None
    mask_ratio = None
    # There are no tokens whose embeddings could be resized.
    test_resize_embeddings = False
    # Off by default for models from before 2023 only; it is the test that finds uninitialised weights.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = LensMAEModelTester(self, self.stem, self.mask_ratio)
        self.config_tester = ConfigTester(self, config_class=LensMAEConfig, has_text_modality=False, hidden_size=36)

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_model_get_set_embeddings(self):
        # The common test expects a table of token embeddings; ours embed pixels.
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), torch.nn.Module)
            self.assertIsNone(model.get_output_embeddings())

            other = torch.nn.Identity()
            model.set_input_embeddings(other)
            self.assertIs(model.get_input_embeddings(), other)

    def test_enable_input_require_grads_with_gradient_checkpointing(self):
        # The common test looks at the one `weight` of a token embedding; ours are several layers, so at all of theirs.
        for model_class in self.all_model_classes:
            if model_class is LensMAEForSuperResolution:
                continue  # it starts as bicubic upsampling: a residual of zeros gives the encoder no gradient yet
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
            model = model_class(config).to(torch_device).train()
            if model_class is LensMAEForClassification:
                torch.nn.init.normal_(model.classifier.weight)  # which starts at zero as well
            model.activation_checkpointing_enable()
            model.enable_input_require_grads()
            model(**self._prepare_for_class(inputs, model_class, return_labels=True))[0].sum().backward()
            for name, parameter in model.get_input_embeddings().named_parameters():
                self.assertTrue(parameter.grad.isfinite().all(), name)
                self.assertGreater(parameter.grad.abs().sum().item(), 0, name)


class LensMAEEncodersConformance(LensMAEConformance):
    """The encoder and the two fine-tuned heads, which see every patch."""

    all_model_classes = (LensMAEModel, LensMAEForClassification, LensMAEForSuperResolution)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        # The comparisons of eager with sdpa give noise to every forward that takes some; ours wants masking with it.
        inputs_dict.pop("noise", None)
        if return_labels and model_class is LensMAEForSuperResolution:
            # The common tests know no labels that are images.
            images = inputs_dict["pixel_values"]
            inputs_dict["labels"] = torch.nn.functional.interpolate(images, scale_factor=2.0)
        return inputs_dict


class LensMAEPreTrainingConformance(LensMAEConformance):
    """Pretraining, which hides half of the blocks."""

    all_model_classes = (LensMAEForPreTraining,)
    mask_ratio = 0.5

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        # Two calls are compared in many tests: the same blocks have to be hidden in both.
        generator = torch.Generator().manual_seed(0)
        num_images = inputs_dict["pixel_values"].shape[0]
        noise = torch.rand(1, self.model_tester.num_blocks, generator=generator).expand(num_images, -1)
        inputs_dict["noise"] = noise.contiguous().to(torch_device)
        return inputs_dict


@require_torch
class PatchStemEncodersTest(LensMAEEncodersConformance, unittest.TestCase):
    stem = PATCH_STEM


@require_torch
class ConvStemEncodersTest(LensMAEEncodersConformance, unittest.TestCase):
    stem = CONV_STEM


@require_torch
class PatchStemPreTrainingTest(LensMAEPreTrainingConformance, unittest.TestCase):
    stem = PATCH_STEM


@require_torch
class ConvStemPreTrainingTest(LensMAEPreTrainingConformance, unittest.TestCase):
    stem = CONV_STEM
