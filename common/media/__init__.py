"""Video and sound files: decoding and encoding with true times, resampling in time, pictures to look at."""

from common.media.audio import SAMPLE_RATE, load_audio, load_samples, save_flac, save_wav
from common.media.colour import ColourTags
from common.media.encoding import LOSSLESS, Encoding
from common.media.info import VideoInfo, probe
from common.media.reader import Frame, VideoReader, frame_times, read_frames
from common.media.sheets import contact_sheet, side_by_side, tile
from common.media.source import Source
from common.media.timing import model_frame_count, nearest_model_frame, resample_indices
from common.media.writer import VideoWriter, write_video

__all__ = [
    "LOSSLESS",
    "SAMPLE_RATE",
    "ColourTags",
    "Encoding",
    "Frame",
    "Source",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "contact_sheet",
    "frame_times",
    "load_audio",
    "load_samples",
    "model_frame_count",
    "nearest_model_frame",
    "probe",
    "read_frames",
    "resample_indices",
    "save_flac",
    "save_wav",
    "side_by_side",
    "tile",
    "write_video",
]
