"""A stage-2 package as ``bootdub dub`` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.diffusion.options import SamplingOptions
from common.errors import UserError
from common.files import fingerprint, sha256_file
from common.media import SAMPLE_RATE, probe, save_wav
from common.models.package_info import read_info
from common.own_mouths.config import VERSION, OwnMouthsConfig, Renderer
from common.own_mouths.painting.shipped import painter_folder
from evaluation.manifest import Case
from evaluation.systems.base import DubbedFile
from stage2_dubber.dub.compositing.options import Compositing
from stage2_dubber.dub.compositing.pasting import chosen_compositing
from stage2_dubber.dub.pipeline import DubPipeline
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.speaking.options import AudioRole


class EditorSystem:
    """Dubs with a stage-2 package; loaded when the first dub is asked for."""

    def __init__(
        self,
        name: str,
        package: Path,
        device: str = "cpu",
        compositing: Compositing | None = None,
        renderer: Renderer | None = None,
        own_mouths: OwnMouthsConfig | None = None,
        sampling: SamplingOptions | None = None,
        audio_role: AudioRole = AudioRole.speech,
        refine: Path | None = None,
    ) -> None:
        """What is None: as ``bootdub dub`` has it without the option. ``audio_role`` voice: the model says
        the row's text in the voice of its video. ``refine``: a package that refines the lips of its dubs."""
        self.name = name
        self.package = package
        self.device = device
        self.sampling = sampling or SamplingOptions()
        info = read_info(package)
        self.compositing = chosen_compositing(compositing, info.conventions)
        self.renderer = renderer or info.renderer
        self.own_mouths = own_mouths or OwnMouthsConfig()
        self.audio_role = audio_role
        self.refine = refine
        facts = {
            "package": package_digest(package),
            "compositing": self.compositing.value,
            "renderer": self.renderer.value,
            **self.sampling.changes(),
        }
        if audio_role is AudioRole.voice:
            facts["audio_role"] = audio_role.value
        if refine is not None:
            facts["refine"] = package_digest(refine)
        if self.sampling.seed:
            facts["seed"] = self.sampling.seed
        if self.renderer is not Renderer.editor:
            facts["own_mouths"] = [VERSION, asdict(self.own_mouths)]
            if self.own_mouths.paint:
                facts["painter"] = package_digest(painter_folder(package))
        self.fingerprint = fingerprint(facts)
        self._pipeline: DubPipeline | None = None

    def dub(self, case: Case, video: Path, output: Path) -> DubbedFile:
        """A whole dub: face, model, compositing, file."""
        if self._pipeline is None:
            self._pipeline = DubPipeline.from_pretrained(self.package, device=self.device)
        speaks = self.audio_role is AudioRole.voice
        if speaks and (case.text is None or case.language is None):
            raise UserError(f"The row '{case.name}' has no text and language that {self.name} could speak.")
        with speech_file(case, video) as audio:
            request = DubRequest(
                video,
                video if speaks else audio,
                output,
                sampling=self.sampling,
                track=case.track,
                overwrite=True,
                compositing=self.compositing,
                renderer=self.renderer,
                own_mouths=self.own_mouths,
                audio_role=self.audio_role,
                text=case.text if speaks else None,
                language=case.language if speaks else None,
                refine=self.refine,
            )
            result = self._pipeline.run(request)
        return DubbedFile(output, sum(result.seconds.values()), result.seams)


@contextmanager
def speech_file(case: Case, video: Path) -> Iterator[Path]:
    """The file with the case's speech; silence as long as the video where there is none."""
    if case.audio is not None:
        yield case.audio
        return
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "silence.wav"
        save_wav(path, np.zeros(round(probe(video).duration * SAMPLE_RATE), np.float32), SAMPLE_RATE)
        yield path


def package_digest(folder: Path) -> str:
    """Of everything in a package that a model is loaded from."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    return fingerprint({str(path.relative_to(folder)): sha256_file(path) for path in files})
