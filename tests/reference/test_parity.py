"""The published networks' outputs at deterministic weights, reproduced: every stored tensor of every vector.

EATLAB_REFERENCE names another folder of the same form (`make test-parity REFERENCE=folder`).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.edn import EDN, EDNConfig
from eatlab.adapters.emotion import EmotionMapper
from eatlab.backbone import official
from eatlab.backbone.clip import silence
from eatlab.backbone.key_map import KeyMap
from eatlab.backbone.pose import (
    bins_of,
    released_pose,
    released_rotation,
)
from eatlab.backbone.published.blur import shrink
from eatlab.backbone.published.head_pose import PublishedEstimator
from eatlab.backbone.published.hull import hull_volume
from eatlab.backbone.sites import Context
from eatlab.backbone.talking_head import animate
from tests.reference.networks import (
    adapter_set,
    guidance,
    head,
    load,
    load_a2et,
    load_generator,
    minus_one_to_one,
    pipeline_clip,
    split,
    tapped,
)
from tests.reference.vectors import vector

pytestmark = pytest.mark.usefixtures("no_gradients")


A2ET_SPECS = {
    "a2et_pretrain": None,
    "a2et_shallow": "shallow_prompt+eam(sites=acoustic,face,normalised=face)",
    "a2et_deep": "deep_prompt+eam(sites=acoustic,face)",
}


@pytest.mark.parametrize("name", A2ET_SPECS)
def test_a2et(name):
    v, a2et = vector(name), head().a2et
    eam = load_a2et(v.weights())
    context = Context()
    if spec := A2ET_SPECS[name]:
        context = replace(
            adapter_set(spec, eam).context(torch.zeros(v.sizes["B"], dtype=torch.long)), guidance=guidance(v)
        )
    given = v.inputs
    clips, frames = given["deep"].shape[:2]
    pose = released_pose(*(given[f"he_driving.{k}"] for k in ("yaw", "pitch", "roll", "t")))
    batch = {
        "mel": given["mel"][:, :, 0].mT,
        "speech": given["deep"],
        "pictures": given["pose"].view(clips, frames, 11, 64, 64),
        "pose": pose,
        "face_map": given["prediction_map"].flatten(1, 2),
    }
    with tapped(
        pca=a2et.coefficients,
        jdc_feature=a2et.acoustic.pitch,
        pose_token=a2et.pose,
        pose_feature=a2et.speech.picture,
        speech_last=a2et.speech.bands[-1],
        speech_token=a2et.speech.mlp[1],
        audio_encoder=a2et.acoustic.decode[-1],
        audio_map=a2et.acoustic.map_out,
        face_map_tokens=a2et.face_shrink,
        face_map_adapted=a2et.face,
        decoder_token=a2et.face_token,
        encoder_layer0=a2et.encoder.layers[0],
        encoder_layer5=a2et.encoder.layers[-1],
        decoder_layer0=a2et.decoder.layers[0],
        decoder_layer5=a2et.decoder.layers[-1],
    ) as seen:
        a2et(batch, context)
    layers = {key: value.transpose(0, 1) for key, value in seen.items() if "coder_layer" in key}
    v.check(
        seen
        | layers
        | {
            "pose_vector45": a2et.pose_vector(pose.flatten(0, 1)),
            "pca32": seen["pca"],
            "speech_feature": F.leaky_relu(seen["speech_last"], 0.02),
            "pose_feature": seen["pose_feature"][..., None, None],
            "decoder_token": seen["decoder_token"][..., None, None],
            "face_map_tokens": seen["face_map_tokens"].flatten(0, 2),
        }
    )


def test_edn():
    v = vector("edn")
    edn = EDN(head(), EDNConfig(init="random", start="random")).eval()
    load(edn, official.EDN, v.weights())
    frames = v.sizes["n"]
    context = Context(guidance=guidance(v), portrait=v.inputs["face_map"])
    with tapped(face_token=edn.face, layer0=edn.encoder.layers[0], layer5=edn.encoder.layers[-1]) as seen:
        delta = edn.deformation(context)
    # One row a clip; the release repeats it for every frame.
    repeated = {key: seen[key].repeat_interleave(frames, 0).transpose(0, 1) for key in ("layer0", "layer5")}
    v.check(
        repeated
        | {"face_token": seen["face_token"][..., None, None], "delta45": delta.repeat_interleave(frames, 0)}
    )


@pytest.mark.parametrize(
    ("name", "num_tokens", "domains"),
    [("emotion_mapper", 7, 8), ("shallow_mapper", 1, 8), ("zero_shot_mapper", 7, 1)],
)
def test_mappers(name, num_tokens, domains):
    v = vector(name)
    mapper = EmotionMapper(num_tokens, 128, 512, domains)
    load(mapper, official.MAPPER, v.weights())
    tokens = mapper(v.inputs["z"], F.one_hot(v.inputs["y"], domains).float())
    v.check({"e0": tokens[:, 0], "e1to6": tokens[:, 1:]})


@pytest.mark.parametrize("name", ["eam_2d", "eam_3d", "adain_2d"])
def test_adaptation_modules(name):
    v = vector(name)
    x, token = v.inputs["x"], v.inputs["s"]
    normalises = name == "adain_2d"
    place = "a2et.acoustic.decode.5.norms.1" if normalises else "a2et.face"
    eam = AdapterSet("eam(start=random)", head()).adapters[0].eval()
    key = place.replace(".", "/")
    eam.heads[key].load_state_dict({k.removeprefix("fc."): w for k, w in v.weights().items()})
    context = Context(guidance=token[:, None])
    plain = F.instance_norm(x) if normalises else x
    v.check(
        {
            "y": eam.modulate(key, plain, context),
            "y_without_token": plain,
            "gamma_beta_tanh": eam.heads[key](token).tanh(),
        }
    )


def test_keypoint_detector():
    v, detector = vector("kp_detector"), head().keypoints
    load(detector, official.DETECTOR, v.weights())
    image = v.inputs["image"]
    with tapped(bottleneck=detector.lift, volume=detector.up[-1]) as seen:
        keypoints, logits = detector(minus_one_to_one(image))
    v.check(seen | {"blurred": shrink(image, 4), "keypoints": keypoints, "prediction_map": logits})


def test_head_pose_estimator():
    v, estimator = vector("head_pose"), PublishedEstimator().eval()
    load(estimator, official.HEAD_POSE, v.weights())
    stages = {f"stage{i + 1}": stage for i, stage in enumerate(estimator.stages)}
    with tapped(norm=estimator.norm, **stages) as seen:
        said = estimator.read(minus_one_to_one(v.inputs["image"]))
    stem = F.max_pool2d(F.relu(seen["norm"]), 3, 2, 1)
    v.check(seen | said._asdict() | {"stem": stem, "exp": said.expression})


def test_geometry():
    v, given = vector("geometry"), vector("geometry").inputs
    pose = released_pose(given["yaw"], given["pitch"], given["roll"], given["t"])
    hull = hull_volume(given["kp"])
    # PE U^T + M, then the EDN's offset, then the hull: what the head does with a site between (Eqs. 1-2).
    plain = head().a2et.pca(given["pca"])
    v.check(
        {
            "degrees": pose[:, :3],
            "bin_expectation": bins_of(pose[:, :3]),
            "rotation": released_rotation(pose),
            "keypoints": head().compose(given["kp"], pose, given["exp"].unflatten(-1, (-1, 3))),
            "hull_volume": hull,
            "expression45": plain,
            "expression45_scaled": (plain + given["delta"]) * hull[:, None],
        }
    )


@pytest.mark.parametrize("name", ["generator_eam", "generator"])
def test_generator(name):
    v, renderer = vector(name), head().renderer
    eam, context = load_generator(v.weights()), Context()
    if eam:
        spec = adapter_set("eam(sites=volume)", eam)
        context = replace(
            spec.context(torch.zeros(v.sizes["B"], dtype=torch.long)), guidance=v.inputs["e0"][:, None]
        )
    motion, decoder = renderer.motion, renderer.decoder
    with tapped(
        stem=renderer.stem,
        after_second=renderer.lift,
        volume_before_eam=renderer.residual[-1],
        compressed=motion.compress.conv,
        hourglass=motion.hourglass,
        third=renderer.flat.norm,
        after_fourth=renderer.mix,
        decoder_in=decoder.enter,
        middle0=decoder.middle[0],
        middle5=decoder.middle[-1],
        up0=decoder.up[0],
        up_feat=decoder.up[1],
        mask_logits=motion.mask,
        moved=motion,
    ) as seen:
        found = renderer.encode(minus_one_to_one(v.inputs["source"]), context)
        keypoints = v.inputs["kp_source"], v.inputs["kp_driving"]
        drawn = renderer(found, keypoints, keypoints, context)
    flow, visible = seen.pop("moved")
    candidates, heat = motion.candidates(*keypoints)
    warped = motion.warped(found.compressed, candidates)
    v.check(
        seen
        | {
            "after_first": seen["stem"],
            "volume": found.volume,
            "after_third": F.leaky_relu(seen["third"], 0.01),
            "mask": seen["mask_logits"].softmax(1),
            "occlusion_map": visible,
            "deformation": flow,
            "heatmap_difference": heat[:, :, None],
            "deformed_candidates": warped,
            "warped_volume": F.grid_sample(found.volume, flow, align_corners=False),
            "prediction": (drawn.image + 1) / 2,
        }
    )


def test_acoustic_encoder():
    v, acoustic = vector("audio_encoder"), head().a2et.acoustic
    released = {f"audioencoder.{key}": value for key, value in v.weights().items()}
    own, eam = split(released)
    ours = {k.removeprefix("acoustic."): w for k, w in official.A2ET.ours(own).items()}
    assert not acoustic.load_state_dict(ours, strict=False).unexpected_keys
    adapters = AdapterSet("eam(sites=acoustic)", head()).requires_grad_(False).eval()
    load(adapters.adapters[0], official.EAM, eam)
    context = replace(adapters.context(torch.tensor([0])), guidance=v.inputs["e0"][:, None])
    blocks = {f"encode{i}": b for i, b in enumerate(acoustic.encode)}
    blocks |= {f"decode{i}": b for i, b in enumerate(acoustic.decode)}
    with tapped(stem=acoustic.stem, f0_out=acoustic.pitch_block, **blocks) as seen:
        y = acoustic.encoded(v.inputs["mel"], v.inputs["f0"], context)
    plain = acoustic.encoded(v.inputs["mel"], v.inputs["f0"], Context())
    v.check(seen | {"y": y, "y_without_token": plain})


def test_pitch_network():
    v, pitch = vector("jdc"), head().a2et.acoustic.pitch
    released = {f"f0_model.{key}": value for key, value in v.weights().items()}
    key_map = KeyMap(official.A2ET.rules, official.A2ET.unused)
    ours = {k.removeprefix("acoustic.pitch."): w for k, w in key_map.ours(released).items()}
    pitch.load_state_dict(ours)
    blocks = {f"res{i + 1}": block for i, block in enumerate(pitch.blocks)}
    with tapped(conv_block=pitch.stem, **blocks) as seen:
        feature = pitch(v.inputs["mel"], Context())
    v.check(seen | {"feature": feature})


def test_pipeline():
    """Portrait, speech and driving pose → frames: every network, as one clip is animated."""
    v, whole, given = vector("pipeline"), head(), vector("pipeline").inputs
    eam = load_a2et(v.weights("a2et_deep")) | load_generator(v.weights("generator_eam"))
    load(whole.keypoints, official.DETECTOR, v.weights("kp_detector"))
    adapters = adapter_set("deep_prompt+edn+eam", eam)
    load(adapters.adapters[1], official.EDN, v.weights("edn"))
    load(adapters.mapper, official.MAPPER, v.weights("emotion_mapper"))
    emotion = torch.tensor([v.meta["hyper"]["emotion_index"]])
    context = adapters.context(emotion, latent=given["z"])
    portrait, speech, driving = pipeline_clip(whole, v, context)
    pose = driving.pose
    spied: dict[str, list[Tensor]] = {"mel": [], "pca": [], "keypoints": []}
    hooks = [
        whole.a2et.acoustic.register_forward_pre_hook(lambda m, x: spied["mel"].append(x[0])),
        whole.a2et.coefficients.register_forward_hook(lambda m, x, y: spied["pca"].append(y)),
        whole.renderer.register_forward_pre_hook(lambda m, x: spied["keypoints"].append(x[1][1])),
    ]
    try:
        frames = torch.cat(list(animate(whole, portrait, speech, driving, silence(), context)))
    finally:
        for hook in hooks:
            hook.remove()
    moved, coefficients = torch.cat(spied["keypoints"]), torch.cat(spied["pca"])
    face = whole.a2et.adapted_face(portrait.face_map, context)
    delta = adapters.adapters[1].deformation(context.with_portrait(face)).expand(len(pose), -1)
    expression = (whole.a2et.pca(coefficients) + delta) * portrait.hull
    before = whole.compose(
        portrait.canonical.expand(len(pose), -1, -1), pose, expression.unflatten(-1, (-1, 3))
    )
    pictures = (frames + 1) / 2
    v.check(
        {
            "canonical_keypoints": portrait.canonical,
            "e0": context.guidance[:, 0],
            "e1to6": context.guidance[:, 1:],
            "pca32": coefficients,
            "delta45": delta,
            "hull_volume": portrait.hull,
            "expression45": expression,
            "kp_source": portrait.keypoints,
            "kp_driving_before_shift": before,
            "kp_driving": moved,
            "mel_windows": torch.cat(spied["mel"]).mT,
            "speech_windows": speech_windows(speech.features),
            "frame_first": pictures[:1],
            "frame_last": pictures[-1:],
        }
    )


def speech_windows(features: Tensor) -> Tensor:
    """(n, 16, 29) → (n, 11, 16, 29), silence outside; ours are gathered as tokens."""
    pad = silence().features[None].expand(5, -1, -1)
    padded = torch.cat([pad, features, pad])
    return torch.stack([padded[i : i + 11] for i in range(len(features))])
