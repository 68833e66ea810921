/**
 * One user's session with the service, over any number of connections.
 *
 * Purpose: say hello, follow the stream, repeat what was not answered, notice a dead line,
 * connect again; so that every message reaches the page once and in order, and every send
 * reaches the server once.
 * Flow: `handle(now, input)` → effects for the driver (hongyan.js), which owns sockets,
 * timers, storage and events. `deadline()` is the only timer.
 * Invariants: effects of inputs of an older connection are none (`conn`); the cursor
 * effect comes after the effects that hand its entries to the page, the ack after that.
 *
 * Phases: idle → opening → greeting → (restoring) → ready; waiting between tries; closed.
 * `restoring`: the server has said who the token's user is, and the driver looks up what
 * storage knows of that user.
 *
 * Pure: time and randomness come in from outside.
 */

import { CLOSE_CODES, FINAL_CODES, HongyanError } from './errors.js';
import { sentMessage, toMessage } from './message.js';
import { Outbox, isStatus } from './outbox.js';
import { Stream } from './stream.js';

/** Times in milliseconds. */
export const TIMES = {
  /** A WebSocket that is not open by then is given up. */
  open: 5000,
  /** From `hello` to `welcome`. */
  greet: 10_000,
  /** From `ping` to any sign of life. */
  pong: 10_000,
  /** Longest time that an entry stays unacked. */
  ack: 100,
  /** Backoff before the n-th try: a random time up to `backoff` · 2ⁿ, at most `backoffCap`. */
  backoff: 500,
  backoffCap: 20_000,
  /** A connection that has lived this long starts the backoff anew. */
  stable: 10_000,
  /** An own entry known from its answer must be reached by the stream within this time. */
  hole: 10_000,
  /** A session on a fallback transport tries the better one, if that ever worked, after this time. */
  upgrade: 60_000,
};

/**
 * @typedef {{conn: number, frames: any[]}} FramesInput
 * @typedef {{do: string, [field: string]: any}} Effect see `hongyan.js`, `#execute`
 * @typedef {{type: string, [field: string]: any}} Input
 */

export class Session {
  /** @type {'idle' | 'opening' | 'greeting' | 'restoring' | 'ready' | 'waiting' | 'closed'} */
  phase = 'idle';

  /** @type {string | null} */
  user = null;

  /** Server minus local, ms. */
  clockOffset = 0;

  limits = { content: 131_072, frame: 262_144 };

  stream = new Stream();
  outbox = new Outbox();

  /** Number of the present connection; input of others is stale. */
  conn = 0;

  #options;
  #times;
  #token = '';
  #device = '';
  #known = false; // storage has been asked about this token's user
  #announced = false; // `connect` has been answered
  /** @type {number | null} */
  #asked = null; // the cursor in our hello
  #transport = 0; // index into options.transports
  #tried = 0; // transports tried since the last wait
  #attempt = 0; // waits since the last stable connection
  /** @type {Set<string>} */
  #worked = new Set();
  #url;
  #ping = 25_000;
  #unacked = 0;
  #lastAck = -1;
  #welcomeAt = 0;
  /** @type {any} */
  #welcome = null;
  /** @type {any[]} */
  #held = [];
  /** @type {string[] | null} */
  #watched = null;
  /** @type {Set<string>} */
  #online = new Set();

  // Times at which something is due; Infinity: not.
  #openBy = Infinity;
  #retryAt = Infinity;
  #pingAt = Infinity;
  #pongBy = Infinity;
  #ackAt = Infinity;
  #moveAt = Infinity;
  #holeBy = Infinity;
  #upgradeAt = Infinity;
  /** @type {string | null} */
  #moveUrl = null;
  #helloAt = 0;

  /** @type {Effect[]} */
  #effects = [];

