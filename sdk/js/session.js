/**
 * One user's session with the service, over any number of connections.
 *
 * Purpose: say hello, follow the stream, repeat what was not answered, notice a dead line,
 * connect again; so that every message reaches the page once and in order, and every send
 * reaches the server once.
 * Flow: `handle(now, input)` → effects for the driver (hongyan.js), which owns sockets,
 * timers, storage and events. `deadline()` is the only timer.
 * Parts: dial.js (where and when to connect), inbox.js and stream.js (what comes in),
 * outbox.js (what goes out).
 * Invariants: input of an older connection has no effect (`conn`); the cursor effect comes
 * after the effects that hand its entries to the page, the ack after that.
 *
 * Phases: idle → opening → greeting → (restoring) → ready; waiting between tries; closed.
 * `restoring`: the server has said who the token's user is, and the driver looks up what
 * storage knows of that user.
 *
 * Pure: time and randomness come in from outside.
 */

import { Dialer } from './dial.js';
import { CLOSE_CODES, FINAL_CODES, HongyanError } from './errors.js';
import { Inbox } from './inbox.js';
import { sentMessage } from './message.js';
import { Outbox, isStatus } from './outbox.js';
import { TIMES } from './times.js';

/** The request key of a watch list that is said again after a reconnect. */
const WATCH_AGAIN = -1;

/**
 * @typedef {{do: string, [field: string]: any}} Effect see `#execute` in hongyan.js
 * @typedef {{type: string, [field: string]: any}} Input
 */

export class Session {
  /** @type {'idle' | 'opening' | 'greeting' | 'restoring' | 'ready' | 'waiting' | 'closed'} */
  phase = 'idle';

  /** @type {string | null} */
  user = null;

  /** Server minus local, ms. */
  clockOffset = 0;

  /** Bytes. */
  limits = { content: 131_072, frame: 262_144 };

  outbox = new Outbox();

  #options;
  #times;
  #dial;
  #inbox;
  #conn = 0; // number of the present connection
  #token = '';
  #device = '';
  #known = false; // storage has been asked about this token's user
  #announced = false; // `connect` has been answered
  #ping = 25_000;
  #helloAt = 0;
  /** @type {any} */
  #welcome = null;
  /** @type {any[]} frames that came while storage was looked up */
  #held = [];
  /** @type {string | null} */
  #moveUrl = null;

  // Times at which something is due; Infinity: not.
  #openBy = Infinity;
  #retryAt = Infinity;
  #pingAt = Infinity;
  #pongBy = Infinity;
  #moveAt = Infinity;
  #upgradeAt = Infinity;

  /** @type {Effect[]} */
  #effects = [];

  /**
   * @param {{url: string, transports: string[], window?: number, delivered?: boolean, sendTimeout?: number,
   *   reconnect?: boolean, sdk?: string, random?: () => number, times?: Partial<typeof TIMES>}} options
   */
  constructor(options) {
    this.#options = { window: 256, delivered: true, sendTimeout: 0, reconnect: true, random: Math.random, ...options };
    this.#times = { ...TIMES, ...options.times };
    const { url, transports, random, window } = this.#options;
    this.#dial = new Dialer({ url, transports, random, times: this.#times });
    const page = {
      /** @type {import('./inbox.js').Page['event']} */
      event: (name, detail) => this.#event(name, detail),
      /** @type {import('./inbox.js').Page['settle']} */
      settle: (send, message) => this.#settle(send, message),
    };
    this.#inbox = new Inbox(this.outbox, page, window, this.#times);
  }

  /**
   * @param {number} now milliseconds
   * @param {Input} input
   * @returns {Effect[]} to be carried out in order
   */
  handle(now, input) {
    this.#effects = [];
    if (input.conn === undefined || input.conn === this.#conn) this.#input(now, input);
    return this.#effects;
  }

  /** Time of the next `tick`, or Infinity. */
  deadline() {
    const { ackAt, holeBy } = this.#inbox;
    const own = Math.min(this.#openBy, this.#retryAt, this.#pingAt, this.#pongBy, this.#moveAt, this.#upgradeAt);
    return Math.min(own, ackAt, holeBy, this.outbox.deadline());
  }

  /** @param {number} now @param {Input} input */
  #input(now, input) {
    switch (input.type) {
      case 'connect': return this.#connect(now, input.token, input.device);
      case 'opened': return this.#opened(now);
      case 'frames': return this.#frames(now, input.frames);
      case 'closed': return this.#closed(now, input.code, input.error);
      case 'restored': return this.#restored(now, input.cursor, input.sends);
      case 'adopt': return this.#adopt(now, input.sends);
      case 'send': return this.#send(now, input.frame);
      case 'request': return this.#request(now, input.key, input.frame);
      case 'wake': return this.#wake(now);
      case 'disconnect': return this.#disconnect();
      case 'tick': return this.#tick(now);
      default: throw new TypeError(`unknown input ${input.type}`);
    }
  }

  // ── Connecting ──────────────────────────────────────────────────────────────

  /** @param {number} now @param {string} token @param {string} device */
  #connect(now, token, device) {
    if (token !== this.#token || device !== this.#device) this.#known = false;
    this.#token = token;
    this.#device = device;
    this.#announced = false;
    this.#dial.fresh();
    this.#state('connecting');
    this.#open(now);
  }

  /** @param {number} now */
  #open(now) {
    this.#hangUp();
    this.#dial.dialed();
    this.phase = 'opening';
    const { transport, url } = this.#dial.target;
    this.#openBy = now + (transport === 'ws' ? this.#times.open : this.#times.greet);
    this.#do({ do: 'open', conn: this.#conn, transport, url });
  }

