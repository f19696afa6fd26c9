"""`sjd2 finetune` as a whole, on tiny random checkpoints: in one process and in two, killed and gone on with.

Two processes run torch's FSDP2 through accelerate, with the settings of the shipped configuration file, on CPUs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sjd2
import torch
from _tuning import FAMILIES, write_checkpoint, write_data
from _tuning_process import launch
from accelerate.state import AcceleratorState
from PIL import Image
from sjd2.finetune import run
from sjd2.finetune.batch import Batch
from sjd2.finetune.order import split
from sjd2.finetune.processes import make_accelerator
from sjd2.finetune.rows import read_rows, write_rows
from sjd2.finetune.settings import Settings
from sjd2.heroes import codes, stream
from sjd2.schedule import time_grid


@pytest.fixture(autouse=True)
def one_thread_and_fresh_state() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and tokenised pictures of each family."""
    folder = tmp_path_factory.mktemp("tuning")
    for family in FAMILIES:
        write_checkpoint(folder / family, family)
        write_data(folder / f"{family}.parquet", family=family)
    return folder


def settings(files: Path, out: Path, family: str = "lumina", **changes: Any) -> Settings:
    given = {
        "steps": 8, "batch": 4, "micro_batch": 2, "held_out": 3, "lr": 1e-3, "window": 8, "denoise_steps": 4,
        "precision": "no", "log_every": 1, "measure_every": 4, "save_every": 3, "dtype": "float32",
    } | changes  # fmt: skip
    return Settings(model=str(files / family), data=files / f"{family}.parquet", out=out, **given)


def tune(given: Settings) -> None:
    """In this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    run.tune(given, make_accelerator(given.precision, cpu=True))


def losses(out: Path) -> list[dict[str, float]]:
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if v and k != "tokens_per_second"} for row in rows]


def weights(out: Path, step: int = 8) -> dict[str, torch.Tensor]:
    loaded = sjd2.load(out / f"checkpoint-{step}", dtype=torch.float32).backbone
    return loaded.text.state_dict() | {"head": loaded.lm_head.weight.detach()}  # type: ignore[attr-defined]


def assert_same_run(got: Path, expected: Path, rel: float = 2e-4) -> None:
    """Losses and tuned weights, to what sums in another order may differ by."""
    pairs = list(zip(losses(got), losses(expected), strict=True))
    assert len(pairs) == 9
    for a, b in pairs:
        assert a == pytest.approx(b, rel=rel)
    theirs = weights(expected)
    for name, value in weights(got).items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=2e-4, msg=name)


@pytest.fixture(scope="module")
def single(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Per family the run that all others are held against: one process, never stopped."""
    found = {}
    for family in FAMILIES:
        found[family] = tmp_path_factory.mktemp(f"single-{family}") / "run"
        tune(settings(files, found[family], family))
    return found


def test_a_run_learns_and_leaves_a_model_that_draws(files: Path, single: dict[str, Path]) -> None:
    for family, out in single.items():
        found = losses(out)
        assert [row["step"] for row in found] == list(range(9))
        names = {"clean", "t0.25", "t0.5", "t0.75", "t1"}
        assert {int(row["step"]) for row in found if names <= set(row)} == {0, 4, 8}
        assert all(found[8][name] < found[0][name] - 0.5 for name in names), found
        assert sorted(path.name for path in out.iterdir()) == [
            "checkpoint-8", "log.csv", "log.png", "run.json", "state-8",
        ]  # fmt: skip
        pipe = sjd2.load(out / "checkpoint-8", dtype=torch.float32)
        assert pipe.backbone.name == FAMILIES[family]().name
        assert pipe.backbone.defaults.of("sjd2") | {"window": 8, "denoise_steps": 4} == pipe.backbone.defaults.of(
            "sjd2"
        )
        assert pipe.generate("ab", "sjd2", seed=1, guidance=1, draw=False).status == ["ok"]
        before = sjd2.load(files / family, dtype=torch.float32).backbone.text.state_dict()  # type: ignore[attr-defined]
        moved = [
            name for name, value in weights(out).items() if name in before and not torch.equal(value, before[name])
        ]
        assert len(moved) == len(before), "a full fine-tune: every tensor moves"


def test_two_sharded_processes_killed_and_resumed_equal_one_process(
    files: Path, single: dict[str, Path], tmp_path: Path
) -> None:
    given = settings(files, tmp_path / "run", micro_batch=1)
    assert -9 in launch(given, 2, config="fsdp2.yaml", die_at=10, die=1)
    assert (tmp_path / "run" / "state-3").is_dir()
    assert not (tmp_path / "run" / "state-8").exists()
    assert launch(given, 2, config="fsdp2.yaml") == [0, 0]
    assert_same_run(tmp_path / "run", single["lumina"])


