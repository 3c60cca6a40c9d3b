"""The head pose and expression estimator as released, with bottlenecks (eat-networks.md 7).

It is no part of a talking head: it reads portraits and driving videos before (docs/sizes.md).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.picture import refuse_size
from eatlab.backbone.pose import released_pose
from eatlab.backbone.sites import FROZEN, BatchNorm2d, Conv2d

NUM_BINS = 66
WIDTHS = (64, 256, 512, 1024, 2048)
BLOCKS = (3, 4, 6, 3)


class HeadReading(NamedTuple):
    """Logits of yaw, pitch, roll (b, 66) each; t (b, 3); expression (b, 45)."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    t: Tensor
    expression: Tensor


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 (which may stride), 1 × 1 convolutions, each with batch norm, plus the input."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        thin = width // 4
        shapes = ((width, thin, 1, 1), (thin, thin, 3, stride), (thin, width, 1, 1))
        self.convs = nn.ModuleList(Conv2d(a, b, k, stride=s, padding=k // 2) for a, b, k, s in shapes)
        self.norms = nn.ModuleList(BatchNorm2d(b) for _, b, _, _ in shapes)
        self.skip = nn.ModuleList(
            [Conv2d(width, width, 1, stride=stride), BatchNorm2d(width)] if stride > 1 else []
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) → (b, width, h / stride, w / stride)."""
        y = x
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = y if index == 2 else F.relu(y)
        for op in self.skip:
            x = op(x)
        return F.relu(x + y)


class Stage(nn.Module):
    """Widened by a 1 × 1 convolution, then bottlenecks; all but the first stage halve the map."""

    def __init__(self, cin: int, cout: int, num_blocks: int, stride: int) -> None:
        super().__init__()
        self.conv, self.norm = Conv2d(cin, cout, 1), BatchNorm2d(cout)
        self.blocks = nn.ModuleList(Bottleneck(cout, stride if i == 0 else 1) for i in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(b, cin, h, w) → (b, cout, h / stride, w / stride)."""
        x = F.relu(self.norm(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return x


class PublishedEstimator(nn.Module):
    """Frames (b, 3, 256, 256) in -1..1 → E and pose, as `expression.ExpressionEstimator`."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, keypoints: int = 15, size: int = 256) -> None:
        super().__init__()
        self.size = size
        self.conv, self.norm = Conv2d(3, widths[0], 7, stride=2, padding=3), BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            Stage(a, b, count, 1 if i == 0 else 2)
            for i, ((a, b), count) in enumerate(zip(pairwise(widths), BLOCKS, strict=True))
        )
        self.yaw, self.pitch, self.roll = (nn.Linear(widths[-1], NUM_BINS) for _ in range(3))
        self.t, self.expression = nn.Linear(widths[-1], 3), nn.Linear(widths[-1], 3 * keypoints)

    def read(self, image: Tensor) -> HeadReading:
        """What the heads say. Raises UserError for pictures of another size."""
        refuse_size(image, self.size, "the head pose estimator")
        x = F.max_pool2d(F.relu(self.norm(self.conv((image + 1) / 2, FROZEN))), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        x = x.mean((2, 3))
        return HeadReading(self.yaw(x), self.pitch(x), self.roll(x), self.t(x), self.expression(x))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """→ E (b, 15, 3) in keypoint units, pose (b, 7)."""
        said = self.read(image)
        pose = released_pose(said.yaw, said.pitch, said.roll, said.t)
        return said.expression.float().unflatten(-1, (-1, 3)), pose
