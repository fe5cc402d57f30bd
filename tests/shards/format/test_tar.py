import tarfile

import pytest

from shards.format.tar import dali_index, write_tar

SAMPLES = [("b.jpg", b"one"), ("a.jpg", b"x" * 1000), ("c.jpg", b"")]


def test_offsets_point_at_the_data(tmp_path):
    path = tmp_path / "t-000000.tar"
    entries = write_tar(path, SAMPLES)
    data = path.read_bytes()
    assert [(e.name, data[e.offset : e.offset + e.length]) for e in entries] == SAMPLES
    with tarfile.open(path) as tar:
        assert [(m.name, m.offset_data) for m in tar] == [(e.name, e.offset) for e in entries]
        assert {m.mtime for m in tar} == {0}


def test_index_text(tmp_path):
    entries = write_tar(tmp_path / "t.tar", SAMPLES)
    assert dali_index(entries) == "v1.2 3\njpg 512 3 b.jpg\njpg 1536 1000 a.jpg\njpg 3072 0 c.jpg\n"


def test_an_interrupted_write_leaves_no_tar(tmp_path):
    def samples():
        yield "a.jpg", b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tar(tmp_path / "t.tar", samples())
    assert not (tmp_path / "t.tar").exists()


def test_webdataset_reads_the_shards(tiny_dataset):
    import webdataset

    from shards.index import ShardIndex

    index = ShardIndex.open(tiny_dataset).where(split="test")
    urls = sorted(str(path) for path in tiny_dataset.glob("test-*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == list(index.column("key"))
    assert all(sample["jpg"] == bytes(index.read(row)) for sample, row in zip(samples, index.rows, strict=True))


def test_dali_reads_the_selection_that_an_index_lists(tiny_dataset, tmp_path):
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    from shards.index import ShardIndex

    index = ShardIndex.open(tiny_dataset).where(blob=1, split="train").take(range(9))
    pairs = index.write_dali_index(tmp_path)
    pipe = Pipeline(batch_size=len(index), num_threads=1, device_id=None)
    with pipe:
        data = fn.readers.webdataset(
            paths=[str(tar) for tar, _ in pairs],
            index_paths=[str(path) for _, path in pairs],
            ext=["jpg"],
            missing_component_behavior="error",
        )
        pipe.set_outputs(data)
    pipe.build()
    (batch,) = pipe.run()
    got = sorted(batch.at(i).tobytes() for i in range(len(index)))
    assert got == sorted(bytes(index.read(row)) for row in index.rows)
