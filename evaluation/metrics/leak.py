"""Lip leakage: what is left of the source's own lips when others should be there.

Yaman et al., "Assessing Identity Leakage in Talking Face Generation" (arXiv 2511.08613, 2025), ask three
questions: the same video with its own speech, with other speech, with silence. Their lip-sync discrepancy
(LSD) is the first minus the second; the third is :mod:`evaluation.metrics.silence`, where KeySync's LipLeak
(arXiv 2505.00497: the share of frames that speak under silence) belongs, too. Beside them stands a direct
measure of ours: how far the made mouth follows the source's.
"""

from __future__ import annotations

from collections.abc import Iterable

from evaluation.dubbed_clip import DubbedClip
from evaluation.metrics.base import Better, Kind, Metric, Values
from evaluation.metrics.curves import part_correlation
from evaluation.metrics.sound import heard_speech, loudness

VERSION = 2
_CONFIDENCE = "lse_c_"


class LipLeak:
    """How far the made mouth follows the source's mouth although the speech is another's."""

    fingerprint = f"leak-{VERSION}"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        text = "correlation of the made mouth's opening with what of the source's opening {} does not"
        chance = "by chance about 1 / sqrt(independent moments): average over clips"
        return (
            Metric(
                "lip_leak",
                "Lip leak",
                "",
                Better.zero,
                text.format("the driver's opening") + " explain: (r_ms - r_md r_sd) / sqrt(1 - r_sd^2)",
                f"ours (semi-partial correlation), not KeySync's LipLeak, which needs silence; {chance}",
                "leak",
                (Kind.cross,),
            ),
            Metric(
                "lip_leak_heard",
                "Lip leak, by loudness",
                "",
                Better.zero,
                text.format("the loudness of the speech") + " explain, for speech that nobody was filmed at",
                f"ours, see lip_leak; {chance}",
                "leak",
                (Kind.cross,),
            ),
        )

    def __call__(self, clip: DubbedClip) -> Values:
        if Kind(clip.kind) is not Kind.cross:
            return {}
        made, source = clip.made.opening, clip.source.opening
        loud = loudness(heard_speech(clip), len(clip))
        values: Values = {}
        for key, driver in (("lip_leak", clip.driver_opening), ("lip_leak_heard", loud)):
            found = None if driver is None else part_correlation(made, source, driver)
            if found is not None:
                values[key] = found
        return values


def lsd_metrics(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """The columns of :func:`lsd` for every LSE-C among ``metrics``."""
    return tuple(
        Metric(
            metric.key.replace(_CONFIDENCE, "lsd_", 1),
            metric.title.replace("LSE-C", "LSD", 1),
            metric.unit,
            Better.zero,
            "LSE-C with the video's own speech - LSE-C with other speech; copied lips fit only their own",
            "Yaman et al. 2025 (arXiv 2511.08613), lip-sync discrepancy; that it is taken on LSE-C, signed "
            "and per video, is our reading",
            "leak",
            (Kind.cross,),
        )
        for metric in metrics
        if metric.key.startswith(_CONFIDENCE)
    )


def lsd(matched: Values, mismatched: Values) -> Values:
    """Lip-sync discrepancy of one system on one video.

    Args:
        matched: values of its row with the video's own speech (self).
        mismatched: values of its row with other speech (cross).

    Returns:
        ``lsd_<judge>`` for every judge whose LSE-C both rows have: matched minus mismatched. About 0 for a
        system that follows the speech; large where the lips are the video's own.
    """
    return {
        key.replace(_CONFIDENCE, "lsd_", 1): matched[key] - mismatched[key]
        for key in matched
        if key.startswith(_CONFIDENCE) and key in mismatched
    }
