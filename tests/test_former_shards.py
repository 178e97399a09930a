"""Shards that were written before the packages were laid out as they are now still load.

``tests/former`` holds what an earlier version wrote: two pairs, two clips of stage 1, and one clip that was
labelled for a lip-shape predictor, whose index names the step as it was called then. The shipped packages
(``models/``) are older than that layout, too: every test that loads them is a test of this kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import load_config
from common.data.dataset import ShardDataset
from common.lip_shapes.config import LipTrainingConfig
from common.lip_shapes.strategy import LipShapeStrategy

FORMER = Path(__file__).parent / "former"
PAIR = {"target_latents": 35.470, "source_latents": 54.670, "audio_features": -62.570}
CLIP = {"target_latents": 35.470, "masked_latents": 17.735, "reference_latents": -12.795}


@pytest.mark.parametrize(("name", "sums"), [("pairs", PAIR), ("clips", CLIP)])
def test_samples_are_what_they_were(name: str, sums: dict[str, float]) -> None:
    dataset = ShardDataset(FORMER / name)
    assert len(dataset) == 2
    sample = dataset.sample(0)
    assert sample.meta == {"fps": 25.0, "frames": 9}
    for key, wanted in sums.items():
        assert float(sample.cache[key].double().sum()) == pytest.approx(wanted, abs=1e-3)
    assert sample.arrays["lip_mask"].shape == (3, 4, 4) and sample.arrays["lip_mask"].sum() == 48


def test_a_predictor_learns_from_labelled_clips(tmp_path: Path) -> None:
    words = ["geometry.clip_frames=17", f"data.shards=[{FORMER / 'lips'}]", f"train.output={tmp_path}"]
    config = load_config(LipTrainingConfig, [], words)
    dataset = ShardDataset(FORMER / "lips")
    strategy = LipShapeStrategy(config, dataset)  # raises where no lips were filmed
    assert strategy.build_model() is not None and len(dataset) == 1
