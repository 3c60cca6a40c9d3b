"""The precision that a device computes in: bf16 only where it has instructions for it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eatlab.backbone import precision

PICTURE, KERNEL = torch.ones(1, 2, 4, 4), torch.full((2, 2, 3, 3), 1 / 3)


def test_a_cpu_without_bf16_computes_in_fp32_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    with precision.fast("cpu"):
        drawn = F.conv2d(PICTURE, KERNEL)
    assert precision.precision("cpu") == "fp32"
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, F.conv2d(PICTURE, KERNEL))


def test_a_cpu_with_bf16_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    with precision.fast("cpu"):
        drawn = F.conv2d(PICTURE, KERNEL)
    assert precision.precision(torch.device("cpu")) == "bf16"
    assert drawn.dtype == torch.bfloat16


def test_the_answer_is_onednns_own() -> None:
    assert precision.cpu_has_bf16() is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
