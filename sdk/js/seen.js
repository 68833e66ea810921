/**
 * Which messages the page has been given.
 *
 * Purpose: positions tell what is new as long as the mailbox keeps its order; after a merge
 * of two owners (and after `forked`) a message may come at a second place, and only its id
 * tells. Ids have to be known for as long as the cursor is, which outlives the page.
 * So they are kept short and in slots: an id is hashed to a mark of 53 bits (among 4,096
 * marks a new id is taken for an old one once in 10¹² messages), and only the slot that
 * changed is written, a few kilobytes, not the whole.
 *
 * Pure: no clock, no I/O.
 */

/** Messages remembered at least. */
export const REMEMBERED_IDS = 4096;

const SLOT = 512;

/** One more than needed: while it fills, all the others are full. */
export const SLOTS = REMEMBERED_IDS / SLOT + 1;

/** Characters of a mark: 53 bits in base 36. */
const WIDTH = 11;

export class Seen {
  #marks = new Set();
  /** @type {{turn: number, marks: string[]}[]} `turn` counts slots begun and is the place too; the newest is being filled */
  #slots = [];
  #turn = 0;
  /** @type {Set<number>} slots to be written */
  #dirty = new Set();

  constructor() {
    this.clear();
  }

  clear() {
    this.#marks.clear();
    this.#slots = Array.from({ length: SLOTS }, () => ({ turn: 0, marks: [] }));
    this.#turn = 0;
    this.#dirty.clear();
  }

  /**
   * @param {string} id message id
   * @returns {boolean} false when the page has been given this message
   */
  first(id) {
    const mark = markOf(id);
    if (this.#marks.has(mark)) return false;
    this.#add(mark);
    return true;
  }

  /**
   * What an earlier page load of this device remembered, or this one under another device name.
   *
   * @param {any[]} texts of `changes`, in any order; what is garbled is left out
   */
  restore(texts) {
    const newer = [...this.#slots].sort((a, b) => a.turn - b.turn).flatMap(({ marks }) => marks);
    this.clear();
    for (const slot of Array.from(texts, fromText)) {
      const index = slot.turn % SLOTS;
      if (slot.turn > this.#slots[index].turn) this.#slots[index] = slot;
    }
    this.#turn = Math.max(...this.#slots.map(({ turn }) => turn));
    this.#slots.forEach((slot) => {
      if (slot.turn + SLOTS <= this.#turn) slot.marks = []; // left from long ago
      for (const mark of slot.marks) this.#marks.add(mark);
    });
    for (const mark of newer) if (!this.#marks.has(mark)) this.#add(mark);
  }

  /** Slots that have changed since the last call. @returns {[number, string][]} number below `SLOTS`, text */
  changes() {
    const changed = [...this.#dirty].map((index) => /** @type {[number, string]} */ ([index, toText(this.#slots[index])]));
    this.#dirty.clear();
    return changed;
  }

  /** @param {string} mark */
  #add(mark) {
    let index = this.#turn % SLOTS;
    if (this.#turn === 0 || this.#slots[index].marks.length >= SLOT) {
      this.#turn += 1;
      index = this.#turn % SLOTS;
      for (const old of this.#slots[index].marks) this.#marks.delete(old);
      this.#slots[index] = { turn: this.#turn, marks: [] };
    }
    this.#slots[index].marks.push(mark);
    this.#marks.add(mark);
    this.#dirty.add(index);
  }
}

/** @param {{turn: number, marks: string[]}} slot */
function toText({ turn, marks }) {
  return `${turn}:${marks.join('')}`;
}

/** @param {any} text */
function fromText(text) {
  const [, turn, all] = /^(\d{1,15}):([0-9a-z]*)$/.exec(typeof text === 'string' ? text : '') ?? ['', '0', ''];
  const marks = [];
  for (let at = 0; at + WIDTH <= all.length && marks.length < SLOT; at += WIDTH) marks.push(all.slice(at, at + WIDTH));
  return { turn: Number(turn), marks };
}

/**
 * A mark of an id: cyrb53 (two multiplicative hashes of 32 bits, mixed as in MurmurHash3,
 * 53 bits of them kept).
 *
 * @param {string} id
 */
export function markOf(id) {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let i = 0; i < id.length; i += 1) {
    const unit = id.charCodeAt(i);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36).padStart(WIDTH, '0');
}
