"""The lip-shape predictor: trained on sound and landmarks, used by small models, in their packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_toys import (
    metrics,
    run_editor,
    stage2_config,
    toy_face,
    toy_vae,
    write_clips,
    write_pairs,
    write_raw_pairs,
)

from common.config import load_config
from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face.layout import INNER_LIP_PAIRS
from common.face.mouth import LIP_SHAPE_UNIT, lip_shape, mouth_opening, mouth_shape
from common.files import read_json
from common.lip_shapes import join
from common.lip_shapes.calibration import clip_of, per_frame, save_predictor
from common.lip_shapes.config import LipTrainingConfig
from common.lip_shapes.encoder import LipEncoder, true_lip_features
from common.lip_shapes.label import MARGIN, STEP
from common.lip_shapes.model import LipShapePredictor, LipShapePredictorMean
from common.lip_shapes.network import load_lip_shape_predictor, load_phonetics
from common.lip_shapes.strategy import LabelledClips, LipShapeStrategy, at_tempo, cut, silenced
from common.models.frozen import freeze, weight_fingerprint
from common.models.package import load_package
from common.models.plain_network import WEIGHTS_FILE
from common.speech.build import build_speech_encoder
from common.speech.config import SpeechConfig
from common.speech.mel import MelEncoder
from common.training.draws import Draw
from common.training.launch import open_shards, train
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.training.strategy import EditorStrategy

FRAMES = 17
LOWER = [pair[1] for pair in INNER_LIP_PAIRS]


def talking(opening: np.ndarray) -> np.ndarray:
    """(N, 68, 3) of a face whose inner lips are so many pixels apart, more than at rest."""
    points = np.stack([toy_face()] * len(opening)).astype(np.float64)
    points[:, LOWER, 1] += opening[:, None]
    return points


def write_talkers(folder: Path, count: int, step: str = STEP) -> ShardDataset:
    """Clips whose mouths open as loud as the sound is, in faces of any size and tilt."""
    rng = np.random.default_rng(1)
    whole = FRAMES + 2 * MARGIN
    mark = {"speech": MelEncoder().fingerprint, "step": step}
    with ShardWriter(folder, "toy", 8, mark) as writer:
        for i in range(count):
            loud = np.clip(np.convolve(rng.normal(size=whole), np.ones(5) / 2, "same"), -1, 1)
            features = np.repeat(loud, 2)[:, None].repeat(80, 1) + 0.1 * rng.normal(size=(2 * whole, 80))
            points = talking(1 + loud[MARGIN : MARGIN + FRAMES])
            tilt, size = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.2)
            turn = size * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
            points[..., :2] = points[..., :2] @ turn.T
            cache = {"audio_features": features.astype(np.float32)}
            arrays = {"landmarks": points.astype(np.float32)}
            meta = {"frames": FRAMES, "fps": 25.0}
            writer.add(f"toy{i}", encode_sample(meta, arrays=arrays, cache=cache))
    return ShardDataset(folder)


def saved(folder: Path, gain: float = 1.0) -> Path:
    torch.manual_seed(0)
    model = LipShapePredictor(80, 16, 1, 0.0)
    model.gain.fill_(gain)
    model.save_pretrained(folder)
    return folder


def lip_config(folder: Path, *overrides: str) -> LipTrainingConfig:
    words = [
        "geometry.clip_frames=9",
        "train.max_steps=4",
        "train.mixed_precision=float32",
        "train.num_workers=0",
    ]
    words += ["train.log_every=1", "train.warmup_steps=1", "train.ema_decay=0.9", "train.global_batch_size=2"]
    words += [f"data.shards=[{folder / 'clips'}]", f"train.output={folder / 'run'}"]
    return load_config(LipTrainingConfig, [], [*words, *overrides])


def test_it_learns_to_open_the_mouth_with_the_sound(tmp_path: Path) -> None:
    dataset = write_talkers(tmp_path / "clips", 32)
    words = ["train.max_steps=60", "train.global_batch_size=8", "train.micro_batch_size=8"]
    config = lip_config(tmp_path, *words, "train.learning_rate=5e-3", "lip_shapes.spread=1.25")
    result = train(config, LipShapeStrategy(config, dataset), dataset)
    rows = metrics(tmp_path / "run")
    assert rows[0]["opening_r"] < 0.5
    assert np.mean([row["opening_r"] for row in rows[-10:]]) > 0.85
    trained = LipShapePredictor.from_pretrained(result.package)
    assert (trained.gain >= 1.25).all() and trained.offset.abs().sum() > 0
    assert (trained.gain[3:] == 1.25).all()  # what is no gap is widened by lip_shapes.spread alone
    assert LipEncoder(result.package).encode(np.zeros(3200, np.float32)).shape == (10, 8)


def test_correlation_is_asked_of_openings_that_are_known_and_move(tmp_path: Path) -> None:
    dataset = write_talkers(tmp_path / "clips", 4)
    strategies = [
        LipShapeStrategy(lip_config(tmp_path, f"lip_shapes.correlation={weight}"), dataset)
        for weight in (0.0, 0.5)
    ]
    model = strategies[0].build_model().eval()
    features, shapes = (torch.stack(part) for part in zip(*map(clip_of, dataset), strict=True))
    shapes[1], shapes[2, 3] = shapes[1, 0].clone(), torch.nan  # lips that are still; a frame without a face
    clips = LabelledClips((), features, shapes)
    plain, more = (strategy.loss(model, clips).loss for strategy in strategies)
    agreement = strategies[0].loss(model, clips).parts["opening_r"]
    for moving in (0, 3):
        torch.testing.assert_close(more[moving] - plain[moving], 0.5 * (1 - agreement[moving]))
    assert torch.equal(more[1:3], plain[1:3])
    more.mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_shards_of_another_step_are_refused(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    dataset = write_clips(tmp_path / "clips")
    with pytest.raises(UserError, match="labelled speech for a lip-shape predictor"):
        LipShapeStrategy(lip_config(tmp_path), dataset)


def test_shards_that_name_the_step_as_it_was_called_before_are_read(tmp_path: Path) -> None:
    folders = [tmp_path / "before", tmp_path / "today"]
    for folder, step in zip(folders, ("listen", STEP), strict=True):
        write_talkers(folder, 2, step)
    dataset = ShardDataset(folders)
    strategy = LipShapeStrategy(lip_config(tmp_path), dataset)  # raises where no lips were filmed
    strategy.save_package(strategy.build_model(), tmp_path / "package")
    assert LipShapePredictor.from_pretrained(tmp_path / "package").offset.abs().sum() > 0


def test_features_do_not_depend_on_where_a_long_recording_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
    encoder = build_speech_encoder(SpeechConfig(encoder="lips", path=str(saved(tmp_path / "r")), channels=8))
    whole = encoder.encode(audio)
    monkeypatch.setattr("common.lip_shapes.encoder._CHUNK", 7)
    np.testing.assert_allclose(encoder.encode(audio), whole, atol=1e-4)
    assert whole.shape == (50, 8) and (whole[:, 7] == 1).all() and (whole[:, :3] >= 0).all()


def test_the_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    one, same, other = (LipEncoder(saved(tmp_path / n, g)) for n, g in (("a", 1.0), ("b", 1.0), ("c", 2.0)))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    with pytest.raises(UserError, match="no lip-shape predictor in"):
        LipEncoder(tmp_path / "nothing")


def test_a_predictor_predicts_the_same_however_it_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    phonetics = {"width": 8, "channels": 3, "dilations": [1, 2]}
    LipShapePredictor(80, 16, 2, 0.3, 0.4, phonetics).half().save_pretrained(tmp_path)
    before = torch.get_rng_state()
    plain = load_lip_shape_predictor(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    whole = freeze(LipShapePredictor.from_pretrained(tmp_path).float())
    assert weight_fingerprint(plain) == weight_fingerprint(whole)
    assert not plain.training and not any(parameter.requires_grad for parameter in plain.parameters())
    heard = torch.randn(1, 50, 80)
    assert torch.equal(plain.calibrated(heard), whole.calibrated(heard))


def test_a_predictor_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path) / WEIGHTS_FILE
    whole = load_file(weights)

    def message() -> str:
        with pytest.raises(UserError) as error:
            load_lip_shape_predictor(tmp_path)
        return str(error.value)

    save_file({name: tensor for name, tensor in whole.items() if name != "gain"}, weights)
    assert "the lip-shape predictor lacks the tensor gain; restore it" in message()
    save_file({**whole, "loss": torch.zeros(1)}, weights)
    assert "the lip-shape predictor holds the foreign tensor loss; restore it" in message()
    save_file({**whole, "gain": torch.ones(3)}, weights)
    assert "the lip-shape predictor: the tensor gain is (3,), expected (7,)" in message()
    weights.write_bytes(b"no tensors")
    assert "the lip-shape predictor cannot be loaded" in message()
    weights.unlink()
    assert "the lip-shape predictor cannot be loaded" in message()
    for config in ('{"bands": 80, "heads": 4}', '{"width": "wide"}', "[]"):
        (tmp_path / "config.json").write_text(config)
        assert "the lip-shape predictor cannot be loaded" in message()


def test_a_lip_shape_tells_gaps_and_does_not_change_with_place_size_and_tilt() -> None:
    face = talking(np.array([0.0, 2.0, 4.0]))
    moved = face.copy()
    turn = 1.7 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved[..., :2] = moved[..., :2] @ turn.T + (30, -5)
    np.testing.assert_allclose(mouth_shape(moved), mouth_shape(face), atol=1e-9)
    np.testing.assert_allclose(lip_shape(moved), lip_shape(face), atol=1e-7)
    gaps = lip_shape(face)[:, :3].mean(axis=1) * LIP_SHAPE_UNIT
    np.testing.assert_allclose(np.diff(gaps), np.diff(mouth_opening(face)), rtol=0.05)


def test_true_lips_stand_where_the_clip_is_and_what_was_heard_stands_around_it() -> None:
    points = talking(np.linspace(0, 4, FRAMES))
    points[3] = np.nan
    heard = torch.full((2 * (FRAMES + 10), 8), -7.0)
    heard[:, 7] = 1
    result = true_lip_features(torch.from_numpy(points), heard)
    clip = slice(10, 10 + 2 * FRAMES)
    assert torch.equal(result[:10], heard[:10]) and torch.equal(result[clip.stop :], heard[clip.stop :])
    # The frame without a face keeps what was heard; in all others a frame's two features frame its truth.
    assert torch.equal(result[clip][6:8], heard[clip][6:8])
    seen = [i for i in range(1, FRAMES - 1) if abs(i - 3) > 1]
    made = result[clip].unflatten(0, (FRAMES, 2)).mean(dim=1)
    np.testing.assert_allclose(made[seen, 1], lip_shape(points)[seen, 1].clip(min=0), rtol=1e-4)


@pytest.mark.parametrize(("middle", "share"), [(0.0, 0.4), (0.5, 0.5), (1.0, 0.8), (0.4, 1.2)])
def test_silence_closes_the_mouth_and_its_borders_are_not_judged(middle: float, share: float) -> None:
    features = torch.ones(2 * (FRAMES + 2 * MARGIN), 80)
    shapes = torch.ones(FRAMES, 7)
    quiet, closed = silenced(features, shapes, middle, share)
    silent = (quiet == MelEncoder.floor).all(dim=1)
    assert silent.any() and torch.equal(quiet[~silent], features[~silent])
    frames = silent[2 * MARGIN : -2 * MARGIN].unflatten(0, (FRAMES, 2)).all(dim=1)
    judged = closed.isfinite().all(dim=1)
    assert (closed[judged & frames][:, :3] == 0).all()
    assert (closed[judged & ~frames] == 1).all()
    assert judged[frames].any()


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_sound_and_mouth_keep_together_at_another_tempo(factor: float) -> None:
    moments = torch.arange(2 * (FRAMES + 2 * MARGIN)) / 2 - 0.25 - MARGIN  # of features, in frames
    sound, mouth = at_tempo(
        moments[:, None].expand(-1, 80), torch.arange(FRAMES)[:, None].expand(-1, 7) * 1.0, factor
    )
    assert sound.shape == (2 * (FRAMES + 2 * MARGIN), 80) and mouth.shape == (FRAMES, 7)
    heard, known = per_frame(sound[None], FRAMES)[0, :, 0], mouth[:, 0].isfinite()
    torch.testing.assert_close(heard[known], mouth[known, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(mouth[FRAMES // 2, 0], torch.tensor(float(FRAMES // 2)))
    step = mouth[FRAMES // 2 + 1, 0] - mouth[FRAMES // 2, 0]
    assert float(step) == pytest.approx(factor, rel=1e-4)
    assert bool(known.all()) == (factor <= 1)


def test_of_a_long_sample_every_stretch_is_learnt_with_its_own_sound() -> None:
    frames, length = 20, 6
    features = torch.arange(2 * (frames + 2 * MARGIN)).float()[:, None].expand(-1, MelEncoder.channels)
    shapes = torch.arange(frames).float()[:, None].expand(-1, 7)
    starts = set()
    for place in np.linspace(0, 1, 60):
        sound, mouth = cut(features, shapes, length, float(place))
        assert len(mouth) == length and len(sound) == 2 * (length + 2 * MARGIN)
        assert sound[2 * MARGIN, 0] == 2 * (mouth[0, 0] + MARGIN)
        starts.add(int(mouth[0, 0]))
    assert starts == set(range(frames - length + 1))


def test_an_editor_trains_on_measured_lips_and_its_package_brings_the_saved(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    path = saved(tmp_path / "predictor")
    words = ["speech.encoder=lips", "speech.channels=8", f"speech.path={path}", "model.audio_channels=8"]
    mark = {"speech": LipEncoder(path).fingerprint}
    write_pairs(tmp_path / "pairs", landmarks=True, audio_channels=8, **mark)
    heard = run_editor(tmp_path, *words)
    seen = run_editor(tmp_path, *words, "train.true_lips=1", f"train.output={tmp_path / 'seen'}")
    first, second = (metrics(result.package.parent)[-1]["loss"] for result in (heard, seen))
    assert first != second
    package = load_package(seen.package)
    assert package.info.speech.path == str(seen.package / "speech")
    assert DubPipeline.from_pretrained(seen.package).speech.fingerprint == package.info.speech_fingerprint


def test_pairs_that_are_encoded_while_training_bring_the_lips_of_their_bent_window(
    tmp_path: Path, moving_frames: Callable[..., np.ndarray], tone: Callable[..., np.ndarray]
) -> None:
    toy_vae(tmp_path)
    path = saved(tmp_path / "predictor")
    words = ["speech.encoder=lips", "speech.channels=8", f"speech.path={path}", "model.audio_channels=8"]
    points = talking(np.linspace(0, 4, 29)).astype(np.float32)
    write_raw_pairs(tmp_path / "pairs", 1, 29, moving_frames, tone, landmarks=points)
    changes = ["augment.warp.probability=1", "augment.warp.range=[0.05,0.05]", "train.true_lips=1"]
    changes += ["train.drop_audio=0", "train.drop_both=0"]
    config = stage2_config(tmp_path, "geometry.clip_frames=21", *words, *changes)
    dataset = open_shards(config.data)
    strategy = EditorStrategy(config, dataset)
    collate = strategy.collate()
    for step in range(3):
        batch = strategy.prepare(collate([(Draw(0, step, 0), dataset.sample(0))]), torch.device("cpu")).batch
        assert batch.landmarks is not None
        bent = batch.landmarks[0].numpy()
        assert np.abs(bent - points[:21]).max() > 0.2
        # Latents after the first hear four frames each, with two features for each frame.
        heard = batch.audio_features[0, 1:].flatten(0, 1).unflatten(0, (20, 2)).mean(dim=1)
        # At the end a frame's two features lean on what was heard beyond.
        np.testing.assert_allclose(heard[:-1, 1], lip_shape(bent)[1:-1, 1].clip(min=0), rtol=0.02)


def test_measured_lips_need_features_that_are_lips_and_landmarks(tmp_path: Path) -> None:
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    with pytest.raises(UserError, match=r"speech\.encoder is mel"):
        run_editor(tmp_path, "train.true_lips=0.5")
    path = saved(tmp_path / "predictor")
    words = ["speech.encoder=lips", "speech.channels=8", f"speech.path={path}", "model.audio_channels=8"]
    mark = {"speech": LipEncoder(path).fingerprint}
    write_pairs(tmp_path / "more", audio_channels=8, **mark)
    with pytest.raises(UserError, match="no landmarks"):
        run_editor(tmp_path, *words, f"data.shards=[{tmp_path / 'more'}]", "train.true_lips=1")


def test_predictors_that_were_written_under_the_former_name_are_read(tmp_path: Path) -> None:
    convolutions = {"bands": 80, "width": 8, "channels": 6, "dilations": [1, 2], "dropout": 0.0}
    LipShapePredictor(80, 8, 1, phonetics=convolutions).save_pretrained(tmp_path)
    config = read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "LipReader"}))
    assert LipEncoder(tmp_path).encode(np.zeros(3200, np.float32)).shape == (10, 8)
    assert load_phonetics(tmp_path).channels == 6


def test_the_mean_of_unlike_predictors_is_one_that_moves_as_film_does(tmp_path: Path) -> None:
    dataset = write_talkers(tmp_path / "clips", 8)
    convolutions = {"bands": 80, "width": 8, "channels": 6, "dilations": [1, 2], "dropout": 0.0}
    first, second = LipShapePredictor(80, 8, 1), LipShapePredictor(80, 16, 2, phonetics=convolutions)
    for name, network in (("a", first.eval()), ("b", second.eval())):
        save_predictor(network, tmp_path / name)
    words = [f"join.members=[{tmp_path / 'a'}, {tmp_path / 'b'}]", f"join.output={tmp_path / 'mean'}"]
    words += [f"join.shards=[{tmp_path / 'clips'}]", "join.spread=1.5"]
    assert join.main([*words, "--dry-run"]) == 0 and not (tmp_path / "mean").exists()
    assert join.main(words) == 0
    mean = load_lip_shape_predictor(tmp_path / "mean")
    features = torch.randn(1, 40, 80)
    members = [load_lip_shape_predictor(tmp_path / name) for name in "ab"]
    with torch.no_grad():
        torch.testing.assert_close(mean(features), sum(one(features) for one in members) / 2)
        filmed, made = [], []
        for sample in dataset:
            sound, shapes = clip_of(sample)
            filmed.append(shapes)
            made.append(per_frame(mean.calibrated(sound[None]), len(shapes))[0])
    spread = (torch.cat(made).std(dim=0) / torch.cat(filmed).std(dim=0))[:3]
    limited = mean.gain[:3] >= 1.5 * 2.5 - 1e-4
    assert torch.allclose(spread[~limited], torch.tensor(1.5), rtol=1e-2) and (spread[limited] < 1.5).all()
    assert load_phonetics(tmp_path / "mean").channels == 6
    assert LipEncoder(tmp_path / "mean").encode(np.zeros(3200, np.float32)).shape == (10, 8)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("[a]", "name two or more"),
        ("[]", "Name predictors in join.members"),
        ("[a, teaching]", "takes other features than the others"),
        ("[a, mean]", "is a mean of predictors itself"),
        ("[a, nothing]", "nothing"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: str, message: str
) -> None:
    write_talkers(tmp_path / "clips", 2)
    LipShapePredictor(80, 8, 1).save_pretrained(tmp_path / "a")
    LipShapePredictor(86, 8, 1).save_pretrained(tmp_path / "teaching")
    settings = {"bands": 80, "width": 8, "layers": 1}
    LipShapePredictorMean([settings, settings]).save_pretrained(tmp_path / "mean")
    named = members.replace("a", f"{tmp_path}/a", 1)
    for name in ("teaching", "mean", "nothing"):
        named = named.replace(f" {name}", f" {tmp_path}/{name}")
    words = [f"join.members={named}", f"join.output={tmp_path / 'made'}"]
    assert join.main([*words, f"join.shards=[{tmp_path / 'clips'}]"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
