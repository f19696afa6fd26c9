"""A tuning run in a process of its own, or in several that share the work: what a launcher would start."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sjd2.finetune.settings import Settings

CONFIGS = Path(__file__).resolve().parent.parent / "python" / "sjd2" / "finetune" / "configs"


def launcher_environment(config: Path) -> dict[str, str]:
    """What `accelerate launch --config_file` tells its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = launch_command_parser().parse_args(["--config_file", str(config), "-m", "sjd2", "finetune"])
    found = prepare_multi_gpu_env(_validate_launch_command(args)[0])
    return {name: value for name, value in found.items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def worker(settings: Settings, environment: Mapping[str, str], die_at: int | None) -> None:
    """One process. `die_at`: the micro-step whose batch is the last thing it makes before it is killed."""
    torch.set_num_threads(1)
    os.environ |= environment
    from sjd2.finetune import run
    from sjd2.finetune.processes import make_accelerator

    if die_at is not None:
        _die_at(run, die_at)
    if "ACCELERATE_USE_FSDP" in environment:
        _shard_on_cpu()
        _watch(run, settings.out.parent / f"watched-{environment['RANK']}.json")
    run.tune(settings, make_accelerator(settings.precision, cpu=True))


def _die_at(run: Any, micro_step: int) -> None:
    """Make the batches of a run a trap: SIGKILL, which nothing can catch."""
    train = run.train

    def trapped(objective: Any, batch_at: Any, *args: Any, **options: Any) -> None:
        def at(step: int) -> Any:
            if step == micro_step:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch_at(step)

        train(objective, at, *args, **options)

    run.train = trapped


def _shard_on_cpu() -> None:
    """accelerate looks for its FSDP settings on GPUs only; torch's FSDP2 itself runs on CPUs with gloo."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState(cpu=True)
    assert state.num_processes > 1
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _watch(run: Any, path: Path) -> None:
    """Write down how the model is sharded: before the first forward, and where the noise is drawn inside of one."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    found: dict[str, Any] = {}
    measure, noisy_rows = run.HeldOut.__call__, run.NextCleanToken.noisy_rows

    def outside(self: Any, model: Any) -> Any:
        if not found:
            table = model.table()
            found["units"] = [name for name, module in model.named_modules() if isinstance(module, FSDPModule)]
            found["outside"] = [isinstance(table, DTensor), list(table.to_local().shape)]
        return measure(self, model)

    def inside(self: Any, *args: Any) -> Any:
        table = self.table()
        if "inside" not in found:
            found["inside"] = [isinstance(table, DTensor), list(table.shape), str(table.dtype)]
            path.write_text(json.dumps(found))
        return noisy_rows(self, *args)

    run.HeldOut.__call__, run.NextCleanToken.noisy_rows = outside, inside


def launch(
    settings: Settings, count: int = 1, *, config: str | None = None, die_at: int | None = None, die: int = 0
) -> list[int]:
    """Run to the end in `count` processes; the exit codes. With `die_at` the process number `die` is killed there, and
    then the others, as a launcher does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["_tuning_process", "sjd2.finetune.run", "accelerate"])
    environments = [_rank(i, count) for i in range(count)] if count > 1 else [{}]
    if config is not None:
        environments = [launcher_environment(CONFIGS / config) | environment for environment in environments]
    if count > 1:
        port = str(_free_port())
        environments = [environment | {"MASTER_PORT": port} for environment in environments]
    processes = [
        context.Process(target=worker, args=(settings, environment, die_at if i == die else None))
        for i, environment in enumerate(environments)
    ]
    for process in processes:
        process.start()
    if die_at is not None:
        processes[die].join(120)
        for process in processes:
            process.kill()
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode or 0 for process in processes]


def _rank(index: int, count: int) -> dict[str, str]:
    return {
        "RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
