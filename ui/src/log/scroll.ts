/**
 * Which lines a person sees, and what the browser's scrollbar has to say about it.
 *
 * The truth is an anchor: the line at the top of the view. Small movements of the browser's scroll
 * position move the anchor by as many pixels, so that nothing jumps when heights above turn out
 * other than estimated and when the range is scaled because browsers bound an element's height.
 * Large ones (a dragged scrollbar) go to that share of the whole.
 */

import type { LineIndex, Place } from "./line-index.ts";

/** The height of a line. The style sheet has the same. */
export const LINE_PX = 20;
/** Browsers clip elements between 17 and 33 million pixels. */
export const RANGE_PX_MAX = 15_000_000;
/** A movement of more views than this at once is a jump. */
const JUMP_VIEWS = 4;
/** Less than this away from the bottom is at the bottom. */
const BOTTOM_PX = 4;

export class Scroll {
  readonly index: LineIndex;
  #anchor: Place = { block: 0, line: 0 };
  #viewPx = 0;
  /** The scroll position of the browser that the anchor belongs to. */
  #browserPx = 0;
  /** Whether the view stays at the bottom when lines are added. */
  isFollowing = true;

  constructor(index: LineIndex) {
    this.index = index;
  }

  get viewPx(): number {
    return this.#viewPx;
  }

  set viewPx(px: number) {
    this.#viewPx = px;
  }

  get anchor(): Place {
    return this.#anchor;
  }

  /** Pixels of the whole log. */
  get totalPx(): number {
    return this.index.total * LINE_PX;
  }

  /** How high the element in the browser has to be. */
  get rangePx(): number {
    return Math.min(RANGE_PX_MAX, this.totalPx);
  }

  /** Pixels of the log above the view. */
  get topPx(): number {
    if (this.isFollowing) return this.#bottomPx;
    const top = (this.index.startOf(this.#anchor.block) + this.#anchor.line) * LINE_PX;
    return Math.min(top, this.#bottomPx);
  }

  /** What the browser's scroll position should be. */
  get wantedPx(): number {
    const room = Math.max(0, this.rangePx - this.#viewPx);
    return this.#bottomPx === 0 ? 0 : Math.min(room, (this.topPx / this.#bottomPx) * room);
  }

  get isAtBottom(): boolean {
    return this.topPx >= this.#bottomPx - BOTTOM_PX;
  }

  /** The browser has scrolled, by a person's hand; false if it is where it was placed. */
  moved(browserPx: number): boolean {
    const delta = browserPx - this.#browserPx;
    if (delta === 0) return false;
    const room = Math.max(0, this.rangePx - this.#viewPx);
    this.#browserPx = browserPx;
    let top: number;
    if (Math.abs(delta) > JUMP_VIEWS * this.#viewPx) {
      top = room === 0 ? 0 : (browserPx / room) * this.#bottomPx;
    } else {
      top = this.topPx + delta;
    }
    if (browserPx <= 0) top = 0;
    if (browserPx >= room - 1) top = this.#bottomPx;
    this.goTo(top);
    if (delta > 0 && this.isAtBottom) this.isFollowing = true;
    return true;
  }

  /** The browser's scroll position was set by us. */
  placed(browserPx: number): void {
    this.#browserPx = browserPx;
  }

  /** Puts a pixel of the whole log at the top of the view, and stays there. */
  goTo(topPx: number): void {
    const top = Math.max(0, Math.min(topPx, this.#bottomPx));
    this.isFollowing = false;
    this.#anchor = this.index.find(top / LINE_PX);
  }

  /** Puts a line of a block at the top of the view, even before its height is known. */
  goToPlace(place: Place): void {
    this.isFollowing = false;
    this.#anchor = place;
  }

  /** Stays where it is while lines are added. */
  stay(): void {
    if (this.isFollowing) this.goTo(this.topPx);
  }

  follow(): void {
    this.isFollowing = true;
  }

  get #bottomPx(): number {
    return Math.max(0, this.totalPx - this.#viewPx);
  }
}
