/**
 * Breaks text into lines of a number of columns, so that the height of a row is known without
 * asking the browser.
 *
 * Breaks at spaces where there is one in the second half of the line. Wide characters (CJK, emoji)
 * count two columns, combining ones none.
 */

/** Where each line begins, and where the last one ends: one more number than lines. */
export type Lines = readonly number[];

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

export function wrap(text: string, columns: number): Lines {
  if (text.length <= columns && PRINTABLE_ASCII.test(text)) return [0, text.length];
  const starts = [0];
  let width = 0;
  let lineStart = 0;
  let space = -1;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at) ?? 0;
    const size = code > 0xffff ? 2 : 1;
    if (code === 10) {
      at += 1;
      starts.push(at);
      [lineStart, width, space] = [at, 0, -1];
      continue;
    }
    const cells = cellsOf(code);
    if (width + cells > columns && at > lineStart) {
      const isSpaceUseful = space > lineStart + columns / 2;
      lineStart = code !== 32 && isSpaceUseful ? space : at;
      if (code === 32) {
        // A space that does not fit hangs over the end of the line.
        lineStart = at + 1;
        at += 1;
      }
      starts.push(lineStart);
      width = widthOf(text, lineStart, at);
      space = -1;
      continue;
    }
    width += cells;
    at += size;
    if (code === 32) space = at;
  }
  starts.push(text.length);
  return starts;
}

function widthOf(text: string, from: number, to: number): number {
  let width = 0;
  for (const character of text.slice(from, to)) width += cellsOf(character.codePointAt(0) ?? 0);
  return width;
}

function cellsOf(code: number): number {
  if (code < 0x300) return 1;
  if (code < 0x370 || code === 0x200b || code === 0x200d || (code >= 0xfe00 && code <= 0xfe0f)) {
    return 0;
  }
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return isWide ? 2 : 1;
}
