/**
 * What this page has asked and not been answered: sends and requests.
 *
 * Purpose: keep sends in order and on record until the server has them, know which answer
 * belongs to what, and say all of it again after a line was lost.
 * Flow: `add…` → `take` (frames to transmit) → `answer`; `lost` puts what was in flight
 * back, in order, under the same ids. The server drops repeated sends by id; every other
 * request may be asked twice without harm.
 *
 * Pure: time comes in as an argument.
 */

import { HongyanError } from './errors.js';
import { utf8Length } from './message.js';

/** Sends in flight at most: enough to fill a line, few enough to repeat cheaply. */
export const IN_FLIGHT = 128;

/** Bytes that an array's brackets and a frame's `r` may add to what was measured. */
const FRAME_SLACK = 64;

/** Milliseconds to wait when the server is busy and does not say how long. */
const BUSY_PAUSE = 1000;

/** Timed-out sends remembered, to tell the page should they turn out to have arrived. */
const REMEMBERED_TIMEOUTS = 256;

/**
 * @typedef {object} Send
 * @property {string} cid
 * @property {any} frame the `send` frame without `r`
 * @property {number} r 0 while not in flight
 * @property {number} deadline milliseconds; 0: none
 * @property {boolean} backlog waited for a connection: its page could not have slowed down
 *
 * @typedef {object} Request
 * @property {number} key the caller's
 * @property {any} frame without `r`
 * @property {number} r 0 while not in flight
 *
 * @typedef {{send?: Send, request?: Request, ok?: any, error?: HongyanError}} Answer
 */

export class Outbox {
  /** @type {Map<string, Send>} oldest first */
  #sends = new Map();

  /** @type {Map<number, Request>} oldest first */
  #requests = new Map();

  /** @type {Map<number, {send?: Send, key?: number}>} what is in flight under which `r` */
  #flying = new Map();

  #flyingSends = 0;
  #nextR = 1;

  /** @type {Map<string, Send>} given up, oldest first */
  #timedOut = new Map();

  /** Nothing is sent before this time (the server was busy). */
  pausedUntil = 0;

