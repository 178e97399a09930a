"""What a dub with made speech does not go together with, refused before the work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from common.errors import UserError
from common.files import read_json
from common.models.package_info import PackageInfo
from common.own_mouths.config import Renderer
from stage2_dubber.dub.length.options import Timing
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.speaking.options import AudioRole


def check_speaking(request: DubRequest, model: Path, info: PackageInfo) -> None:
    """Pass over dubs with given speech; else see that the model can speak, and that options fit.

    Args:
        request: the job.
        model: the package, for messages.
        info: what it says.

    Raises:
        UserError: the model makes no speech, there is nothing that tells it the text, or an option means
            nothing here.
    """
    if request.audio_role is AudioRole.speech:
        return
    if info.joint is None or not info.joint.speaks:
        raise UserError(
            f"{model}: the model makes pictures for a given speech and cannot speak a text; give that "
            "speech with --audio, or choose a package of LTX-2 that makes sound."
        )
    for given, name in (
        (request.cues is not None, "--cues"),
        (request.timing != Timing(), "--length, --start, --end, --offset or --outside"),
        (request.renderer not in (None, Renderer.editor), "--renderer"),
    ):
        if given:
            raise UserError(f"{name} is about a speech that is given, and the model makes it: leave it away.")
    # The classes of LTX-2 take seconds to import.
    from common.models.ltx2.prompts import require_text_parts
    from common.models.ltx2.spoken import SpokenPrompts

    folder = Path(info.joint.model)
    if request.prompt_states is not None:
        config = SimpleNamespace(**read_json(folder / "transformer" / "config.json"))
        SpokenPrompts.read(request.prompt_states, config)
        return
    require_text_parts(folder)
