/**
 * Which events of a run are damaged: gaps in its log, as far as they are known.
 *
 * What is told of one gap in pieces, in any order, is one gap again. Bounded: of too many gaps the
 * first are forgotten, and told again by whoever asks for their events.
 */

/** So many gaps are remembered. */
export const GAPS_MAX = 1_000;

export interface KnownGap {
  readonly from: number;
  readonly to: number;
}

export class Gaps {
  /** In order, and none next to another. */
  #gaps: KnownGap[] = [];

  /** Notes damaged events, and gives the whole gap that they are in. */
  add(from: number, to: number): KnownGap {
    const before = this.#gaps.filter((gap) => gap.to + 1 < from);
    const behind = this.#gaps.filter((gap) => gap.from > to + 1);
    const touched = this.#gaps.slice(before.length, this.#gaps.length - behind.length);
    const whole = {
      from: Math.min(from, touched[0]?.from ?? from),
      to: Math.max(to, touched.at(-1)?.to ?? to),
    };
    this.#gaps = [...before, whole, ...behind];
    if (this.#gaps.length > GAPS_MAX) this.#gaps.splice(before.length === 0 ? 1 : 0, 1);
    return whole;
  }

  /** The gap that an event is in. */
  at(offset: number): KnownGap | undefined {
    return this.#gaps.find((gap) => gap.from <= offset && offset <= gap.to);
  }

  /** How many of these events are not known to be damaged. */
  countOthers(from: number, to: number): number {
    let count = Math.max(0, to - from + 1);
    for (const gap of this.#gaps) {
      count -= Math.max(0, Math.min(to, gap.to) - Math.max(from, gap.from) + 1);
    }
    return count;
  }

  /** Forgets what is said of the events outside of these. */
  keep(from: number, to: number): void {
    this.#gaps = this.#gaps
      .map((gap) => ({ from: Math.max(from, gap.from), to: Math.min(to, gap.to) }))
      .filter((gap) => gap.from <= gap.to);
  }
}
