"""What a source says itself: the speech under which it is inverted."""

from __future__ import annotations

import numpy as np

from common.diffusion.options import SamplingOptions, resolve_sampling
from common.errors import UserError
from common.media import SAMPLE_RATE, load_audio
from common.models.package_info import PackageInfo
from common.own_mouths.config import Renderer
from common.speech.base import SpeechEncoder
from common.speech.silence import encode_until
from stage2_dubber.dub.request import DubInputs, DubRequest


def inverts(sampling: SamplingOptions, info: PackageInfo) -> bool:
    """Whether the sampling that is asked for of a package starts from the inverted source."""
    return resolve_sampling(sampling, info.diffusion).inverts


def check_own_speech(request: DubRequest, inputs: DubInputs, info: PackageInfo) -> None:
    """Refuse an inversion without speech of its own, and settings of one that is not asked for.

    Raises:
        UserError: the source has no sound, or its frames are shown at other times; or nothing is inverted.
    """
    if not inverts(request.sampling, info):
        given = [name for name in request.sampling.changes() if name.startswith("inversion_")]
        if given:
            raise UserError(
                f"--{given[0].replace('_', '-')} is about --start-from inversion: give that, or leave it out."
            )
        return
    if (request.renderer or info.renderer) is Renderer.own_mouths:
        return
    if not inputs.info.has_audio:
        raise UserError(
            f"The video '{request.video}' has no sound, but --start-from inversion needs what it says: use "
            "--start-from noise."
        )
    if inputs.retiming is not None:
        raise UserError(
            f"--length {request.timing.length.value} shows the frames at other times than their sound, which "
            "--start-from inversion needs: use --start-from noise."
        )


def own_features(request: DubRequest, encoder: SpeechEncoder, seconds: float) -> np.ndarray:
    """(T, C) features of the source's own sound, for pictures that last ``seconds``."""
    audio = load_audio(request.video, SAMPLE_RATE)
    return encode_until(encoder, audio, int(np.ceil(seconds * SAMPLE_RATE)))
