"""Emotion-FAN, EAT's judge of emotions: ResNet-18 frames, pooled over a clip by two attentions.

Definitions: evaluation.md 8. Order of its parts and names are those of the public network, so its tensors
load.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from eatlab.emotions import EMOTIONS
from eatlab.experts.user_file import load_frozen

CLASSES = ("happy", "angry", "disgusted", "fear", "sad", "neutral", "surprised", "contempt")
IN_ORDER_OF_EMOTIONS = [CLASSES.index(emotion) for emotion in EMOTIONS]
BETA_IN_NUMERATOR = {"eat": False, "standard": True}
"""The form of `EmotionFan.clip` that each protocol has (evaluation.md 12)."""
FACES_AT_ONCE = 32
WIDTH = 512
ATTENTION_DROPOUT, CLASS_DROPOUT = 0.5, 0.6


class EmotionFan(nn.Module):
    """Clips → logits of the 8 classes, in the order of CLASSES."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet18

        trunk = resnet18(weights=None)
        self.conv1, self.bn1 = trunk.conv1, trunk.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            trunk.layer1,
            trunk.layer2,
            trunk.layer3,
            trunk.layer4,
        )
        self.alpha = nn.Sequential(nn.Linear(WIDTH, 1), nn.Sigmoid())
        self.beta = nn.Sequential(nn.Linear(2 * WIDTH, 1), nn.Sigmoid())
        self.pred_fc1 = nn.Linear(
            WIDTH, len(CLASSES)
        )  # the public network's form without relations; unused here
        self.pred_fc2 = nn.Linear(2 * WIDTH, len(CLASSES))
        self.attention_dropout, self.class_dropout = nn.Dropout(ATTENTION_DROPOUT), nn.Dropout(CLASS_DROPOUT)

    def frames(self, frames: Tensor) -> Tensor:
        """Faces (n, 3, 224, 224), RGB in 0..1, no further normalisation → (n, 512), ReLU'd and averaged."""
        x = torch.relu(self.bn1(self.conv1(frames)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    def clip(self, features: Tensor, *, beta_in_numerator: bool) -> Tensor:
        """Logits of clips from the features of all their face frames: (..., frames, 512) → (..., 8).

        beta_in_numerator: True is the form that is trained (`standard`), y = Σαβg / Σαβ; False the published
        evaluation's (`eat`), y = Σαg / Σαβ, where β is missing above.
        """
        alpha = self.alpha(self.attention_dropout(features))
        whole = (alpha * features).sum(-2, keepdim=True) / alpha.sum(-2, keepdim=True)
        related = torch.cat([features, whole.expand_as(features)], -1)
        weights = alpha * self.beta(self.attention_dropout(related))
        above = weights if beta_in_numerator else alpha
        pooled = (above * related).sum(-2) / weights.sum(-2)
        return self.pred_fc2(self.class_dropout(pooled))

    def log_probability(self, faces: Tensor, *, beta_in_numerator: bool) -> Tensor:
        """Of a clip. faces: all it has, (n, 3, 224, 224) uint8 RGB → (8,) in the order of EMOTIONS."""
        features = torch.cat([self.frames(part.float() / 255) for part in faces.split(FACES_AT_ONCE)])
        logits = self.clip(features, beta_in_numerator=beta_in_numerator)
        return logits.log_softmax(-1)[IN_ORDER_OF_EMOTIONS]

    def forward(self, frames: Tensor, *, beta_in_numerator: bool = True) -> Tensor:
        """Clips of faces (b, frames, 3, 224, 224), RGB in 0..1 → (b, 8)."""
        features = self.frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.clip(features, beta_in_numerator=beta_in_numerator)


def load_emotion_fan(path: str | Path) -> EmotionFan:
    """From a user's file of plain tensors under the public names, frozen.

    Raises UserError: 3 for a file that needs code to run or is another network's, 2 if there is none.
    """
    give = "the path of Emotion-FAN's tensors (of its checkpoint, what stands under state_dict)"
    return load_frozen(EmotionFan(), path, what="Emotion-FAN", give=give)
