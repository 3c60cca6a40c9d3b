"""AdapterSet: the adapters of one spec, their mapper, plan, budget and file; the backbone is only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eatlab
from eatlab.adapters.attachments import Adapter, Weight
from eatlab.adapters.budget import Budget, budget_of
from eatlab.adapters.emotion import LATENT_SIZE, EmotionMapper, emotion_mix
from eatlab.adapters.files import HEADER, check_weights, read_adapter_file, safetensors_bytes
from eatlab.adapters.plan import make_plan
from eatlab.adapters.specs import parse
from eatlab.atomic import write_bytes
from eatlab.backbone.sites import Backbone, Context, LowRank, SpectralConv2d, fingerprint
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError


class AdapterSet(nn.Module):
    """What a spec like "deep_prompt" asks for, built for one backbone; its state dict is the checkpoint.

        adapters = AdapterSet("deep_prompt", backbone)
        backbone(batch, adapters.context(emotion, intensity))    # adapted
        backbone(batch)                                          # frozen

    spec: in its one spelling.  plan: place → functions, made once; contexts carry it to the backbone.
    """

    def __init__(self, spec: str, backbone: Backbone) -> None:
        super().__init__()
        parts = parse(spec)
        self.names = [part.spelled() for part in parts]
        self.spec = "+".join(self.names)
        self.spec_in_full = "+".join(part.spelled(in_full=True) for part in parts)
        adapters = [part.build(backbone) for part in parts]
        self.adapters = nn.ModuleList(adapters)
        self.mapper = mapper_for(adapters, backbone)
        attachments = [list(adapter.attachments()) for adapter in adapters]
        if len(parts) > 1 and [] in attachments:
            idle = self.names[attachments.index([])]
            raise UserError(
                f'"{idle}" in "{self.spec}" attaches nothing, so it stands alone', do="leave it out"
            )
        self.plan = make_plan([x for several in attachments for x in several], backbone)

    def context(
        self, emotion: Tensor, intensity: Tensor | float = 1.0, latent: Tensor | None = None
    ) -> Context:
        """What a backbone must be given to speak with these adapters; one row a clip.

        emotion: (clips,) indices or (clips, 8) shares; intensity: 0…1, a number or (clips,);
        latent: (clips, 16), zeros if None. Guidance tokens are made here, once for all adapters and frames.
        Differs: the release draws z anew, without a seed, at each inference; here it is given, or zero.
        """
        mix = emotion_mix(emotion, intensity)
        latent = mix.new_zeros(len(mix), LATENT_SIZE) if latent is None else latent
        return Context(mix, None if self.mapper is None else self.mapper(latent, mix), plan=self.plan)

    def touches(self, places: tuple[str, ...]) -> bool:
        """Does the plan change anything at, or below, a place of one of these names?

        Names may be relative: `a2et.acoustic.norms.0` meets `acoustic`, so `touches(A2ET.PREFIX)` is right.
        """
        return any(f".{name}." in f".{place}." for place in self.plan for name in places)

    @property
    def sees_emotion(self) -> bool:
        """Whether any of its adapters does; a set that does not speaks all emotions alike."""
        return any(adapter.sees_emotion for adapter in self.adapters)

    @property
    def starts_exact(self) -> bool:
        """Whether a new one leaves the frozen model's output as it is, bit for bit."""
        return all(adapter.starts_exact for adapter in self.adapters)

    @property
    def merges(self) -> bool:
        """Whether all that it does is in the weights: a plain backbone can hold it for one emotion."""
        return bool(self.plan) and not self.beside_the_weights()

    def beside_the_weights(self) -> list[str]:
        """Names of the adapters with attachments that are no deltas of weights."""
        pairs = zip(self.names, self.adapters, strict=True)
        return [name for name, a in pairs if not all(isinstance(x, Weight) for x in a.attachments())]  # type: ignore[operator]

    @property
    def label(self) -> str:
        """The spec as tables show it: one that cannot see the emotion says so."""
        return self.spec if self.sees_emotion or not self.plan else f"{self.spec} (blind to emotion)"

    @torch.no_grad()
    def merged(self, backbone: Backbone, context: Context) -> dict[str, Tensor]:
        """State dict of a plain backbone that speaks the one emotion and intensity of `context`.

        Deltas are added in fp32 at least. Raises UserError for a context of several clips, or a set with
        adapters that are no deltas of weights.
        """
        if context.mix is None or len(context.mix) != 1:
            raise UserError("a merge for several emotions", do="merge for one emotion, one file each")
        if beside := self.beside_the_weights():
            raise UserError(f'"{beside[0]}" does not merge', "it acts beside the weights", "keep its file")
        if not self.plan:
            raise UserError(f'"{self.spec}" does not merge', "it changes nothing")
        state = backbone.state_dict()
        for place, functions in self.plan.items():
            frozen = state[place]
            weight = frozen.to(torch.promote_types(frozen.dtype, torch.float32))
            deltas = [whole(fn(weight, context), weight) for fn in functions]
            state[place] = sum(deltas, weight).to(frozen.dtype)
            layer, _, key = place.rpartition(".")
            operator = backbone.get_submodule(layer)
            if isinstance(operator, SpectralConv2d) and key == "weight":
                # Deltas are divided by the frozen weight's norm; the plain layer divides by that of its own.
                u, v = operator.weight_u, operator.weight_v
                state[f"{layer}.weight_u"] = u * (operator.norm() / (u @ (state[place].flatten(1) @ v)))
        return state

    def train_at(self, *networks: str) -> AdapterSet:
        """Only what acts in these networks of the backbone is trained, the mapper with it; gives itself back.

        A phase names the networks that it runs: what acts elsewhere gets no gradient, and DDP would wait.
        """
        for adapter in self.adapters:
            places = [x.place for x in adapter.attachments() if x.place.split(".")[0] in networks]  # type: ignore[operator]
            live = {id(p) for place in places for p in adapter.parameters_at(place)}  # type: ignore[operator]
            for parameter in adapter.parameters():
                parameter.requires_grad_(id(parameter) in live)
        return self

    def budget(self, backbone: nn.Module) -> Budget:
        """Parameters by part, in percent of the backbone, in bytes; also on the meta device."""
        parts: dict[str, nn.Module] = dict(zip(self.names, self.adapters, strict=True))
        return budget_of(parts if self.mapper is None else parts | {"emotion_mapper": self.mapper}, backbone)

    def save(self, path: Path | str, backbone: nn.Module, **record: str) -> None:
        """Writes the adapter file (safetensors), whole or not at all; `record` adds lines to its header.

        Raises UserError (75) if the disk is full, the file that was there before stays; (2) for a set that
        was edited for one text.
        """
        if self.mapper is not None and len(self.mapper.branches) != len(EMOTIONS):
            raise UserError(
                f"a set whose mapper has {len(self.mapper.branches)} branches",
                f"a file holds one for each of the {len(EMOTIONS)} emotions",
                "save what for_every_emotion makes of it",
            )
        if taken := set(record) & set(HEADER):
            raise ValueError(f"the header of an adapter file already has {sorted(taken)}")
        lines = (
            self.spec,
            self.spec_in_full,
            fingerprint(backbone),
            fingerprint(self),
            ",".join(EMOTIONS),
            eatlab.__version__,
        )
        header = dict(zip(HEADER, lines, strict=True)) | record
        write_bytes(Path(path), safetensors_bytes(self.state_dict(), header))

    @classmethod
    def load(cls, path: Path | str, backbone: Backbone) -> AdapterSet:
        """The set that a file holds, for the backbone that it was trained on, in eval mode.

        UserError if the file is damaged or no adapter file (DATA_DAMAGED), was made for another backbone, or
        has its emotions in another order.
        """
        header, state = read_adapter_file(Path(path))
        check_header(path, header, fingerprint(backbone))
        try:
            adapters = cls(header["spec_in_full"], backbone)
        except UserError as error:
            raise UserError(f"{path} cannot be built", str(error), code=error.code) from error
        adapters.fill(path, state, header["weights"])
        return adapters.eval()

    def fill(self, path: Path | str, state: Mapping[str, Tensor], weights: str) -> None:
        """Takes a file's tensors, all of them, if they are the ones that were saved."""
        ours = {key: tensor.shape for key, tensor in self.state_dict().items()}
        theirs = {key: tensor.shape for key, tensor in state.items()}
        if wrong := sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key)):
            asked = f"{path} does not fit its spec {self.spec}"
            there = f"{len(wrong)} tensors are missing, too many or of another shape: {wrong[0]} …"
            raise UserError(asked, there, code=ExitCode.DATA_DAMAGED)
        self.load_state_dict(state)
        check_weights(path, self.state_dict(), weights)


