"""Ray's actors: two that share a run, one of them killed on the way, and every picture is there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sjd2 import cli
from sjd2.backbones.tiny import tiny_lumina
from sjd2.many import Job, split
from sjd2.pipeline import Pipeline
from sjd2.prompts import Picture
from sjd2.run_folder import RunFolder
from sjd2.workers import Actor, check_resources, draw_by_actors

PICTURES = [Picture(n, f"p{n}", "ab", n) for n in (1, 2, 3)]
DRAWING: dict[str, Any] = {"policy": "coupled", "size": None, "graph": False}


def job(folder: Path) -> Job:
    run = RunFolder(folder, {"policy": "coupled"}, PICTURES)
    return Job(lambda: Pipeline(tiny_lumina()), run, DRAWING, 1, Path("p.txt"), split(PICTURES, 2))


def actors_of(parent: int) -> list[int]:
    """Processes below ``parent`` that are Ray's actors of ours, by what they call themselves."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            names[int(entry.name)] = entry.joinpath("cmdline").read_bytes()
        except (OSError, IndexError):
            continue  # it ended meanwhile
    below = {parent}
    while more := {pid for pid, above in parents.items() if above in below} - below:
        below |= more
    return sorted(pid for pid in below if names.get(pid, b"").startswith(b"ray::") and b"Map(Actor)" in names[pid])


def wait_for(what: Any, running: subprocess.Popen[str], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def test_an_actor_that_is_killed_costs_no_picture_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two actors on the CPU; one of them is killed as soon as a picture is there, with a group in its hands."""
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("".join(f"the {word}\n" for word in ("dwarf", "elf", "human", "ghoul") * 2))
    words = ["generate", "--prompts", "p.txt", "--device", "cpu", "--policy", "coupled", "-o"]
    # its guard kills actors when others fill the machine's memory, and would then be what is tested
    environment = {**os.environ, "RAY_memory_monitor_refresh_ms": "0", "RAY_ADDRESS": ""}
    command = [sys.executable, "-m", "sjd2", *words, "shared", "--workers", "2"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        pair = wait_for(lambda: len(found := actors_of(running.pid)) == 2 and found, running)
        wait_for(lambda: list(Path("shared").glob("[0-9]*.png")), running)
        assert actors_of(running.pid) == pair
        os.kill(pair[0], signal.SIGSTOP)  # so that what it is at stays undone
        there = len(list(Path("shared").glob("[0-9]*.png")))
        assert there < 7
        os.kill(pair[0], signal.SIGKILL)
        out, err = running.communicate(timeout=240)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    assert running.returncode == 0, err
    lines = [line for line in out.splitlines() if "shared" in line]  # Ray says among them that a worker died
    names = [f"{n:06d}.png" for n in range(1, 9)]
    assert sorted(line.partition(":")[0] for line in lines[:-1]) == [f"shared/{name}" for name in names]
    assert lines[-1] == "8 of 8 pictures are in shared; manifest.jsonl lists them"
    assert sorted(os.listdir("shared")) == [*names, "manifest.jsonl", "run.json"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "alone"])
    assert stop.value.code == 0
    for name in os.listdir("shared"):
        assert Path("shared", name).read_bytes() == Path("alone", name).read_bytes(), name


def test_an_actor_draws_groups_and_returns_their_records(tmp_path: Path) -> None:
    actor = Actor(job(tmp_path / "out"), str(tmp_path))
    assert Path.cwd() == tmp_path
    for group, ids in ((1, ["p3"]), (0, ["p1", "p2"]), (1, ["p3"])):
        answer = actor({"group": group})
        assert answer["error"] == ""
        assert [record["id"] for record in json.loads(answer["records"])] == ids


def test_what_a_user_can_mend_comes_back_as_text_and_a_mistake_of_ours_does_not(tmp_path: Path) -> None:
    made = job(tmp_path / "out")
    made.folder.claim()
    other = Job(made.load, RunFolder(tmp_path / "out", {"policy": "sjd"}, PICTURES), DRAWING, 1, made.prompts, [])
    answer = Actor(other, str(tmp_path))({"group": 0})
    assert answer["records"] == "[]"
    assert 'policy "coupled" there, "sjd" now' in answer["error"]
    with pytest.raises(KeyError):
        Actor(made, str(tmp_path))({"number": 0})


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Actors change it."""
    monkeypatch.chdir(tmp_path)


def test_more_actors_than_machines_are_refused() -> None:
    check_resources({"CPU": 2.0}, 2, "cpu")
    with pytest.raises(ValueError, match="workers must be at most the 2 CPUs that Ray sees, got 3"):
        check_resources({"CPU": 2.0, "GPU": 8.0}, 3, "cpu")
    with pytest.raises(ValueError, match="workers must be at most the 0 GPUs that Ray sees, got 1"):
        check_resources({"CPU": 2.0}, 1, "cuda")


def test_without_ray_the_install_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"--workers needs Ray: pip install 'sjd2-kernels\[ray\]'"):
        next(draw_by_actors(job(tmp_path), 2, "cpu"))
