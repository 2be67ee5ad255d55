"""Puts transformers' common tests on the path and, after each, looks whether it tested anything.

A common test that finds nothing to test skips, or passes without a word: for a class that is not registered, say, or
an argument of another name. So where a test of models skips or builds none, it fails here unless it is named below.
"""

import os
import re
import sys

import pytest


SOURCE = os.environ.get("LENS_CONFORMANCE_SDIST")

# Without the source distribution there is nothing to inherit from; `make conformance` fetches it, and sets this.
collect_ignore_glob = [] if SOURCE else ["test_*.py"]
if SOURCE:
    sys.path.insert(0, SOURCE)

NO_MODEL_BUILT = "passed without building a model"

# Patterns of "Class.test: what happened".
NOT_APPLICABLE = [
    # A GPU, several of them, DeepSpeed, or kernels for one.
    r": test requires ",
    # It compiles a language model's training, on a GPU; tests/models compiles ours.
    r"test_torch_compile_for_training: test is slow",
    # Text, its tokens and its generation.
    r"test_(causal_lm_loss|encoder_decoder_loss)\w*: No ",
    r"test_(inputs_embeds|resize)\w*: ",
    r"test_bc_cache_name_forward\w*: Do not take a cache",
    r"test_generation_tester_mixin_inheritance: " + NO_MODEL_BUILT,
    # Models of several modalities, made of models with configurations of their own.
    r"test_(get_(audio|image|text|video)_features|multimodal)\w*: " + NO_MODEL_BUILT,
    r"test_\w+_composite_models?: ",
    r"test_internal_model_config_and_subconfig_are_same: No subconfigs",
    # Parts that this network does not have: experts, rotary positions, sliding windows.
    r"test_eager_matches_batched_and_grouped_inference\w*: \w+ does not support grouped_mm",
    r"test_(moe_models_record|output)_router_logits\w*: This model has no ",
    r"test_(model_rope|vision_axial_rope)\w*: ",
    r"test_sliding_window_mask: Model does not support sliding window",
    # It keeps no module in float32, renames no weights on loading, and has no plan for tensor parallelism.
    r"test_keep_in_fp32_modules\w*: ",
    r"test_(reverse_loading_mapping|can_load_from_already_mapped_keys): No conversion found",
    r"test_tp_plan_matches_params: Model does not have a TP plan",
    # They look at the configuration or at signatures.
    r"test_(config|config_attn_implementation_setter|model_main_input_name|num_layers_is_small): " + NO_MODEL_BUILT,
    # They look at generating models and at classifiers of text only.
    r"test_(model_base_model_prefix|load_with_mismatched_shapes): " + NO_MODEL_BUILT,
    # They look at base models and classifiers, which the test classes of the encoders have.
    r"PreTrainingTest.test_(can_load_ignoring_mismatched_shapes|model_forward_default_config_values|problem_types): "
    + NO_MODEL_BUILT,
]

_models_built = 0


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.conformance)


@pytest.fixture(autouse=True, scope="session")
def count_models():
    """Count every LensMAE network that is built."""
    from transformers import PreTrainedModel

    build = PreTrainedModel.__init__

    def build_and_count(self, *args, **kwargs):
        global _models_built
        _models_built += type(self).__name__.startswith("LensMAE")
        build(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreTrainedModel, "__init__", build_and_count)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if not hasattr(item.cls, "all_model_classes"):
        return report
    happened = None
    if report.when == "setup":
        item.models_built_before = _models_built
    elif report.when == "call" and report.skipped:
        _path, _line, reason = report.longrepr
        happened = reason.removeprefix("Skipped: ")
    elif report.when == "call":
        item.passed = report.passed
    # Not before the end: there may be subtests, and the report of a whole test looks like that of one of them.
    elif getattr(item, "passed", False) and _models_built == item.models_built_before:
        happened = NO_MODEL_BUILT
    if happened and not any(re.search(p, f"{item.cls.__name__}.{item.name}: {happened}") for p in NOT_APPLICABLE):
        report.outcome = "failed"
        report.longrepr = f"This tested nothing: {happened}. If that is right, conftest.py has to say why."
    return report
