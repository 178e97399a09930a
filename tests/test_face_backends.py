"""The detectors that need a library: MediaPipe on real pictures, insightface with a model pack made here."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from common.errors import UserError
from common.face import FaceDetector, build_detector, mouth_opening, track_face
from common.face.canonical import face_points
from common.face.identity import IdentityEncoder, identity_similarity
from common.face.quiet import without_chatter


def pictures(path: Path, count: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [frame for _, frame in zip(range(count), frames, strict=False)]


@pytest.fixture(scope="module")
def mediapipe() -> FaceDetector:
    return build_detector("mediapipe")


@pytest.fixture(scope="module")
def talker(footage: Path) -> list[np.ndarray]:
    return pictures(footage / "dev" / "clean" / "vox2_681100216.mp4", 30)


class TestMediapipe:
    def test_nobody_is_found_in_noise(self, mediapipe: FaceDetector):
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        mediapipe.reset()
        assert mediapipe.detect(noise) == []

    def test_follows_a_talking_head(self, mediapipe: FaceDetector, talker: list[np.ndarray]):
        track = track_face(iter(talker), mediapipe)
        assert track.present.all()
        points = track.landmarks
        # Brows over eyes over nose over mouth over chin; left of the picture before right.
        order = [points[:, part, 1].mean() for part in (slice(17, 27), slice(36, 48), 33, slice(48, 68), 8)]
        assert order == sorted(order)
        assert (points[:, 0, 0] < points[:, 36, 0]).all() and (points[:, 45, 0] < points[:, 16, 0]).all()
        # The nose is nearer to the camera than the temples, in units of the picture.
        eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
        depth = (points[:, [0, 16], 2].mean(axis=1) - points[:, 30, 2]) / eyes
        assert (depth > 0.4).all() and (depth < 1.6).all()
        assert mouth_opening(points).std() > 0.01

    def test_a_clip_does_not_depend_on_the_one_before(
        self, mediapipe: FaceDetector, talker: list[np.ndarray]
    ):
        first = track_face(talker[:8], mediapipe)
        track_face([np.ascontiguousarray(p[:, ::-1]) for p in talker[20:24]], mediapipe)
        np.testing.assert_array_equal(track_face(talker[:8], mediapipe).landmarks, first.landmarks)

    @pytest.mark.parametrize("height", [40, 80])
    def test_finds_small_faces_in_a_wide_shot(
        self, mediapipe: FaceDetector, talker: list[np.ndarray], height: int
    ):
        mediapipe.reset()
        large = mediapipe.detect(talker[0])[0].landmarks
        scale = height / talker[0].shape[0]
        small = cv2.resize(talker[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        shot = np.full((720, 1280, 3), 90, np.uint8)
        shot[300 : 300 + small.shape[0], 900 : 900 + small.shape[1]] = small
        expected = (large[:, :2] + 0.5) * scale - 0.5 + [900, 300]
        eyes = np.linalg.norm(expected[36] - expected[45])
        mediapipe.reset()
        for _ in range(2):
            faces = mediapipe.detect(shot)
            assert len(faces) == 1
            error = np.linalg.norm(faces[0].landmarks[:, :2] - expected, axis=1).mean()
            assert error < 0.08 * eyes

    def test_finds_a_face_of_60_pixels_in_2160_lines(self, mediapipe: FaceDetector, footage: Path):
        (picture,) = pictures(footage / "dev" / "clean" / "hdtf_aoc.mp4", 1)
        mediapipe.reset()
        box = mediapipe.detect(picture)[0].box
        scale = 60 / float((box[2:] - box[:2]).max())
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        clouds = np.random.default_rng(2).integers(60, 160, (27, 48, 3), np.uint8)
        shot = cv2.resize(clouds, (3840, 2160), interpolation=cv2.INTER_CUBIC)
        x, y = 3079, 1525
        shot[y : y + small.shape[0], x : x + small.shape[1]] = small
        mediapipe.reset()
        found = [face.box for face in mediapipe.detect(shot)]
        assert any(np.abs(face - (box * scale + [x, y, x, y])).max() < 8 for face in found)

    def test_sees_two_people_and_follows_the_larger(self, mediapipe: FaceDetector, footage: Path):
        left = pictures(footage / "dev" / "clean" / "hdtf_aoc.mp4", 3)
        right = pictures(footage / "dev" / "clean" / "hdtf_radio34.mp4", 3)
        shots = [
            np.concatenate([a, cv2.resize(b, (640, 640))[64:576]], axis=1)
            for a, b in zip(left, right, strict=True)
        ]
        mediapipe.reset()
        boxes = [face.box for face in mediapipe.detect(shots[0])]
        assert len(boxes) == 2 and boxes[0][0] > 512 > boxes[1][2]
        assert (track_face(shots, mediapipe).boxes[:, 0] > 512).all()

    def test_refuses_what_is_no_picture(self, mediapipe: FaceDetector):
        with pytest.raises(ValueError, match="uint8"):
            mediapipe.detect(np.zeros((10, 10), np.uint8))

    def test_out_of_range_options_are_refused(self):
        with pytest.raises(UserError, match="max_faces=0"):
            build_detector("mediapipe", max_faces=0)


def test_start_up_and_first_face_are_quiet(footage: Path, capfd: pytest.CaptureFixture[str]):
    (wide,) = pictures(footage / "dev" / "hard" / "av2av_7_stage_it.mp4", 1)
    capfd.readouterr()
    assert build_detector("mediapipe").detect(wide)
    assert capfd.readouterr().err == ""


def test_only_known_chatter_is_held_back(capfd: pytest.CaptureFixture[str]):
    chatter = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    with without_chatter():
        os.write(2, chatter + b"a real complaint\n")
    assert capfd.readouterr().err == "a real complaint\n"
    with pytest.raises(RuntimeError), without_chatter():
        os.write(2, chatter)
        raise RuntimeError
    assert "XNNPACK" in capfd.readouterr().err


def test_overlapping_blocks_of_threads_give_stderr_back(capfd: pytest.CaptureFixture[str]):
    def work(number: int) -> None:
        with without_chatter():
            time.sleep(0.002 * (number % 3))
            os.write(2, f"line {number}\n".encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert sorted(capfd.readouterr().err.split()[1::2], key=int) == [str(k) for k in range(40)]
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


# ---------------------------------------------------------------------------------------------- insightface


def _constant(name: str, value: np.ndarray):
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32)))


def _save(path: Path, shape: list, nodes: list, outputs: dict[str, list]) -> None:
    import onnx
    from onnx import TensorProto, helper

    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, path.stem, [picture], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))


def _detector_model(path: Path, box: tuple[float, float, float, float]) -> None:
    """An SCRFD of constants for 128 x 128 pixels: one anchor at (64, 64) of stride 8 speaks for ``box``."""
    nodes, outputs = [], {}
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            values = np.zeros(((128 // stride) ** 2 * 2, width))
            if stride == 8:
                anchor = 2 * (8 * 16 + 8)
                x0, y0, x1, y1 = box
                sides = np.array([64 - x0, 64 - y0, x1 - 64, y1 - 64]) / stride
                values[anchor] = {"score": [0.9], "box": sides, "points": np.zeros(10)}[kind]
            nodes.append(_constant(f"{kind}{stride}", values))
            outputs[f"{kind}{stride}"] = list(values.shape)
    _save(path, [1, 3, "height", "width"], nodes, outputs)


def _landmark_model(path: Path) -> None:
    points = face_points()
    spread = (points - points.mean(axis=0)) / 2.4
    values = np.zeros((1, 1103, 3))
    values[0, -68:] = spread
    _save(path, [1, 3, 192, 192], [_constant("points", values.reshape(1, 3309))], {"points": [1, 3309]})


def _recognition_model(path: Path) -> None:
    from onnx import helper

    weights = np.random.default_rng(0).normal(size=(3 * 16, 32))
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        _constant("weights", weights),
        helper.make_node("MatMul", ["flat", "weights"], ["feature"]),
    ]
    _save(path, [1, 3, 112, 112], nodes, {"feature": [1, 32]})


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with ``models/tiny``: a complete pack of toy networks."""
    root = tmp_path_factory.mktemp("insightface root")
    folder = root / "models" / "tiny"
    folder.mkdir(parents=True)
    _detector_model(folder / "det.onnx", (40, 30, 90, 100))
    _landmark_model(folder / "1k3d68.onnx")
    _recognition_model(folder / "recognition.onnx")
    return root


