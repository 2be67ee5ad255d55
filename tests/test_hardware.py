"""Precision is chosen by what the hardware computes, not by what torch can emulate."""

import pytest
import torch

from benchmarks.training_step import fast_dtypes
from lens_transformers._hardware import has_fast_bfloat16


@pytest.mark.parametrize(("has_avx512", "has_amx"), [(True, False), (False, True), (False, False)])
def test_a_processor_without_instructions_for_bfloat16_trains_in_float32(monkeypatch, has_avx512, has_amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert has_fast_bfloat16("cpu") is (has_avx512 or has_amx)
    assert ("bfloat16" in fast_dtypes("cpu")) is (has_avx512 or has_amx)
    assert has_fast_bfloat16("cuda") and has_fast_bfloat16("mps")


def test_without_a_name_the_accelerator_is_asked_about(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps"))
    assert has_fast_bfloat16()
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert not has_fast_bfloat16()
