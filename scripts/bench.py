"""Measure mesh_nb as ratios to the SDK's own loop and to bare asyncio, beside the targets.

    python scripts/bench.py [--quick]

The harness is ../shared/bench beside the checkout, or the directory named in MESH_BENCH. Nothing fails on a
slow machine: the table says what was measured, the last column what was aimed at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ADAPTER = ROOT / "tests" / "benchmarks" / "mesh_nb_adapter.py"
OWN = {name: ROOT / "tests" / "benchmarks" / f"{name}.py" for name in ("frames", "replay")}
"""Scripts of several commands, not one of the harness."""
SCRIPTS = ("import", "streaming", "graph", "concurrency", "paced", "durability", "frames", "replay")
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("import", "mesh_nb"): {"x_stdlib": 1.3},
    ("streaming", "chat"): {"cpu_x": 0.20, "ttft_add_ms": 1.0},
    ("streaming", "responses"): {"cpu_x": 0.25, "ttft_add_ms": 1.0},
    ("streaming", "anthropic"): {"cpu_x": 0.75, "ttft_add_ms": 1.0},
    ("paced", ""): {"cpu_x": 0.30, "p99_add_ms": 20.0, "stalled": 0.0},
    ("graph", "chain"): {"cpu_x": 0.5, "growth": 1.2, "build_ms": 100.0},
    ("graph", "cycle"): {"cpu_x": 0.5, "growth": 1.2},
    ("graph", "fanout"): {"cpu_x": 2.0, "growth": 1.2},
    ("concurrency", "sleep3"): {"cpu_x": 2.0, "wall_x": 1.5, "kb_run": 5.0},
    ("durability", "token"): {"wall_x": 0.5},
    ("replay", "at once"): {"cpu_x": 0.1},
    ("call key", ""): {"ms": 1.0},
    ("frames", "report, fresh"): {"cpu_x": 0.30, "peak_mb": 30.0},
    ("frames", "report, compacted"): {"cpu_x": 0.15},
    ("frames", "events_df"): {"cpu_x": 1.0, "peak_x": 4.0},
    ("frames", "run.to_pandas"): {"cpu_x": 0.3},
    ("frames", "runs_df, compacted"): {"cpu_x": 3.0},
    ("frames", "%mesh cost, compacted"): {"cpu_x": 3.0},
}
SIZES = ("tokens", "n", "runs", "concurrent")


def measure(bench: Path, script: str, options: list[str]) -> list[dict[str, Any]]:
    """Run one script of the harness for mesh_nb and return its records."""
    command = [sys.executable, str(bench / f"bench_{script}.py"), "--peers", "mesh_nb", *options]
    if script in OWN:
        command = [sys.executable, str(OWN[script]), "--bench", str(bench), *options]
    environment = {**os.environ, "MESH_NB_ADAPTER": str(ADAPTER), "MESH_LOG": "on"}
    done = subprocess.run(
        command, cwd=bench, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not records:
        records.append(
            {"bench": script, "case": "", "skip": (done.stderr.strip().splitlines() or ["no result"])[-1]}
        )
    return records


def rows(records: Iterable[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """Yield (what, size, figure, measured, target) for each figure with a target and what was left out."""
    for record in records:
        name, case = str(record.get("bench", "")), str(record.get("case", ""))
        size = next((str(record[key]) for key in SIZES if key in record), "")
        if record.get("skip"):
            yield (f"{name} {case}", size, "", f"not measured: {record['skip']}", "")
            continue
        wanted = TARGETS.get((name, case)) or next(
            (goals for (bench, start), goals in TARGETS.items() if bench == name and case.startswith(start)),
            {},
        )
        for figure, target in wanted.items():
            yield (f"{name} {case}", size, figure, said(record.get(figure)), f"<= {target:g}")
        if record.get("warn"):
            yield (f"{name} {case}", size, "", str(record["warn"]), "")


def said(value: Any) -> str:
    """Return a figure with its spread over the pairs."""
    if isinstance(value, dict) and "med" in value:
        return f"{value['med']:g} [{value['min']:g} to {value['max']:g}]"
    return "" if value is None else f"{value:g}" if isinstance(value, float | int) else str(value)


def main() -> int:
    """Run all scripts and print one table."""
    bench = Path(os.environ.get("MESH_BENCH") or ROOT.parent / "shared" / "bench")
    for needed in (bench / "harness.py", ADAPTER):
        if not needed.is_file():
            print(f"make bench needs {needed}, which is not here", file=sys.stderr)
            return 1
    options = ["--quick"] if "--quick" in sys.argv[1:] or os.environ.get("QUICK") else []
    table: list[tuple[str, ...]] = [("what", "size", "figure", "measured [spread]", "target")]
    results = ROOT / "build" / "bench.jsonl"
    results.parent.mkdir(exist_ok=True)
    with results.open("w", encoding="utf-8") as log:
        for script in SCRIPTS:
            print(f"measuring: {script}", flush=True)
            records = measure(bench, script, options)
            log.writelines(json.dumps(record) + "\n" for record in records)
            table += rows(records)
    widths = [max(len(row[i]) for row in table) for i in range(5)]
    print()
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        "\n_x: times the baseline measured in the same process (openai SDK loop, asyncio tasks, JSON lines);"
        "\nfor frames beside it: a loop of orjson over the lines, for many runs the reading of their bytes"
        "\nall figures: build/bench.jsonl"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