  /** @param {number} now */
  #opened(now) {
    if (this.phase !== 'opening') return;
    this.phase = 'greeting';
    this.#openBy = now + this.#times.greet;
    this.#helloAt = now;
    const { window, delivered, sdk } = this.#options;
    /** @type {any} */
    const hello = { t: 'hello', v: 1, token: this.#token, device: this.#device, window, delivered, sdk };
    const { handled } = this.#inbox.stream;
    if (this.#known && handled !== null) hello.cursor = handled;
    this.#transmit(now, [hello]);
  }

  /** @param {number} now @param {any} frame */
  #welcomed(now, frame) {
    this.#openBy = Infinity;
    this.clockOffset = Math.round(frame.time - (this.#helloAt + now) / 2);
    this.#ping = (frame.ping > 0 ? frame.ping : 25) * 1000;
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
    if (this.#known) return this.#begin(now);
    this.phase = 'restoring';
    this.#do({ do: 'identify', user: frame.user });
  }

  /** @param {number} now @param {number | null} cursor @param {any[]} sends */
  #restored(now, cursor, sends) {
    if (this.phase !== 'restoring') return;
    this.#known = true;
    this.outbox.restore(sends, this.#sendDeadline(now));
    const { stream } = this.#inbox;
    if (cursor !== null) stream.handled = Math.max(cursor, stream.handled ?? 0);
    if (stream.handled !== null && stream.handled !== this.#welcome.cursor) {
      // The server's record is not what this browser has handled (an ack was lost, or the
      // record was). Only a hello with the cursor is answered with the truth about it.
      this.#dial.redial();
      return this.#open(now);
    }
    const held = this.#held;
    this.#begin(now);
    this.#frames(now, held);
  }

  /** The stream starts. @param {number} now */
  #begin(now) {
    const { user, name, portrait, resumed, why } = this.#welcome;
    this.phase = 'ready';
    this.#held = [];
    this.#pingAt = now + this.#ping;
    this.#dial.welcomed(now);
    if (this.#dial.mayUpgrade) this.#upgradeAt = now + this.#times.upgrade;
    this.#announced = true;
    this.#do({ do: 'connected', info: { user, name, portrait, resumed, why } });
    this.#state('connected');
    this.#inbox.begin(this.#welcome);
    this.#do({ do: 'cursor', pos: this.#inbox.stream.handled });
    this.#do({ do: 'unsent' });
    const { watched } = this.#inbox;
    if (watched && !this.outbox.asks('watch')) this.outbox.addRequest(WATCH_AGAIN, { t: 'watch', users: watched });
    this.#pump(now);
  }

  // ── Losing the line ─────────────────────────────────────────────────────────

  /** The transport ended by itself. @param {number} now @param {number} [code] @param {string} [text] */
  #closed(now, code, text) {
    const final = CLOSE_CODES.get(code ?? 0);
    if (final) this.#ended(new HongyanError(final, text));
    else this.#lost(now, text || 'the connection was lost');
  }

  /** Gives the connection up and plans the next. @param {number} now @param {string | HongyanError} why */
  #lost(now, why) {
    const error = typeof why === 'string' ? new HongyanError('network', why) : why;
    const wasReady = this.phase === 'ready';
    const moveAt = this.#moveAt;
    const moveUrl = this.#moveUrl;
    this.#hangUp();
    if (wasReady) {
      this.#dial.lost(now);
      if (moveAt !== Infinity) {
        this.#dial.move(moveUrl);
        if (this.#options.reconnect) return this.#wait(Math.max(now, moveAt), now, error);
      }
    } else if (this.#dial.failed(error.code !== 'network')) return this.#open(now);
    if (!this.#options.reconnect) return this.#ended(error);
    this.#wait(now + Math.max(this.#dial.pause(), error.retryAfter ?? 0), now, error);
  }

  /** @param {number} at @param {number} now @param {HongyanError} error */
  #wait(at, now, error) {
    this.phase = 'waiting';
    this.#retryAt = at;
    this.#state('waiting', { retryIn: Math.round(at - now), error });
  }

  /** It is over, and connecting again is up to the page. @param {HongyanError} error */
  #ended(error) {
    const announced = this.#announced;
    this.#shut(error, false);
    if (!announced) {
      // Nobody knows whose these are, or he may not come in: no later try would send them.
      for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
      this.#do({ do: 'refused', error });
    }
    this.#state('closed', { error });
    if (announced && FINAL_CODES.has(error.code)) this.#event('kick', error);
  }

  #disconnect() {
    if (this.phase === 'idle') return;
    const error = new HongyanError('closed', 'disconnect was called');
    const announced = this.#announced;
    const wasClosed = this.phase === 'closed';
    if (this.phase === 'ready') this.#ack(0);
    this.#shut(error, true);
    for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
    if (!announced) this.#do({ do: 'refused', error });
    if (!wasClosed) this.#state('closed');
  }

  /** @param {HongyanError} error what requests are told @param {boolean} bye */
  #shut(error, bye) {
    this.#hangUp(bye);
    this.phase = 'closed';
    this.#announced = true;
    for (const request of this.outbox.takeRequests()) this.#do({ do: 'answer', key: request.key, error });
  }

