"""The painter of insides of mouths: what it is told, how it is trained, and what it changes in a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_mouth_clips import Talker, drawn_talker, head, mouth, talker
from painter_toys import SMALL, Labelled, label_talkers, short_training
from processes import several_processes
from training_toys import metrics

from common.data.dataset import ShardDataset
from common.data.schema import encode_sample
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face.mouth import LIP_SHAPE_UNIT
from common.mouth_painter import train
from common.mouth_painter.samples import CollateMouths
from common.own_mouths.config import OwnMouthsConfig
from common.own_mouths.frame import FaceAxes
from common.own_mouths.inside import Opening
from common.own_mouths.painting.model import MouthPainter
from common.own_mouths.painting.network import PainterNetwork, load_painter
from common.own_mouths.painting.painter import InsidePainter
from common.own_mouths.painting.patch import HEIGHT, PLANES, UNIT, WIDTH, InsidePatch, MouthView, known
from common.own_mouths.painting.shipped import SHIPPED_PAINTER
from common.own_mouths.place import FramePlacer
from common.own_mouths.plan import MouthPlanner
from common.own_mouths.wanted import calibrated
from common.training.draws import Draw


def _axes(points: np.ndarray, unit: float) -> tuple[FaceAxes, np.ndarray]:
    axes = FaceAxes.of(points, unit)
    return axes, axes.to_face(points[:, :2])


def _view(gap: float, yaw: float = 0.2) -> MouthView:
    face = mouth(gap)[:, :2]
    axes, face = _axes(face, 1.0)
    return MouthView.of(face, InsidePatch.of(axes, face).centre, np.array([yaw, 0.1]), 1.3)


def _lowered(view: MouthView, down: float) -> MouthView:
    by = np.array([0, down])
    opening = Opening(view.opening.upper + by, view.opening.lower + by)
    return replace(view, opening=opening, lips=view.lips + by, jaw=view.jaw + by, centre=view.centre + by)


class TestPatch:
    @given(
        scale=st.floats(30, 260),
        roll=st.floats(-40, 40),
        x=st.floats(-20, 20),
        origin=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    )
    @settings(max_examples=30, deadline=None)
    def test_a_point_of_the_face_has_the_same_place_in_every_patch(
        self, scale: float, roll: float, x: float, origin: tuple[int, int]
    ) -> None:
        points = head(mouth(0.1), roll=roll, scale=scale, at=(300 + x, 200))
        axes, face = _axes(points, scale)
        patch = InsidePatch.of(axes, face)
        for place in (patch.centre, face[51]):
            pixel = (place - patch.centre) * UNIT + (np.array([WIDTH, HEIGHT]) - 1) / 2
            in_frame = patch.matrix @ [*pixel, 1]
            np.testing.assert_allclose(in_frame, axes.to_pixels(place), atol=1e-6 * scale)

    @pytest.mark.parametrize("scale", [60.0, 128.0, 250.0])
    def test_what_is_cut_and_laid_back_is_the_same_picture(self, scale: float) -> None:
        points = head(mouth(0.1), roll=12, scale=scale, at=(2.0 * scale, 1.2 * scale))
        axes, face = _axes(points, scale)
        patch = InsidePatch.of(axes, face)
        side = int(4 * scale)
        rows, columns = np.mgrid[:side, :side].astype(np.float32)
        image = np.stack([columns, rows, columns + rows], axis=-1) * (200 / side)
        origin = (int(scale), int(1.1 * scale))
        part = image[origin[1] :, origin[0] :]
        back = patch.lay(patch.cut(part, origin), (part.shape[1], part.shape[0]), origin)
        inner = patch.lay(np.pad(np.ones((HEIGHT - 8, WIDTH - 8), np.float32), 4), part.shape[1::-1], origin)
        assert (inner > 0.99).sum() > 0.3 * scale**2 * 0.75 * 0.5
        np.testing.assert_allclose(back[inner > 0.99], part[inner > 0.99], atol=0.6)

    @given(gap=st.floats(0, 0.3), yaw=st.floats(-0.5, 0.5))
    @settings(max_examples=20, deadline=None)
    def test_a_mirrored_mouth_is_told_mirrored(self, gap: float, yaw: float) -> None:
        picture = np.random.default_rng(0).random((HEIGHT, WIDTH, 3)).astype(np.float32)
        view = _view(gap, yaw)
        planes, mask = known(picture, view)
        mirrored, other = known(np.ascontiguousarray(picture[:, ::-1]), view.mirrored())
        signs = np.ones(PLANES)
        signs[[6, 7, 10]] = -1
        np.testing.assert_allclose(mask[:, ::-1], other, atol=0.15)
        np.testing.assert_allclose(
            np.delete(planes[..., ::-1], 3, axis=0) * np.delete(signs, 3)[:, None, None],
            np.delete(mirrored, 3, axis=0),
            atol=0.06,
        )

    def test_neither_what_is_to_be_painted_nor_the_lips_are_told(self) -> None:
        """The one is the truth in training, and stretched skin in a dub; painted lips would stain teeth."""
        view = _view(0.2)
        picture = np.full((HEIGHT, WIDTH, 3), 0.6, np.float32)
        planes, mask = known(picture, view)
        mouth_of = (view.lips - view.centre) * UNIT + (np.array([WIDTH, HEIGHT]) - 1) / 2
        lips = cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [np.rint(mouth_of).astype(np.int32)], (1,))
        hidden = (mask > 0) | (lips > 0)
        filled = picture.copy()
        filled[hidden] = np.random.default_rng(1).random((hidden.sum(), 3))
        np.testing.assert_array_equal(known(filled, view)[0], planes)
        np.testing.assert_allclose(planes[:3], 0.6, atol=1e-5)
        middle = mask[HEIGHT // 2 + 8, WIDTH // 2]
        assert middle == 1 and mask[0].max() == mask[:, 0].max() == 0

    def test_a_mouth_that_fills_the_patch_is_told_some_colour(self) -> None:
        view = _view(0.2)
        wide = replace(view, lips=view.centre + 9 * (view.lips - view.centre))
        assert np.isfinite(known(np.ones((HEIGHT, WIDTH, 3), np.float32), wide)[0]).all()

    def test_a_head_that_nods_farther_than_any_it_learnt_from_is_told_within_what_it_knows(self) -> None:
        """Such a head had green teeth: its pitch, and a mouth nearer to the eyes, were told as they are."""
        picture = np.full((HEIGHT, WIDTH, 3), 0.6, np.float32)
        nodding = replace(_lowered(_view(0.2), -0.3), pitch=0.6)
        planes, _ = known(picture, nodding)
        assert planes[11].max() < 0.06
        farther, _ = known(picture, replace(nodding, pitch=0.8))
        np.testing.assert_array_equal(farther, planes)
        np.testing.assert_allclose(planes[9], known(picture, _lowered(nodding, -0.1))[0][9], atol=1e-5)

    def test_what_lies_beyond_the_jaw_is_not_told(self) -> None:
        """The shadow on the neck is no colour of the face."""
        view = _view(0.2)
        chin = view.centre[1] + 0.15
        view = replace(view, jaw=np.minimum(view.jaw, [np.inf, chin]))
        y = view.centre[1] + (np.arange(HEIGHT) - (HEIGHT - 1) / 2) / UNIT
        picture = np.full((HEIGHT, WIDTH, 3), 0.6, np.float32)
        beyond = y > chin + 2 / UNIT
        assert beyond.sum() > 3
        neck = picture.copy()
        neck[beyond] = 0.1
        np.testing.assert_array_equal(known(neck, view)[0], known(picture, view)[0])

    @pytest.mark.parametrize(("film", "told"), [(0.5, 1.0), (1.3, 1.3)])
    def test_coarse_film_is_told_to_be_fine(self, film: float, told: float) -> None:
        assert replace(_view(0.2), sharpness=film).fine().sharpness == told

    def test_a_wider_gap_gives_a_larger_mask(self) -> None:
        sizes = [
            known(np.zeros((HEIGHT, WIDTH, 3), np.float32), _view(gap))[1].sum() for gap in (0, 0.1, 0.3)
        ]
        assert sizes[0] < sizes[1] < sizes[2]


class _Blue(PainterNetwork):
    """Paints everything blue and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        self.told: list[torch.Tensor] = []

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        self.told.append(planes)
        blue = torch.zeros(len(planes), 3, HEIGHT, WIDTH)
        blue[:, 2] = 1
        return blue


