"""Losses that need frames: some of a step's windows are drawn and compared with the true ones (EAT, Sec. 3.3;
Eq. 5; Table 6).
"""

from __future__ import annotations

import torch
from torch import Tensor

from eatlab.backbone.precision import fast
from eatlab.backbone.sites import Context
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.samples import FrameTable, unit
from eatlab.errors import UserError
from eatlab.experts.judges import Teachers
from eatlab.experts.sync import FRAMES
from eatlab.objectives.reconstruction import Reconstruction, ReconstructionConfig, face_weights
from eatlab.objectives.sync import SyncLoss
from eatlab.objectives.weights import LossConfig
from eatlab.training.latents import Latents
from eatlab.training.speech_pool import SpeechPool

KNOWN = ("mask", "landmarks")
"""What must be known of the true frames: where the face is, and its mouth."""


class DrawnLoss:
    """Perceptual, sync and L1 loss of rendered windows, weighed; what weighs nothing is not computed.

    latents, table: what the tuning reads, and the frames of the same rows. Raises UserError for frames of
    which mask or landmarks are not known, and for a teacher under its gate.
    """

    def __init__(
        self,
        backbone: TalkingHead,
        latents: Latents,
        table: FrameTable,
        teachers: Teachers,
        config: LossConfig,
    ) -> None:
        check(table, teachers)
        self.backbone, self.latents, self.table, self.config = backbone, latents, table, config
        weights = ReconstructionConfig(
            pixel=config.pixel,
            perceptual=config.perceptual,
            **dict.fromkeys(("warped", "edge", "aus", "landmarks"), 0.0),
        )
        self.reconstruction = Reconstruction(weights, teachers)
        self.sync = SyncLoss(teachers.sync)

    def __call__(self, rows: Tensor, expression: Tensor, context: Context, seed: int) -> Tensor:
        """A scalar. rows (windows, 5) of the latents; expression (windows, 5, 15, 3), what A2ET says there.

        context: of the same windows, with the adapters. seed: of the few pixels by which the perceptual term
        shifts both pictures. Raises UserError for windows that the sync teacher cannot hear.
        """
        if rows.shape[1] != FRAMES:
            asked = f"losses of drawn frames hear windows of {FRAMES} frames, not {rows.shape[1]}"
            raise UserError(asked, do=f"give schedule.num_frames={FRAMES}")
        latents, every = self.latents, torch.arange(len(rows))
        pool = SpeechPool(latents, self.table, rows)
        truth, known = pool.frames(every)
        picture = latents.portrait[latents.clip[rows[:, 0]]]
        each = every.repeat_interleave(FRAMES)
        with fast("cpu"):
            portrait = self.backbone.portrait(
                unit(latents.portrait_image[picture]), latents.portrait_pose[picture], context
            )
            drawn = self.backbone.draw(
                portrait.rows(each), expression.flatten(0, 1), latents.pose[rows].flatten(0, 1), context
            )
            terms: dict[str, Tensor] = {}
            synced = expression.new_zeros(())
            if self.config.perceptual:
                shift = torch.Generator().manual_seed(seed)
                terms |= self.reconstruction.perceived(drawn.image, truth, shift)
            if self.config.sync:
                synced = self.sync(drawn.image.float(), known["landmarks"], pool.heard(every))
        if self.config.pixel:
            where = face_weights(known["mask"], known["landmarks"])
            terms |= self.reconstruction.pixels(drawn.image, None, truth, where)
        rest = self.reconstruction.total(terms) if terms else 0.0
        return self.config.sync * synced + rest  # Eq. 5


def check(table: FrameTable, teachers: Teachers) -> None:
    """Raises UserError as `DrawnLoss` says."""
    if missing := [name for name in KNOWN if name not in table.truth]:
        raise UserError(
            f"loss.perceptual, loss.sync and loss.pixel need {' and '.join(missing)} of the true frames",
            "these clips do not say",
            "tune on puppets, or by the latent loss alone",
        )
    if refused := teachers.below_gate():
        raise UserError(
            "a teacher under its gate may stand in no loss",
            "; ".join(f"{name}: {why}" for name, why in refused.items()),
        )
