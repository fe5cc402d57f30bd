import gc
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.engines.contract import Request
from pipeline.engines.dali.engine import DaliEngine
from pipeline.engines.dali.feed import Feed, Source, reader_positions
from pipeline.engines.samples import DamagedSample, Samples, decode_gray
from pipeline.views import PRESETS, affines, sigmas, tones
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import draw_pattern

SIZE = 48
SPEC = replace(PRESETS["crop_contrast"], size=SIZE, area=(0.6, 1.0), rotation=20.0)
BLURRED = replace(SPEC, blur=0.5, sigma=(0.3, 2.0))
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
    ),
]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset).where(split="train")


@pytest.fixture(scope="module")
def png_index(tmp_path_factory):
    """24 lossless images of 24 sizes."""
    folder = tmp_path_factory.mktemp("png")
    (folder / "source" / "train" / "all").mkdir(parents=True)
    for i in range(24):
        pattern = draw_pattern(i, has_blob=True, width=60 + 3 * i, height=120 - 2 * i)
        Image.fromarray(pattern).save(folder / "source" / "train" / "all" / f"{i:02d}.png")
    config = BuildConfig(
        source="folder", input=folder / "source", output=folder / "png", size=64, format="png", workers=1
    )
    build_dataset(config)
    return ShardIndex.open(folder / "png")


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    """A copy to damage."""
    return ShardIndex.open(shutil.copytree(tiny_dataset, tmp_path / "copy", ignore=shutil.ignore_patterns("source")))