def _opened(clip: Talker, gap: float, painter: InsidePainter | None) -> np.ndarray:
    bank = clip.bank()
    shapes = bank.shapes.copy()
    shapes[:, :3] = gap / LIP_SHAPE_UNIT
    plan = MouthPlanner(bank).plan(shapes, clip.heads.angles, None, np.zeros((len(clip), len(bank)), bool))
    placer = FramePlacer(clip.heads, bank, plan, OwnMouthsConfig(occluders=False), painter=painter)
    return np.stack([placer(i, image).image for i, image in enumerate(clip.frames)])


class TestInFrames:
    def test_a_mouth_that_was_never_open_is_painted_between_its_lips_alone(self) -> None:
        clip, network = drawn_talker(np.full(6, 0.02)), _Blue()
        painted, drawn = _opened(clip, 0.2, InsidePainter(network)), _opened(clip, 0.2, None)
        blue = (painted[..., 2] > 150) & (painted[..., 0] < 80)
        assert blue.sum(axis=(1, 2)).min() > 60
        differ = np.abs(painted.astype(int) - drawn).max(axis=-1) > 0
        for i in range(len(clip)):
            rows, columns = np.nonzero(differ[i])
            x, y = clip.landmarks[i, [48, 54], :2].mean(axis=0)
            width = np.ptp(clip.landmarks[i, [48, 54], 0])
            assert np.abs(columns - x).max() < 0.6 * width and np.abs(rows - y).max() < 0.6 * width

    def test_what_film_shows_is_not_painted(self) -> None:
        clip, network = drawn_talker(np.full(6, 0.2)), _Blue()
        np.testing.assert_array_equal(_opened(clip, 0.2, InsidePainter(network)), _opened(clip, 0.2, None))
        assert not network.told

    @pytest.mark.parametrize("scale", [96, 190])
    def test_it_is_told_the_head_and_that_film_is_fine(self, scale: int) -> None:
        network = _Blue()
        clip = drawn_talker(np.full(6, 0.02), size=480, scale=scale)
        _opened(clip, 0.2, InsidePainter(network))
        told = network.told[0][0]
        np.testing.assert_allclose(told[9].unique(), np.log2(max(1.0, scale / UNIT)), atol=0.02)
        np.testing.assert_allclose(told[10], clip.heads.angles[0, 0], atol=1e-3)


