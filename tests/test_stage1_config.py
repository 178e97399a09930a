"""The configuration of stage 1: what decides whether clips have to be encoded again."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import load_config
from common.errors import UserError
from stage1_generator.config import Stage1Config, check
from stage1_generator.encode import encoding_mark

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def _config(names: list[str], *words: str) -> Stage1Config:
    return load_config(Stage1Config, [CONFIGS / f"{name}.yaml" for name in names], words)


@pytest.mark.parametrize(
    ("names", "mark"),
    [
        ([], "0ae2e63f9bb5fb11"),
        (["tiny", "stage1", "stage1_tiny"], "b31ee7c8424c7ed2"),
        (["small", "stage1", "small_stage1"], "2cbda68fc4cd8f9b"),
        (["wan5b", "stage1"], "7210b73d3070f831"),
    ],
)
def test_clips_that_were_encoded_before_are_gone_on_with(names: list[str], mark: str) -> None:
    """The marks in the shards of earlier versions, whose seed was that of the synthesis."""
    assert encoding_mark(_config(names)) == mark


def test_tuning_the_synthesis_keeps_the_encoded_clips() -> None:
    plain = encoding_mark(_config([]))
    assert encoding_mark(_config([], "synthesis.seed=3", "synthesis.batch_clips=1")) == plain
    assert encoding_mark(_config([], "seed=3")) != plain
    # As earlier versions marked clips with these values.
    names = ["tiny", "stage1", "stage1_tiny"]
    assert encoding_mark(_config(names, "seed=3", "masks.occluder_grow=0.05")) == "e66a38ec8211c402"


def test_the_old_place_of_a_key_is_told() -> None:
    with pytest.raises(UserError, match=r"nearest valid key is masks\.occluder_grow"):
        _config([], "synthesis.occluder_grow=0.05")


def test_old_names_of_number_formats_are_refused_with_the_new_one() -> None:
    with pytest.raises(UserError, match="dtype is 'fp32', which is called float32 now"):
        check(_config(["tiny", "stage1"], "dtype=fp32"))
