"""What a replay costs: CPU beside the openai SDK's own loop, and the key of a call.

    python tests/benchmarks/replay.py --bench FOLDER [--quick]

Prints JSON lines, as the scripts of the shared harness do.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKENS = 20_000
MESSAGES = 100
ATTACHMENT = 5_000_000


async def loop_cpu(run: Callable[[], Any]) -> tuple[float, int]:
    """Return the CPU seconds of one pass over a stream, and how many texts it had."""
    began, texts = time.process_time(), 0
    async for item in run():
        texts += bool(item)
    return time.process_time() - began, texts


async def replay(harness: Any, quick: bool) -> None:
    """Measure a replay at once, the reading of the tape included, in turn with the SDK's loop."""
    import mesh_nb
    from mesh_nb.core.tape import start, stop

    model = f"mock-{TOKENS}-0"
    tape = Path(tempfile.mkdtemp(prefix="mesh-bench-")) / "bench.mesh-tape"
    with harness.Mock() as url:
        graph = mesh_nb.StateGraph().add_node(
            "llm", None, node_type="llm", model=model, base_url=f"{url}/v1", api_key="sk-mock"
        )
        compiled = graph.set_entry_point("llm").compile()

        async def ours() -> Any:
            async for event in mesh_nb.Executor(compiled, mesh_nb.MemoryBackend()).execute("hi"):
                yield event.content if event.type == "token" else None

        async def replayed() -> Any:
            started = start(tape, "none", speed=0)
            try:
                async for item in ours():
                    yield item
            finally:
                stop(started)

        raw = harness.adapter("raw").stream(url, model, "chat")
        started = start(tape)
        await loop_cpu(ours)
        stop(started)
        await loop_cpu(raw)
        await loop_cpu(replayed)
        pairs: list[tuple[float, float]] = []
        for _ in range(3 if quick else 7):
            base, seen = await loop_cpu(raw)
            own, replayed_texts = await loop_cpu(replayed)
            assert seen == replayed_texts == TOKENS
            pairs.append((base, own))
    ratios = sorted(own / base for base, own in pairs)
    spread = {
        "med": round(statistics.median(ratios), 4),
        "min": round(ratios[0], 4),
        "max": round(ratios[-1], 4),
    }
    harness.emit(
        bench="replay",
        case="at once",
        tokens=TOKENS,
        cpu_x=spread,
        us_token=round(statistics.median(own for _, own in pairs) / TOKENS * 1e6, 2),
    )


def keys(harness: Any) -> None:
    """Measure the key of a call with a long history and a large attachment, which was hashed before."""
    from mesh_nb.core import plugins
    from mesh_nb.core.attachments import with_files
    from mesh_nb.core.tape import Tape
    from mesh_nb.nodes._model_call import all_of
    from mesh_nb.providers._call import ModelCall

    given: Any = with_files("What is in it?", [("a.bin.txt", b"x" * ATTACHMENT)])
    history = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": "Some words of a message. " * 40}
        for n in range(MESSAGES - 1)
    ]
    asked = {"role": "user", "content": [*given["files"], {"type": "text", "text": "What is in it?"}]}
    call = ModelCall(model="gpt-5", messages=[*history, asked])
    provider = plugins.find("provider", "openai_chat")
    tape = Tape(Path(tempfile.mkdtemp(prefix="mesh-bench-")) / "t")

    def key() -> None:
        data = all_of(provider, call)
        hashlib.sha256(data).hexdigest()
        tape.key(data)

    began = time.process_time()
    key()
    first = (time.process_time() - began) * 1000
    times: list[float] = []
    for _ in range(50):
        began = time.process_time()
        key()
        times.append((time.process_time() - began) * 1000)
    spread = {
        "med": round(statistics.median(times), 3),
        "min": round(min(times), 3),
        "max": round(max(times), 3),
    }
    harness.emit(bench="call key", case=f"{MESSAGES} messages, 5 MB", ms=spread, first_ms=round(first, 1))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sys.path.insert(0, given.bench)
    harness: Any = importlib.import_module("harness")
    keys(harness)
    asyncio.run(replay(harness, given.quick))


if __name__ == "__main__":
    main()
