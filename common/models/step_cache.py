"""What a sampler step takes over from the steps before it: diffusers' step caches on the transformer.

All of them keep one state per guidance branch (``cache_context``) and hold good for one stretch of steps with
the same branches and adapters; :func:`forget_steps` ends a stretch.
"""

from __future__ import annotations

from typing import Any

from diffusers.hooks import FirstBlockCacheConfig, TaylorSeerCacheConfig

from common.models.speed import SpeedConfig
from common.models.transformer import DubbingTransformer

# fullmatch patterns of module names.
_SUBLAYERS = [r"blocks\.\d+\.(self_attn|cross_attn|audio_attn|audio_adain|ffn)"]
_BLOCKS = [r"blocks\.\d+"]
_HEAD = ["head"]


def enable_step_cache(transformer: DubbingTransformer, speed: SpeedConfig) -> None:
    """Put the cache of ``speed`` on the transformer; nothing for "none".

    first-block: the other blocks' common residual is the last step's where the first block's has changed by
    less than the threshold. taylorseer (arXiv 2503.06923): between full steps every sublayer's output is
    extrapolated, which keeps (order + 1) outputs per sublayer and branch. taylorseer-lite: only the head's
    output is, that is the velocity; the blocks are not run at all and nothing is kept but velocities.
    """
    if speed.step_cache == "none":
        return
    if speed.step_cache == "first-block":
        transformer.enable_cache(FirstBlockCacheConfig(threshold=speed.cache_threshold))
        return
    lite = speed.step_cache == "taylorseer-lite"
    config = TaylorSeerCacheConfig(
        cache_interval=speed.cache_interval,
        disable_cache_before_step=speed.cache_warmup,
        max_order=speed.cache_order,
        taylor_factors_dtype=transformer.patch_embedding.weight.dtype,
        skip_predict_identifiers=_BLOCKS if lite else None,
        cache_identifiers=_HEAD if lite else _SUBLAYERS,
    )
    transformer.enable_cache(config)


def forget_steps(model: Any) -> None:
    """What a step cache of ``model`` has kept is stale: the next step is computed in full."""
    if getattr(model, "is_cache_enabled", False):
        model._reset_stateful_cache()