  /**
   * @param {any} frame
   * @param {number} deadline
   * @param {boolean} backlog
   */
  addSend(frame, deadline, backlog) {
    if (this.#sends.has(frame.id)) return;
    this.#timedOut.delete(frame.id);
    this.#sends.set(frame.id, { cid: frame.id, frame, r: 0, deadline, backlog });
  }

  /**
   * Sends of an earlier page load: older than anything asked since.
   *
   * @param {any[]} frames
   * @param {number} deadline
   */
  restore(frames, deadline) {
    const newer = this.#sends;
    this.#sends = new Map();
    for (const frame of frames) this.addSend(frame, deadline, true);
    for (const [cid, send] of newer) this.#sends.set(cid, send);
  }

  /**
   * @param {number} key
   * @param {any} frame
   */
  addRequest(key, frame) {
    this.#requests.set(key, { key, frame, r: 0 });
  }

  /** True while something is asked and not answered. */
  get flying() {
    return this.#flying.size > 0;
  }

  /** @param {string} cid */
  has(cid) {
    return this.#sends.has(cid);
  }

  /**
   * @param {string} type
   * @returns {boolean} true while a request of that type is not answered
   */
  asks(type) {
    for (const request of this.#requests.values()) if (request.frame.t === type) return true;
    return false;
  }

  /** Sends to keep over a page load, oldest first. Status messages are not: they are about now. */
  unsent() {
    const frames = [];
    for (const send of this.#sends.values()) if (!isStatus(send.frame)) frames.push(send.frame);
    return frames;
  }

  /**
   * What may be transmitted now.
   *
   * @param {number} now
   * @param {{content: number, frame: number}} limits bytes
   * @returns {{frames: any[], refused: Answer[]}} `refused`: too large to be sent at all
   */
  take(now, limits) {
    /** @type {any[]} */
    const frames = [];
    /** @type {Answer[]} */
    const refused = [];
    for (const request of this.#requests.values()) {
      if (request.r !== 0) continue;
      request.r = this.#fly({ key: request.key });
      frames.push({ ...request.frame, r: request.r });
    }
    if (now < this.pausedUntil) return { frames, refused };
    this.pausedUntil = 0;
    if (this.#flyingSends < Math.min(IN_FLIGHT, this.#sends.size)) {
      for (const send of this.#sends.values()) {
        if (this.#flyingSends >= IN_FLIGHT) break;
        if (send.r !== 0) continue;
        const problem = tooLarge(send.frame, limits);
        if (problem) {
          this.#sends.delete(send.cid);
          refused.push({ send, error: problem });
          continue;
        }
        send.r = this.#fly({ send });
        this.#flyingSends += 1;
        frames.push({ ...send.frame, r: send.r });
      }
    }
    return { frames, refused };
  }

  /**
   * An `ok` or `err` with an `r`.
   *
   * @param {number} now
   * @param {any} frame
   * @returns {Answer | null} null when nobody waits for it (any more), or the send goes on waiting
   */
  answer(now, frame) {
    const asked = this.#flying.get(frame.r);
    if (!asked) return null;
    this.#flying.delete(frame.r);
    if (asked.key !== undefined) {
      const request = this.#requests.get(asked.key);
      if (!request) return null;
      this.#requests.delete(asked.key);
      return frame.t === 'ok' ? { request, ok: frame } : { request, error: HongyanError.fromFrame(frame) };
    }
    const asking = /** @type {Send} */ (asked.send);
    const send = this.#sends.get(asking.cid);
    if (!send) {
      // Given up, and arrived all the same: the page should know.
      return this.#timedOut.delete(asking.cid) && frame.t === 'ok' ? { send: asking, ok: frame } : null;
    }
    if (frame.t === 'ok') {
      this.#remove(send);
      return { send, ok: frame };
    }
    const error = HongyanError.fromFrame(frame);
    // Nothing was stored, so the same id may be tried again, in its old place. A page that
    // sends too fast is told; one whose backlog went out at once could not help it.
    if (error.code === 'busy' || (error.code === 'rate_limited' && send.backlog)) {
      send.r = 0;
      this.#flyingSends -= 1;
      this.pausedUntil = Math.max(this.pausedUntil, now + (error.retryAfter ?? BUSY_PAUSE));
      return null;
    }
    this.#remove(send);
    return { send, error };
  }

  /**
   * The stream shows an own message.
   *
   * @param {string} cid
   * @returns {{send: Send | null} | null} `send`: it was waiting for an answer; null inside: it had timed out; null: not ours
   */
  arrived(cid) {
    const send = this.#sends.get(cid);
    if (send) {
      this.#remove(send); // an answer still to come finds nobody waiting
      return { send };
    }
    return this.#timedOut.delete(cid) ? { send: null } : null;
  }

  /** The line is gone: everything in flight has to be said again. Returns status sends, which are not. */
  lost() {
    this.#flying.clear();
    this.#flyingSends = 0;
    this.pausedUntil = 0;
    const dropped = [];
    for (const send of this.#sends.values()) {
      send.r = 0;
      send.backlog = true;
      if (isStatus(send.frame)) dropped.push(send);
    }
    for (const send of dropped) this.#sends.delete(send.cid);
    for (const request of this.#requests.values()) request.r = 0;
    return dropped;
  }

  /**
   * Takes out sends whose time is over.
   *
   * @param {number} now
   * @returns {Send[]}
   */
  expire(now) {
    const expired = [];
    for (const send of this.#sends.values()) if (send.deadline > 0 && send.deadline <= now) expired.push(send);
    for (const send of expired) this.#giveUp(send);
    return expired;
  }

  /** Takes out all sends. */
  takeSends() {
    const sends = [...this.#sends.values()];
    for (const send of sends) this.#giveUp(send);
    return sends;
  }

  /** Takes out all requests. */
  takeRequests() {
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    return requests;
  }

  /** Time at which something has to be done, or Infinity. */
  deadline() {
    let time = Infinity;
    for (const send of this.#sends.values()) if (send.deadline > 0) time = Math.min(time, send.deadline);
    if (this.pausedUntil > 0 && this.#sends.size > 0) time = Math.min(time, this.pausedUntil);
    return time;
  }

  /** @param {Send} send */
  #remove(send) {
    this.#sends.delete(send.cid);
    if (send.r !== 0) this.#flyingSends -= 1;
  }

  /** @param {Send} send */
  #giveUp(send) {
    this.#remove(send);
    this.#timedOut.set(send.cid, send);
    if (this.#timedOut.size > REMEMBERED_TIMEOUTS) {
      const [oldest] = this.#timedOut.keys();
      this.#timedOut.delete(oldest);
    }
  }

  /** @param {{send?: Send, key?: number}} asked */
  #fly(asked) {
    const r = this.#nextR;
    this.#nextR += 1;
    this.#flying.set(r, asked);
    return r;
  }
}

/** @param {any} frame */
export function isStatus(frame) {
  return typeof frame.status === 'boolean' ? frame.status : frame.type === 'RC:TypSts';
}

/**
 * @param {any} frame
 * @param {{content: number, frame: number}} limits
 */
function tooLarge(frame, limits) {
  const content = utf8Length(typeof frame.content === 'string' ? frame.content : JSON.stringify(frame.content));
  if (content > limits.content) {
    return new HongyanError('too_large', `content is ${content} bytes, the limit is ${limits.content}`);
  }
  const whole = utf8Length(JSON.stringify(frame)) + FRAME_SLACK;
  if (whole > limits.frame) return new HongyanError('too_large', `the frame is ${whole} bytes, the limit is ${limits.frame}`);
  return null;
}