def test_layers_are_sharded_and_the_table_is_whole_where_noise_is_drawn(
    files: Path, single: dict[str, Path], tmp_path: Path
) -> None:
    given = settings(files, tmp_path / "run", "emu3", micro_batch=1)
    assert launch(given, 2, config="fsdp2.yaml") == [0, 0]
    assert_same_run(tmp_path / "run", single["emu3"])
    rows, C = FAMILIES["emu3"]().embedding.shape
    for rank in range(2):
        seen = json.loads((tmp_path / f"watched-{rank}.json").read_text())
        assert seen["units"] == ["", "text.layers.0", "text.layers.1"]
        assert seen["outside"] == [True, [rows // 2, C]]
        assert seen["inside"] == [False, [rows, C], "torch.float32"]


def test_a_killed_process_resumed_equals_one_that_was_not(files: Path, single: dict[str, Path], tmp_path: Path) -> None:
    given = settings(files, tmp_path / "run", "lumina")
    assert launch(given, die_at=9) == [-9]
    assert (tmp_path / "run" / "state-3").is_dir()
    assert launch(given) == [0]
    assert_same_run(tmp_path / "run", single["lumina"], rel=1e-6)


def test_other_micro_batches_without_checkpointing_are_the_same_run(
    files: Path, single: dict[str, Path], tmp_path: Path
) -> None:
    tune(settings(files, tmp_path / "run", "emu3", micro_batch=4, checkpointing=False))
    assert_same_run(tmp_path / "run", single["emu3"])


def test_bfloat16_shards_follow_bfloat16_in_one_process(files: Path, tmp_path: Path) -> None:
    """What FSDP may not cast (times, losses) it does not: else losses differ by far more than bfloat16 does."""
    given = settings(files, tmp_path / "one", "emu3", precision="bf16", steps=3, save_every=9)
    tune(given)
    two = replace(given, out=tmp_path / "two", micro_batch=1)
    assert launch(two, 2, config="fsdp2.yaml") == [0, 0]
    assert json.loads((tmp_path / "watched-0.json").read_text())["inside"][2] == "torch.bfloat16"
    for a, b in zip(losses(two.out), losses(given.out), strict=True):
        assert a == pytest.approx(b, rel=0.02)


# --- in this process -------------------------------------------------------------------------------------------------


def test_batches_are_the_same_examples_however_many_processes_share_them(files: Path, tmp_path: Path) -> None:
    """Every example of a step, its levels and its noise, from one process of four and from two of two."""
    seen: dict[tuple[int, int], list[Any]] = {}
    for index, count, B in ((0, 1, 4), (0, 2, 2), (1, 2, 2)):
        for micro_step in range(3):
            batch = captured(settings(files, tmp_path / "x", micro_batch=B), index, count, micro_step)
            assert batch.times is not None
            assert torch.equal(batch.times, time_grid(4))
            rows = zip(batch.tokens[:, :48].tolist(), batch.level.tolist(), batch.seed.tolist(), strict=True)
            seen.setdefault((count, micro_step), []).extend(rows)
    for micro_step in range(3):
        assert sorted(seen[1, micro_step]) == sorted(seen[2, micro_step])
    assert seen[1, 0] != seen[1, 1]


def captured(given: Settings, index: int, count: int, micro_step: int) -> Batch:
    """The batch that process `index` of `count` would train on."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator("no", cpu=True)
    found: list[Batch] = []

    class Shared:
        """An accelerator that says it is one of several."""

        process_index, num_processes = index, count

        def __getattr__(self, name: str) -> Any:
            return getattr(accelerator, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "train", lambda objective, batch_at, *_, **__: found.append(batch_at(micro_step)))
        run.tune(given, Shared())  # type: ignore[arg-type]
    return found[0]


def test_a_folder_of_pictures_is_tokenised_once(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "m", "emu3", vq=True)
    draw = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        Image.fromarray(draw.integers(0, 256, (9, 20, 3), np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
        (tmp_path / "pictures" / f"{i}.txt").write_text("ab" if i else "")
    given = Settings(
        model=str(model), data=tmp_path / "pictures", out=tmp_path / "run", steps=2, batch=2, held_out=2, window=8,
        denoise_steps=4, precision="no", log_every=1,
    )  # fmt: skip
    tune(given)
    rows = read_rows([tmp_path / "run" / "codes" / "part-00000.parquet"], 3, 5, 8)
    assert rows.captions == ["", *["ab"] * 5]
    assert len(np.unique(rows.codes)) > 2
    pipe = sjd2.load(tmp_path / "run" / "checkpoint-2")
    assert pipe.backbone.dtype == torch.bfloat16
    assert pipe.generate("ab", seed=1, guidance=1).images[0].size == (10, 6), "its VQ model came along"


def test_an_embedded_model_knows_what_is_measured(tmp_path: Path) -> None:
    """Its own pictures, with and without noise: bits that only a model tuned on this very layout reaches."""
    captions, pictures = stream.batch(0, 2**41, 6, codes.patches(), mottled=False, full=True, held_out=True)
    write_rows(tmp_path / "heroes.parquet", captions, pictures)
    given = Settings(
        model="heroes-emu3", data=tmp_path / "heroes.parquet", out=tmp_path / "run", steps=1, batch=1, held_out=2
    )
    tune(given)
    before = losses(tmp_path / "run")[0]
    assert before["clean"] < 1
    assert all(before[f"t{t:g}"] < 3 for t in run.FIXED)
    pipe = sjd2.load(tmp_path / "run" / "checkpoint-1")
    assert pipe.generate("a dwarf in a blue robe", seed=0).images[0].size == (32, 32)


def test_measuring_on_other_data(files: Path, tmp_path: Path) -> None:
    other = write_data(tmp_path / "other.parquet", n=8, seed=9)
    tune(settings(files, tmp_path / "run", validation_data=other, held_out=2, steps=1, clean=0.5))
    assert set(losses(tmp_path / "run")[0]) == {"step", "clean", "t0.25", "t0.5", "t0.75", "t1"}
    tune(settings(files, tmp_path / "none", held_out=0, steps=1))
    assert [set(row) for row in losses(tmp_path / "none")] == [{"step", "bits"}]
    assert len(split(20, 3)[0]) == 17


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 3}, r"--batch 3 must be a multiple of --micro-batch 2 times 1 processes"),
        ({"attention": "flex"}, r"FlexAttention has no gradients on a CPU"),
        ({"held_out": 20}, r"no picture is left to train on"),
        ({"size": (8, 8)}, r"holds a picture of 4 x 6 codes .* the model draws 4 x 4"),
        ({"data": Path("/nowhere")}, r"there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(files: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tune(replace(settings(files, tmp_path / "run"), **changes))
