"""Detectors for the threads of one command."""

from __future__ import annotations

import threading

from common.face import FaceDetector, build_detector
from common.face.config import FaceConfig


class DetectorPool:
    """One detector per thread: building one takes seconds, and none may be used by two threads at once.

    Results do not depend on what a thread looked at before: `track_face` resets the detector for every clip.
    """

    def __init__(self, config: FaceConfig) -> None:
        self._config = config
        self._local = threading.local()

    def get(self) -> FaceDetector:
        """This thread's detector, built when first asked for."""
        if not hasattr(self._local, "detector"):
            self._local.detector = build_detector(self._config.detector, **self._config.options)
        detector: FaceDetector = self._local.detector
        return detector