@pytest.fixture
def scene() -> Iterator[np.ndarray]:
    y, x = np.mgrid[0:128, 0:128]
    yield np.stack([x * 2, y * 2, 255 - x], axis=2).astype(np.uint8)


class TestInsightface:
    def test_the_real_path_runs_with_a_pack(self, pack: Path, scene: np.ndarray):
        detector = build_detector("insightface", pack="tiny", root=str(pack), det_size=128)
        (face,) = detector.detect(scene)
        assert face.score == pytest.approx(0.9) and face.embedding is not None
        assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
        # Centre of the detector's box; the crop of the landmark model is 1.5 boxes wide.
        points = face_points()
        expected = (points - points.mean(axis=0)) / 2.4 * (70 * 1.5 / 2) + [65, 65, 0]
        np.testing.assert_allclose(face.landmarks, expected, atol=0.5)
        assert track_face([scene] * 3, detector).present.all()

    def test_identity_can_be_left_out(self, pack: Path, scene: np.ndarray):
        detector = build_detector("insightface", pack="tiny", root=str(pack), det_size=128, identity=False)
        assert detector.detect(scene)[0].embedding is None

    def test_embeddings_of_known_faces(self, pack: Path, scene: np.ndarray):
        encoder = IdentityEncoder(pack="tiny", root=pack)
        landmarks = (face_points() * 40 + [64, 50, 0]).astype(np.float32)
        a, b = encoder.embed(scene, landmarks), encoder.embed(255 - scene, landmarks)
        assert a.shape == (32,) and np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
        assert identity_similarity(a, a) == pytest.approx(1, abs=1e-5)
        assert identity_similarity(a, b) < 0.9

    def test_a_missing_pack_says_what_to_install_and_where(self, tmp_path: Path):
        for make in (
            lambda: build_detector("insightface", root=str(tmp_path)),
            lambda: IdentityEncoder(root=tmp_path),
        ):
            with pytest.raises(UserError, match=r"buffalo_l.*not installed.*buffalo_l\.zip") as error:
                make()
            assert str(tmp_path / "models" / "buffalo_l") in str(error.value)

    @pytest.mark.parametrize("missing", ["detector", "68-point landmark model", "recognition model"])
    def test_an_incomplete_pack_is_named(self, tmp_path: Path, missing: str):
        folder = tmp_path / "models" / "half"
        folder.mkdir(parents=True)
        if missing == "detector":
            _landmark_model(folder / "1k3d68.onnx")
        else:
            _detector_model(folder / "det.onnx", (40, 30, 90, 100))
        with pytest.raises(UserError, match=f"holds no.*{missing}"):
            if missing == "recognition model":
                IdentityEncoder(pack="half", root=tmp_path)
            else:
                build_detector("insightface", pack="half", root=str(tmp_path), det_size=128)
