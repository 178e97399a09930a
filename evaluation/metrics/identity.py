"""Is it still the same person, in every frame? Cosines of ArcFace embeddings.

All functions take embeddings (N, D), one row per frame, NaN rows where there is no face; their lengths do
not matter. "Cosine distance" is 1 - cosine.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.face.identity import IdentityEncoder
from common.face.model_pack import DEFAULT_PACK, find_pack
from common.files import PathLike, fingerprint
from evaluation.dubbed_clip import DubbedClip, Footage
from evaluation.metrics.base import Better, Metric, Values

Embeddings = NDArray[np.floating]

TEMPERATURE = 1.0
"""Of the softmax over frames. EdiDub names none, so the raw scores are the logits."""

FEWEST = 0.5
"""Share of the source's faces that must be found in the made video. Less says nothing of the whole clip."""


def csim(made: Embeddings, source: Embeddings) -> float | None:
    """Cosine of the two mean embeddings, -1 to 1; None without a face on either side."""
    means = [_unit(_unit(part[_known(part)]).mean(axis=0)) for part in (made, source) if _known(part).any()]
    return float(means[0] @ means[1]) if len(means) == 2 else None


def id_p(made: Embeddings, source: Embeddings) -> float | None:
    """EdiDub's identity preservation (sec. 4.1), 0 to 2: distance frame by frame, bad frames weigh more.

    None where no frame has a face on both sides.

    Raises:
        ValueError: another number of frames.
    """
    if len(made) != len(source):
        raise ValueError(f"{len(made)} made frames and {len(source)} source frames")
    both = _known(made) & _known(source)
    return softmax_mean(_distance(made[both], source[both]))


def id_tc(made: Embeddings) -> float | None:
    """EdiDub's temporal consistency of identity (sec. 4.1), 0 to 2: distance of consecutive frames.

    A pair with a frame that has no face is left out; None where no pair is left.
    """
    known = _known(made)
    pairs = np.flatnonzero(known[:-1] & known[1:])
    return softmax_mean(_distance(made[pairs], made[pairs + 1]))


def softmax_mean(scores: NDArray[np.floating], temperature: float = TEMPERATURE) -> float | None:
    """sum_i w_i s_i with w = softmax(s / temperature) over (N,) scores; None for N = 0."""
    if not len(scores):
        return None
    weights = np.exp((scores - scores.max()) / temperature)
    return float((weights * scores).sum() / weights.sum())


def _known(embeddings: Embeddings) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(embeddings).all(axis=1))


def _unit(vectors: Embeddings) -> Embeddings:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def _distance(a: Embeddings, b: Embeddings) -> NDArray[np.float64]:
    cosine = (_unit(a.astype(np.float64)) * _unit(b.astype(np.float64))).sum(axis=1)
    return np.asarray(1.0 - np.clip(cosine, -1.0, 1.0))


class FaceEncoder(Protocol):
    """Whose face it is, as a vector; :class:`common.face.identity.IdentityEncoder` is one."""

    @property
    def fingerprint(self) -> str: ...

    def embed(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
        """(S, S, 3) uint8 RGB with (68, 3) landmarks in pixels -> (D,)."""
        ...


def embed_footage(encoder: FaceEncoder, footage: Footage) -> Embeddings:
    """(N, D) float32; NaN rows where no face was found. (N, 1) of NaN where there is none at all."""
    rows = {i: encoder.embed(footage.crops[i], footage.landmarks[i]) for i in np.flatnonzero(footage.present)}
    size = len(next(iter(rows.values()))) if rows else 1
    vectors = np.full((len(footage), size), np.nan, np.float32)
    for i, row in rows.items():
        vectors[i] = row
    return vectors


class Identity:
    """CSIM, ID-P and ID-TC of a clip, every frame on its own landmarks.

    Nothing is measured where the source has no face, or where fewer than half of its faces (``FEWEST``) are
    found in the made video.
    """

    metrics = (
        Metric(
            "csim", "CSIM (ArcFace)", "", Better.higher,
            "cos(mean of the made video's embeddings, mean of the source's)",
            "ArcFace (Deng 2019); X-Dub sec. 5", "identity",
        ),
        Metric(
            "id_p", "ID-P (ArcFace)", "", Better.lower,
            "softmax-weighted mean over frames of 1 - cos(made, source), temperature 1",
            "EdiDub sec. 4.1, with ArcFace in place of its FaceNet", "identity",
        ),
        Metric(
            "id_tc", "ID-TC (ArcFace)", "", Better.lower,
            "softmax-weighted mean over consecutive made frames of 1 - cos, temperature 1",
            "EdiDub sec. 4.1, with ArcFace in place of its FaceNet", "identity",
        ),
        Metric(
            "id_tc_excess", "ID-TC - source", "", Better.zero,
            "ID-TC of the made video less ID-TC of the source",
            "ours: real faces move too, and a frozen one would win by ID-TC", "identity",
        ),
    )  # fmt: skip

    def __init__(self, encoder: FaceEncoder) -> None:
        self.encoder = encoder
        self.fingerprint = fingerprint(["identity", 1, TEMPERATURE, FEWEST, encoder.fingerprint])

    def __call__(self, clip: DubbedClip) -> Values:
        faces = int(clip.source.present.sum())
        found = int((clip.source.present & clip.made.present).sum())
        if not faces or found < FEWEST * faces:
            return {}
        made, source = (embed_footage(self.encoder, part) for part in (clip.made, clip.source))
        moves, moved = id_tc(made), id_tc(source)
        values = {
            "csim": csim(made, source),
            "id_p": id_p(made, source),
            "id_tc": moves,
            "id_tc_excess": None if moves is None or moved is None else moves - moved,
        }
        return {key: value for key, value in values.items() if value is not None}


def build_identity(
    pack: str = DEFAULT_PACK, root: PathLike = "", device: str = "cpu"
) -> tuple[Identity | None, str]:
    """The measure and a line for the report; None and the reason where the pack is not installed.

    Args:
        pack, root, device: see :class:`IdentityEncoder`.

    Raises:
        UserError: a pack that is there but has no recognition model.
    """
    try:
        find_pack(pack, root, otherwise="do without CSIM, ID-P and ID-TC")
    except UserError as error:
        return None, f"not measured: {error}"
    return Identity(IdentityEncoder(pack, root, device)), f"ArcFace of the insightface pack '{pack}'"
