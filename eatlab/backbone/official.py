"""The released networks' keys and ours: one visible map per network (eat-networks.md 1-12).

Keys are facts of the release; what a map does not name is refused, in both directions (key_map.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from eatlab.backbone.key_map import KeyMap

ATTENTION_LAYER = (
    (r"transformer\.(encoder|decoder)\.layers\.(\d+)\.self_attn\.in_proj_", r"\1.layers.\2.self_attn.qkv."),
    (r"transformer\.(encoder|decoder)\.layers\.(\d+)\.self_attn\.out_proj\.", r"\1.layers.\2.self_attn.out."),
    (r"transformer\.decoder\.layers\.(\d+)\.multihead_attn\.in_proj_", r"decoder.layers.\1.cross_attn.qkv."),
    (
        r"transformer\.decoder\.layers\.(\d+)\.multihead_attn\.out_proj\.",
        r"decoder.layers.\1.cross_attn.out.",
    ),
    (r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(linear\d|norm\d)\.", r"\1.layers.\2.\3."),
    (r"transformer\.decoder\.norm\.", r"decoder.norm."),
)
POSITIONS = (r"pos_enc\.pos_table", "a constant, computed")


def residual_down(released: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Rules of a list of residual-down blocks."""
    return (
        (released + r"\.(\d+)\.conv_block_s\.layers\.norm\.", ours + r".\1.shortcut.0."),
        (released + r"\.(\d+)\.conv_block_s\.layers\.conv\.", ours + r".\1.shortcut.1."),
        (released + r"\.(\d+)\.conv_block_(\d)\.layers\.(norm|conv)\.", ours + r".\1.\3s.\2."),
    )


def numbered(released: str, ours: str, places: Mapping[int, str]) -> tuple[tuple[str, str], ...]:
    """Rules of a sequence whose modules stand at some places only."""
    return tuple((rf"{released}\.{place}\.", f"{ours}{name}.") for place, name in places.items())


def two_convolutions(released: str, ours: str, first: int = 1) -> tuple[tuple[str, str], ...]:
    """Rules of a block with two norms, two convolutions; released names count from `first`."""
    return tuple(
        (rf"{released}\.{kind}{first + index}\.", f"{ours}.{kind}s.{index}.")
        for kind in ("norm", "conv")
        for index in (0, 1)
    )


BEYOND_FEATURES = (
    r"detector_conv\.(0\.weight|1\.(weight|bias|running_mean|running_var|num_batches_tracked))",
    r"bilstm_(classifier|detector)\.(weight|bias)_[ih]h_l0(_reverse)?",
    r"(classifier|detector)\.(weight|bias)",
)
"""Keys of the released pitch network that decide voicing and pitch, which A2ET never asks for."""

A2ET = KeyMap(
    rules=(
        (r"face_shrink\.", "face_shrink."),
        (r"hp_extractor\.", "pose."),
        *numbered("audio_embedding", "speech.bands.", {0: "0", 2: "1", 4: "2", 6: "3"}),
        *numbered("encoder_fc1", "speech.mlp.", {0: "0", 2: "1"}),
        *residual_down("feature_extract", "speech.picture"),
        *residual_down("decodefeature_extract", "face_token"),
        *numbered("audio_embedding2", "acoustic.map_", {0: "in", 1: "norm", 3: "out"}),
        (r"audioencoder\.stem\.", "acoustic.stem."),
        *two_convolutions(r"audioencoder\.(encode|decode)\.(\d+)", r"acoustic.\1.\2"),
        (r"audioencoder\.(encode|decode)\.(\d+)\.conv1x1\.", r"acoustic.\1.\2.shortcut.0."),
        *two_convolutions(r"audioencoder\.F0_conv\.0", "acoustic.pitch_block"),
        (r"audioencoder\.F0_conv\.0\.conv1x1\.", "acoustic.pitch_block.shortcut.0."),
        *numbered(r"f0_model\.conv_block", "acoustic.pitch.stem.", {0: "first", 1: "norm", 3: "second"}),
        *(
            rule
            for block in (0, 1, 2)
            for rule in (
                (rf"f0_model\.res_block{block + 1}\.pre_conv\.0\.", f"acoustic.pitch.blocks.{block}.norm."),
                (rf"f0_model\.res_block{block + 1}\.conv1by1\.", f"acoustic.pitch.blocks.{block}.shortcut."),
                *numbered(
                    rf"f0_model\.res_block{block + 1}\.conv",
                    f"acoustic.pitch.blocks.{block}.main.",
                    {0: "first", 1: "norm", 3: "second"},
                ),
            )
        ),
        (r"f0_model\.pool_block\.0\.", "acoustic.pitch.norm."),
        *ATTENTION_LAYER,
        (r"kp\.", "coefficients."),
    ),
    unused=(
        (r"embedding\.weight", "a left-over table of phonemes"),
        *((rf"f0_model\.{key}", "the pitch network beyond its features") for key in BEYOND_FEATURES),
        POSITIONS,
    ),
)

