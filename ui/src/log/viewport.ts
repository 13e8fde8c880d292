/**
 * The window on a log: keeps the browser's scroller, the scroll model and the drawn lines together.
 *
 * Works once a frame. Owns the scroller's position and the height of its content; what is drawn is
 * given away as a list, and drawn by the view.
 */

import { Frame } from "../view/frame.ts";
import { type Entry, linesOf } from "./entry.ts";
import type { Blocks } from "./pages.ts";
import { LINE_PX, Scroll } from "./scroll.ts";

export type Drawn =
  /** A line of an entry: the text from `from` to `to`. */
  | {
      readonly kind: "line";
      readonly key: string;
      readonly entry: Entry;
      readonly revision: number;
      readonly isFirst: boolean;
      readonly isOpen: boolean;
      readonly from: number;
      readonly to: number;
    }
  /** An opened event. */
  | { readonly kind: "open"; readonly key: string; readonly entry: Entry; readonly lines: number }
  /** Events that are not loaded yet. */
  | { readonly kind: "hole"; readonly key: string; readonly lines: number };

/** Lines drawn above and below the view, so that a scrolled frame has no empty edge. */
const OVERSCAN_LINES = 12;
/** Blocks that are loaded ahead of the view. */
const AHEAD_BLOCKS = 1;
/** The scrollbar is put right when nobody has scrolled for so long. */
const IDLE_MS = 150;
/** The scrollbar may be wrong by this share of its length before it is put right. */
const DRIFT_SHARE = 500;
/** Lines above an event that is shown by its address. */
const CONTEXT_LINES = 3;

export interface Elements {
  readonly scroller: HTMLElement;
  readonly space: HTMLElement;
  readonly layer: HTMLElement;
}

export class Viewport {
  readonly #elements: Elements;
  readonly #draw: (drawn: readonly Drawn[]) => void;
  readonly #frame = new Frame(() => this.#work());
  #blocks: Blocks;
  #scroll: Scroll;
  #columns = 80;
  #drawnColumns = 80;
  #scrolledAt = 0;
  /** Other blocks are shown, and the browser's position is still that of the ones before. */
  #isNew = false;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #reveal: number | undefined;
  #heightPx = -1;
  /** How high the view was when the browser's position was last set or looked at. */
  #placedViewPx = 0;

