"""What frames and reports of long logs cost, as ratios to a loop of orjson over the same lines.

    python frames.py --bench ../../../shared/bench [--quick] [--events N] [--runs N]

Each case runs in a process of its own, one after the other with its baseline; a record is one JSON line:
cpu_x is the ratio of CPU seconds (all threads), peak_mb the memory above that after the imports.
The events are those of bench_frames.py in the shared benchmarks, written as this library writes them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ORDER = ("seq", "type", "node_id", "content", "output", "error", "metadata", "timestamp", "run_id")


def write_events(bench: Path, folder: Path, count: int) -> None:
    """Write the shared benchmark's events: one file of all, and a project with a log for each run."""
    sys.path.insert(0, str(bench))
    import bench_frames

    source = folder / "source.jsonl"
    bench_frames.generate(str(source), count)
    runs = folder / "home" / ".mesh" / "runs"
    runs.mkdir(parents=True)
    name, seq, log = "", 0, None
    with source.open("rb") as lines, (folder / "one.jsonl").open("wb") as one:
        for line in lines:
            event = json.loads(line)
            event["timestamp"] = event.pop("ts")
            if "model" in (metadata := event.get("metadata") or {}):
                metadata["model_id"] = metadata.pop("model")
            if event["run_id"] != name:
                if log is not None:
                    log.close()
                name, seq = event["run_id"], 0
                log = (runs / f"{name}.jsonl").open("wb")
                log.write(_line({"schema": 1, "run_id": name, "notebook": "n.ipynb", "cell": "c"}))
            event["seq"], seq = seq, seq + 1
            text = _line({key: event[key] for key in ORDER if key in event})
            one.write(text)
            log.write(text)
    if log is not None:
        log.close()
    source.unlink()


def write_runs(folder: Path, count: int, name: str = "many", **cost: Any) -> None:
    """Write a project with many short runs of two model calls.

    Parameters: cost, what else stands beside a cost; cost_source="genai-prices" has it calculated again.
    """
    runs = folder / name / ".mesh" / "runs"
    runs.mkdir(parents=True)
    usage = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
    for number in range(count):
        run = f"20261101T{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}000000-{number:08x}"
        lines = [{"schema": 1, "run_id": run, "notebook": "n.ipynb", "cell": f"c{number % 40}"}]
        made: list[tuple[str, str, Any]] = [("execution_start", "START", {"graph_id": "g", "input": "hi"})]
        for node in ("draft", "check"):
            known = {"call_id": node, "provider": "openai", "requested_model": "gpt-4o-mini"}
            made += [("node_start", node, {}), ("model_call_start", node, known)]
            made += [("token", node, {"text_block_id": "b"})] * 60
            end = {**known, "model_id": "gpt-4o-mini", "usage": usage, "cost_usd": 0.0002, **cost}
            made += [("response_metadata", node, end), ("node_complete", node, {})]
        made.append(("execution_complete", "START", {"status": "completed", "duration_ms": 5.0}))
        for seq, (kind, node, metadata) in enumerate(made):
            event: dict[str, Any] = {"seq": seq, "type": kind, "node_id": node, "metadata": metadata}
            if kind == "token":
                event["content"] = " token"
            lines.append({**event, "timestamp": 1.79e9 + number, "run_id": run})
        (runs / f"{run}.jsonl").write_bytes(b"".join(map(_line, lines)))


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


# --- the cases: each returns the function that is measured ---


def orjson_loop(folder: Path) -> Any:
    """The baseline of the shared benchmark: every line as a dict in a list, then a loop over it."""
    import orjson

    def run() -> Any:
        groups: dict[Any, float] = {}
        with (folder / "one.jsonl").open("rb") as file:
            events = [orjson.loads(line) for line in file]
        for event in events:
            if event["type"] == "response_metadata":
                metadata = event["metadata"]
                key = (metadata["model_id"], event["node_id"])
                groups[key] = groups.get(key, 0.0) + metadata["cost_usd"]
        return round(sum(groups.values()), 6)

    return run


def orjson_events(folder: Path) -> Any:
    """The same events as lines, loaded into a list."""
    import orjson

    def run() -> Any:
        with (folder / "one.jsonl").open("rb") as file:
            return len([orjson.loads(line) for line in file])

    return run


def report_fresh(folder: Path) -> Any:
    import mesh_nb

    return lambda: round(mesh_nb.cost_report(folder / "one.jsonl", by=["model", "node_id"]).cost_usd or 0, 6)


def report_project(folder: Path) -> Any:
    import mesh_nb

    return lambda: round(mesh_nb.cost_report(folder / "home", by=["model", "node_id"]).cost_usd or 0, 6)


def events_frame(folder: Path) -> Any:
    import mesh_nb

    return lambda: len(mesh_nb.events_df(folder / "one.jsonl"))


def live_run(folder: Path) -> Any:
    """`run.to_pandas()` of a run that has all its events in memory."""
    import orjson

    from mesh_nb.core._feed import Feed
    from mesh_nb.core.events import decode
    from mesh_nb.core.run import Run

    run = Run("live")
    with (folder / "one.jsonl").open("rb") as file:
        events = [decode(orjson.loads(line)) for line in file]
    for event in events:
        event.run_id = "live"
    run._feed = Feed(events)
    return lambda: len(events) if len(run.to_pandas()) else 0


