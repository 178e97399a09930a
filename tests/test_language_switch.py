"""Pairs from clips whose language changes in the middle, with a tiny LTX-2 of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dub_clips import BOX, steady, write_clip, write_speech
from ltx2_toys import write_joint_folder, write_states, write_text_encoder
from typer.testing import CliRunner

from bootdub.cli.main import app
from common.data.dataset import ShardDataset
from common.face import build_detector, track_face
from common.files import read_json
from common.media import read_frames
from common.models.ltx2.block_codecs import BlockVideoAutoencoder
from common.models.ltx2.codecs import JointVideoCodec
from common.models.ltx2.inpainting import InpaintedClip
from common.models.ltx2.package import load_joint_codecs, load_joint_package
from common.models.ltx2.roles import Role
from stage1_generator import switch
from stage1_generator.footage.videos import TRACK_SUFFIX
from stage1_generator.language_switch.clips import halves
from stage1_generator.language_switch.masks import fine_cells, leak_reach, touched_cells
from stage1_generator.language_switch.model import JointClipMaker
from stage1_generator.language_switch.steps import PAIRS

SIDE, FRAMES = 64, 25
SCRIPT = """id,person,first_language,first_text,second_language,second_text,first_in_second,second_in_first
one,A person,en,speaking is,fr,A speaking,is A,person is
"""
OPTIONS = (
    "face.detector=box",
    "face.options={box: [12, 10, 52, 54]}",
    "filters.sharpness_min=0",
    "filters.sharpness_max=1e9",
    "filters.lip_change_min=0.005",
    "lips.share=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of LTX-2 with its text encoder, a table, and a recording."""
    made = tmp_path_factory.mktemp("switch")
    write_text_encoder(write_joint_folder(made / "ltx2"))
    write_states(made / "states.safetensors")
    words = (
        "--prompt-states",
        made / "states.safetensors",
        "--output",
        made / "package",
        "joint.num_steps=1",
    )
    words += (f"geometry.crop_size={SIDE}", f"geometry.clip_frames={FRAMES}")
    result = CliRunner().invoke(app, [*map(str, ("import-ltx2", made / "ltx2", *words))])
    assert result.exit_code == 0, result.output
    (made / "script.csv").write_text(SCRIPT)
    write_speech(made / "speech.wav", 40 / 30)
    write_clip(made / "recording.mkv", steady(40, 30), lossless=True, audio_from=made / "speech.wav")
    (made / "recordings.csv").write_text(
        "video,switch,first_language,second_language\nrecording.mkv,0.6,en,fr\n"
    )
    return made


def make(folder: Path, work: Path, *words: str, table: str = "script") -> int:
    given = (f"{table}={folder / table}.csv", f"work={work}")
    return switch.main([*given, f"package={folder / 'package'}", *OPTIONS, *words])