  /**
   * @param {{url: string, transports: string[], window?: number, delivered?: boolean, sendTimeout?: number,
   *   reconnect?: boolean, sdk?: string, random?: () => number, times?: Partial<typeof TIMES>}} options
   */
  constructor(options) {
    this.#options = { window: 256, delivered: true, sendTimeout: 0, reconnect: true, random: Math.random, ...options };
    this.#times = { ...TIMES, ...options.times };
    this.#url = options.url;
  }

  /**
   * @param {number} now milliseconds
   * @param {Input} input
   * @returns {Effect[]} to be carried out in order
   */
  handle(now, input) {
    this.#effects = [];
    if (input.conn === undefined || input.conn === this.conn) this.#input(now, input);
    return this.#effects;
  }

  /** Time of the next `tick`, or Infinity. */
  deadline() {
    const times = [this.#openBy, this.#retryAt, this.#pingAt, this.#pongBy, this.#ackAt, this.#moveAt, this.#holeBy, this.#upgradeAt];
    return Math.min(...times, this.outbox.deadline());
  }

  /**
   * @param {number} now
   * @param {Input} input
   */
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
      case 'watch': return void (this.#watched = input.users);
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
    this.#attempt = 0;
    this.#tried = 0;
    this.#state('connecting');
    this.#open(now);
  }

  /** @param {number} now */
  #open(now) {
    this.conn += 1;
    this.#clearTimers();
    this.phase = 'opening';
    this.#tried += 1;
    const transport = this.#options.transports[this.#transport];
    this.#openBy = now + (transport === 'ws' ? this.#times.open : this.#times.greet);
    this.#do({ do: 'open', conn: this.conn, transport, url: this.#url });
  }

