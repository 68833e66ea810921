/**
 * Where this page stands in its mailbox.
 *
 * Purpose: decide for each pushed entry whether it is the next one, one already seen, or
 * beyond a gap; and hand each message to the page once (seen.js).
 * Two marks: `last` is the end of the chain that this session has sent (entries must name
 * it as their `prev`), `handled` is the highest position the page has been given. They
 * differ only while a server repeats entries from before the cursor.
 *
 * The answer to an own `send` names a place in the chain too. It may come before the
 * entries in front of it (the server pushes the backlog at its own pace while it answers at
 * once), so such places are kept and joined to the chain when it has grown up to them.
 *
 * Pure: no clock, no I/O.
 */

import { Seen } from './seen.js';

export class Stream {
  /** @type {number | null} */
  last = null;

  /** @type {number | null} */
  handled = null;

  /** @type {string | null} the server's name for the order that `handled` belongs to */
  epoch = null;

  seen = new Seen();

  /** @type {Map<number, number>} prev → pos of own entries known from answers, not reached yet */
  #ahead = new Map();

  /** Another user: nothing known holds any more. */
  forget() {
    this.last = null;
    this.handled = null;
    this.epoch = null;
    this.#ahead.clear();
    this.seen.clear();
  }

  /**
   * What is known from an earlier page load. What this one knows is newer.
   *
   * @param {number | null} cursor
   * @param {string | null} epoch
   * @param {any[]} seen see `Seen.restore`
   */
  restore(cursor, epoch, seen) {
    if (this.handled === null) this.epoch = epoch;
    if (cursor !== null && epoch === this.epoch) this.handled = Math.max(cursor, this.handled ?? 0);
    this.seen.restore(seen);
  }

  /**
   * A session begins.
   *
   * @param {number} cursor `welcome.cursor`
   * @param {boolean} foreign the order is another one than ours was (`ahead`, `forked`): positions known mean nothing
   * @param {string | null} [epoch]
   */
  start(cursor, foreign, epoch = null) {
    // Also without a word about it: what came over another line since our hello may be of the order before.
    if (foreign || epoch !== this.epoch) this.handled = cursor;
    this.epoch = epoch;
    this.#ahead.clear(); // answers of earlier sessions are no part of this one: their entries come
    this.last = cursor;
    this.handled = Math.max(this.handled ?? cursor, cursor);
  }

  /**
   * @param {number} pos
   * @param {number} prev
   * @returns {'next' | 'seen' | 'gap'}
   */
  accept(pos, prev) {
    if (this.last !== null && pos <= this.last) return 'seen';
    if (prev !== this.last) return 'gap';
    const seen = this.handled !== null && pos <= this.handled;
    this.last = pos;
    this.#join();
    return seen ? 'seen' : 'next';
  }

  /**
   * The answer to an own request says that the entry at `pos` follows the one at `prev`.
   * The page has it already: it made it.
   *
   * @param {number} pos
   * @param {number} prev
   */
  own(pos, prev) {
    if (this.last !== null && pos <= this.last) return;
    this.#ahead.set(prev, pos);
    this.#join();
  }

  /**
   * The server says that there is nothing more up to `pos`; what it passed over is not kept any more.
   *
   * @param {number} pos
   */
  reach(pos) {
    if (this.last === null || pos <= this.last) return;
    this.last = pos;
    this.#join();
  }

  /** True while an own entry waits for the entries in front of it. */
  get holed() {
    return this.#ahead.size > 0;
  }

  #join() {
    while (this.last !== null) {
      const next = this.#ahead.get(this.last);
      if (next === undefined) break;
      this.#ahead.delete(this.last);
      this.last = next;
    }
    const last = this.last;
    if (last === null) return;
    this.handled = Math.max(this.handled ?? 0, last);
    for (const [prev, pos] of this.#ahead) if (pos <= last) this.#ahead.delete(prev); // came by another way
  }
}
