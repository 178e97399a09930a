"""All speech encoders. A new one is a class in a file of its own, and a line here."""

from __future__ import annotations

LIP_SHAPES = "lips"
"""The encoder whose features are lip shapes, which own mouths are drawn after."""

JOINT_MEL = "ltx2-mel"
"""The spectrogram that LTX-2 hears."""

ENCODERS = {
    "mel": "common.speech.mel.MelEncoder",
    JOINT_MEL: "common.speech.joint_mel.JointMelEncoder",
    LIP_SHAPES: "common.lip_shapes.encoder.LipEncoder",
    "whisper+wav2vec2": "common.speech.pretrained.PretrainedEncoder",
    "units": "common.speech_units.encoder.UnitEncoder",
    "hubert": "common.speech.hubert.HubertEncoder",
}
"""Name -> class, a :class:`common.speech.base.RegisteredEncoder`; imported when it is used."""
