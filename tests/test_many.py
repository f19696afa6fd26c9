"""Groups and shards: everything once, the same groups whoever draws, and a drawer that adds only what is missing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sjd2.backbones.tiny import tiny_emu3, tiny_lumina
from sjd2.many import Job, parse_shard, split
from sjd2.pipeline import Pipeline
from sjd2.prompts import Picture
from sjd2.run_folder import RunFolder

DRAWING: dict[str, Any] = {"policy": "coupled", "window": 5, "guidance": 2.0, "size": None, "graph": False}
PICTURES = [Picture(n, f"p{n}", "ab"[: n % 2 + 1], 10 + n) for n in range(1, 6)]


@cache
def pipeline(make: Callable[[], Any] = tiny_lumina) -> Pipeline:
    """One of each kind: some parameters of the picture decoders are not seeded."""
    return Pipeline(make())


def job(path: Path, batch: int = 2, pictures: list[Picture] = PICTURES, make: Any = tiny_lumina) -> Job:
    folder = RunFolder(path, {"policy": "coupled"}, pictures)
    return Job(lambda: Pipeline(pipeline(make).backbone), folder, DRAWING, 1, Path("p.txt"), split(pictures, batch))


@given(st.lists(st.sampled_from([None, (8, 8), (8, 4)]), max_size=20), st.integers(1, 6), st.integers(1, 5))
def test_groups_and_shards_hold_every_picture_once(sizes: list[Any], batch: int, n: int) -> None:
    pictures = [Picture(i, str(i), "a", i, size) for i, size in enumerate(sizes)]
    groups = split(pictures, batch)
    shards = [groups[i - 1 :: n] for i in range(1, n + 1)]
    held = [picture for shard in shards for group in shard for picture in group]
    assert sorted(held, key=lambda p: p.line) == pictures
    assert all(len({p.size for p in group}) == 1 and len(group) <= batch for group in groups)
    assert len(groups) == sum(-(-sizes.count(size) // batch) for size in set(sizes))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_shards() -> None:
    assert parse_shard(None) == (1, 1)
    assert parse_shard(" 3/3 ") == (3, 3)
    for text in ("0/2", "3/2", "1", "1/0", "-1/2", "a/b", ""):
        with pytest.raises(ValueError, match=r"shard must be i/n with i from 1 to n, such as 2/8, got"):
            parse_shard(text or "x")


def test_a_group_is_decoded_whole_and_only_what_is_missing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = job(tmp_path, batch=3).start()
    group = drawer.job.groups[0]
    assert [record["id"] for record in drawer.draw(group)] == ["p1", "p2", "p3"]
    first = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("p*.png")}
    assert set(first) == {"p1.png", "p2.png", "p3.png"}
    tmp_path.joinpath("p2.png").unlink()
    again, calls = job(tmp_path, batch=3).start(), []
    generate = again.pipe.generate

    def counted(prompts: list[str], **arguments: Any) -> Any:
        calls.append((len(prompts), arguments["seed"]))
        return generate(prompts, **arguments)

    monkeypatch.setattr(again.pipe, "generate", counted)
    assert len(again.draw(group)) == 3
    assert len(again.draw(group)) == 3
    assert calls == [(3, [11, 12, 13])]
    second = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("p*.png")}
    assert {name: held[0] for name, held in second.items()} == {name: held[0] for name, held in first.items()}
    assert [name for name in first if second[name] == first[name]] == ["p1.png", "p3.png"]  # never touched


@pytest.mark.parametrize("make", [tiny_lumina, tiny_emu3])
def test_a_picture_is_that_of_its_prompt_seed_and_size(tmp_path: Path, make: Any) -> None:
    size = (8, 4)
    pictures = [Picture(1, "x", "a", 5), Picture(2, "y", "b", -6, size), Picture(3, "z", "c", 7)]
    drawer = job(tmp_path, 2, pictures, make).start()
    records = [record for group in drawer.job.groups for record in drawer.draw(group)]
    assert [record["id"] for record in records] == ["x", "z", "y"]
    alone = pipeline(make).generate("b", "coupled", 5, guidance=2.0, size=size, seed=-6)
    with Image.open(tmp_path / "y.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(alone.images[0]))
        text = dict(drawn.text)
    assert records[2] == {
        "id": "y", "file": "y.png", "prompt": "b", "seed": -6, "size": "8x4", "steps": int(alone.steps[0]),
        "tokens": alone.tokens.shape[1], "status": "ok",
    }  # fmt: skip
    assert text == {
        "policy": "coupled", "prompt": "b", "seed": "-6", "steps": str(int(alone.steps[0])),
        "tokens": str(alone.tokens.shape[1]), "scale": "1", "run": drawer.job.folder.run,
    }  # fmt: skip


def test_prompts_that_the_model_cannot_draw_are_named_before_anything_is_done(tmp_path: Path) -> None:
    """Of all the run, whoever's they are: else fixing a line would be another run."""
    pictures = [
        Picture(1, "a", "a", 0), Picture(3, "b", "b", 1, (999, 3)), Picture(4, "c-1", "x" * 300, 2),
        Picture(4, "c-2", "x" * 300, 3),
    ]  # fmt: skip
    whole = job(tmp_path / "out", 1, pictures)
    part = Job(whole.load, whole.folder, DRAWING, 1, whole.prompts, whole.groups[:1])
    with pytest.raises(ValueError, match=r"^p\.txt: line 3: .*999x3.*; line 4: decoder: prompt 0 is too long: [^;]*;"):
        part.start()
    assert not tmp_path.joinpath("out").exists()


def test_a_picture_decoder_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = job(tmp_path).start()

    def broken(codes: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(drawer.pipe.backbone, "pictures", broken)
    with pytest.raises(ValueError, match="there are no pictures, for the reason given above"):
        drawer.draw(drawer.job.groups[0])
    assert list(tmp_path.glob("*.png")) == []


def test_a_job_can_be_sent_to_another_process(tmp_path: Path) -> None:
    made = job(tmp_path)
    sent = Job(dict, made.folder, DRAWING, None, made.prompts, made.groups)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(sent)) == sent
