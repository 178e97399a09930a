"""tools/renew_speech.py: other ways to hear begin with the same pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from training_toys import run_editor, stage2_config, toy_vae, write_pairs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import renew_speech

from common.errors import UserError
from common.models.package import ModelPackage, load_package


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The package of an editor that has learnt a little."""
    toy_vae(tmp_path)
    write_pairs(tmp_path / "pairs")
    return run_editor(tmp_path, "train.max_steps=2", "train.learning_rate=0.01").package


def renewed(folder: Path, start: Path, name: str, *words: str) -> ModelPackage:
    output = folder / name
    config = stage2_config(folder, f"train.init_from={start}", f"train.output={output}", *words)
    renew_speech.renew(config, dry_run=False)
    return load_package(output, stage=2)


def test_all_but_the_speechs_layers_is_kept_and_they_begin_without_effect(
    trained: Path, tmp_path: Path
) -> None:
    before = load_package(trained).transformer.state_dict()
    for name, words in {
        "attention": [],
        "adain": ["model.speech_injection=adain"],
        "deep": ["model.audio_layers=2"],
    }.items():
        package = renewed(tmp_path, trained, name, *words)
        after = package.transformer.state_dict()
        heard = {key for key in after if renew_speech.takes_speech(key)}
        assert heard and all(torch.equal(after[key], before[key]) for key in after.keys() - heard)
        assert after.keys() - heard == {key for key in before if not renew_speech.takes_speech(key)}
        last = "audio_adain.linear.weight" if name == "adain" else "audio_attn.to_out.0.weight"
        silent = [key for key in heard if key.endswith(last)]
        assert silent and not any(after[key].any() for key in silent)
        assert package.info.training["new_speech_layers_in"] == "run/package"
    again = renewed(tmp_path, trained, "again").transformer.state_dict()
    first = load_package(tmp_path / "attention").transformer.state_dict()
    assert all(torch.equal(again[key], first[key]) for key in first), "the seed decides"


def test_a_training_with_adain_starts_from_an_editor_that_attended(trained: Path, tmp_path: Path) -> None:
    adain = "model.speech_injection=adain"
    renewed(tmp_path, trained, "start", adain)
    words = [adain, "train.max_steps=1", f"train.output={tmp_path / 'next'}"]
    with pytest.raises(UserError, match="speech_injection"):
        run_editor(tmp_path, *words, f"train.init_from={trained}")
    assert run_editor(tmp_path, *words, f"train.init_from={tmp_path / 'start'}").step == 1


def test_what_cannot_be_renewed_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not of the configuration's size"):
        renewed(tmp_path, trained, "other", "model.num_layers=1")
    with pytest.raises(UserError, match="no model package there"):
        renewed(tmp_path, tmp_path / "nothing", "other")
    with pytest.raises(UserError, match=r"train\.init_from"):
        renew_speech.renew(stage2_config(tmp_path), dry_run=True)
    assert not (tmp_path / "other").exists()
