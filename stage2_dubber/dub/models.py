"""The networks that dubs are made with, each loaded when it is first needed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from common.models.package_info import ModelTask
from common.models.speed import SpeedConfig
from common.own_mouths.painting.shipped import painter_folder
from common.speech.base import SpeechEncoder
from common.speech.build import build_speech_encoder
from common.speech.registry import LIP_SHAPES
from stage2_dubber.dub.deferred import STAGE, DeferredPackage
from stage2_dubber.dub.locate import shipped_lip_encoder
from stage2_dubber.dub.refining.checks import check_refiner
from stage2_dubber.dub.resume.key import model_identity

if TYPE_CHECKING:
    from common.models.ltx2.package import JointPackage
    from common.models.package import ModelPackage
    from common.own_mouths.painting.painter import InsidePainter


class DubModels:
    """A model package, its speech encoder, and what jobs want besides.

    Args:
        package: loaded, or to be loaded when it is asked for.
        speech: the encoder that it was trained with.

    Raises:
        UserError: the two do not fit each other.
    """

    def __init__(self, package: ModelPackage | JointPackage | DeferredPackage, speech: SpeechEncoder) -> None:
        self._given, self._speech = package, speech
        self._refiner: ModelPackage | None = None
        self._refiner_speech: SpeechEncoder | None = None
        if not isinstance(package, DeferredPackage):
            package.require_speech(speech.name, speech.fingerprint)

    @cached_property
    def package(self) -> ModelPackage | JointPackage:
        """The model.

        Raises:
            UserError: it cannot be loaded.
        """
        if not isinstance(self._given, DeferredPackage):
            return self._given
        package = self._given.load()
        package.require_speech(self._speech.name, self._speech.fingerprint)
        return package

    @cached_property
    def lip_encoder(self) -> SpeechEncoder:
        """What tells lip shapes: the package's own predictor, or the one that is shipped."""
        return self._speech if self._speech.name == LIP_SHAPES else shipped_lip_encoder()

    @cached_property
    def painter(self) -> InsidePainter:
        """What paints insides of mouths: the package's own painter, or the one that is shipped.

        Raises:
            UserError: there is none.
        """
        from common.own_mouths.painting.painter import InsidePainter

        return InsidePainter.load(painter_folder(self.folder))

    def refiner(self, folder: Path) -> ModelPackage:
        """The package of ``--refine``, where and in what the model computes."""
        if self._refiner is None or self._refiner.folder != folder:
            from common.models.package import load_package

            device, dtype = self._place
            self._refiner = load_package(folder, device, dtype, STAGE)
        return self._refiner

    def refiner_speech(self, folder: Path) -> SpeechEncoder | None:
        """What tells the speech to the package of ``--refine``; None: it hears none.

        Raises:
            UserError: it is not the encoder that the package was trained with.
        """
        info = check_refiner(folder)
        if info.task is not ModelTask.refine_own_mouths:
            return None
        for known in (self._speech, self._refiner_speech):
            if known is not None and known.fingerprint == info.speech_fingerprint:
                return known
        self._refiner_speech = build_speech_encoder(info.speech, self._place[0])
        self.refiner(folder).require_speech(self._refiner_speech.name, self._refiner_speech.fingerprint)
        return self._refiner_speech

    @property
    def folder(self) -> Path:
        """Of the model's package."""
        return self._given.folder

    @property
    def speed(self) -> SpeedConfig:
        """Switches of the model."""
        return getattr(self._given, "speed", None) or SpeedConfig()

    @cached_property
    def identity(self) -> list[Any]:
        """What says which model it is and how it is computed, for the key of a job."""
        return model_identity(self.folder, *self._place, getattr(self._given, "speed", None))

    @property
    def _place(self) -> tuple[torch.device, torch.dtype]:
        """Where and in what the model computes."""
        package = self._given
        if isinstance(package, DeferredPackage):
            return package.device, package.dtype
        return package.codec.device, next(package.transformer.parameters()).dtype
