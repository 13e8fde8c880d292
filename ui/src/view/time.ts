/** Times and durations as people read them. */

/** The time of day to the millisecond, in the reader's time zone: `["09:", "41:07.123"]`. */
export function clock(time: string): readonly [hours: string, rest: string] {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return ["", "--:--.---"];
  const two = (part: number) => String(part).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return [`${two(date.getHours())}:`, `${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`];
}

/** How long something took: `812 ms`, `4.2 s`, `3 m 07 s`, `2 h 05 m`, `3 d 04 h`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return "0 ms";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  return stopwatch(Math.round(ms / 1_000) * 1_000);
}

/** A running clock: whole seconds. */
export function stopwatch(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const two = (part: number) => String(part).padStart(2, "0");
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600)];
  if (seconds < 60) return `${seconds} s`;
  if (minutes < 60) return `${minutes} m ${two(seconds % 60)} s`;
  if (hours < 24) return `${hours} h ${two(minutes % 60)} m`;
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** When something was, short enough for a table: the time of today, else the date too. */
export function moment(time: string, now: number): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "–";
  const isToday = new Date(now).toDateString() === date.toDateString();
  const day: Intl.DateTimeFormatOptions = isToday ? {} : { month: "short", day: "numeric" };
  const format = { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  return date.toLocaleString("en-GB", format as Intl.DateTimeFormatOptions);
}

/** A whole number with thin groups: `1,000,000`. */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}