def many_bytes(folder: Path) -> Any:
    """The floor of many runs: every log opened and read."""
    return lambda: sum(len(path.read_bytes()) for path in sorted((folder / "many/.mesh/runs").iterdir())) > 0


def many_runs(folder: Path) -> Any:
    import mesh_nb

    return lambda: len(mesh_nb.runs_df(folder / "many")) > 0


def many_costs(folder: Path) -> Any:
    import mesh_nb
    from mesh_nb.frames._report import overview

    return lambda: len(repr(overview(mesh_nb.costs_df(folder / "many"), "This project"))) > 0


def many_priced(folder: Path) -> Any:
    """The same of runs whose costs have to be calculated, as this library logs them."""
    import mesh_nb
    from mesh_nb.frames._report import overview

    return lambda: len(repr(overview(mesh_nb.costs_df(folder / "priced"), "This project"))) > 0


def packed(folder: Path, home: str) -> None:
    """Compact a project, in this process."""
    from mesh_nb.backends.file import FileBackend
    from mesh_nb.frames._packed import compact

    compact(FileBackend(folder / home))


def child(case: str, folder: Path) -> None:
    """Measure one case, the second of two times: lazy imports are not what is measured here."""
    tiny = globals()[case](folder / "tiny")
    tiny()
    run = globals()[case](folder)
    gc.collect()
    resting = _memory("VmRSS:")
    # The peak so far is that of the imports; from here on it is the case's own.
    Path("/proc/self/clear_refs").write_text("5")
    begun, wall = time.process_time(), time.perf_counter()
    result = run()
    cpu = time.process_time() - begun
    peak = _memory("VmHWM:") - resting
    print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - wall, "peak": peak, "result": result}))


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


def measure(case: str, folder: Path) -> dict[str, Any]:
    """Run a case in a process of its own. Raises RuntimeError with what it said."""
    command = [sys.executable, __file__, "--child", case, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(name: str, case: str, base: str, folder: Path, rounds: int, **known: Any) -> None:
    """Print a case beside its baseline."""
    try:
        pairs = [(measure(base, folder), measure(case, folder)) for _ in range(rounds)]
    except RuntimeError as error:
        print(json.dumps({"bench": "frames", "case": name, "skip": str(error)}), flush=True)
        return
    ratios = [own["cpu"] / floor["cpu"] for floor, own in pairs]
    record: dict[str, Any] = {"bench": "frames", "case": name, **known}
    record["cpu_x"] = {"med": round(statistics.median(ratios), 3)}
    record["cpu_x"] |= {"min": round(min(ratios), 3), "max": round(max(ratios), 3), "n": rounds}
    record["peak_mb"] = round(max(own["peak"] for _, own in pairs), 1)
    if "file_mb" in known:
        record["peak_x"] = round(record["peak_mb"] / known["file_mb"], 2)
    record["cpu_s"] = round(statistics.median(own["cpu"] for _, own in pairs), 3)
    if pairs[0][0]["result"] != pairs[0][1]["result"]:
        record["warn"] = f"{base} gives {pairs[0][0]['result']}, this {pairs[0][1]['result']}"
    print(json.dumps(record), flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=2)
    given, rest = parser.parse_known_args(["--bench", ".", *sys.argv[1:]])
    if rest:
        parser.error(f"unexpected {rest[0]}")
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    n, many = (100_000, 1_000) if given.quick else (given.events, given.runs)
    rounds, more = (2, 2) if given.quick else (3, 9)  # thousands of small files take another time each time
    with tempfile.TemporaryDirectory(prefix="mesh-frames-") as name:
        folder, live = Path(name), Path(name) / "live"
        for place, events, runs in ((folder, n, many), (folder / "tiny", 2000, 20), (live, 100_000, 1)):
            place.mkdir(exist_ok=True)
            write_events(given.bench, place, events)
            write_runs(place, runs)
            write_runs(place, runs, "priced", cost_source="genai-prices")
        (live / "tiny").symlink_to(folder / "tiny")
        size = round((folder / "one.jsonl").stat().st_size / 1e6, 1)
        compare("report, fresh log", "report_fresh", "orjson_loop", folder, rounds, n=n, file_mb=size)
        compare("report, fresh project", "report_project", "orjson_loop", folder, rounds, n=n)
        compare("events_df", "events_frame", "orjson_events", folder, rounds, n=n, file_mb=size)
        compare("run.to_pandas", "live_run", "orjson_events", live, rounds, n=100_000)
        compare("runs_df, fresh", "many_runs", "many_bytes", folder, rounds, runs=many)
        compare("%mesh cost, fresh", "many_costs", "many_bytes", folder, rounds, runs=many)
        for place in (folder, folder / "tiny"):
            packed(place, "home")
            packed(place, "many")
            packed(place, "priced")
        compare("report, compacted", "report_project", "orjson_loop", folder, rounds, n=n)
        compare("runs_df, compacted", "many_runs", "many_bytes", folder, more, runs=many)
        compare("%mesh cost, compacted", "many_costs", "many_bytes", folder, more, runs=many)
        compare("%mesh cost, compacted, priced", "many_priced", "many_bytes", folder, more, runs=many)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.environ.pop("MESH_HOME", None)
    main()
