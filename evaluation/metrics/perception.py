"""The metrics that need networks whose weights a user brings, as far as he has brought them."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import UserError
from common.face.model_pack import DEFAULT_PACK
from common.files import PathLike
from evaluation.metrics.base import Measure, PooledMeasure
from evaluation.metrics.fid import Fid, load_inception
from evaluation.metrics.fvd import Fvd, load_i3d
from evaluation.metrics.identity import build_identity
from evaluation.metrics.lpips import LpipsToTruth, load_lpips
from evaluation.metrics.speech import GeneratedSpeech
from evaluation.metrics.voices import SpeakerEncoder, Transcriber, WhisperTranscriber, XVectorEncoder


@dataclass(frozen=True)
class PerceptionWeights:
    """Where the judge networks lie; None: not there.

    Attributes:
        alexnet, vgg16: torchvision's state dicts (``alexnet-owt-7be5be79.pth``, ``vgg16-397923af.pth``).
        lpips_alex, lpips_vgg: ``alex.pth`` and ``vgg.pth`` of LPIPS v0.1.
        inception: ``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid.
        i3d: ``rgb_imagenet.pt`` of pytorch-i3d.
        speaker_encoder: folder of a ``...ForXVector`` model (``microsoft/wavlm-base-plus-sv``).
        transcriber: folder of a Whisper model.
        face_pack: insightface pack of the ArcFace network.
        face_root: folder that holds ``models/<pack>``; empty: ``~/.insightface``.
    """

    alexnet: PathLike | None = None
    lpips_alex: PathLike | None = None
    vgg16: PathLike | None = None
    lpips_vgg: PathLike | None = None
    inception: PathLike | None = None
    i3d: PathLike | None = None
    speaker_encoder: PathLike | None = None
    transcriber: PathLike | None = None
    face_pack: str = DEFAULT_PACK
    face_root: PathLike = ""


PUBLISHED_NAMES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "lpips_alex": "alex.pth",
    "vgg16": "vgg16-397923af.pth",
    "lpips_vgg": "vgg.pth",
    "inception": "pt_inception-2015-12-05-6726825d.pth",
    "i3d": "rgb_imagenet.pt",
    "speaker_encoder": "wavlm-base-plus-sv",
    "transcriber": "whisper",
}
"""Field of PerceptionWeights -> the name under which its file or folder is published."""


def load_measures(
    weights: PerceptionWeights, device: str = "cpu"
) -> tuple[list[Measure], list[PooledMeasure], dict[str, str]]:
    """What can be measured with these files.

    Returns:
        Measures, pooled measures, and facts for the report: heading -> the network, or which file is missing.

    Raises:
        UserError: a file that was given is missing, damaged or another network's; half of a pair was given.
    """
    measures: list[Measure] = []
    pooled: list[PooledMeasure] = []
    facts: dict[str, str] = {}

    identity, facts["CSIM, ID-P, ID-TC"] = build_identity(weights.face_pack, weights.face_root, device)
    if identity is not None:
        measures.append(identity)

    pairs = {
        "alex": ("alexnet", weights.alexnet, "lpips_alex", weights.lpips_alex),
        "vgg": ("vgg16", weights.vgg16, "lpips_vgg", weights.lpips_vgg),
    }
    for variant, (backbone_name, backbone, linear_name, linear) in pairs.items():
        title = f"LPIPS ({variant})"
        if (backbone is None) != (linear is None):
            absent = backbone_name if backbone is None else linear_name
            raise UserError(f"{title} needs two files and '{absent}' is not set: set it too, or neither.")
        if backbone is None or linear is None:
            facts[title] = _needs(backbone_name, linear_name)
            continue
        measures.append(LpipsToTruth(load_lpips(variant, backbone, linear), variant, device))
        facts[title] = "v0.1"

    if weights.inception is None:
        facts["FID"] = _needs("inception")
    else:
        pooled.append(Fid(load_inception(weights.inception), device))
        facts["FID"] = "Inception v3 of 2015-12-05"
    if weights.i3d is None:
        facts["FVD"] = _needs("i3d")
    else:
        pooled.append(Fvd(load_i3d(weights.i3d), device))
        facts["FVD"] = "I3D of Kinetics-400"

    speaker: SpeakerEncoder | None = None
    transcriber: Transcriber | None = None
    facts["V-SIM"], facts["WER"] = _needs("speaker_encoder"), _needs("transcriber")
    if weights.speaker_encoder is not None:
        speaker = XVectorEncoder(weights.speaker_encoder, device)
        facts["V-SIM"] = speaker.name
    if weights.transcriber is not None:
        transcriber = WhisperTranscriber(weights.transcriber, device)
        facts["WER"] = transcriber.name
    measures.append(GeneratedSpeech(speaker, transcriber))
    return measures, pooled, facts


def _needs(*networks: str) -> str:
    return f"not measured: needs {' and '.join(PUBLISHED_NAMES[name] for name in networks)} (--weights)"
