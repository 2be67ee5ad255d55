"""What the machine at hand is good at."""

import torch


def has_fast_bfloat16(device_type: str | None = None) -> bool:
    """Whether the hardware computes in bfloat16 rather than emulating it, which on a CPU is many times as slow.

    Args:
        device_type: Such as `"cpu"` or `"cuda"`; by default the accelerator if there is one, else the CPU.
    """
    if device_type is None:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        device_type = "cpu" if accelerator is None else accelerator.type
    if device_type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device_type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
