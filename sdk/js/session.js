/**
 * One user's session with the service, over any number of connections.
 *
 * Purpose: say hello, follow the stream, repeat what was not answered; so that every message
 * reaches the page once and in order, and every send reaches the server once.
 * Flow: `handle(now, input)` → effects for the driver (driver.js), which owns sockets,
 * timers, storage and events. `deadline()` is the only timer.
 * Parts: lines.js (which connection to which relay), inbox.js and stream.js (what comes in),
 * outbox.js (what goes out).
 * Invariants: input of a connection that was left has no effect (`conn`); the cursor effect
 * comes after the effects that hand its entries to the page, the ack after that.
 *
 * A line is up when it is welcomed; then the session is either `ready`, or waits for the
 * driver to look up what storage knows of the user whom the server has found in the token.
 *
 * Pure: time and randomness come in from outside.
 */

import { FINAL_CODES, HongyanError } from './errors.js';
import { Inbox } from './inbox.js';
import { Lines } from './lines.js';
import { sentMessage } from './message.js';
import { Outbox, isStatus } from './outbox.js';
import { readEpoch } from './relays.js';
import { TIMES } from './times.js';

/** The request key of a watch list that is said again after a reconnect. */
const WATCH_AGAIN = -1;

/**
 * @typedef {{do: string, [field: string]: any}} Effect see `#execute` in driver.js
 * @typedef {{type: string, [field: string]: any}} Input
 */

export class Session {
  /** @type {string | null} */
  user = null;

  /** Server minus local, ms. */
  clockOffset = 0;

  /** Bytes. */
  limits = { content: 131_072, frame: 262_144 };

  outbox = new Outbox();

  #options;
  #lines;
  #inbox;
  #ready = false;
  #state = ''; // as the page was told
  #now = 0;
  #token = '';
  #device = '';
  #known = false; // storage has been asked about this token's user
  #announced = false; // `connect` has been answered
  /** @type {any} */
  #welcome = null;
  /** @type {any[]} frames that came while storage was looked up */
  #held = [];

  /** @type {Effect[]} */
  #effects = [];

