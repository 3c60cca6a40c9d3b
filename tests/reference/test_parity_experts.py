"""Mel, sync expert, face crop, discriminator, perceptual network: their stored tensors, reproduced."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eatlab.backbone import official
from eatlab.backbone.published.discriminator import Discriminator
from eatlab.data.audio_features import a2et_mel_power, mel_filters, normalised
from eatlab.experts.perceptual import Vgg19
from eatlab.experts.syncnet import SyncNet
from eatlab.objectives.face_crop import face_crops, lower_halves
from eatlab.objectives.perceptual_pyramid import PerceptualPyramid, pyramid
from eatlab.objectives.released import sync_loss
from tests.reference.networks import (
    load,
    minus_one_to_one,
)
from tests.reference.vectors import vector

pytestmark = pytest.mark.usefixtures("no_gradients")


def test_mel():
    v = vector("mel")
    power = a2et_mel_power(v.inputs["wave"].numpy())
    filters = mel_filters(2048, 80, 0, 8000, True)
    found = {"mel_power": power, "log_mel": normalised(power), "mel_filterbank": filters.T}
    v.check({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in found.items()})


def test_sync_expert():
    v, net = vector("syncnet"), SyncNet().eval()
    load(net, official.SYNCNET, v.weights())
    faces, mel = v.inputs["faces"], v.inputs["mel"]
    v.check(
        {
            "face3": net.face[:4](faces),
            "face_raw": net.face(faces),
            "audio5": net.sound[:6](mel),
            "audio_raw": net.sound(mel),
            "audio_embedding": net.audio(mel),
            "face_embedding": net.video(faces),
            "cosine": net(faces, mel),
            "loss": sync_loss(net, faces, mel)[None],
        }
    )


def test_face_crop():
    v = vector("face_crop")
    crops = face_crops(minus_one_to_one(v.inputs["image"]), v.inputs["boxes"])
    v.check({"crop": crops, "syncnet_stack": lower_halves(crops, len(crops)), "boxes": v.inputs["boxes"]})


def test_discriminator():
    v, net = vector("discriminator"), Discriminator().eval()
    load(net, official.DISCRIMINATOR, v.weights())
    maps, prediction = net(minus_one_to_one(v.inputs["image"]))
    v.check({f"feature{i}": x for i, x in enumerate(maps)} | {"prediction": prediction})


def test_perceptual_network():
    v, net = vector("perceptual"), Vgg19().eval()
    assert not net.load_state_dict(v.weights(), strict=False).unexpected_keys
    a, b = (minus_one_to_one(v.inputs[key]) for key in ("a", "b"))
    scales = {f"image_scale_{1 / 2**i:g}": (x + 1) / 2 for i, x in enumerate(pyramid(a))}
    compared = PerceptualPyramid(net)
    v.check(
        scales
        | {f"tap{i}": x for i, x in enumerate(net(a))}
        | {
            "l1_per_scale_and_tap": compared.distances(a, b),
            "perceptual_loss": v.meta["hyper"]["weight_per_tap"] * compared(a, b)[None],
        }
    )