class Adapted(nn.Module):
    """A frozen backbone and a set as one module: what Lightning, DDP and torch.compile see.

    Its trainable parameters are the adapters'; the backbone stays in eval mode whatever `train` says.
    """

    def __init__(self, backbone: Backbone, adapters: AdapterSet) -> None:
        super().__init__()
        self.backbone, self.adapters = backbone.requires_grad_(False).eval(), adapters

    def forward(
        self, batch: Any, emotion: Tensor, intensity: Tensor | float = 1.0, latent: Tensor | None = None
    ) -> Any:
        """The backbone's answer to `batch` with the emotion: see `AdapterSet.context` for the shapes."""
        return self.backbone(batch, self.adapters.context(emotion, intensity, latent))

    def train(self, mode: bool = True) -> Adapted:
        super().train(mode)
        self.backbone.eval()
        return self


def whole(delta: Tensor | LowRank, weight: Tensor) -> Tensor:
    """A delta for one clip, or for all, in the shape of its weight."""
    built = delta.built() if isinstance(delta, LowRank) else delta
    return built.reshape(weight.shape)


def mapper_for(adapters: list[Adapter], backbone: Backbone) -> EmotionMapper | None:
    """One mapper for all adapters, with as many tokens as the greediest reads; None if none reads any."""
    num_tokens = max(adapter.guidance_tokens for adapter in adapters)
    config: Any = backbone.config
    return EmotionMapper(num_tokens, config.a2et.width, config.a2et.mapper_hidden) if num_tokens else None


def check_header(path: Path | str, header: Mapping[str, str], backbone: str) -> None:
    """UserError unless the header is of a file for this backbone, in our order of emotions."""
    if header["backbone"] != backbone:
        raise UserError(
            f"{path} was trained on backbone {header['backbone']}",
            f"this one is {backbone}",
            "load that one first",
        )
    if header["emotions"] != ",".join(EMOTIONS):
        raise UserError(
            f"{path} knows the emotions in the order {header['emotions']}",
            f"here they stand {','.join(EMOTIONS)}",
        )