  /** Leaves the present connection, if any; what it still says is stale. */
  #hangUp(bye = false) {
    this.#conn += 1;
    this.#do({ do: 'close', bye });
    this.#openBy = this.#retryAt = this.#pingAt = this.#pongBy = this.#moveAt = this.#upgradeAt = Infinity;
    this.#moveUrl = null;
    this.#held = [];
    this.#inbox.pause();
    for (const send of this.outbox.lost()) {
      this.#settle(send, undefined, new HongyanError('network', 'the line was lost; a status message is not repeated'));
    }
  }

  // ── Time ────────────────────────────────────────────────────────────────────

  /** @param {number} now */
  #tick(now) {
    for (const send of this.outbox.expire(now)) {
      this.#settle(send, undefined, new HongyanError('timeout', 'no answer in time; the message may arrive all the same'));
    }
    if (now >= this.#retryAt) return this.#retry(now);
    if (now >= this.#openBy) return this.#lost(now, 'no answer from the server');
    if (now >= this.#moveAt) return this.#lost(now, 'the node is going away');
    if (now >= this.#pongBy) return this.#lost(now, 'no answer to a ping');
    if (now >= this.#inbox.holeBy) return this.#lost(now, 'an entry of the stream is missing');
    if (now >= this.#upgradeAt) {
      this.#dial.upgrade();
      return this.#retry(now);
    }
    if (now >= this.#inbox.ackAt) this.#ack(now);
    if (now >= this.#pingAt) this.#sayPing(now);
    if (now >= this.outbox.pausedUntil) this.#pump(now);
  }

  /** The network came back, or the page is looked at again. @param {number} now */
  #wake(now) {
    if (this.phase === 'waiting') this.#retry(now);
    else if (this.phase === 'ready' && this.#pongBy === Infinity) this.#sayPing(now); // is the line still there?
  }

  /** @param {number} now */
  #retry(now) {
    this.#state('connecting');
    this.#open(now);
  }

  /** @param {number} now */
  #sayPing(now) {
    this.#pongBy = now + this.#times.pong;
    this.#transmit(now, [{ t: 'ping' }]);
  }

  // ── Frames ──────────────────────────────────────────────────────────────────

  /** @param {number} now @param {any[]} frames */
  #frames(now, frames) {
    const conn = this.#conn;
    const { stream } = this.#inbox;
    const before = stream.handled;
    this.#pongBy = Infinity; // any word is a sign of life
    for (let i = 0; i < frames.length && conn === this.#conn; i += 1) {
      if (this.phase === 'restoring') {
        this.#held.push(...frames.slice(i));
        return;
      }
      if (typeof frames[i]?.t === 'string') this.#frame(now, frames[i]);
    }
    if (stream.handled !== before && this.#known) this.#do({ do: 'cursor', pos: stream.handled });
    if (conn !== this.#conn || this.phase !== 'ready') return;
    if (this.#inbox.settled(now)) this.#ack(now);
    this.#pump(now);
  }

  /** @param {number} now @param {any} frame */
  #frame(now, frame) {
    if (frame.t === 'kick') return this.#kicked(now, frame);
    if (this.phase !== 'ready') {
      if (frame.t === 'welcome') this.#welcomed(now, frame);
      else if (frame.t === 'err') this.#kicked(now, frame);
      return;
    }
    switch (frame.t) {
      case 'ok':
        this.#inbox.own(now, frame);
        return this.#answered(now, frame);
      case 'err':
        if (frame.r === undefined && FINAL_CODES.has(frame.code)) return this.#kicked(now, frame);
        return this.#answered(now, frame);
      case 'live':
        this.#inbox.live(now, frame);
        return this.#event('live', { pos: frame.pos });
      case 'move': return this.#move(now, frame);
      case 'welcome':
      case 'pong': return;
      default:
        if (!this.#inbox.take(now, frame)) this.#lost(now, 'a gap in the stream');
    }
  }

  /** @param {number} now @param {any} frame */
  #answered(now, frame) {
    const answer = this.outbox.answer(now, frame);
    if (answer) this.#tell(answer);
  }

  /** @param {import('./outbox.js').Answer} answer */
  #tell({ send, request, ok, error }) {
    if (send) {
      const message = ok ? sentMessage(send.frame, ok, this.user ?? '') : undefined;
      if (message) this.#inbox.stream.first(message.id);
      this.#settle(send, message, error);
    } else if (request) {
      if (request.frame.t === 'watch' && ok) this.#inbox.present(ok.online ?? [], request.key === WATCH_AGAIN);
      this.#do({ do: 'answer', key: request.key, ok, error });
    }
  }

  /** @param {number} now @param {any} frame `kick`, or an `err` that ends the session */
  #kicked(now, frame) {
    const error = HongyanError.fromFrame(frame);
    if (FINAL_CODES.has(error.code)) this.#ended(error);
    else this.#lost(now, error);
  }

  /** @param {number} now @param {any} frame */
  #move(now, frame) {
    this.#moveAt = now + (frame.after >= 0 ? frame.after : 0);
    this.#moveUrl = typeof frame.url === 'string' && /^https?:\/\//.test(frame.url) ? frame.url.replace(/\/+$/, '') : null;
  }

  // ── Asking ──────────────────────────────────────────────────────────────────

  /** @param {number} now @param {any} frame */
  #send(now, frame) {
    const over = this.phase === 'idle' || this.phase === 'closed';
    if (over || (isStatus(frame) && this.phase !== 'ready')) {
      this.#do({ do: 'settle', cid: frame.id, error: new HongyanError(over ? 'closed' : 'network', 'not connected') });
      return;
    }
    this.outbox.addSend(frame, this.#sendDeadline(now), this.phase !== 'ready');
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
      this.#do({ do: 'answer', key, error: new HongyanError('closed', 'not connected') });
      return;
    }
    if (frame.t === 'watch') this.#inbox.watched = frame.users;
    this.outbox.addRequest(key, frame);
    this.#pump(now);
  }

  /** @param {number} now */
  #sendDeadline(now) {
    return this.#options.sendTimeout > 0 ? now + this.#options.sendTimeout : 0;
  }

  /** @param {number} now */
  #pump(now) {
    if (this.phase !== 'ready') return;
    const { frames, refused } = this.outbox.take(now, this.limits);
    for (const answer of refused) this.#tell(answer);
    if (frames.length > 0) this.#transmit(now, frames);
  }

  /** @param {number} now */
  #ack(now) {
    const ack = this.#inbox.ack();
    if (ack) this.#transmit(now, [ack]);
  }

  // ── Effects ─────────────────────────────────────────────────────────────────

  /** @param {Effect} effect */
  #do(effect) {
    this.#effects.push(effect);
  }

  /** @param {number} now @param {any[]} frames */
  #transmit(now, frames) {
    if (this.phase === 'ready') this.#pingAt = now + this.#ping;
    this.#do({ do: 'transmit', frames });
  }

  /** @param {string} name @param {any} detail */
  #event(name, detail) {
    this.#do({ do: 'event', name, detail });
  }

  /** @param {string} state @param {{retryIn?: number, error?: HongyanError}} [more] */
  #state(state, more) {
    this.#do({ do: 'state', state, ...more });
  }

  /** @param {import('./outbox.js').Send} send @param {any} message @param {HongyanError} [error] */
  #settle(send, message, error) {
    this.#do({ do: 'settle', cid: send.cid, message, error });
    if (!isStatus(send.frame)) this.#do({ do: 'unsent' });
  }
}
