"""The editor of a package, by what its model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common.diffusion.options import SamplingOptions
from common.models.package import ModelPackage
from stage2_dubber.dub.editing.editor import WindowEditor
from stage2_dubber.dub.editing.windowed import Watch, WindowedEditor

if TYPE_CHECKING:
    from common.models.ltx2.package import JointPackage
    from stage2_dubber.dub.editing.speaking import SpokenWindows


def build_editor(
    package: ModelPackage | JointPackage,
    options: SamplingOptions | None,
    watch: Watch,
    own_speech: np.ndarray | None = None,
    spoken: SpokenWindows | None = None,
) -> WindowedEditor:
    """What edits crops with the model of ``package``.

    Args:
        package: the model.
        options: what of its sampling is changed, and the seed.
        watch: what goes on beside.
        own_speech: (T, C) features of what the source says, where its inversion is started from.
        spoken: what the model says, where it makes the speech.
    """
    options = options or SamplingOptions()
    if isinstance(package, ModelPackage):
        return WindowEditor(
            package, options, watch.advance, watch.changes, kept=watch.kept, own_speech=own_speech
        )
    # diffusers' pipelines of LTX-2 take seconds to import.
    from stage2_dubber.dub.editing.joint import JointEditor

    if spoken is None:
        return JointEditor(package, options, watch)
    from stage2_dubber.dub.editing.speaking import SpeakingEditor

    return SpeakingEditor(package, options, watch, spoken)
