/**
 * A reader's place: the last event it has seen, and the epoch in which it saw it.
 *
 * Written `42`, or `2.42` once the epoch is not the first. The SSE `id`, `?after=`, `next` in a page
 * and `cursor` in a run are all this.
 */

export interface Cursor {
  readonly epoch: number;
  /** The offset of the event last seen; 0 for none. */
  readonly offset: number;
}

/** Before everything; true in every epoch. */
export const START: Cursor = { epoch: 1, offset: 0 };

/** Reads a cursor, or undefined if the text is none. */
export function parseCursor(text: string): Cursor | undefined {
  const parts = /^(?:(\d{1,10})\.)?(\d{1,16})$/.exec(text);
  if (!parts) return undefined;
  const epoch = parts[1] === undefined ? 1 : Number(parts[1]);
  const offset = Number(parts[2]);
  if (epoch < 1 || !Number.isSafeInteger(offset)) return undefined;
  return { epoch, offset };
}

/** Writes a cursor as the server does. */
export function formatCursor(cursor: Cursor): string {
  return cursor.epoch === 1 ? `${cursor.offset}` : `${cursor.epoch}.${cursor.offset}`;
}
