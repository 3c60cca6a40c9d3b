"""Windows of five frames with what is seen and heard in them, for losses of drawn frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.audio_features import SYNC_COLUMNS, sync_mel, sync_start
from eatlab.data.samples import FrameTable, unit
from eatlab.emotions import NEUTRAL
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_tables


@dataclass(frozen=True)
class SpeechPool:
    """Windows (w, 5) of rows into latents, and the frames of the same rows."""

    latents: Latents
    table: FrameTable
    rows: Tensor

    @classmethod
    def load(cls, head: TalkingHead, data: Path, part: str, cache: Path) -> SpeechPool:
        """A part "set/split": all of a wild one, the neutral clips of an acted one; no other label."""
        name, split = part.split("/")
        source = SetName(data, name, split)
        latents, (table, _) = load_latents(head, source, LatentsConfig(), cache), read_tables(source)
        rows = latents.windows(5)
        emotion = latents.emotion[latents.clip[rows[:, 0]]]
        return cls(latents, table, rows[(emotion < 0) | (emotion == NEUTRAL)])

    def frames(self, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Windows (n,) → true frames (n·5, 3, h, w) in -1..1 and their truth."""
        rows = self.rows[chosen].flatten()
        return unit(self.table.image[rows]), {k: v[rows] for k, v in self.table.truth.items()}

    def heard(self, chosen: Tensor) -> Tensor:
        """Windows (n,) → sync mel (n, 16, 80)."""
        first = self.rows[chosen][:, 0]
        mels = []
        for row in first.tolist():
            column = int(sync_start(int(self.latents.at[row])))
            mel = sync_mel(self.table.audio[int(self.latents.clip[row])])
            mels.append(torch.from_numpy(mel[column : column + SYNC_COLUMNS]))
        return torch.stack(mels)