def test_with_a_painter_gaps_that_film_cannot_fill_stay_as_wide() -> None:
    said = np.zeros((100, 7))
    said[40:, :3] = 3.0
    shown = np.zeros((50, 7))
    plain, painted = calibrated(said, shown), calibrated(said, shown, painted=True)
    assert 0.4 * 3 < plain[60, 1] < 0.7 * 3
    assert painted[60, 1] == pytest.approx(3.0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return label_talkers(tmp_path_factory.mktemp("painter"))


class TestSamples:
    @given(gap=st.floats(0.1, 0.3), step=st.integers(0, 10**6), told_fine=st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_however_film_is_changed_what_is_painted_lies_where_its_inside_is(
        self, gap: float, step: int, told_fine: bool
    ) -> None:
        """White insides in black faces: a mask that is moved otherwise than its film has black below it."""
        axes, face = _axes(mouth(gap)[:, :2], 1.0)
        centre, size = InsidePatch.of(axes, face).centre, (WIDTH + 16, HEIGHT + 16)
        inner = (face[60:68] - centre) * UNIT + (np.array(size) - 1) / 2
        patch = np.zeros((*size[::-1], 3), np.uint8)
        cv2.fillPoly(patch, [np.rint(inner).astype(np.int32)], (255, 255, 255))
        cache = {
            "patches": patch,
            "faces": face.astype(np.float32),
            "centres": centre.astype(np.float32),
            "angles": np.zeros(2, np.float32),
            "units": np.float32(64.0),
            "gaps": np.float32(gap),
        }
        sample = SimpleNamespace(cache={name: torch.from_numpy(np.array([v])) for name, v in cache.items()})
        made = CollateMouths(0, told_fine)([(Draw(0, step, 0), sample)])  # type: ignore[list-item]
        filmed, mask = made.filmed[0].numpy().max(axis=0), made.mask[0, 0].numpy()
        # The mask reaches two pixels beyond the lips' edges, and corners are moved by some pixels.
        inside = cv2.erode((mask > 0.99).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert (filmed[inside] > 0.2).mean() > 0.95
        assert made.planes[0, 9].unique().item() == pytest.approx(
            np.log2(1.0 if told_fine else 0.5), abs=1e-6
        )


class TestTraining:
    def test_the_shards_hold_open_mouths_and_how_fine_their_film_is(self, labelled: Labelled) -> None:
        dataset = ShardDataset(labelled.shards)
        assert len(dataset) == 4
        cache = dataset.sample(0).cache
        count = len(cache["patches"])
        assert cache["patches"].shape == (count, HEIGHT + 16, WIDTH + 16, 3)
        unit = float(np.median(talker(count=20).heads.pose.scale))
        np.testing.assert_allclose(cache["units"], unit, rtol=0.15)
        gaps = (cache["faces"][:, [67, 66, 65], 1] - cache["faces"][:, [61, 62, 63], 1]).mean(dim=1)
        assert float(gaps.min()) >= 0.02

    def test_both_networks_learn_in_turn_and_the_painter_is_written(
        self, labelled: Labelled, tmp_path: Path
    ) -> None:
        output = tmp_path / "run"
        assert train.main(short_training(labelled, output)) == 0
        rows = metrics(output)
        assert any("critic_right" in row for row in map(str, rows)) and any(
            "told" in str(row) for row in rows
        )
        painter = load_painter(output / "package")
        torch.manual_seed(0)
        planes = torch.rand(1, PLANES, HEIGHT, WIDTH)
        made = painter(planes)
        assert made.shape == (1, 3, HEIGHT, WIDTH) and 0 <= float(made.min()) <= float(made.max()) <= 1
        same = MouthPainter.from_pretrained(output / "package", torch_dtype=torch.float32)
        torch.testing.assert_close(same.eval()(planes), made)

    def test_a_run_that_is_cut_off_goes_on_exactly(self, labelled: Labelled, tmp_path: Path) -> None:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        assert train.main(short_training(labelled, whole)) == 0
        assert train.main(short_training(labelled, cut, "train.max_steps=3")) == 0
        assert train.main(short_training(labelled, cut)) == 0
        for one, other in zip(
            load_painter(whole / "package").parameters(),
            load_painter(cut / "package").parameters(),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    def test_in_processes_that_a_recipe_starts_it_learns_the_same(
        self, labelled: Labelled, tmp_path: Path
    ) -> None:
        alone, started = tmp_path / "alone", tmp_path / "started"
        assert train.main(short_training(labelled, alone)) == 0
        several_processes(1, "-m", "common.mouth_painter.train", *short_training(labelled, started))
        for one, other in zip(
            load_painter(alone / "package").parameters(),
            load_painter(started / "package").parameters(),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

    def test_it_goes_on_from_a_painter_that_is_named(self, labelled: Labelled, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        assert train.main(short_training(labelled, first, "train.max_steps=1")) == 0
        start = f"painter.init_from={first / 'package'}"
        still = ("train.max_steps=1", "train.learning_rate=1e-9")
        assert train.main(short_training(labelled, second, start, *still)) == 0
        for one, other in zip(
            load_painter(first / "package").parameters(),
            load_painter(second / "package").parameters(),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)

    def test_a_painter_of_other_widths_is_refused(
        self, labelled: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        MouthPainter((16, 8, 8)).save_pretrained(tmp_path / "wide")
        words = short_training(labelled, tmp_path / "run", f"painter.init_from={tmp_path / 'wide'}")
        assert train.main(words) == 2
        assert "has the widths [16, 8, 8], not [8, 8, 8]" in capsys.readouterr().err

    def test_without_a_critic_the_painter_learns_alone(self, labelled: Labelled, tmp_path: Path) -> None:
        output = tmp_path / "run"
        assert (
            train.main(short_training(labelled, output, "painter.critic_weight=0", "train.max_steps=2")) == 0
        )
        assert "told" not in str(metrics(output))

    def test_shards_of_another_kind_are_refused(
        self, labelled: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pairs = tmp_path / "pairs"
        with ShardWriter(pairs, "pairs", 1, {}) as writer:
            writer.add("one", encode_sample({"frames": 1, "fps": 25.0}, cache={"x": np.zeros(1)}))
        words = short_training(labelled, tmp_path / "run", f"data.shards=[{pairs}]")
        assert train.main(words) != 0
        assert "holds no open mouths" in capsys.readouterr().err


def test_a_painter_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTDUB_MOUTH_PAINTER", str(tmp_path))
    with pytest.raises(UserError, match="BOOTDUB_MOUTH_PAINTER"):
        InsidePainter.load(SHIPPED_PAINTER.folder())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_text('{"widths": [16, 8, 8], "colours": "skin"}'),
        lambda folder: (folder / "config.json").write_text('{"widths": [8, 8, 8], "colours": "lips"}'),
        lambda folder: (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 100),
        lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(),
    ],
)
def test_a_damaged_painter_is_refused_in_a_sentence(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    MouthPainter(SMALL).save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match="painter of mouths"):
        load_painter(tmp_path)


def test_a_painter_of_an_earlier_version_is_refused_and_what_to_do_is_said(tmp_path: Path) -> None:
    MouthPainter(SMALL).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"widths": [8, 8, 8]}')
    with pytest.raises(UserError, match=r"earlier version.*bootdub adapt"):
        load_painter(tmp_path)
