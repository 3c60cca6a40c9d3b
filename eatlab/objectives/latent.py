"""Latent loss: the predicted expression against the extracted one, without rendering (EAT, Eq. 6)."""

from __future__ import annotations

from torch import Tensor, nn

from eatlab.backbone.talking_head import TalkingHead
from eatlab.objectives.weights import LossConfig


class LatentLoss(nn.Module):
    """How far a predicted E is from the true one, in units of the variance of E: predicting the mean costs
    about 1.

    basis (rank, 45) with orthonormal rows and deviation (rank,): the PCA of E = PE U^T + M.
    """

    basis: Tensor
    scale: Tensor
    variance: Tensor

    def __init__(self, basis: Tensor, deviation: Tensor, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LossConfig()
        self.register_buffer("basis", basis.detach().clone())
        self.register_buffer("scale", deviation.detach() + self.config.floor * deviation.detach().max())
        self.register_buffer("variance", deviation.detach().square().sum() / basis.shape[1])

    @classmethod
    def of(cls, backbone: TalkingHead, config: LossConfig | None = None) -> LatentLoss:
        """The loss in the PCA of a pretrained backbone."""
        return cls(backbone.a2et.pca.basis, backbone.a2et.pca.deviation, config)

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """predicted, true: (..., 15, 3) → a scalar.

        Differs: the paper compares keypoints and coefficients; K - K' = E - E' when pose and canonical
        keypoints are given, so E stands for K. Both terms are relative to the variance of E, which makes the
        weights free of units.
        """
        error = (predicted - true).flatten(-2)
        whitened = error @ self.basis.mT / self.scale
        expression = error.square().mean() / self.variance
        return (
            self.config.expression * expression + self.config.coefficients * whitened.square().mean()
        )  # Eq. 6
