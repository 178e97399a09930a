"""Other recordings of the same words: each change does what it says, and nothing changes unasked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.random_change import ChangeConfig
from common.speech.config import SpeechAugmentConfig, SpeechConfig
from common.speech.mel import SCALE_DB, MelEncoder
from common.speech.mel_augment import augment_mel, mel_changes


def changed(features: torch.Tensor, seed: int = 0, **changes: tuple[float, float]) -> torch.Tensor:
    config = SpeechAugmentConfig(
        **{name: ChangeConfig(1.0, [low, high]) for name, (low, high) in changes.items()}
    )
    return augment_mel(features, torch.Generator().manual_seed(seed), config)


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """A hummed tone that comes and goes, (100, 80)."""
    t = np.arange(32000) / 16000
    loud = np.clip(np.sin(2 * np.pi * 1.5 * t), 0, 1)
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 30))
    return torch.from_numpy(MelEncoder().encode((0.1 * loud * tone).astype(np.float32)))


def test_nothing_is_changed_by_default(speech: torch.Tensor) -> None:
    same = augment_mel(speech, torch.Generator().manual_seed(0), SpeechAugmentConfig())
    torch.testing.assert_close(same, speech)


def test_the_same_generator_gives_the_same_recording(speech: torch.Tensor) -> None:
    first, second = (changed(speech, 3, noise=(10, 10), pitch=(0.1, 0.1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, changed(speech, 4, noise=(10, 10), pitch=(0.1, 0.1)))


def test_one_more_change_leaves_the_draws_of_the_others(speech: torch.Tensor) -> None:
    noisy = changed(speech, 1, noise=(10, 10))
    louder = changed(speech, 1, noise=(10, 10), gain=(6, 6))
    loud = noisy > MelEncoder.floor + 1
    moved = (louder - noisy)[loud] * SCALE_DB
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 6.0), atol=1e-3, rtol=0)


def test_noise_is_as_loud_as_asked_for(speech: torch.Tensor) -> None:
    def power(features: torch.Tensor) -> torch.Tensor:
        return (10 ** ((features * SCALE_DB - 60) / 10)).mean()

    for wanted in (5.0, 20.0):
        noise = power(changed(speech, 2, noise=(wanted, wanted))) - power(speech)
        assert 10 * torch.log10(power(speech) / noise) == pytest.approx(wanted, abs=2.5)


def test_a_room_fills_pauses_and_never_answers_before_the_sound(speech: torch.Tensor) -> None:
    click = torch.full((60, 80), MelEncoder.floor)
    click[30] = 2.0
    wet = changed(click, 0, reverberation=(0.4, 0.4))
    quiet = changed(torch.full((60, 80), MelEncoder.floor), 0, reverberation=(0.4, 0.4))
    torch.testing.assert_close(wet[:30], quiet[:30])
    tail = wet[31:50].mean(dim=1)
    assert tail[0] > MelEncoder.floor + 1 and (tail.diff() <= 1e-4).all()


def test_bandwidth_and_pitch_move_bands(speech: torch.Tensor) -> None:
    assert (changed(speech, 0, bandwidth=(0.5, 0.5))[:, 40:] == MelEncoder.floor).all()
    ramp = torch.arange(80.0).expand(10, 80) / 40
    stretched = changed(ramp, 0, pitch=(0.1, 0.1))[0, 40] / ramp[0, 40]
    assert abs(float(stretched) - 1) == pytest.approx(0.1, abs=0.01)


def test_other_features_than_mel_are_refused() -> None:
    config = SpeechAugmentConfig(gain=ChangeConfig(0.5, [0, 6]))
    assert mel_changes(config, SpeechConfig(encoder="mel", channels=80)) is config
    with pytest.raises(UserError, match="speech_augment"):
        mel_changes(config, SpeechConfig())


@pytest.mark.parametrize("bad", [{"probability": 1.5}, {"range": [3.0, 1.0]}, {"range": [1.0]}])
def test_bad_values_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"speech_augment\.noise"):
        SpeechAugmentConfig(noise=ChangeConfig(**bad))  # type: ignore[arg-type]
