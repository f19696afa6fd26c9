"""What a person with a GPU runs first: one command, a verdict a line, one JSON, at most eight minutes on one H100.

    python -m bench.gpu_check                              all of it; JSON to bench/results/<device>/
    python -m bench.gpu_check --only operators --out a.json
    python -m bench.gpu_check --device cpu --interpret     the same script where there is no GPU

In this order: versions and device; the native build; every operator against the CPU, with its time and its floor; a
small picture by every policy; the tests that need a device; compute-sanitizer over the CUDA C++ kernels. Nothing is
fetched. Every check is a process of its own with a limit on its time, so that a crash, a hang or an exception costs
that check only; what was said until then is kept. Exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sjd2.atomic import replacing

from .aot import ROOT
from .gpu import process as processes
from .gpu.verdict import ABSENT, FAIL, KEPT_LINES, PASS, Setting, Verdict, failed

# the checks of bench/gpu in their order, and when each must be over, in shares of the whole time
UNTIL = {"environment": 0.06, "build": 0.22, "operators": 0.48, "decoding": 0.58, "tests": 0.88, "sanitizer": 1.0}
SECONDS, GRACE = 480.0, 2.0
MARK = "@verdict "  # before a verdict's JSON in the output of a check's process


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and return the exit code."""
    parser = argparse.ArgumentParser(
        "bench.gpu_check", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--interpret", action="store_true", help="Triton's interpreter, with --device cpu")
    parser.add_argument("--only", nargs="+", choices=list(UNTIL), default=list(UNTIL))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all checks together")
    parser.add_argument("--out", type=Path, help="the JSON file; default bench/results/<device>/<date>-<commit>.json")
    parser.add_argument("--single", nargs=2, metavar=("CHECK", "UNTIL"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.interpret and options.device != "cpu":
        parser.error("--interpret goes with --device cpu: on a GPU the kernels are compiled")
    if options.single:
        return _single(options)
    begin, verdicts = time.time(), list[Verdict]()
    out = options.out or _default_file(options.device)
    for name in UNTIL:
        if name not in options.only:
            continue
        for verdict in run(name, begin + UNTIL[name] * options.seconds, options):
            verdicts.append(verdict)
            print(verdict.line(), flush=True)
        write(out, verdicts, options, time.time() - begin)  # after each check: a run that is cut short leaves the rest
    counts = collections.Counter(verdict.outcome for verdict in verdicts)
    print(f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[ABSENT]} absent, {time.time() - begin:.0f} s: {out}")
    return 1 if counts[FAIL] else 0


def run(name: str, until: float, options: argparse.Namespace) -> Iterator[Verdict]:
    """The verdicts of one check, as its process says them; one more if that does not end well."""
    arguments = ("--device", options.device, "--single", name, repr(until))
    more = {"TRITON_INTERPRET": "1"} if options.interpret else {}
    late, said, code = threading.Event(), 0, 0
    others: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
    with subprocess.Popen(
        processes.module("bench.gpu_check", *arguments), cwd=ROOT, env=processes.environment(**more), text=True,
        errors="replace", start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        # a check watches its time itself: this is for those that hang
        timer = threading.Timer(max(until - time.time(), 0) + GRACE, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARK):
                    said += 1
                    yield Verdict(**json.loads(line.removeprefix(MARK)))
                else:
                    others.append(line.rstrip())
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if late.is_set():
        yield Verdict(name, "the check", FAIL, "\n".join(["out of time", *others]))
    elif code or not said:
        yield Verdict(name, "the check", FAIL, "\n".join([f"its process ended with {code}", *others]))


def _single(options: argparse.Namespace) -> int:
    """One check, in the process that is for it."""
    name, until = options.single
    setting = Setting(options.device, float(until), small=options.device == "cpu")
    try:
        for verdict in importlib.import_module(f"bench.gpu.{name}").check(setting):
            print(MARK + json.dumps(asdict(verdict)), flush=True)
    except Exception as error:  # a check that cannot go on says so
        print(MARK + json.dumps(asdict(failed(name, "the check", error))), flush=True)
    return 0


def _default_file(device: str) -> Path:
    """bench/results/<device>/<date>-<commit>-gpu_check.json; no CUDA here, it would be the parent of what may crash."""
    from .machine import commit_id, gpu_name, slug

    folder = ROOT / "bench" / "results" / ("cpu" if device == "cpu" else slug(gpu_name()))
    return folder / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{commit_id()}-gpu_check.json"


def write(path: Path, verdicts: list[Verdict], options: argparse.Namespace, seconds: float) -> None:
    """The file, whole."""
    counts: dict[str, Any] = dict(collections.Counter(verdict.outcome for verdict in verdicts))
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": options.device,
        "interpret": options.interpret,
        "checks": options.only,
        "seconds": round(seconds, 1),
        "counts": counts,
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
