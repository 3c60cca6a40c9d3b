"""The acoustic encoder as released: residual blocks, a pitch path, 12 norms that adapters modulate."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.published.pitch import PitchNet
from eatlab.backbone.residual_down import FaceToken
from eatlab.backbone.sites import BatchNorm2d, Context, Conv2d, GroupNorm, Site, spread
from eatlab.backbone.sizes import A2ETConfig, PublishedAcousticConfig

SLOPE = 0.2
HALF_POWER = 2**-0.5
GROUPS = 8


def shortcut_of(cin: int, cout: int) -> nn.ModuleList:
    """A 1 × 1 convolution without bias where the width changes, else nothing."""
    return nn.ModuleList([Conv2d(cin, cout, 1, bias=False)] if cin != cout else [])


class ResidualBlock(nn.Module):
    """Group norm, LReLU, convolution, twice, plus a shortcut; may halve the mel axis (eat-networks.md 9)."""

    def __init__(self, cin: int, cout: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.norms = nn.ModuleList([GroupNorm(GROUPS, cin), GroupNorm(GROUPS, cin)])
        self.convs = nn.ModuleList([Conv2d(cin, cin, 3, padding=1), Conv2d(cin, cout, 3, padding=1)])
        self.shortcut = shortcut_of(cin, cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(b, cin, mel, time) → (b, cout, mel or mel / 2, time)."""
        y = x
        for index, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            y = conv(F.leaky_relu(norm(y, context), SLOPE), context)
            y = self.smaller(y) if index == 0 else y
        for conv in self.shortcut:
            x = conv(x, context)
        return (self.smaller(x) + y) * HALF_POWER

    def smaller(self, x: Tensor) -> Tensor:
        """Half as many mel rows, if the block halves."""
        return F.avg_pool2d(x, (2, 1)) if self.halves else x


class AdaptiveBlock(nn.Module):
    """Instance norm, site, LReLU, convolution, twice, beside a shortcut; may double the mel axis.

    What follows each norm is a feature site: the EAM's gains and biases come in there (Eqs. 3-4).
    Differs: Eq. 4 scales x itself; here, as in the release, x is instance-normalised first.
    """

    def __init__(self, cin: int, cout: int, *, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.norms = nn.ModuleList([Site("features", cin), Site("features", cout)])
        self.convs = nn.ModuleList([Conv2d(cin, cout, 3, padding=1), Conv2d(cout, cout, 3, padding=1)])
        self.shortcut = shortcut_of(cin, cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(b, cin, mel, time) → (b, cout, mel or 2 mel, time)."""
        y = x
        for index, (site, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            y = F.leaky_relu(site(F.instance_norm(y), context), SLOPE)
            y = conv(self.larger(y) if index == 0 else y, context)
        x = self.larger(x)
        for conv in self.shortcut:
            x = conv(x, context)
        return (y + x) * HALF_POWER

    def larger(self, x: Tensor) -> Tensor:
        """Every mel row twice, if the block doubles."""
        return x.repeat_interleave(2, 2) if self.doubles else x


class PublishedAcoustic(nn.Module):
    """Mel windows (windows, 11, 80) → a map of each frame (windows, 11, maps, 64, 64).

    Group and instance norms look at the whole window, so nothing here can be shared between windows.
    """

    def __init__(self, config: A2ETConfig) -> None:
        super().__init__()
        c = config.acoustic
        assert isinstance(c, PublishedAcousticConfig)
        self.pitch = PitchNet(c.pitch)
        self.stem = Conv2d(1, c.encode[0], 3, padding=1)
        self.encode = nn.ModuleList(
            ResidualBlock(a, b, halves=i < c.halvings) for i, (a, b) in enumerate(pairwise(c.encode))
        )
        self.pitch_block = ResidualBlock(c.pitch[-1], c.pitch_out, halves=False)
        widths = (c.encode[-1] + c.pitch_out, *c.decode)
        self.decode = nn.ModuleList(
            AdaptiveBlock(a, b, doubles=i >= len(c.decode) - c.halvings)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        rows = config.mel - c.decode[-1] + 1
        self.map_in = Conv2d(1, c.hidden_maps, (3, rows), padding=(1, 0))
        self.map_norm = BatchNorm2d(c.hidden_maps)
        self.map_out = Conv2d(c.hidden_maps, c.maps, 13, padding=6)

    def forward(self, mel: Tensor, context: Context) -> Tensor:
        """A frame's map has the encoder's channels as rows and the mel bands as columns."""
        window = mel.mT[:, None]
        heard = self.encoded(window, self.pitch(window, context), context)
        maps = heard.permute(0, 3, 1, 2).flatten(0, 1)[:, None]
        maps = F.relu(self.map_norm(self.map_in(maps, context), context))
        return self.map_out(maps, context).unflatten(0, (len(mel), -1))

    def encoded(self, mel: Tensor, pitch: Tensor, context: Context) -> Tensor:
        """(w, 1, mel, time), pitch (w, channels, mel / 8, time) → (w, channels, mel, time)."""
        x = self.stem(mel, context)
        for block in self.encode:
            x = block(x, context)
        x = torch.cat([x, self.pitch_block(pitch, context)], 1)
        for block in self.decode:
            x = block(x, context)
        return x

    @staticmethod
    def join(heard: Tensor, pose: Tensor, face: Tensor, token: FaceToken, context: Context) -> Tensor:
        """Maps (w, 11, c, h, w), pose token (w, 1, width), face (clips, c, h, w) → tokens (w, 12, width).

        Each frame's map and the portrait's face map become one token together.
        """
        seen = spread(face, len(heard))[:, None].expand(-1, heard.shape[1], -1, -1, -1)
        tokens = token(torch.cat([heard, seen], 2).flatten(0, 1), context)
        return torch.cat([tokens.unflatten(0, heard.shape[:2]), pose], 1)