class _Neighbours:
    """A codec whose latent is the mean of its own block, of that to its right and of that before it."""

    stride = (8, 32, 32)

    def encode_frames(self, frames: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(frames).float().mean(dim=-1)
        blocks = pixels.unflatten(3, (-1, 32)).unflatten(2, (-1, 32)).mean(dim=(3, 5))
        latents = torch.stack(
            [blocks[:, 0], *(part.mean(dim=1) for part in blocks[:, 1:].split(8, dim=1))], dim=1
        )
        right = torch.cat((latents[..., 1:], latents[..., -1:]), dim=-1)
        before = torch.cat((latents[:, :1], latents[:, :-1]), dim=1)
        return ((latents + right + before) / 64)[:, None]


def test_what_leaks_is_measured_on_the_autoencoder() -> None:
    codec: JointVideoCodec = _Neighbours()  # type: ignore[assignment]
    reach = leak_reach(codec, 160, 41, 0.01)
    assert (reach.before, reach.after, reach.sides) == (0, 1, 1)
    torch.manual_seed(0)
    blocks = BlockVideoAutoencoder(latent_channels=8)
    blocks.basis.normal_()
    none = leak_reach(JointVideoCodec(blocks), 96, 25, 0.01)
    assert (none.before, none.after, none.sides) == (0, 0, 0)
    mask = np.zeros((25, 96, 96), bool)
    mask[9:17, 40:50, 33:63] = True
    frames = np.random.default_rng(0).integers(0, 256, (25, 96, 96, 3), dtype=np.uint8)
    touched = touched_cells(mask, (8, 32, 32))
    assert touched.nonzero().tolist() == [[2, 1, 1]]
    assert torch.equal(fine_cells(JointVideoCodec(blocks), frames, mask, 0.01), touched)
    assert fine_cells(codec, frames, mask, 0.01).nonzero().tolist() == [[2, 1, 0], [2, 1, 1], [3, 1, 1]]


def test_an_autoencoder_of_convolutions_leaks(folder: Path) -> None:
    codec, _ = load_joint_codecs(folder / "ltx2", torch.device("cpu"))
    reach = leak_reach(codec, 96, 25, 1e-6)
    # Causal in time: nothing reaches back.
    assert reach.before == 0 and reach.after > 0 and reach.sides > 0


def test_what_is_given_of_a_clip_stays_and_roles_say_so(folder: Path) -> None:
    package = load_joint_package(folder / "package")
    maker = JointClipMaker(package, 0)
    draw = torch.Generator().manual_seed(0)
    video, noise = (torch.randn(1, 128, *maker.clip.grid, generator=draw) for _ in range(2))
    audio, hiss = (torch.randn(1, maker.clip.audio_tokens, 16, generator=draw) for _ in range(2))
    cells, tokens = torch.zeros(maker.clip.grid, dtype=torch.bool), maker.tokens_in(halves(FRAMES)[1])
    cells[2:, 1] = True
    assert tokens.nonzero().flatten().tolist() == list(range(16, 25))
    job = InpaintedClip(maker.clip, video, cells, audio, tokens, noise, hiss)
    inputs = job.inputs(package.transformer, package.prompts.positive)
    assert [group.role for group in inputs.video.groups] == [Role.target, Role.first_frame]
    assert [group.tokens.shape[1] for group in inputs.video.groups] == [4, 12]
    made = inputs.__class__(
        inputs.video.stepped(-inputs.video.tokens, 1),
        inputs.audio.stepped(-inputs.audio.tokens, 1),
        inputs.prompt,
    )
    latents, sound = job.latents(made), job.sound(made)
    assert torch.equal(latents, torch.where(cells, 0, video))
    assert torch.equal(sound, torch.where(tokens[:, None], 0, audio))


def test_clips_are_made_remade_and_packed_and_nothing_is_made_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(folder, tmp_path / "work", "--dry-run") == 0
    planned = capsys.readouterr().out
    assert "1 clips of 25 frames" in planned and "3 prompts are to be encoded" in planned
    assert "2 pairs of 9 frames at most, 2 with exaggerated lips" in planned
    assert not (tmp_path / "work").exists()
    assert make(folder, tmp_path / "work") == 0
    assert "2 pairs" in capsys.readouterr().err
    shards = ShardDataset([tmp_path / "work" / PAIRS])
    assert [(s.key, s.meta["language"], s.meta["source_language"]) for s in map(shards.sample, range(2))] == [
        ("one-a", "en", "fr"),
        ("one-b", "fr", "en"),
    ]
    sample = shards.sample(0)
    assert sample.meta["caption"] == 'A person is speaking English, saying: "speaking is"'
    assert sample.target.shape == sample.source.shape == (9, SIDE, SIDE, 3)
    changed = (sample.target != sample.source).any(axis=(0, 3))
    assert changed[40:52, 25:40].any() and not changed[:20].any(), "the lower face alone is another"
    assert len(sample.audio) == len(sample.source_audio) == round(9 / 25 * 16000)
    tars = {path: path.read_bytes() for path in (tmp_path / "work" / PAIRS).glob("*.tar")}
    monkeypatch.setattr(JointClipMaker, "make", None)
    monkeypatch.setattr(JointClipMaker, "remake", None)
    assert make(folder, tmp_path / "work") == 0
    assert tars == {path: path.read_bytes() for path in tars}
    # Other thresholds judge anew, and make nothing.
    assert make(folder, tmp_path / "work", "filters.lip_change_min=1") == 0
    assert "0 pairs" in capsys.readouterr().err
    assert "lip_change" in read_json(tmp_path / "work/companions/one-a/verdict.json")["reasons"][0]


def test_halves_of_recordings_exchange_their_sounds(folder: Path, tmp_path: Path) -> None:
    # A track beside the video says where the face is; no detector is asked.
    frames = read_frames(folder / "recording.mkv")
    track = track_face(frames, build_detector("box", box=BOX))
    track.save(folder / f"recording{TRACK_SUFFIX}")
    other = ("masks.fine=false", "face.detector=mediapipe", "face.options={}")
    assert make(folder, tmp_path, *other, table="recordings") == 0
    shards = ShardDataset([tmp_path / PAIRS])
    first, second = (shards.sample(number) for number in range(2))
    np.testing.assert_array_equal(first.source_audio, second.audio)
    np.testing.assert_array_equal(second.source_audio, first.audio)
    assert not np.array_equal(first.audio, second.audio)
    assert first.meta["kind"] == "language_switch" and (first.target != first.source).any()


def test_tables_that_say_too_little_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(table: str, text: str) -> str:
        (tmp_path / f"{table}.csv").write_text(text)
        given = (
            f"{table}={tmp_path / table}.csv",
            f"work={tmp_path / 'work'}",
            f"package={folder / 'package'}",
        )
        assert switch.main([*given, *OPTIONS, "--dry-run"]) == 2
        return capsys.readouterr().err

    assert "'second_in_first' is missing" in refused("script", SCRIPT.replace(",second_in_first", ""))
    assert "line 2: first_text is empty" in refused("script", SCRIPT.replace("speaking is", " "))
    assert "no language 'xx'" in refused("script", SCRIPT.replace(",fr,", ",xx,"))
    assert "'one' twice" in refused("script", SCRIPT + SCRIPT.splitlines()[1])
    head = "video,switch,first_language,second_language\n"
    assert "'none.mp4'" in refused("recordings", f"{head}none.mp4,1,en,fr\n").replace(f"{tmp_path}/", "")
    near = f"{head}{folder / 'recording.mkv'},0.2,en,fr\n"
    assert "less than 0.50 s on one side" in refused("recordings", near)
    assert "is no number" in refused("recordings", near.replace("0.2", "soon"))
    assert switch.main([f"package={folder / 'package'}", "--dry-run"]) == 2
    assert "name one of the two tables" in capsys.readouterr().err
