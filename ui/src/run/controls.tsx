/** The buttons that ask a run to pause, resume, stop or set, and how far it is with what it was asked. */

import { type Command, type CommandDraft, ProblemError, type RunState } from "@runcast/core";
import { useEffect, useRef, useState } from "preact/hooks";
import { freshKey } from "../view/person.ts";
import { moment } from "../view/time.ts";
import { brief } from "../work/steps.ts";
import {
  CONTROLS,
  type Control,
  type ControlName,
  controlOf,
  type Point,
  shownCommands,
  wayOf,
} from "./control.ts";
import { SetForm } from "./set-form.tsx";

type Ask = (command: CommandDraft) => Promise<void>;
type Asked = ControlName | "set";

const LABELS: Readonly<Record<Asked, string>> = {
  pause: "Pause",
  resume: "Resume",
  stop: "Stop",
  set: "Set",
};
const ASKED: Readonly<Record<ControlName, string>> = {
  pause: "Pausing…",
  resume: "Resuming…",
  stop: "Stopping…",
};

export function Controls({ run, ask }: { run: RunState; ask: Ask }) {
  const [opened, setOpened] = useState<"confirm" | "set">();
  const { sending, said, setSaid, send } = useAsking(ask);
  const isStopping = controlOf(run, "stop").kind !== "ready";
  const isOpen = !isStopping && !run.is_terminal ? opened : undefined;
  const host = useRef<HTMLDivElement>(null);
  useFocusBack(host, isOpen && (isOpen === "set" ? ".control-set" : ".control-stop"));
  if (run.is_terminal && said === "") return null;

  const close = () => setOpened(undefined);
  const press = (name: ControlName) => {
    const control = controlOf(run, name);
    if (sending !== undefined) return;
    if (control.kind === "impossible") setSaid(`${LABELS[name]}: ${control.why}`);
    else if (control.kind === "under_way") setSaid(`${LABELS[name]}: it was asked already`);
    else if (name === "stop") setOpened("confirm");
    else void send({ name });
  };
  const stop = () => {
    close();
    void send({ name: "stop" });
  };
  const set = async (args: Readonly<Record<string, unknown>>) => {
    if (await send({ name: "set", args })) close();
  };
  return (
    <div class="controls" ref={host}>
      {isOpen === "confirm" && <ConfirmStop onStop={stop} onKeep={close} />}
      {!run.is_terminal && isOpen !== "confirm" && (
        <>
          {CONTROLS.map((name) => (
            <ControlButton
              key={name}
              name={name}
              control={controlOf(run, name)}
              isSending={sending === name}
              press={() => press(name)}
            />
          ))}
          <button
            type="button"
            class="button control-set"
            aria-expanded={isOpen === "set"}
            aria-disabled={isStopping}
            title={isStopping ? "Not possible: the run is being stopped" : undefined}
            onClick={() => setOpened(isOpen === "set" || isStopping ? undefined : "set")}
          >
            Set…
          </button>
        </>
      )}
      {isOpen === "set" && (
        <SetForm isSending={sending === "set"} submit={(args) => void set(args)} cancel={close} />
      )}
      {said !== "" && (
        <span class="controls-said tone-bad" role="alert">
          {said}{" "}
          <button type="button" class="link" onClick={() => setSaid("")}>
            OK
          </button>
        </span>
      )}
    </div>
  );
}

/** Sends commands one after another, and keeps what was wrong with the last. */
function useAsking(ask: Ask) {
  const [sending, setSending] = useState<Asked>();
  const [said, setSaid] = useState("");
  // A retry after a lost answer, or one that could not say whether it is stored, is the same command.
  const keys = useRef(new Map<string, string>());
  const send = async (command: { readonly name: Asked; readonly args?: unknown }) => {
    setSending(command.name);
    setSaid("");
    const what = JSON.stringify(command);
    const key = keys.current.get(what) ?? freshKey();
    keys.current.set(what, key);
    let isAsked = true;
    try {
      await ask({ ...command, key });
    } catch (error) {
      isAsked = false;
      setSaid(`${LABELS[command.name]}: ${error instanceof Error ? error.message : String(error)}`);
      if (!(error instanceof ProblemError) || error.isTransient) return isAsked;
    } finally {
      setSending(undefined);
    }
    keys.current.delete(what);
    return isAsked;
  };
  return { sending, said, setSaid, send };
}

/** When what a button has opened is closed, the keyboard is at the button again, not at the top. */
function useFocusBack(host: { current: HTMLElement | null }, opener: string | undefined): void {
  const last = useRef(opener);
  useEffect(() => {
    const closed = opener === undefined ? last.current : undefined;
    last.current = opener;
    if (closed === undefined || document.activeElement !== document.body) return;
    host.current?.querySelector<HTMLElement>(closed)?.focus();
  }, [opener]);
}

interface ControlButtonProps {
  readonly name: ControlName;
  readonly control: Control;
  readonly isSending: boolean;
  readonly press: () => void;
}

function ControlButton({ name, control, isSending, press }: ControlButtonProps) {
  const isUnderWay = isSending || control.kind === "under_way";
  const isPossible = control.kind === "ready" && !isUnderWay;
  const why = control.kind === "impossible" ? control.why : undefined;
  return (
    <button
      type="button"
      class={`button control-${name}`}
      // Not `disabled`: a reason that cannot be reached by the keyboard helps nobody.
      aria-disabled={!isPossible}
      title={why ? `Not possible: ${why}` : undefined}
      onClick={press}
    >
      {isUnderWay ? ASKED[name] : LABELS[name]}
    </button>
  );
}

function ConfirmStop({ onStop, onKeep }: { onStop: () => void; onKeep: () => void }) {
  const keep = useRef<HTMLButtonElement>(null);
  useEffect(() => keep.current?.focus(), []);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset's legend has no place in a row
    <span
      class="confirm"
      role="group"
      aria-label="Stop this run?"
      onKeyDown={(event) => {
        if (event.key === "Escape") onKeep();
      }}
    >
      <span>Stop this run for good?</span>
      <button type="button" class="button is-grave" onClick={onStop}>
        Stop it
      </button>
      <button type="button" class="button" ref={keep} onClick={onKeep}>
        Let it run
      </button>
    </span>
  );
}

/** What the run was asked, by whom, and how far that is. */
export function Commands({ commands, now }: { commands: readonly Command[]; now: number }) {
  const shown = shownCommands(commands);
  if (shown.length === 0) return null;
  return (
    <ul class="commands" aria-label="Commands">
      {shown.map((command) => (
        <li key={command.command} class="asked" data-command={command.name}>
          <bdi class="asked-name">{command.name}</bdi>
          {command.args !== undefined && (
            <bdi class="asked-args">{brief(JSON.stringify(command.args))}</bdi>
          )}
          <ol class="way">
            {wayOf(command).map((point) => (
              <WayPoint key={point.name} point={point} now={now} />
            ))}
          </ol>
          {command.by && (
            <span class="asked-more">
              by <bdi>{command.by}</bdi>
            </span>
          )}
          {command.reason && <bdi class="asked-more">{command.reason}</bdi>}
        </li>
      ))}
    </ul>
  );
}

function WayPoint({ point, now }: { point: Point; now: number }) {
  return (
    <li class={`way-point is-${point.state}`} data-point={point.name}>
      {point.name}
      {point.at && <time dateTime={point.at}> {moment(point.at, now)}</time>}
    </li>
  );
}
