"""EdiDub's options all at once, as configs/edidub_small*.yaml have them, at toy size: videos to a dub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from dub_clips import BOX, picture, write_speech
from stage1_clips import write_clip, write_config
from training_toys import run_editor, saved
from typer.testing import CliRunner
from unit_toys import UNITS, write_units

from bootdub.cli.main import app
from common.media import read_frames, write_video
from common.models.package_info import read_info
from stage1_generator import pack, prepare

PREDICTOR = Path(__file__).resolve().parent.parent / "models" / "bootdub-small" / "speech"


def test_from_videos_to_a_dub(tmp_path: Path) -> None:
    units = write_units(tmp_path / "units", "phonetics", PREDICTOR)
    speech = ["speech.encoder=units", f"speech.path={units}", f"speech.channels={UNITS}"]
    model = [f"model.audio_channels={UNITS}", "model.speech_injection=adain", *speech]
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos", "one", 40, 1)
    words = write_config(tmp_path, tmp_path / "videos", tmp_path / "work", *model)
    words += ["pairs.reference_frames=landmarks", "pairs.exclusion_frames=6"]
    assert prepare.main(words) == 0 and pack.main(words) == 0

    pairs = tmp_path / "work" / "pairs_reference_frames"
    clips = [f"data.shards=[{pairs}]", "geometry.clip_frames=13", "train.global_batch_size=2"]
    sampler = ["diffusion.num_steps=2", "diffusion.start_from=inversion", "diffusion.windows=multidiffusion"]
    words = [*model, *clips, *sampler, "diffusion.section_frames=21", "train.lr_schedule=constant"]
    words += ["speech.extra_window=4"]
    run_editor(tmp_path, *words, "train.max_steps=2", f"train.output={tmp_path / 'whole'}")
    for steps in (1, 2):
        cut = run_editor(tmp_path, *words, f"train.max_steps={steps}", f"train.output={tmp_path / 'cut'}")
    first, second = (saved(tmp_path / name, 2) for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    info = read_info(cut.package)
    assert info.diffusion.inverts and info.diffusion.averages_windows and info.speech.encoder == "units"

    write_speech(tmp_path / "own.wav", 1.2)
    write_speech(tmp_path / "new.wav", 0.8)
    frames = np.stack([picture(index) for index in range(30)])
    write_video(tmp_path / "v.mkv", frames, rate=25, audio_from=tmp_path / "own.wav")
    place = ",".join(str(round(value)) for value in BOX)
    given = ["--video", tmp_path / "v.mkv", "--audio", tmp_path / "new.wav", "--output", tmp_path / "o.mkv"]
    done = CliRunner().invoke(app, ["dub", *map(str, given), "--model", str(cut.package), "--box", place])
    assert done.exit_code == 0, done.stderr
    assert read_frames(tmp_path / "o.mkv").shape == frames.shape