A2ET_UNUSED_PARAMETERS = {
    "a left-over table of phonemes": 10_496,
    "the pitch network beyond its features": 3_319_811,
}
"""How many parameters those keys hold, by reason; they count in the published budget."""

EAM = KeyMap(
    rules=(
        (r"(?:fea|fadain)\.fc\.(\d)\.", r"heads.a2et/face.\1."),
        *(
            (
                rf"audioencoder\.decode\.(\d+)\.norm{index + 1}\.fc\.(\d)\.",
                rf"heads.a2et/acoustic/decode/\1/norms/{index}.\2.",
            )
            for index in (0, 1)
        ),
        (r"ea3d\.fc\.(\d)\.", r"heads.renderer/volume.\1."),
    )
)
"""The EAMs stand inside two released networks; `belongs_to_eam` tells their keys."""

EDN = KeyMap(
    rules=(
        *residual_down("decodefeature_extract", "face"),
        *ATTENTION_LAYER,
        (r"emokp\.", "head."),
    ),
    unused=(POSITIONS,),
)

MAPPER = KeyMap(
    rules=(
        (r"mappingnet\.shared\.(\d+)\.", r"shared.\1."),
        (r"mappingnet\.unshared\.(\d+)\.(\d+)\.", r"branches.\1.\2."),
    )
)

DETECTOR = KeyMap(
    rules=(
        (r"predictor\.down_blocks\.down(\d+)\.(conv|norm)\.", r"down.\1.\2."),
        (r"predictor\.conv\.", "lift."),
        (r"predictor\.up_blocks\.up(\d+)\.(conv|norm)\.", r"up.\1.\2."),
        (r"kp\.", "logits."),
    ),
    unused=((r"down\.weight", "a constant blur, computed"),),
)

MOTION = (
    (r"dense_motion_network\.compress\.", "motion.compress.conv."),
    (r"dense_motion_network\.norm\.", "motion.compress.norm."),
    (
        r"dense_motion_network\.hourglass\.encoder\.down_blocks\.(\d+)\.(conv|norm)\.",
        r"motion.hourglass.down.\1.\2.",
    ),
    (
        r"dense_motion_network\.hourglass\.decoder\.up_blocks\.(\d+)\.(conv|norm)\.",
        r"motion.hourglass.up.\1.\2.",
    ),
    (r"dense_motion_network\.hourglass\.decoder\.(conv|norm)\.", r"motion.hourglass.out.\1."),
    (r"dense_motion_network\.(mask|occlusion)\.", r"motion.\1."),
)


