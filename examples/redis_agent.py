"""A run published by nothing but a Redis client: docs/redis.md, "Straight into Redis".

pip install redis
python redis_agent.py redis://127.0.0.1:6379 run_example
"""

import json
import sys
import time

import redis

INBOX = "rc:{inbox}:events"


class Run:
    """Publishes events of one run, each stored once however often a call is repeated."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self.client = client
        self.run = run
        self.producer = "redis_agent"
        self.epoch = time.time_ns() // 1000  # Later than that of any process before.
        self.sequence = 0

    def publish(self, *events: dict) -> bytes:
        """Returns the place in the inbox; from then on Redis keeps the events."""
        lines = [json.dumps(event) for event in events]
        while True:
            try:
                stamp = (self.producer, self.epoch, self.sequence)
                place = self.client.fcall("runcast_publish", 1, INBOX, self.run, *stamp, *lines)
                break
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.2)  # Whether it was done or not: the same numbers again.
        self.sequence += len(events)
        return place


def main() -> None:
    url, name = sys.argv[1:3]
    run = Run(redis.from_url(url), name)
    run.publish({"type": "run.started", "data": {"workflow": "example", "name": "From Redis"}})
    for step in ["fetch", "think", "answer"]:
        run.publish({"type": "step.started", "step": step})
        for word in f"doing {step} ".split(" "):
            run.publish({"type": "output", "step": step, "data": {"text": word + " "}})
        run.publish({"type": "step.completed", "step": step})
    place = run.publish({"type": "run.completed", "data": {"output": "done"}})
    print(f"{name} is published up to {place.decode()}")


if __name__ == "__main__":
    main()
