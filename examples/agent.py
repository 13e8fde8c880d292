"""An agent that does nothing real: it plans, calls a tool, writes an answer token by token.

Standard library only, and no Runcast library. Run it under the wrapper, and it is a live run:

    runcast exec --workflow example -- python3 examples/agent.py
"""

import json
import os
import sys
import time
from datetime import datetime, timezone

PACE = float(os.environ.get("AGENT_PACE_S", "0.05"))
ANSWER = (
    "A durable stream is a log that a reader can join at any point. "
    "What was acknowledged is kept; what is kept is read in one order; "
    "and a reader who was away goes on where it was."
)


def emit(event_type, data=None, **labels):
    """Publish a typed event through the pipe that `runcast exec` names; do nothing without it."""
    path = os.environ.get("RUNCAST_EVENTS")
    if not path:
        return
    event = {"type": event_type, **labels}
    if data is not None:
        event["data"] = data
    with open(path, "w", encoding="utf-8") as pipe:
        pipe.write(json.dumps(event) + "\n")


def log(level, message, **fields):
    """Write a structured log line, as many logging libraries do."""
    now = datetime.now(timezone.utc).isoformat()
    print(json.dumps({"timestamp": now, "level": level, "message": message, **fields}), flush=True)


def progress(label, total):
    """Draw a progress bar that rewrites its own line."""
    for done in range(total + 1):
        bar = "█" * (done * 20 // total)
        print(f"\r{label} {bar:<20} {done * 100 // total:3d}%", end="", flush=True)
        time.sleep(PACE / 2)
    print(flush=True)


def main():
    rounds = int(os.environ.get("AGENT_ROUNDS", "5"))
    for number in range(1, rounds + 1):
        step = f"round-{number}"
        emit("step.started", {"name": f"Round {number} of {rounds}"}, step=step)
        log("info", "planning", round=number)
        progress(f"fetch {number}", 40)
        emit("tool.called", {"call": f"c{number}", "tool": "search"}, step=step)
        time.sleep(PACE * 4)
        if number == 2:
            print("\x1b[33mwarning: the first source was slow\x1b[0m", file=sys.stderr, flush=True)
            log("warning", "slow source", elapsed_ms=812)
        emit("tool.completed", {"call": f"c{number}", "result": {"hits": number * 7}}, step=step)
        print("🔸 ", end="", flush=True)
        for word in ANSWER.split(" "):
            print(word, end=" ", flush=True)
            time.sleep(PACE)
        print("\n", flush=True)
        emit("step.completed", {"name": f"Round {number} of {rounds}"}, step=step)
    print("\x1b[32mdone\x1b[0m", flush=True)


if __name__ == "__main__":
    main()
