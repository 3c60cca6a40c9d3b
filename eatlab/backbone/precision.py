"""Which precision a device computes in: bf16 where it has instructions for it, else fp32."""

from __future__ import annotations

import torch

from eatlab.errors import refuse_unknown


def precision(device: torch.device | str) -> str:
    """Either "bf16" or "fp32". Records and cards name it: figures of the two differ in their last digits."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if kind == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether oneDNN computes in bf16 here; what it refuses falls to loops far slower than fp32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def exactly(device: torch.device | str) -> torch.autocast:
    """No autocast inside, whatever stands around it: for the few sums whose rounding shows in every pixel."""
    kind = torch.device(device).type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)  # autocast knows no meta


def drawing(name: str, device: torch.device | str) -> torch.autocast:
    """Autocast for drawing frames: "fp32" rounds nothing, "bf16" what the renderer lets it round.

    Raises UserError for another name.
    """
    refuse_unknown("precision", name, ("fp32", "bf16"))
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=name == "bf16")


def fast(device: torch.device | str) -> torch.autocast:
    """Autocast to the precision of `device`: changes nothing where that is fp32."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision(device) == "bf16")