def damage(index, position, *, data=None):
    """Writes ``data`` over the start of an image, or flips a bit in its middle."""
    place = index.place(int(index.rows[position]))
    with place.tar.open("r+b") as file:
        if data is None:
            file.seek(place.offset + place.length // 2)
            data = bytes([file.read(1)[0] ^ 1])
            file.seek(place.offset + place.length // 2)
        else:
            file.seek(place.offset)
        file.write(data)


def requests(index, spec=SPEC, *, batch_size=8, num_views=2):
    sizes, address = index.sizes(), {"epoch": 3, "seed": 1}
    for start in range(0, len(index), batch_size):
        rows, these = index.rows[start : start + batch_size], sizes[start : start + batch_size]
        views = range(num_views)
        yield Request(
            rows=rows,
            sizes=these,
            matrices=np.stack([affines(spec, rows, these, view=view, **address) for view in views]),
            tones=np.stack([tones(spec, rows, view=view, **address) for view in views]),
            sigmas=np.stack([sigmas(spec, rows, view=view, **address) for view in views]),
        )


def build_engine(
    index, spec=SPEC, *, device="cpu", on_damage="error", checksums=True, sequential=False, batch_size=8, num_views=2
):
    return DaliEngine(
        Samples(index, on_damage=on_damage, checksums=checksums),
        size=spec.size,
        fill=spec.fill,
        device=torch.device(device, *([0] if device == "cuda" else [])),
        num_threads=2,
        batch_size=batch_size,
        num_views=num_views,
        has_blur=spec.blur > 0,
        sequential=sequential,
    )


def make_views(index, spec=SPEC, **options):
    return list(build_engine(index, spec, **options).run(requests(index, spec)))


def assert_same(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        assert torch.equal(a.pixels, b.pixels)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "spec",
    [SPEC, replace(SPEC, fill=70), replace(SPEC, fill="edge"), BLURRED],
    ids=["black", "grey", "edge", "blurred"],
)
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_views_match_the_reference(index, png_index, warp_reference, blur_reference, spec, format, device):
    chosen = index.take(range(20)) if format == "jpeg" else png_index.take(range(20))  # the last batch is short
    spec = replace(spec, translation=0.3)  # so that fill is seen
    made = make_views(chosen, spec, device=device)
    assert [len(batch.rows) for batch in made] == [8, 8, 4]
    num_blurred = 0
    for request, batch in zip(requests(chosen, spec), made, strict=True):
        assert batch.pixels.shape == (2, len(request.rows), 1, SIZE, SIZE)
        assert batch.pixels.dtype == torch.float32
        assert batch.pixels.device.type == device
        np.testing.assert_array_equal(batch.rows, request.rows)
        for (view, i), sigma in np.ndenumerate(request.sigmas):
            grey = decode_gray(chosen.read(int(request.rows[i])))
            warped = warp_reference(grey, request.matrices[view, i], SIZE, spec.fill)
            gain, bias = request.tones[view, i]
            levels = (batch.pixels[view, i, 0].double().cpu().numpy() - bias) / gain
            tolerance = 0.51 + 0.5 * (sigma > 0) if device == "cpu" else 2.5  # CUDA decodes JPEGs to other levels
            np.testing.assert_allclose(levels, blur_reference(warped, sigma), atol=tolerance)
            num_blurred += sigma > 0
    assert (num_blurred > 0) == (spec.blur > 0)
    assert num_blurred < 40


def test_what_was_handed_out_is_not_written_to_again(index):
    engine = build_engine(index)
    held = [(batch, batch.pixels.clone()) for batch in engine.run(requests(index))]
    list(engine.run(requests(index)))
    assert len(held) == 8
    assert all(torch.equal(batch.pixels, then) for batch, then in held)


@pytest.mark.parametrize("device", DEVICES)
def test_damage_is_raised_at_its_batch(copied, device):
    damage(copied, 19)
    run = build_engine(copied, device=device).run(requests(copied))
    assert_same([next(run), next(run)], list(build_engine(copied, device=device).run(list(requests(copied))[:2])))
    with pytest.raises(DamagedSample, match=f"row {copied.rows[19]}.*another checksum"):
        next(run)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "data", [None, b"\xff\xd8\xff\xe0garbage" * 20, b"no image" * 20], ids=["bit", "jpeg", "other"]
)
def test_a_damaged_place_becomes_a_copy_of_the_next_whole_one(copied, data, device):
    """Found by checksum, or by DALI, whose pipeline then has to be built again."""
    whole = make_views(copied, BLURRED, device=device)
    for position in (18, 19, 23, 40):
        damage(copied, position, data=data)
    engine = build_engine(copied, BLURRED, on_damage="skip", checksums=data is None, device=device)
    made = list(engine.run(requests(copied, BLURRED)))
    expected = list(requests(copied, BLURRED))
    assert sorted(engine._samples.skipped) == copied.rows[[18, 19, 23, 40]].tolist()
    assert len(made) == len(whole)
    for number, (batch, before, request) in enumerate(zip(made, whole, expected, strict=True)):
        taken = {2: [0, 1, 4, 4, 4, 5, 6, 0], 5: [1, 1, 2, 3, 4, 5, 6, 7]}.get(number, range(8))
        np.testing.assert_array_equal(batch.rows, request.rows[taken])
        assert torch.equal(batch.pixels, before.pixels[:, taken])


def test_what_dali_cannot_decode_is_named(copied):
    damage(copied, 30, data=b"\xff\xd8\xff\xe0garbage" * 20)
    run = build_engine(copied, checksums=False).run(requests(copied))
    assert len([next(run) for _ in range(3)]) == 3
    with pytest.raises(DamagedSample, match=f"row {copied.rows[30]}.*cannot be decoded"):
        next(run)


def test_other_failures_of_dali_name_the_rows_in_flight(index, monkeypatch):
    """An image that only DALI cannot decode."""
    monkeypatch.setattr(Samples, "read", lambda self, row: memoryview(b"no image"))
    monkeypatch.setattr(Samples, "decode", lambda self, row: None)
    with pytest.raises(RuntimeError, match=f"one of the rows {index.rows[0]}, {index.rows[1]}"):
        make_views(index)


def test_an_error_of_the_requests_comes_behind_the_batches_before_it(index):
    def failing():
        yield from list(requests(index))[:3]
        raise KeyError("matrices")

    run = build_engine(index).run(failing())
    assert len([next(run) for _ in range(3)]) == 3
    with pytest.raises(KeyError, match="matrices"):
        next(run)


@pytest.fixture
def feeds(monkeypatch):
    """How many batches were fed by row and by DALI's reader."""
    counts = {"row": 0, "reader": 0}

    def counted(original, kind):
        def feed(self, batch):
            arrays = original(self, batch)
            counts[kind] += 1
            return arrays

        return feed

    monkeypatch.setattr(Feed, "_by_row", counted(Feed._by_row, "row"))
    monkeypatch.setattr(Feed, "_by_reader", counted(Feed._by_reader, "reader"))
    return counts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ["all", "subset", "rank", "pngs", "both", "one short batch"])
