/**
 * Where this page stands in its mailbox.
 *
 * Purpose: decide for each pushed entry whether it is the next one, one already seen, or
 * beyond a gap; and hand each message to the page once.
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

/** Message ids remembered; a merge of two mailbox owners may place a message a second time. */
const REMEMBERED_IDS = 2048;

export class Stream {
  /** @type {number | null} */
  last = null;

  /** @type {number | null} */
  handled = null;

  /** @type {Map<number, number>} prev → pos of own entries known from answers, not reached yet */
  #ahead = new Map();

  /** @type {Set<string>} oldest first */
  #ids = new Set();

  /** Another user: nothing known holds any more. */
  forget() {
    this.last = null;
    this.handled = null;
    this.#ahead.clear();
    this.#ids.clear();
  }

  /**
   * A session begins.
   *
   * @param {number} cursor `welcome.cursor`
   * @param {boolean} foreign the mailbox is another one than ours was (`ahead`): positions known mean nothing
   */
  start(cursor, foreign) {
    if (foreign) {
      this.handled = cursor;
      this.#ahead.clear();
    }
    this.last = cursor;
    this.handled = Math.max(this.handled ?? cursor, cursor);
    this.#join();
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

  /**
   * @param {string} id message id
   * @returns {boolean} false when the page has been given this message
   */
  first(id) {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > REMEMBERED_IDS) {
      for (const oldest of this.#ids) {
        this.#ids.delete(oldest);
        break;
      }
    }
    return true;
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
