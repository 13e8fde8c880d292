/**
 * Where each block of a log begins, in lines: blocks are pages of events, most of them not loaded.
 *
 * Finding a block is a binary search; a change costs one pass over the blocks behind it, made when
 * somebody asks next.
 */

export interface Place {
  readonly block: number;
  /** Lines into the block; may have a fraction. */
  readonly line: number;
}

export class LineIndex {
  #lines: number[] = [];
  #starts: Float64Array = new Float64Array(1);
  /** The starts of the blocks up to this one are true. */
  #valid = 0;

  get count(): number {
    return this.#lines.length;
  }

  get total(): number {
    return this.startOf(this.#lines.length);
  }

  lines(block: number): number {
    return this.#lines[block] ?? 0;
  }

  set(block: number, lines: number): void {
    if (this.#lines[block] === lines) return;
    while (this.#lines.length < block) this.#lines.push(0);
    this.#lines[block] = lines;
    this.#valid = Math.min(this.#valid, block);
  }

  /** Keeps the first `count` blocks. */
  truncate(count: number): void {
    this.#lines.length = Math.min(this.#lines.length, count);
    this.#valid = Math.min(this.#valid, count);
  }

  startOf(block: number): number {
    this.#extend(block);
    return this.#starts[block] ?? 0;
  }

  /** The block at a line of the whole; the last one for what is behind it. */
  find(line: number): Place {
    this.#extend(this.#lines.length);
    let [low, high] = [0, Math.max(0, this.#lines.length - 1)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= line) low = middle;
      else high = middle - 1;
    }
    return { block: low, line: Math.max(0, line - (this.#starts[low] ?? 0)) };
  }

  #extend(block: number): void {
    if (this.#starts.length <= this.#lines.length) {
      const grown = new Float64Array(Math.max(64, this.#lines.length * 2));
      grown.set(this.#starts);
      this.#starts = grown;
    }
    for (let at = this.#valid; at < block; at += 1) {
      this.#starts[at + 1] = (this.#starts[at] ?? 0) + (this.#lines[at] ?? 0);
    }
    this.#valid = Math.max(this.#valid, block);
  }
}