  constructor(elements: Elements, blocks: Blocks, draw: (drawn: readonly Drawn[]) => void) {
    this.#elements = elements;
    this.#blocks = blocks;
    this.#scroll = new Scroll(blocks.index);
    this.#draw = draw;
    elements.scroller.addEventListener("scroll", this.#onScroll, { passive: true });
    elements.scroller.addEventListener("wheel", this.#onWheel, { passive: true });
    elements.scroller.addEventListener("touchmove", this.#onTouch, { passive: true });
    elements.scroller.addEventListener("keydown", this.#onKey);
  }

  close(): void {
    const { scroller } = this.#elements;
    scroller.removeEventListener("scroll", this.#onScroll);
    scroller.removeEventListener("wheel", this.#onWheel);
    scroller.removeEventListener("touchmove", this.#onTouch);
    scroller.removeEventListener("keydown", this.#onKey);
    clearTimeout(this.#idle);
    this.#frame.close();
  }

  get isFollowing(): boolean {
    return this.#scroll.isFollowing;
  }

  /** Something has changed: look at it before the next painting. */
  request(): void {
    this.#frame.request();
  }

  /** The view has this size now. */
  resize(viewPx: number, columns: number): void {
    this.#scroll.viewPx = viewPx;
    this.#columns = columns;
    this.request();
  }

  /** Shows other blocks, from a place in them or from their end. */
  show(blocks: Blocks, scroll?: Scroll): void {
    const viewPx = this.#scroll.viewPx;
    this.#blocks = blocks;
    this.#scroll = scroll ?? new Scroll(blocks.index);
    this.#scroll.viewPx = viewPx;
    this.#heightPx = -1;
    this.#scrolledAt = 0;
    this.#isNew = true;
    this.request();
  }

  /** The place in the blocks that are shown, to come back to. */
  get scroll(): Scroll {
    return this.#scroll;
  }

  toNewest(): void {
    this.#scroll.follow();
    this.request();
  }

  /** Scrolls to an event, when its page is there. */
  reveal(offset: number): void {
    this.#reveal = offset;
    this.#scroll.goToPlace({ block: this.#blocks.blockOf(offset), line: 0 });
    this.request();
  }

  /** Opens so many lines below an entry, or closes them with 0. */
  open(entry: Entry, lines: number): void {
    this.#scroll.stay();
    this.#blocks.open(entry, lines);
    this.request();
  }

  readonly #onScroll = (): void => {
    if (this.#isNew) return;
    if (this.#isMoved()) this.#scrolledAt = performance.now();
    this.request();
  };

  /** Whether a person has scrolled. A view that grows at the bottom is moved by the browser itself. */
  #isMoved(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.#elements.scroller;
    const hasGrown = clientHeight > this.#placedViewPx;
    if (hasGrown && this.#scroll.isFollowing && scrollTop >= scrollHeight - clientHeight - 1) {
      this.#scroll.placed(scrollTop);
      return false;
    }
    return this.#scroll.moved(scrollTop);
  }

  readonly #onWheel = (event: WheelEvent): void => {
    if (event.deltaY < 0) this.#leaveBottom();
    else if (event.deltaY > 0) this.#keepBottom();
  };

  readonly #onTouch = (): void => this.#leaveBottom();

  readonly #onKey = (event: KeyboardEvent): void => {
    if (["ArrowUp", "PageUp", "Home"].includes(event.key)) this.#leaveBottom();
    if (["ArrowDown", "PageDown"].includes(event.key)) this.#keepBottom();
    if (event.key === "End") this.toNewest();
  };

  /** A person is about to scroll up: lines that come now must not pull them down again. */
  #leaveBottom(): void {
    if (this.#scroll.topPx <= 0) return;
    this.#scroll.stay();
    this.request();
  }

  /** A person wants further down than there is: the browser will not say that it has scrolled. */
  #keepBottom(): void {
    if (this.#scroll.isFollowing || !this.#scroll.isAtBottom) return;
    this.toNewest();
  }

  #work(): void {
    const scroll = this.#scroll;
    // The browser may have scrolled and not said so yet; what a person did comes first.
    if (!this.#isNew && this.#isMoved()) this.#scrolledAt = performance.now();
    this.#isNew = false;
    const { isLive } = this.#blocks;
    if (!isLive) scroll.stay();
    const top = this.#drawnColumns === this.#columns ? undefined : this.#topEntry();
    this.#blocks.setColumns(this.#columns);
    this.#blocks.refresh();
    this.#drawnColumns = this.#columns;
    if (top && !scroll.isFollowing) this.#revealEntry(top, 0);
    const fits = scroll.totalPx <= scroll.viewPx;
    if (isLive && fits && this.#reveal === undefined) scroll.follow();
    this.#want();
    this.#revealNow();
    this.#place();
    this.#draw(this.#lines());
  }

  #revealNow(): void {
    const offset = this.#reveal;
    if (offset === undefined) return;
    const block = this.#blocks.block(this.#blocks.blockOf(offset));
    const found = block?.entries.find((entry) => entry.last >= offset);
    if (!found) return;
    this.#reveal = undefined;
    this.#revealEntry(found, CONTEXT_LINES);
  }

  /** The entry at the top of the view, to find it again when the width has changed. */
  #topEntry(): Entry | undefined {
    const { block: at, line } = this.#scroll.anchor;
    const block = this.#blocks.block(at);
    return block?.entries[entryAt(block.starts, Math.floor(line))];
  }

  #revealEntry(entry: Entry, linesAbove: number): void {
    const at = this.#blocks.blockOf(entry.offset);
    const block = this.#blocks.block(at);
    const found = block?.entries.indexOf(entry) ?? -1;
    if (!block || found === -1) return;
    const line = this.#blocks.index.startOf(at) + (block.starts[found] ?? 0);
    this.#scroll.goTo((line - linesAbove) * LINE_PX);
  }

  /** Brings the browser's scroll range and position in line with the model. */
  #place(): void {
    const { scroller, space } = this.#elements;
    const scroll = this.#scroll;
    const height = Math.max(1, Math.round(scroll.rangePx));
    if (height !== this.#heightPx) {
      space.style.height = `${height}px`;
      this.#heightPx = height;
    }
    const now = scroller.scrollTop;
    const wanted = scroll.wantedPx;
    const room = height - scroll.viewPx;
    const isIdle = performance.now() - this.#scrolledAt >= IDLE_MS;
    const isNearEdge = now < 2 * scroll.viewPx || now > room - 2 * scroll.viewPx;
    const isExact = isNearEdge || scroll.isFollowing;
    // Setting the position ends a movement that the browser has begun: only where it is seen.
    const allowed = isExact ? 0.5 : isIdle ? Math.max(scroll.viewPx, room / DRIFT_SHARE) : room;
    if (Math.abs(now - wanted) > allowed) scroller.scrollTop = wanted;
    if (!isIdle) {
      clearTimeout(this.#idle);
      this.#idle = setTimeout(() => this.request(), IDLE_MS);
    }
    scroll.placed(scroller.scrollTop);
    this.#placedViewPx = scroller.clientHeight;
  }

  #want(): void {
    const { index } = this.#blocks;
    const top = this.#scroll.topPx / LINE_PX;
    const from = index.find(top).block;
    const to = index.find(top + this.#scroll.viewPx / LINE_PX).block;
    this.#blocks.want(
      Math.max(0, from - AHEAD_BLOCKS),
      Math.min(index.count - 1, to + AHEAD_BLOCKS),
    );
  }

  /** The lines in view, and where the first of them is. */
  #lines(): Drawn[] {
    const { index } = this.#blocks;
    const topPx = this.#scroll.topPx;
    const firstLine = Math.max(0, Math.floor(topPx / LINE_PX) - OVERSCAN_LINES);
    const lastLine = Math.ceil((topPx + this.#scroll.viewPx) / LINE_PX) + OVERSCAN_LINES;
    const drawn: Drawn[] = [];
    let drawnFrom = firstLine;
    for (let at = index.find(firstLine).block; at < index.count; at += 1) {
      const start = index.startOf(at);
      if (start >= lastLine) break;
      const part = this.#linesOfBlock(at, firstLine - start, lastLine - start);
      if (drawn.length === 0 && part.lines.length > 0) drawnFrom = start + part.from;
      drawn.push(...part.lines);
    }
    const { layer, scroller } = this.#elements;
    const shift = scroller.scrollTop + drawnFrom * LINE_PX - topPx;
    layer.style.transform = `translateY(${Math.round(shift)}px)`;
    return drawn;
  }

  /** What is to be drawn of a block from one of its lines to another, and where that begins. */
  #linesOfBlock(at: number, from: number, to: number): { from: number; lines: Drawn[] } {
    const block = this.#blocks.block(at);
    const lines: Drawn[] = [];
    const loaded = block?.starts.at(-1) ?? 0;
    let begin: number | undefined;
    for (let n = entryAt(block?.starts ?? [], from); block && n < block.entries.length; n += 1) {
      const start = block.starts[n] ?? 0;
      const entry = block.entries[n];
      if (start >= to || !entry) break;
      const end = block.starts[n + 1] ?? start;
      const first = this.#linesOfEntry(entry, from - start, to - start, end - start, lines);
      if (first !== undefined) begin ??= start + first;
    }
    const holeFrom = Math.max(from, loaded);
    const holeTo = Math.min(to, this.#blocks.index.lines(at));
    if (holeTo > holeFrom) {
      begin ??= holeFrom;
      lines.push({ kind: "hole", key: `hole${at}`, lines: Math.ceil(holeTo - holeFrom) });
    }
    return { from: begin ?? 0, lines };
  }

  /** Adds an entry's lines in the range; `height` is with what is open below it. */
  #linesOfEntry(
    entry: Entry,
    from: number,
    to: number,
    height: number,
    out: Drawn[],
  ): number | undefined {
    const starts = linesOf(entry, this.#columns);
    const count = starts.length - 1;
    let begin: number | undefined;
    for (let line = Math.max(0, from); line < Math.min(count, to); line += 1) {
      begin ??= line;
      out.push({
        kind: "line",
        key: `${entry.key}.${line}`,
        entry,
        revision: entry.revision,
        isFirst: line === 0,
        isOpen: height > count,
        from: starts[line] ?? 0,
        to: starts[line + 1] ?? 0,
      });
    }
    if (height > count && height > from && count < to) {
      begin ??= count;
      out.push({ kind: "open", key: `open${entry.key}`, entry, lines: height - count });
    }
    return begin;
  }
}

/** The entry that a line belongs to. */
function entryAt(starts: readonly number[], line: number): number {
  let [low, high] = [0, Math.max(0, starts.length - 2)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= line) low = middle;
    else high = middle - 1;
  }
  return low;
}