def spade_block(released: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Rules of SPADE blocks; the modulation's three convolutions have names of ours."""
    inside = (("mlp_shared\\.0", "shared"), ("mlp_gamma", "gain"), ("mlp_beta", "bias"))
    norms = (("norm_0", "norms.0"), ("norm_1", "norms.1"), ("norm_s", "shortcut.norm"))
    convs = (("conv_0", "convs.0"), ("conv_1", "convs.1"), ("conv_s", "shortcut.conv"))
    return (
        *((rf"{released}\.{a}\.{c}\.", f"{ours}.{b}.{d}.") for a, b in norms for c, d in inside),
        *((rf"{released}\.{a}\.", f"{ours}.{b}.") for a, b in convs),
    )


GENERATOR = KeyMap(
    rules=(
        (r"first\.(conv|norm)\.", r"stem.\1."),
        (r"down_blocks\.(\d+)\.(conv|norm)\.", r"down.\1.\2."),
        (r"second\.", "lift."),
        *two_convolutions(r"resblocks_3d\.3dr(\d+)", r"residual.\1"),
        *MOTION,
        (r"third\.(conv|norm)\.", r"flat.\1."),
        (r"fourth\.", "mix."),
        (r"decoder\.fc\.", "decoder.enter."),
        *spade_block(r"decoder\.G_middle_(\d+)", r"decoder.middle.\1"),
        *spade_block(r"decoder\.up_(\d+)", r"decoder.up.\1"),
        (r"decoder\.conv_img\.", "decoder.out."),
    )
)

SINGLE_BLOCKS = {2: 1, 4: 2, 6: 3}
"""Released blocks of one bottleneck, the one that strides, and the stage of ours that they begin."""
BLOCK_LISTS = {1: (0, 0), 3: (1, 1), 5: (2, 1), 7: (3, 1)}
"""Released lists of bottlenecks: the stage, and how many of its blocks stand before them."""


def bottleneck(released: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Rules of one bottleneck."""
    return (
        *(
            (rf"{released}\.{kind}{i + 1}\.", f"{ours}.{kind}s.{i}.")
            for kind in ("conv", "norm")
            for i in range(3)
        ),
        (rf"{released}\.skip\.", f"{ours}.skip.0."),
        (rf"{released}\.norm4\.", f"{ours}.skip.1."),
    )


HEAD_POSE = KeyMap(
    rules=(
        (r"(conv|norm)1\.", r"\1."),
        *((rf"(conv|norm){stage + 2}\.", rf"stages.{stage}.\1.") for stage in range(4)),
        *(
            rule
            for n, stage in SINGLE_BLOCKS.items()
            for rule in bottleneck(f"block{n}", f"stages.{stage}.blocks.0")
        ),
        *(
            rule
            for n, (stage, before) in BLOCK_LISTS.items()
            for i in range(5)
            for rule in bottleneck(rf"block{n}\.b{n}_{i}", f"stages.{stage}.blocks.{i + before}")
        ),
        # Differs: the release swaps two heads by name: what it calls yaw, the head fc_roll computes.
        (r"fc_roll\.", "yaw."),
        (r"fc_yaw\.", "roll."),
        (r"fc_(pitch|t)\.", r"\1."),
        (r"fc_exp\.", "expression."),
    )
)


SYNCNET = KeyMap(
    rules=(
        (r"face_encoder\.(\d+)\.conv_block\.0\.", r"face.\1.conv."),
        (r"face_encoder\.(\d+)\.conv_block\.1\.", r"face.\1.norm."),
        (r"audio_encoder\.(\d+)\.conv_block\.0\.", r"sound.\1.conv."),
        (r"audio_encoder\.(\d+)\.conv_block\.1\.", r"sound.\1.norm."),
    )
)

DISCRIMINATOR = KeyMap(
    rules=(
        (r"discs\.1\.down_blocks\.(\d+)\.(conv|norm)\.", r"blocks.\1.\2."),
        (r"discs\.1\.conv\.", "head."),
    )
)


def belongs_to_eam(released: str) -> bool:
    """Whether a key of the released A2ET or generator is one of the EAMs'."""
    return bool(re.match(r"(fea|fadain|ea3d)\.|audioencoder\.decode\.\d+\.norm[12]\.fc\.", released))