  /** @param {number} now */
  #opened(now) {
    if (this.phase !== 'opening') return;
    this.phase = 'greeting';
    this.#openBy = now + this.#times.greet;
    this.#helloAt = now;
    const { window, delivered, sdk } = this.#options;
    this.#asked = this.#known ? this.stream.handled : null;
    /** @type {any} */
    const hello = { t: 'hello', v: 1, token: this.#token, device: this.#device, window, delivered, sdk };
    if (this.#asked !== null) hello.cursor = this.#asked;
    this.#transmit(now, [hello]);
  }

  /** @param {number} now @param {any} frame */
  #welcomed(now, frame) {
    this.#openBy = Infinity;
    this.clockOffset = Math.round(frame.time - (this.#helloAt + now) / 2);
    this.#ping = (frame.ping > 0 ? frame.ping : 25) * 1000;
    this.limits = { ...this.limits, ...frame.limits };
    if (this.user !== null && this.user !== frame.user) {
      this.stream.forget();
      this.#watched = null;
      this.#online.clear();
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
    const handled = Math.max(cursor ?? -1, this.stream.handled ?? -1);
    if (handled >= 0 && handled !== this.#welcome.cursor) {
      // The server's record is not what this browser has handled (an ack was lost, or the
      // record was). Only a hello with the cursor is answered with the truth about it.
      this.stream.handled = handled;
      this.#held = [];
      this.#tried -= 1;
      this.#do({ do: 'close' });
      return this.#open(now);
    }
    this.#begin(now);
    const held = this.#held;
    this.#held = [];
    this.#frames(now, held);
  }

  /** The stream starts. @param {number} now */
  #begin(now) {
    const { user, name, portrait, cursor, resumed, why } = this.#welcome;
    this.phase = 'ready';
    this.#welcomeAt = now;
    this.#tried = 0;
    this.#worked.add(this.#options.transports[this.#transport]);
    if (this.#options.transports.indexOf([...this.#worked].sort(this.#preference)[0]) < this.#transport) {
      this.#upgradeAt = now + this.#times.upgrade;
    }
    this.#unacked = 0;
    this.#lastAck = cursor;
    this.#pongBy = Infinity;
    this.#do({ do: 'connected', info: { user, name, portrait, resumed, why } });
    this.#announced = true;
    this.#state('connected');
    this.stream.start(cursor, why === 'ahead');
    if (!resumed) this.#event('reset', { why });
    this.#do({ do: 'cursor', pos: this.stream.handled });
    this.#do({ do: 'unsent' });
    if (this.#watched) this.outbox.addRequest(-1, { t: 'watch', users: this.#watched });
    this.#pump(now);
  }

  /** Order of transports: as in the options. @param {string} a @param {string} b */
  #preference = (a, b) => this.#options.transports.indexOf(a) - this.#options.transports.indexOf(b);

  // ── Losing the line ─────────────────────────────────────────────────────────

  /** The transport ended by itself. @param {number} now @param {number} [code] @param {string} [error] */
  #closed(now, code, error) {
    const final = CLOSE_CODES.get(code ?? 0);
    if (final) return this.#ended(new HongyanError(final, error));
    this.#lost(now, new HongyanError('network', error || 'the connection was lost'));
  }

  /** Gives the connection up and plans the next. @param {number} now @param {HongyanError} error */
  #lost(now, error) {
    const wasReady = this.phase === 'ready';
    const move = this.#moveAt;
    const moveUrl = this.#moveUrl;
    this.conn += 1; // what the old one still says is stale
    this.#clearTimers();
    this.#held = [];
    this.#do({ do: 'close' });
    for (const send of this.outbox.lost()) {
      this.#settle(send, undefined, new HongyanError('network', 'the line was lost; a status message is not repeated'));
    }
    if (wasReady) {
      if (now - this.#welcomeAt >= this.#times.stable) this.#attempt = 0;
      this.#tried = 0;
      this.#transport = this.#bestTransport();
      if (!this.#options.reconnect) return this.#ended(error);
      if (move !== Infinity) {
        this.#url = moveUrl ?? this.#url;
        return this.#wait(Math.max(now, move), now, error);
      }
    } else {
      this.#transport = (this.#transport + 1) % this.#options.transports.length;
      if (this.#tried < this.#options.transports.length) return this.#open(now);
      if (!this.#options.reconnect) return this.#ended(error);
      this.#url = this.#options.url; // where a `move` led to is not worth a second round
      this.#tried = 0;
    }
    const most = Math.min(this.#times.backoffCap, this.#times.backoff * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#wait(now + Math.max(this.#options.random() * most, error.retryAfter ?? 0), now, error);
  }

  /** @param {number} at @param {number} now @param {HongyanError} error */
  #wait(at, now, error) {
    this.phase = 'waiting';
    this.#retryAt = at;
    this.#state('waiting', { retryIn: Math.round(at - now), error });
  }

  #bestTransport() {
    const [best] = [...this.#worked].sort(this.#preference);
    return best === undefined ? this.#transport : this.#options.transports.indexOf(best);
  }

  /** It is over, and connecting again is up to the page. @param {HongyanError} error */
  #ended(error) {
    const announced = this.#announced;
    this.#shut();
    for (const request of this.outbox.takeRequests()) this.#do({ do: 'answer', key: request.key, error });
    for (const send of this.outbox.lost()) this.#settle(send, undefined, error);
    if (!announced) {
      // Nobody knows whose these are, or he may not come in: no later try would send them.
      for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
      this.#do({ do: 'refused', error });
    }
    this.#state('closed', { error });
    if (announced && FINAL_CODES.has(error.code)) this.#event('kick', error);
  }

  #disconnect() {
    const error = new HongyanError('closed', 'disconnect was called');
    if (this.phase === 'idle') return;
    const announced = this.#announced;
    const wasClosed = this.phase === 'closed';
    if (this.phase === 'ready') this.#ack(0);
    this.#shut(true);
    for (const request of this.outbox.takeRequests()) this.#do({ do: 'answer', key: request.key, error });
    for (const send of this.outbox.takeSends()) this.#settle(send, undefined, error);
    this.#do({ do: 'unsent' });
    if (!announced) this.#do({ do: 'refused', error });
    if (!wasClosed) this.#state('closed');
  }

  #shut(bye = false) {
    this.phase = 'closed';
    this.conn += 1;
    this.#clearTimers();
    this.#held = [];
    this.#announced = true;
    this.#url = this.#options.url;
    this.#do({ do: 'close', bye });
  }

  #clearTimers() {
    this.#openBy = this.#retryAt = this.#pingAt = this.#pongBy = this.#ackAt = Infinity;
    this.#moveAt = this.#holeBy = this.#upgradeAt = Infinity;
    this.#moveUrl = null;
  }

  // ── Time ────────────────────────────────────────────────────────────────────

  /** @param {number} now */
  #tick(now) {
    for (const send of this.outbox.expire(now)) {
      this.#settle(send, undefined, new HongyanError('timeout', 'no answer in time; the message may have arrived all the same'));
    }
    if (now >= this.#retryAt) {
      this.#state('connecting');
      return this.#open(now);
    }
    if (now >= this.#openBy) return this.#lost(now, new HongyanError('network', 'no answer from the server'));
    if (now >= this.#moveAt) return this.#lost(now, new HongyanError('network', 'the node is going away'));
    if (now >= this.#pongBy) return this.#lost(now, new HongyanError('network', 'no answer to a ping'));
    if (now >= this.#holeBy) return this.#gap(now);
    if (now >= this.#upgradeAt) return this.#upgrade(now);
    if (now >= this.#ackAt) this.#ack(now);
    if (now >= this.#pingAt) this.#sayPing(now);
    if (this.outbox.pausedUntil > 0 && now >= this.outbox.pausedUntil) {
      this.outbox.pausedUntil = 0;
      this.#pump(now);
    }
  }

  /** The network came back, or the page is looked at again. @param {number} now */
  #wake(now) {
    if (this.phase === 'waiting') {
      this.#state('connecting');
      this.#open(now);
    } else if (this.phase === 'ready' && this.#pongBy === Infinity) {
      this.#sayPing(now); // is the line still there?
    }
  }

  /** @param {number} now */
  #upgrade(now) {
    const better = this.#bestTransport();
    // Should it fail, another round starts only after it has worked again.
    this.#worked.delete(this.#options.transports[better]);
    for (const send of this.outbox.lost()) this.#settle(send, undefined, new HongyanError('network', 'the transport changed'));
    this.#do({ do: 'close' });
    this.#transport = better;
    this.#tried = 0;
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
    const { conn } = this;
    this.#pongBy = Infinity; // any word is a sign of life
    const before = this.stream.handled;
    for (let i = 0; i < frames.length; i += 1) {
      if (this.phase === 'restoring') {
        this.#held.push(...frames.slice(i));
        return;
      }
      if (frames[i] && typeof frames[i].t === 'string') this.#frame(now, frames[i]);
      if (conn !== this.conn) return;
    }
    if (this.phase !== 'ready') return;
    if (this.stream.handled !== before) this.#do({ do: 'cursor', pos: this.stream.handled });
    if (this.stream.last !== this.#lastAck) {
      if (this.#unacked >= this.#options.window / 2) this.#ack(now);
      else this.#ackAt = Math.min(this.#ackAt, now + this.#times.ack);
    }
    this.#pump(now);
  }

  /** @param {number} now @param {any} frame */
  #frame(now, frame) {
    if (frame.t === 'kick') return this.#kicked(now, frame);
    if (this.phase === 'greeting') {
      if (frame.t === 'welcome') this.#welcomed(now, frame);
      else if (frame.t === 'err') this.#kicked(now, frame);
      return;
    }
    switch (frame.t) {
      case 'ok':
      case 'err': return this.#answered(now, frame);
      case 'live': return this.#event('live', { pos: frame.pos });
      case 'move': return this.#move(now, frame);
      case 'presence': return this.#presence(frame.user, frame.online === true);
      case 'welcome':
      case 'pong': return;
      default:
    }
    if (!Number.isSafeInteger(frame.pos)) return this.#deliver(frame);
    const verdict = this.stream.accept(frame.pos, frame.prev);
    if (verdict === 'gap') return this.#gap(now);
    this.#unacked += 1;
    this.#watchHole(now);
    if (verdict === 'next') this.#deliver(frame);
  }

  /** Hands an entry, or a frame outside the stream, to the page. @param {any} frame */
  #deliver(frame) {
    const { t, pos, prev, ...detail } = frame;
    if (t === 'msg') this.#message(frame);
    else if (t === 'read' || t === 'receipt' || t === 'recall') this.#event(t, detail);
    // Types that this version does not know are acked and skipped.
  }

  /** @param {any} frame */
  #message(frame) {
    const message = toMessage(frame.m, this.user ?? '', frame.pos);
    if (message.status) return this.#event('message', message);
    const own = message.mine && message.cid ? this.outbox.arrived(message.cid) : null;
    if (!this.stream.first(message.id)) return;
    if (own?.send) this.#settle(own.send, message);
    else this.#event(own ? 'sent' : 'message', message);
  }

  /** @param {number} now @param {any} frame */
  #answered(now, frame) {
    if (frame.t === 'ok' && Number.isSafeInteger(frame.pos) && Number.isSafeInteger(frame.prev)) {
      this.stream.own(frame.pos, frame.prev);
      this.#watchHole(now);
    }
    if (frame.t === 'err' && frame.r === undefined && FINAL_CODES.has(frame.code)) return this.#kicked(now, frame);
    const answer = this.outbox.answer(now, frame);
    if (answer) this.#settled(answer);
  }

  /** @param {import('./outbox.js').Answer} answer */
  #settled({ send, request, ok, error }) {
    if (send) {
      const message = ok ? sentMessage(send.frame, ok, this.user ?? '') : undefined;
      if (message) this.stream.first(message.id);
      this.#settle(send, message, error);
    } else if (request?.key === -1) {
      this.#watching(ok?.online ?? []);
    } else if (request) {
      if (request.frame.t === 'watch' && ok) this.#online = new Set(ok.online);
      this.#do({ do: 'answer', key: request.key, ok, error });
    }
  }

  /** A watch list was said again: tell what changed meanwhile. @param {string[]} online */
  #watching(online) {
    const now = new Set(online);
    for (const user of this.#watched ?? []) this.#presence(user, now.has(user));
  }

  /** @param {string} user @param {boolean} online */
  #presence(user, online) {
    if (this.#online.has(user) === online) return;
    if (online) this.#online.add(user);
    else this.#online.delete(user);
    this.#event('presence', { user, online });
  }

  /** Something is missing: only a hello with our cursor can bring it. @param {number} now */
  #gap(now) {
    this.#lost(now, new HongyanError('network', 'a gap in the stream'));
  }

  /** @param {number} now */
  #watchHole(now) {
    this.#holeBy = this.stream.holed ? now + this.#times.hole : Infinity;
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
    if (this.phase === 'idle' || this.phase === 'closed' || (isStatus(frame) && this.phase !== 'ready')) {
      const error = new HongyanError('closed', 'not connected');
      this.#do({ do: 'settle', cid: frame.id, error });
      return;
    }
    this.outbox.addSend(frame, this.#sendDeadline(now), this.phase !== 'ready');
    if (!isStatus(frame)) this.#do({ do: 'unsent' });
    this.#pump(now);
  }

  /** @param {number} now @param {any[]} sends */
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
    for (const answer of refused) this.#settled(answer);
    if (frames.length > 0) this.#transmit(now, frames);
  }

  /** @param {number} now */
  #ack(now) {
    this.#ackAt = Infinity;
    this.#unacked = 0;
    if (this.stream.last === null || this.stream.last === this.#lastAck) return;
    this.#lastAck = this.stream.last;
    this.#transmit(now, [{ t: 'ack', pos: this.stream.last }]);
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