  /**
   * @param {{url: string, transports: string[], relay?: 'nearest' | 'home', secure?: boolean, window?: number,
   *   delivered?: boolean, sendTimeout?: number, reconnect?: boolean, sdk?: string, random?: () => number,
   *   times?: Partial<typeof TIMES>}} options
   */
  constructor(options) {
    const { relay = 'nearest', secure = false, reconnect = true, random = Math.random, window = 256 } = options;
    this.#options = { delivered: true, sendTimeout: 0, ...options, relay, secure, reconnect, random, window };
    const times = { ...TIMES, ...options.times };
    this.#lines = new Lines(this.#options, times, {
      act: (effect) => this.#do(effect),
      hello: (now, conn) => this.#hello(now, conn),
      welcomed: (now, helloAt, frame) => this.#welcomed(now, helloAt, frame),
      left: () => this.#left(),
      busy: () => this.outbox.flying,
      ended: (error) => this.#ended(error),
    });
    /** @type {import('./inbox.js').Page} */
    const page = { event: (name, detail) => this.#event(name, detail), settle: (send, message) => this.#settle(send, message) };
    this.#inbox = new Inbox(this.outbox, page, window, times);
  }

  get phase() {
    return this.#lines.phase;
  }

  /** Where the session is, or was last; null before the first welcome. */
  get relay() {
    return this.#lines.relay;
  }

  /** Which messages the page has been given. */
  get seen() {
    return this.#inbox.stream.seen;
  }

  /** @param {number} now milliseconds @param {Input} input @returns {Effect[]} to be carried out in order */
  handle(now, input) {
    this.#effects = [];
    this.#now = now;
    const { conn } = input;
    if (conn === undefined || conn === this.#lines.conn) this.#input(now, input);
    else if (this.#lines.racing(conn)) this.#race(now, /** @type {any} */ (input));
    return this.#effects;
  }

  /** Time of the next `tick`, or Infinity. */
  deadline() {
    const { ackAt, holeBy } = this.#inbox;
    return Math.min(this.#lines.deadline(), ackAt, holeBy, this.outbox.deadline());
  }

  /** @param {number} now @param {Input} input */
  #input(now, input) {
    switch (input.type) {
      case 'connect': return this.#connect(now, input);
      case 'frames': return this.#frames(now, input.frames);
      case 'closed': return this.#lines.closed(now, input.conn, input.code, input.error);
      case 'restored': return this.#restored(now, input);
      case 'adopt': return this.#adopt(now, input.sends);
      case 'send': return this.#send(now, input.frame);
      case 'request': return this.#request(now, input.key, input.frame);
      case 'measured': return this.#lines.measured(now, input.relays, input.none === true);
      case 'wake': return this.#lines.wake(now, input.changed === true);
      case 'disconnect': return this.#disconnect(now);
      case 'tick': return this.#tick(now);
      case 'opened': return; // a second time
      default: throw new TypeError(`unknown input ${input.type}`);
    }
  }

  // ── The beginning ───────────────────────────────────────────────────────────

  /** @param {number} now @param {Input} input */
  #connect(now, { token, device, relay }) {
    if (token !== this.#token || device !== this.#device) this.#known = false;
    this.#token = token;
    this.#device = device;
    this.#announced = false;
    this.#lines.connect(now, relay ?? null);
  }

  /** @param {number} now @param {number} conn */
  #hello(now, conn) {
    const { window, delivered, sdk } = this.#options;
    /** @type {any} */
    const hello = { t: 'hello', v: 1, token: this.#token, device: this.#device, window, delivered, sdk };
    const { handled, epoch } = this.#inbox.stream;
    if (this.#known && handled !== null) {
      if (this.#ready) this.#ack(now); // over the old line, while it is there
      hello.cursor = handled;
      if (epoch !== null) hello.epoch = epoch;
    }
    this.#do({ do: 'transmit', conn, frames: [hello] });
  }

  /** Word from a connection on its way to a welcome. @param {number} now @param {{type: string, conn: number, frames?: any[]}} input */
  #race(now, input) {
    this.#lines.race(now, input);
    // What came with the welcome is the beginning of the stream.
    if (input.frames && input.conn === this.#lines.conn) {
      this.#frames(now, input.frames.slice(input.frames.findIndex((frame) => frame?.t === 'welcome') + 1));
    }
  }

  /** @param {number} now @param {number} helloAt @param {any} frame */
  #welcomed(now, helloAt, frame) {
    this.clockOffset = Math.round(frame.time - (helloAt + now) / 2);
    this.limits = { ...this.limits, ...frame.limits };
    if (this.user !== null && this.user !== frame.user) {
      this.#inbox.forget();
      // They stay in the other user's storage and go out when he connects again.
      for (const send of this.outbox.takeSends()) {
        this.#settle(send, undefined, new HongyanError('closed', 'another user has connected'));
      }
    }
    this.user = frame.user;
    this.#welcome = frame;
    if (this.#known) this.#begin(now);
    else this.#do({ do: 'identify', user: frame.user });
  }

  /** @param {number} now @param {Input} input */
  #restored(now, { cursor, epoch, seen, sends }) {
    if (this.phase !== 'up' || this.#known) return;
    this.#known = true;
    this.outbox.restore(sends, this.#sendDeadline(now));
    const { stream } = this.#inbox;
    stream.restore(cursor, epoch ?? null, seen ?? []);
    const same = stream.handled === this.#welcome.cursor && stream.epoch === readEpoch(this.#welcome.epoch);
    if (stream.handled !== null && !same) {
      // The server's record is not what this browser has handled (an ack was lost, or the
      // record was). Only a hello with the cursor is answered with the truth about it.
      return this.#lines.again(now);
    }
    const held = this.#held;
    this.#begin(now);
    this.#frames(now, held);
  }

  /** The stream starts. @param {number} now */
  #begin(now) {
    const { user, name, portrait, resumed, why } = this.#welcome;
    this.#ready = true;
    this.#held = [];
    this.#announced = true;
    this.#do({ do: 'connected', info: { user, name, portrait, resumed, why } });
    if (this.#state !== 'connected') this.#do({ do: 'state', state: 'connected' }); // else we only went over to another line
    this.#lines.begun(now, this.#welcome);
    this.#inbox.begin(this.#welcome);
    this.#cursor();
    this.#do({ do: 'unsent' });
    const { watched: users } = this.#inbox;
    if (users && !this.outbox.asks('watch')) this.outbox.addRequest(WATCH_AGAIN, { t: 'watch', users });
    this.#pump(now);
  }

  // ── The end ─────────────────────────────────────────────────────────────────

  /** It is over, and connecting again is up to the page. @param {HongyanError} error */
  #ended(error) {
    const announced = this.#announced;
    this.#shut(error, false);
    if (!announced) {
      // Nobody knows whose these are, or he may not come in: no later try would send them.
      for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
      this.#do({ do: 'refused', error });
    }
    this.#do({ do: 'state', state: 'closed', error });
    if (announced && FINAL_CODES.has(error.code)) this.#event('kick', error);
  }

  /** @param {number} now */
  #disconnect(now) {
    if (this.phase === 'idle') return;
    const error = new HongyanError('closed', 'disconnect was called');
    const [announced, wasClosed] = [this.#announced, this.phase === 'closed'];
    if (this.#ready) this.#ack(now);
    this.#shut(error, true);
    for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
    if (!announced) this.#do({ do: 'refused', error });
    if (!wasClosed) this.#do({ do: 'state', state: 'closed' });
  }

  /** @param {HongyanError} error what requests are told @param {boolean} bye */
  #shut(error, bye) {
    this.#lines.shut(this.#now, bye);
    this.#announced = true;
    for (const request of this.outbox.takeRequests()) this.#do({ do: 'answer', key: request.key, error });
  }

  /** The line is gone. */
  #left() {
    this.#ready = false;
    this.#held = [];
    this.#inbox.pause();
    for (const send of this.outbox.lost()) {
      this.#settle(send, undefined, new HongyanError('network', 'the line was lost; a status message is not repeated'));
    }
  }

  /** @param {number} now */
  #tick(now) {
    for (const send of this.outbox.expire(now)) {
      this.#settle(send, undefined, new HongyanError('timeout', 'no answer in time; the message may arrive all the same'));
    }
    if (now >= this.#inbox.holeBy) return this.#lines.lost(now, 'an entry of the stream is missing');
    this.#lines.tick(now);
    if (now >= this.#inbox.ackAt) this.#ack(now);
    if (now >= this.outbox.pausedUntil) this.#pump(now);
  }

  // ── Frames ──────────────────────────────────────────────────────────────────

  /** @param {number} now @param {any[]} frames */
  #frames(now, frames) {
    const { conn } = this.#lines;
    const { stream } = this.#inbox;
    const before = stream.handled;
    this.#lines.heard(now);
    for (let i = 0; i < frames.length && conn === this.#lines.conn; i += 1) {
      if (!this.#ready) return void this.#held.push(...frames.slice(i));
      if (typeof frames[i]?.t === 'string') this.#frame(now, frames[i]);
    }
    if (stream.handled !== before && this.#known) this.#cursor();
    if (conn !== this.#lines.conn || !this.#ready) return;
    if (this.#inbox.settled(now)) this.#ack(now);
    this.#pump(now);
  }

  /** @param {number} now @param {any} frame */
  #frame(now, frame) {
    switch (frame.t) {
      case 'ok':
        this.#inbox.own(now, frame);
        return this.#tell(this.outbox.answer(now, frame));
      case 'err':
        if (frame.r !== undefined || !FINAL_CODES.has(frame.code)) return this.#tell(this.outbox.answer(now, frame));
        return this.#refused(now, frame);
      case 'kick': return this.#refused(now, frame);
      case 'live':
        this.#inbox.live(now, frame);
        return this.#event('live', { pos: frame.pos });
      case 'move': return this.#lines.move(now, frame);
      case 'welcome':
      case 'pong': return;
      default:
        if (!this.#inbox.take(now, frame)) this.#lines.lost(now, 'a gap in the stream');
    }
  }

  /** @param {number} now @param {any} frame */
  #refused(now, frame) {
    this.#lines.refused(now, this.#lines.conn, HongyanError.fromFrame(frame));
  }

  /** @param {import('./outbox.js').Answer | null} answer */
  #tell(answer) {
    const { send, request, ok, error } = answer ?? {};
    if (send) {
      const message = ok ? sentMessage(send.frame, ok, this.user ?? '') : undefined;
      if (message) this.#inbox.stream.seen.first(message.id);
      this.#settle(send, message, error);
    } else if (request) {
      if (request.frame.t === 'watch' && ok) this.#inbox.present(ok.online ?? [], request.key === WATCH_AGAIN);
      this.#do({ do: 'answer', key: request.key, ok, error });
    }
  }

  // ── Asking ──────────────────────────────────────────────────────────────────

  /** @param {number} now @param {any} frame */
  #send(now, frame) {
    const over = this.phase === 'idle' || this.phase === 'closed';
    if (over || (isStatus(frame) && !this.#ready)) {
      return this.#do({ do: 'settle', cid: frame.id, error: new HongyanError(over ? 'closed' : 'network', 'not connected') });
    }
    this.outbox.addSend(frame, this.#sendDeadline(now), !this.#ready);
    if (!isStatus(frame)) this.#do({ do: 'unsent' });
    this.#pump(now);
  }

  /** Sends left behind by a tab that is gone. @param {number} now @param {any[]} sends */
  #adopt(now, sends) {
    for (const frame of sends) this.outbox.addSend(frame, this.#sendDeadline(now), true);
    this.#do({ do: 'unsent' });
    this.#pump(now);
  }

  /** @param {number} now @param {number} key @param {any} frame */
  #request(now, key, frame) {
    if (this.phase === 'idle' || this.phase === 'closed') {
      return this.#do({ do: 'answer', key, error: new HongyanError('closed', 'not connected') });
    }
    if (frame.t === 'watch') this.#inbox.watched = frame.users;
    this.outbox.addRequest(key, frame);
    this.#pump(now);
  }

  /** @param {number} now */
  #sendDeadline = (now) => (this.#options.sendTimeout > 0 ? now + this.#options.sendTimeout : 0);

  /** @param {number} now */
  #pump(now) {
    if (!this.#ready) return;
    const { frames, refused } = this.outbox.take(now, this.limits);
    for (const answer of refused) this.#tell(answer);
    if (frames.length > 0) this.#lines.transmit(now, frames);
  }

  /** @param {number} now */
  #ack(now) {
    const ack = this.#inbox.ack();
    if (ack) this.#lines.transmit(now, [ack]);
  }

  // ── Effects ─────────────────────────────────────────────────────────────────

  /** @param {Effect} effect */
  #do(effect) {
    if (effect.do === 'state') this.#state = effect.state;
    this.#effects.push(effect);
  }

  /** The cursor and what belongs to it are to be stored. */
  #cursor() {
    const { handled, epoch } = this.#inbox.stream;
    this.#do({ do: 'cursor', pos: handled, epoch });
  }

  /** @param {string} name @param {any} detail */
  #event(name, detail) {
    this.#do({ do: 'event', name, detail });
  }

  /** @param {import('./outbox.js').Send} send @param {any} message @param {HongyanError} [error] */
  #settle(send, message, error) {
    this.#do({ do: 'settle', cid: send.cid, message, error });
    if (!isStatus(send.frame)) this.#do({ do: 'unsent' });
  }
}
