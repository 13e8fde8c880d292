"""An agent that can be talked to: it asks a question, takes parameters, and stops tidily.

Standard library only, and no Runcast library: copy what you need. Run it under the wrapper,

    runcast exec --run report -- python3 examples/talking_agent.py

and talk to it from another terminal, or from the run's page:

    runcast inputs                       # what it asks
    runcast answer report <INPUT> long   # answer it
    runcast set report pace_s=0.01       # give it a parameter, while it works
    runcast pause report                 # it holds still, wherever it is
    runcast resume report
    runcast stop report --wait           # it gets SIGTERM, and has 10 seconds

How it talks. `runcast exec` names two pipes in the environment; through both go events, one line of
JSON each, as docs/events.md has them:

    RUNCAST_EVENTS     the agent writes what it does: steps, questions, and what became of a command
    RUNCAST_COMMANDS   the agent reads what it is asked: commands, and answers to its questions

pause, resume and stop need nothing here: exec sends signals to the whole process, and says when it
has happened. Everything else arrives as a line, and the agent says itself that it is done.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import uuid

# What `runcast set` can change, and how each value is read.
PARAMETERS = {"pace_s": float, "rounds": int}
SENTENCE = "Every answer was kept, every command was done once, and nobody had to ask twice."


class Runcast:
    """Both pipes. Without `runcast exec` there are none: no events, and defaults are answers."""

    def __init__(self):
        self.commands = queue.Queue()  # commands that wait until the agent has time for them
        self._answers = {}  # one queue for each question that waits
        self._lock = threading.Lock()
        self._events = os.environ.get("RUNCAST_EVENTS")
        self._reads = "RUNCAST_COMMANDS" in os.environ
        if self._reads:
            # A thread of its own, so that the agent can work while nothing is asked.
            threading.Thread(target=self._read, daemon=True).start()

    def emit(self, event_type, data=None, **labels):
        """Publish an event: `emit("step.started", {"name": "Fetch"}, step="fetch")`."""
        if self._events is None:
            return
        event = {"type": event_type, "data": data or {}, **labels}
        # One line, in one piece, whichever thread it comes from. Opening the pipe never waits: exec
        # holds the other side for as long as the agent runs.
        with self._lock, open(self._events, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(event) + "\n")

    def ask(self, prompt, choices, default, timeout_s):
        """Ask a person and wait. The timeout is the server's: it counts on while we are away."""
        if not self._reads:
            return default
        name = f"q-{uuid.uuid4().hex[:12]}"  # an input's name is its own in the run
        answer = self._answers[name] = queue.Queue()
        question = {"input": name, "prompt": prompt, "choices": choices, "default": default}
        self.emit("input.requested", {**question, "timeout_ms": int(timeout_s * 1000)})
        return answer.get()

    def done(self, command):
        """Say that a command is carried out: only now does whoever asked see it as done."""
        self.emit("command.done", {"command": command["command"]})

    def refuse(self, command, reason):
        """Say that a command is not carried out, and why."""
        self.emit("command.refused", {"command": command["command"], "reason": reason})

    def _read(self):
        with open(os.environ["RUNCAST_COMMANDS"], encoding="utf-8") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # the rest of a long line that a process before us has begun to read
                data = event.get("data", {})
                if event["type"] == "command.requested":
                    self.commands.put(data)
                # Answered by a person, or by the default when the time was up.
                elif event["type"] in ("input.answered", "input.timed_out"):
                    waiting = self._answers.pop(data["input"], None)
                    if waiting is not None:
                        waiting.put(data.get("answer"))


class Agent:
    """Writes a report, sentence by sentence."""

    def __init__(self, runcast):
        self.runcast = runcast
        self.parameters = {"pace_s": 0.05, "rounds": 5}

    def run(self):
        """Ask, then work."""
        kind = self.runcast.ask(
            "Which report shall I write?", ["short", "long"], default="short", timeout_s=600
        )
        print(f"A {kind} report it is.", flush=True)
        if kind == "long":
            self.parameters["rounds"] *= 2
        number = 0
        # Read anew each time: a command may have changed it.
        while number < self.parameters["rounds"]:
            number += 1
            self.write(number)
        print("done", flush=True)

    def write(self, number):
        """Write one sentence."""
        step = f"sentence-{number}"
        self.runcast.emit("step.started", {"name": f"Sentence {number}"}, step=step)
        for word in SENTENCE.split(" "):
            self.obey()  # between two words nothing is half done
            print(word, end=" ", flush=True)
            time.sleep(self.parameters["pace_s"])
        print(flush=True)
        self.runcast.emit("step.completed", {}, step=step)

    def obey(self):
        """Carry out what was asked since the last time."""
        while True:
            try:
                command = self.runcast.commands.get_nowait()
            except queue.Empty:
                return
            if command["name"] == "set":
                self.set(command)
            else:
                self.runcast.refuse(command, f"this agent does not know {command['name']}")

    def set(self, command):
        """Take parameters: all of them or none."""
        try:
            wanted = {key: PARAMETERS[key](value) for key, value in command["args"].items()}
        except KeyError as error:
            known = ", ".join(PARAMETERS)
            self.runcast.refuse(command, f"there is no parameter {error}; there are {known}")
        except (TypeError, ValueError, AttributeError) as error:
            self.runcast.refuse(command, f"a value is not what it must be: {error}")
        else:
            self.parameters.update(wanted)
            self.runcast.done(command)


def stop(_signal, _frame):
    """SIGTERM: somebody asked for a stop, and the grace runs. sys.exit lets `finally` clean up."""
    print("\nstopped", flush=True)
    sys.exit(0)


def main():
    signal.signal(signal.SIGTERM, stop)
    agent = Agent(Runcast())
    try:
        agent.run()
    finally:
        # What must be tidied up in any case goes here: files, sessions, machines.
        print(f"parameters at the end: {json.dumps(agent.parameters)}", flush=True)


if __name__ == "__main__":
    main()