def test_sequential_reading_equals_reading_by_row(index, png_index, feeds, case, device):
    chosen = {
        "all": index,  # two shards
        "subset": index.take(range(5, 64, 3)),
        "rank": index,
        "pngs": png_index,
        "both": ShardIndex.open(index.folders[0], png_index.folders[0]).take(range(60, 110)),
        "one short batch": index.take(range(5)),
    }[case]
    asked = list(requests(chosen))[1::2] if case == "rank" else list(requests(chosen))
    expected = list(build_engine(chosen, checksums=False, device=device).run(asked))
    assert feeds == {"row": len(asked), "reader": 0}
    engine = build_engine(chosen, checksums=False, device=device, sequential=True)
    assert_same(list(engine.run(asked)), expected)
    assert_same(list(engine.run(asked[1:])), expected[1:])  # gone on in mid-epoch
    assert feeds == {"row": len(asked), "reader": 2 * len(asked) - 1}


def test_requests_that_leave_the_order_of_the_shards_are_served_by_row(index, feeds):
    asked = list(requests(index))
    expected = list(build_engine(index).run(asked))
    feeds["row"] = 0
    for order, by_reader in (([0, 1, 2, 5, 3, 4], 3), ([3, 2, 1], 0), ([0, 1, 0, 1], 2), ([1, 1], 0)):
        feeds.update(row=0, reader=0)
        made = list(build_engine(index, checksums=False, sequential=True).run([asked[i] for i in order]))
        assert_same(made, [expected[i] for i in order])
        assert feeds == {"row": len(order) - by_reader, "reader": by_reader}


def test_an_index_out_of_order_or_with_checksums_is_read_by_row(index, feeds):
    shuffled = index.take(np.random.default_rng(0).permutation(64))
    for chosen, checksums in ((shuffled, False), (index, True)):
        engine = build_engine(chosen, checksums=checksums, sequential=True)
        assert_same(list(engine.run(requests(chosen))), make_views(chosen))
    assert feeds["reader"] == 0


def test_requests_stay_lazy_in_sequential_reading(index):
    pulled = []
    run = build_engine(index, checksums=False, sequential=True).run(
        pulled.append(request) or request for request in requests(index)
    )
    next(run)
    assert len(pulled) <= 4


def test_a_batch_behind_a_short_one_is_not_read_at_the_wrong_place(index, feeds):
    asked = list(requests(index.take(range(12)))) + list(requests(index.take(range(12, 20))))  # 8, 4, 8
    expected = list(build_engine(index).run(asked))
    made = list(build_engine(index, checksums=False, sequential=True).run(asked))
    assert_same(made, expected)
    assert feeds["reader"] == 2


def test_damage_in_sequential_reading_is_named_or_skipped(copied, feeds):
    whole = make_views(copied)
    damage(copied, 30, data=b"no image" * 20)
    run = build_engine(copied, checksums=False, sequential=True).run(requests(copied))
    assert_same([next(run) for _ in range(3)], whole[:3])
    with pytest.raises(DamagedSample, match=f"row {copied.rows[30]}"):
        next(run)
    assert feeds["reader"] >= 4
    made = make_views(copied, on_damage="skip", checksums=False, sequential=True)
    assert_same(made[:3] + made[4:], whole[:3] + whole[4:])
    assert made[3].rows.tolist() == copied.rows[[24, 25, 26, 27, 28, 29, 31, 31]].tolist()


def test_a_remote_dataset_is_read_by_row(index, monkeypatch):
    samples, source = Samples(index, checksums=False), Source(requests(index))
    assert len(reader_positions(samples, source, 8)) == 64
    monkeypatch.setattr(ShardIndex, "is_remote", True)
    assert reader_positions(samples, source, 8) is None


def num_threads():
    return len(os.listdir("/proc/self/task"))


def test_no_thread_outlives_a_run(index, copied):
    make_views(index)  # whatever DALI and OpenCV keep for good
    gc.collect()
    before = num_threads()
    engine = build_engine(index)
    run, other = engine.run(requests(index)), engine.run(requests(index))
    next(run), next(other)
    assert num_threads() > before
    del run
    gc.collect()
    engine.close()  # ends the other
    assert num_threads() == before
    with pytest.raises(StopIteration):
        next(other)

    engine = build_engine(index)
    run = engine.run(requests(index))
    next(run)
    del engine, run
    gc.collect()
    assert num_threads() == before

    damage(copied, 3, data=b"no image" * 20)
    with pytest.raises(DamagedSample) as caught:
        make_views(copied, checksums=False)
    gc.collect()
    assert num_threads() == before, caught
