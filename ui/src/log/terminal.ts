/**
 * Reads what a process prints, as a terminal one line high does.
 *
 * Owns the state between two fragments of one stream: the colours, the column, half an escape
 * sequence. Colours, `\r`, backspace, tab and "erase line" do what they do; all other escape
 * sequences are swallowed, all other control characters are shown as pictures. What comes out is
 * text without a control character: it cannot break out of its row.
 */

import { applySgr, PLAIN, type Style } from "./ansi.ts";
import { cut, overwrite, type StyledText } from "./spans.ts";

/** A longer line goes on in the next row. */
export const LINE_CHARS_MAX = 8 * 1024;
/** A longer escape sequence is none: what begins like one is dropped. */
const ESCAPE_CHARS_MAX = 4 * 1024;
const TAB_COLUMNS = 8;

const TOKEN =
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
const HALF_ESCAPE = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)$/;

/** Opens a line, and hears when one has changed. */
export interface LineSink<Line extends StyledText> {
  open(): Line;
  changed(line: Line): void;
}

export class Terminal<Line extends StyledText> {
  #style: Style = PLAIN;
  #column = 0;
  #half = "";
  #line: Line | undefined;

  /** The line that the next text goes to, if it is not a new one. */
  get line(): Line | undefined {
    return this.#line;
  }

  /** The next text goes to a new line; colours stay. */
  breakLine(): void {
    this.#line = undefined;
    this.#column = 0;
  }

  /** Prints a fragment. */
  print(fragment: string, sink: LineSink<Line>): void {
    let text = this.#half + fragment;
    this.#half = "";
    const half = text.includes("\x1b") ? HALF_ESCAPE.exec(text) : null;
    if (half) {
      text = text.slice(0, half.index);
      if (half[0].length <= ESCAPE_CHARS_MAX) this.#half = half[0];
    }
    let start = 0;
    TOKEN.lastIndex = 0;
    for (let token = TOKEN.exec(text); token; token = TOKEN.exec(text)) {
      if (token.index > start) this.#write(text.slice(start, token.index), sink);
      start = token.index + token[0].length;
      this.#control(token[0], sink);
    }
    if (start < text.length) this.#write(text.slice(start), sink);
  }

  #control(token: string, sink: LineSink<Line>): void {
    if (token.length > 1) {
      if (token.startsWith("\x1b[")) this.#sequence(token, sink);
      return;
    }
    switch (token) {
      case "\n":
        if (!this.#line) sink.open();
        this.breakLine();
        return;
      case "\r":
        this.#column = 0;
        return;
      case "\b":
        this.#column = Math.max(0, this.#column - 1);
        return;
      case "\t":
        this.#write(" ".repeat(TAB_COLUMNS - (this.#column % TAB_COLUMNS)), sink);
        return;
      case "\x07":
      case "\x1b":
        return;
      default:
        this.#write(picture(token), sink);
    }
  }

  #sequence(token: string, sink: LineSink<Line>): void {
    const parameters = token.slice(2, -1);
    const kind = token.at(-1);
    if (kind === "m" && /^[\d;:]*$/.test(parameters)) {
      this.#style = applySgr(this.#style, parameters);
    } else if (kind === "K" && this.#line) {
      if (parameters === "" || parameters === "0") cut(this.#line, this.#column);
      else if (parameters === "2") cut(this.#line, 0);
      sink.changed(this.#line);
    } else if (kind === "G" && this.#line) {
      this.#column = Math.min(this.#line.text.length, Math.max(0, Number(parameters || 1) - 1));
    }
  }

  #write(text: string, sink: LineSink<Line>): void {
    let rest = text;
    while (rest !== "") {
      this.#line ??= sink.open();
      const line = this.#line;
      if (this.#column > line.text.length) {
        // The line was erased under the cursor.
        overwrite(line, line.text.length, " ".repeat(this.#column - line.text.length), PLAIN);
      }
      const room = LINE_CHARS_MAX - this.#column;
      const now = rest.slice(0, room);
      rest = rest.slice(room);
      overwrite(line, this.#column, now, this.#style);
      this.#column += now.length;
      sink.changed(line);
      if (rest !== "") this.breakLine();
    }
  }
}

/** A control character as a visible one. */
export function picture(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  // Line separators end a line in some programs, here they only say that they are there; the
  // characters that turn the direction of writing could make a row read as another.
  return code === 0x2028 || code === 0x2029 ? "\u21b5" : "\ufffd";
}

/** Text for one row: control characters, also line ends, as pictures. */
export function oneLine(text: string): string {
  return text.replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, "").replace(CONTROL, (control) => {
    return control === "\n" || control === "\r"
      ? "\u21b5"
      : control === "\t"
        ? " "
        : picture(control);
  });
}

const CONTROL = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Text that may have several lines: all control characters but `\n` as pictures. */
export function manyLines(text: string): string {
  return text.replace(CONTROL, (control) => {
    return control === "\n"
      ? control
      : control === "\t"
        ? "  "
        : control === "\r"
          ? ""
          : picture(control);
  });
}
