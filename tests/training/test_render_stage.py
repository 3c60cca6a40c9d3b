"""The figures of re-enactment: what they are means of, and whose."""

from __future__ import annotations

import math

import pytest

from eatlab.data.samples import unit
from eatlab.data.tables import read_clips
from eatlab.training import render_stage
from eatlab.training.render_stage import reenactment_figures, reenactment_psnr
from tests.training.conftest import thin_head

OFF = 0.02
"""How far each drawn value is from the truth in -1..1."""


@pytest.fixture
def off_by_a_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(head, portraits, clips, rows):
        return unit(clips.image[rows]) + OFF

    monkeypatch.setattr(render_stage, "reenacted", drawn)


def test_psnr_of_each_clip_is_that_of_its_error(puppets, off_by_a_constant):
    val = read_clips(puppets, "acted/val")
    decibel, who = reenactment_psnr(thin_head(), val)
    in_decibel = -20 * math.log10(OFF / 2)
    for name in ("psnr", "face_psnr"):
        assert decibel[name].tolist() == pytest.approx([in_decibel] * 24, abs=1e-3)
    assert who == [clip.identity for clip in val if not clip.is_portrait]


def test_a_figure_is_the_mean_over_clips_and_leaves_a_picture(puppets, off_by_a_constant, tmp_path):
    figures = reenactment_figures(thin_head(), read_clips(puppets, "acted/val"), tmp_path / "sheet.png")
    assert figures["psnr"] == pytest.approx(-20 * math.log10(OFF / 2), abs=1e-3)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
