/**
 * What the server pushes, on its way to the page.
 *
 * Purpose: entries in order and once, acks neither late nor one by one, presence of the
 * watched users kept over reconnects.
 * Flow: `begin` at each welcome → `take` for each frame → `settled` after each batch.
 *
 * Pure: time comes in as an argument; what the page is to be told goes to `page`.
 */

import { toMessage } from './message.js';
import { readEpoch } from './relays.js';
import { Stream } from './stream.js';

/**
 * @typedef {object} Page
 * @property {(name: string, detail: any) => void} event
 * @property {(send: import('./outbox.js').Send, message: import('./message.js').Message) => void} settle
 */

export class Inbox {
  stream = new Stream();

  /** When an ack is due; Infinity: none is. */
  ackAt = Infinity;

  /** By when the stream must have reached an own entry known from its answer. */
  holeBy = Infinity;

  /** @type {string[] | null} users whose coming and going the page wants to know */
  watched = null;

  #outbox;
  #page;
  #window;
  #times;
  #user = '';
  #unacked = 0;
  #lastAck = -1;
  /** @type {Set<string>} */
  #online = new Set();

  /**
   * @param {import('./outbox.js').Outbox} outbox
   * @param {Page} page
   * @param {number} window entries that the server pushes unacked
   * @param {{ack: number, hole: number}} times milliseconds
   */
  constructor(outbox, page, window, times) {
    this.#outbox = outbox;
    this.#page = page;
    this.#window = window;
    this.#times = times;
  }

  /** Another user is there. */
  forget() {
    this.stream.forget();
    this.watched = null;
    this.#online.clear();
  }

  /** @param {any} welcome */
  begin(welcome) {
    this.#user = welcome.user;
    this.#window = Math.min(this.#window, welcome.limits?.window ?? this.#window);
    this.#unacked = 0;
    this.#lastAck = welcome.cursor;
    this.stream.start(welcome.cursor, welcome.why === 'ahead' || welcome.why === 'forked', readEpoch(welcome.epoch));
    if (welcome.resumed === false) this.#page.event('reset', { why: welcome.why });
  }

  /** The line is gone. */
  pause() {
    this.ackAt = Infinity;
    this.holeBy = Infinity;
  }

  /**
   * @param {number} now
   * @param {any} frame an entry, or a frame outside the stream
   * @returns {boolean} false: there is a gap in front of it
   */
  take(now, frame) {
    if (!Number.isSafeInteger(frame.pos)) {
      this.#deliver(frame);
      return true;
    }
    const verdict = this.stream.accept(frame.pos, frame.prev);
    if (verdict === 'gap') return false;
    this.#unacked += 1;
    this.holeBy = this.stream.holed ? now + this.#times.hole : Infinity;
    if (verdict === 'next') this.#deliver(frame);
    return true;
  }

  /**
   * All that was missed has been pushed.
   *
   * @param {number} now
   * @param {any} frame
   */
  live(now, frame) {
    if (!Number.isSafeInteger(frame.pos)) return;
    this.stream.reach(frame.pos);
    this.holeBy = this.stream.holed ? now + this.#times.hole : Infinity;
  }

  /**
   * An answer that names the place of an own entry.
   *
   * @param {number} now
   * @param {any} ok
   */
  own(now, ok) {
    // What the server had already has had its place since, maybe in another order: the stream tells it.
    if (ok.dup === true || !Number.isSafeInteger(ok.pos) || !Number.isSafeInteger(ok.prev)) return;
    this.stream.own(ok.pos, ok.prev);
    if (!this.stream.holed) this.holeBy = Infinity;
    else if (this.holeBy === Infinity) this.holeBy = now + this.#times.hole;
  }

  /**
   * All frames that came together are handled.
   *
   * @param {number} now
   * @returns {boolean} true: ack at once
   */
  settled(now) {
    if (this.stream.last === this.#lastAck) return false;
    if (this.#unacked >= this.#window / 2) return true;
    this.ackAt = Math.min(this.ackAt, now + this.#times.ack);
    return false;
  }

  /** The `ack` frame to say now, or null when all is acked. */
  ack() {
    this.ackAt = Infinity;
    this.#unacked = 0;
    if (this.stream.last === null || this.stream.last === this.#lastAck) return null;
    this.#lastAck = this.stream.last;
    return { t: 'ack', pos: this.stream.last };
  }

  /**
   * The server's list of who is online among `users`.
   *
   * @param {string[]} online
   * @param {boolean} tell as events what has changed
   */
  present(online, tell) {
    if (!tell) {
      this.#online = new Set(online);
      return;
    }
    const now = new Set(online);
    for (const user of this.watched ?? []) this.#presence(user, now.has(user));
  }

  /** @param {any} frame */
  #deliver(frame) {
    const { t, pos, prev, ...detail } = frame;
    if (t === 'msg') this.#message(frame);
    else if (t === 'presence') this.#presence(frame.user, frame.online === true);
    else if (t === 'read' || t === 'receipt' || t === 'recall') this.#page.event(t, detail);
    // Types that this version does not know are acked and skipped.
  }

  /** @param {any} frame */
  #message(frame) {
    const message = toMessage(frame.m, this.#user, frame.pos);
    if (message.status) {
      this.#page.event('message', message);
      return;
    }
    const own = message.mine && message.cid ? this.#outbox.arrived(message.cid) : null;
    const first = this.stream.seen.first(message.id);
    if (own?.send) this.#page.settle(own.send, message);
    else if (first) this.#page.event(own ? 'sent' : 'message', message);
  }

  /** @param {string} user @param {boolean} online */
  #presence(user, online) {
    if (this.#online.has(user) === online) return;
    if (online) this.#online.add(user);
    else this.#online.delete(user);
    this.#page.event('presence', { user, online });
  }
}
