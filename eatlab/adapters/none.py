"""The adapter that is none: the frozen model with 0 added parameters, a row of the tables like any other."""

from __future__ import annotations

from collections.abc import Sequence

from eatlab.adapters.attachments import Adapter, Attachment
from eatlab.backbone.sites import Backbone


class NoAdapter(Adapter):
    """Attaches nothing: its set's plan is empty and the backbone answers bit for bit as without a context."""

    sees_emotion = False
    formula = "0"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()

    def attachments(self) -> Sequence[Attachment]:
        return ()
