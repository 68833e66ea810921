/**
 * Carries out what the session decides: owns the transport, the timer, storage and the
 * device name, and has no opinion about messages.
 */

import { DeviceNames, randomName } from './device.js';
import { HongyanError } from './errors.js';
import { measure } from './measure.js';
import { utf8Length } from './message.js';
import { Session } from './session.js';
import { Store, browserStorage, memoryStorage } from './storage.js';
import { TIMES } from './times.js';
import { PollTransport, WsTransport } from './transports.js';

/**
 * @typedef {import('./message.js').Message} Message
 * @typedef {import('./session.js').Input} Input
 * @typedef {import('./session.js').Effect} Effect
 *
 * @typedef {{user: string, name: string, portrait: string, resumed: boolean, why?: string}} Welcome
 * @typedef {{token: string, promise: Promise<Welcome>, resolve: (info: Welcome) => void, reject: (error: Error) => void}} Connecting
 *
 * @typedef {{name: string, transport: import('./transports.js').Transport, out: any[]}} Line `out`: frames to be sent with the next microtask
 *
 * @typedef {object} DriverOptions see `Options` in hongyan.js
 * @property {string} url
 * @property {string[]} transports
 * @property {'nearest' | 'home'} relay
 * @property {string} sdk
 * @property {string} [device]
 * @property {import('./storage.js').StorageLike} [storage]
 * @property {any} [WebSocket]
 * @property {typeof fetch} [fetch]
 * @property {() => number} [random]
 * @property {boolean} [secure]
 * @property {any} [times]
 */

/** Longest delay that `setTimeout` keeps. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

export class Driver {
  session;
  device = '';
  /** @type {'idle' | 'connecting' | 'connected' | 'waiting' | 'closed'} */
  state = 'idle';
  /** `ws` or `poll`; empty before the first connection. */
  transportName = '';

  #options;
  #emit;
  #store;
  #names;
  #releaseDevice = () => {};

  /** @type {Map<number, Line>} open connections */
  #lines = new Map();

  /** @type {string | undefined} kind of network, where the browser tells */
  #network;

  /** @type {Input[]} */
  #inputs = [];
  #running = false;
  #claiming = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @type {Connecting | null} the newest call of `connect` */
  #wanted = null;
  /** @type {Connecting | null} the one that the session is busy with */
  #connecting = null;
  /** @type {Map<string, {resolve: (message: Message) => void, reject: (error: Error) => void}[]>} by send id */
  #sends = new Map();
  /** @type {Map<number, {resolve: (ok: any) => void, reject: (error: Error) => void}>} */
  #requests = new Map();
  #nextKey = 1;

  /** @type {{pos: number, epoch: string | null} | null} a cursor to be stored */
  #cursor = null;
  #unsentChanged = false;

  /**
   * @param {DriverOptions} options
   * @param {(name: string, detail: any) => void} emit
   */
  constructor(options, emit) {
    const { url, storage } = options;
    this.#options = options;
    this.#emit = emit;
    const secure = options.secure ?? globalThis.location?.protocol === 'https:';
    this.session = new Session({ ...options, secure });
    this.#store = new Store(storage ?? browserStorage('localStorage') ?? memoryStorage(), url);
    const locks = storage || typeof navigator === 'undefined' ? null : (navigator.locks ?? null);
    this.#names = new DeviceNames(this.#store, storage ? null : browserStorage('sessionStorage'), locks);
  }

  /** @param {string} token @returns {Promise<Welcome>} */
  connect(token) {
    const { phase } = this.session;
    const under = this.#wanted;
    if (under && (this.#claiming || (phase !== 'idle' && phase !== 'closed'))) {
      if (under.token === token) return under.promise;
      this.disconnect();
    }
    /** @type {any} */
    const wanted = { token };
    wanted.promise = new Promise((resolve, reject) => Object.assign(wanted, { resolve, reject }));
    wanted.promise.catch(() => {}); // `state` tells it as well: a page need not listen here
    this.#wanted = wanted;
    this.#inputs.push({ type: 'connect', token, wanted });
    if (!this.#claiming) void this.#claim();
    return wanted.promise;
  }

  disconnect() {
    this.#wanted = null;
    this.#run({ type: 'disconnect' });
  }

  /** @param {any} frame a `send` frame without `r` @returns {Promise<Message>} */
  send(frame) {
    return new Promise((resolve, reject) => {
      const waiting = this.#sends.get(frame.id);
      if (waiting) waiting.push({ resolve, reject });
      else this.#sends.set(frame.id, [{ resolve, reject }]);
      this.#run({ type: 'send', frame });
    });
  }

  /** @param {any} frame a request without `r` @returns {Promise<any>} the `ok` frame */
  request(frame) {
    return new Promise((resolve, reject) => {
      const key = this.#nextKey;
      this.#nextKey += 1;
      this.#requests.set(key, { resolve, reject });
      this.#run({ type: 'request', key, frame });
    });
  }

  // ── Inputs and effects ──────────────────────────────────────────────────────

  /**
   * Inputs are handled one after the other, also those that a handler of the page causes
   * while effects are being carried out.
   *
   * @param {Input} [input]
   */
  #run(input) {
    if (input) this.#inputs.push(input);
    if (this.#running || this.#claiming) return;
    this.#running = true;
    try {
      for (let next = this.#inputs.shift(); next; next = this.#inputs.shift()) {
        if (next.type === 'connect') {
          this.#connecting = next.wanted;
          this.#listen(true);
        }
        for (const effect of this.session.handle(Date.now(), next)) this.#execute(effect);
      }
    } finally {
      this.#running = false;
    }
    this.#schedule();
  }

  /** @param {Effect} effect */
  #execute(effect) {
    switch (effect.do) {
      case 'open': return this.#open(effect.conn, effect.transport, effect.url);
      case 'close': return this.#close(effect.conn, effect.bye);
      case 'line':
        this.transportName = this.#lines.get(effect.conn)?.name ?? this.transportName;
        return;
      case 'transmit': return this.#transmit(effect.conn, effect.frames);
      case 'state': return this.#changed(effect);
      case 'event': return this.#emit(effect.name, effect.detail);
      case 'settle': return this.#settle(effect.cid, effect.message, effect.error);
      case 'answer': return this.#answer(effect.key, effect.ok, effect.error);
      case 'connected': return this.#connecting?.resolve(effect.info);
      case 'refused': return this.#connecting?.reject(effect.error);
      case 'identify': return this.#identify(effect.user);
      case 'measure': return void this.#measure(effect);
      case 'remember': return this.#store.setRelays(effect.record);
      case 'cursor':
        this.#cursor = { pos: effect.pos, epoch: effect.epoch };
        return this.#persistSoon();
      case 'unsent':
        if (!this.#unsentChanged) this.#persistSoon();
        this.#unsentChanged = true;
        return;
      default: throw new TypeError(`unknown effect ${effect.do}`);
    }
  }

  #schedule() {
    clearTimeout(this.#timer);
    const deadline = this.session.deadline();
    if (deadline === Infinity) return;
    const delay = Math.min(Math.max(0, deadline - Date.now()), LONGEST_TIMEOUT);
    this.#timer = setTimeout(() => this.#run({ type: 'tick' }), delay);
  }

  // ── Transport ───────────────────────────────────────────────────────────────

  /** @param {number} conn @param {string} name @param {string} url */
  #open(conn, name, url) {
    if (this.#lines.size === 0) this.transportName = name;
    /** @type {import('./transports.js').Listener} */
    const listener = {
      opened: () => this.#run({ type: 'opened', conn }),
      frames: (frames) => this.#run({ type: 'frames', conn, frames }),
      closed: (code, error) => this.#run({ type: 'closed', conn, code, error }),
    };
    const transport = name === 'ws' ? new WsTransport(url, listener, this.#options) : new PollTransport(url, listener, this.#options);
    this.#lines.set(conn, { name, transport, out: [] });
  }

  /** @param {number} conn */
  #close(conn, bye = false) {
    if (bye) this.#flush(conn);
    this.#lines.get(conn)?.transport.close(bye);
    this.#lines.delete(conn);
  }

  /** @param {number} conn @param {any[]} frames */
  #transmit(conn, frames) {
    const line = this.#lines.get(conn);
    if (!line) return;
    if (line.out.length === 0) queueMicrotask(() => this.#flush(conn));
    line.out.push(...frames);
  }

  /** All frames of this microtask in as few transport messages as the size limit allows. @param {number} conn */
  #flush(conn) {
    const line = this.#lines.get(conn);
    if (!line) return;
    for (const text of batches(line.out.splice(0), this.session.limits.frame)) line.transport.send(text);
  }

  /** @param {any} what */
  async #measure(what) {
    const { fetch = globalThis.fetch, times } = this.#options;
    const found = await measure(what, { fetch, times: { ...TIMES, ...times } });
    this.#run({ type: 'measured', ...found });
  }

  // ── What the page is told ───────────────────────────────────────────────────

  /** @param {Effect} effect */
  #changed({ state, retryIn, error }) {
    this.state = state;
    if (state === 'closed' && !this.#inputs.some((input) => input.type === 'connect')) {
      this.#listen(false);
      this.#releaseDevice();
      this.#releaseDevice = () => {};
    }
    this.#emit('state', { state, retryIn, error });
  }

  /** @param {string} cid @param {Message} [message] @param {HongyanError} [error] */
  #settle(cid, message, error) {
    const waiting = this.#sends.get(cid);
    this.#sends.delete(cid);
    if (!waiting && message) this.#emit('sent', message);
    for (const { resolve, reject } of waiting ?? []) {
      if (message) resolve(message);
      else reject(error ?? new HongyanError('internal'));
    }
  }

  /** @param {number} key @param {any} ok @param {HongyanError} [error] */
  #answer(key, ok, error) {
    const waiting = this.#requests.get(key);
    this.#requests.delete(key);
    if (error) waiting?.reject(error);
    else waiting?.resolve(ok);
  }

  // ── Device and storage ──────────────────────────────────────────────────────

  /** Finds the device name. Inputs wait for it. */
  async #claim() {
    this.#claiming = true;
    if (this.#options.device) {
      this.device = this.#options.device;
    } else {
      const { name, release } = await this.#names.claim().catch(() => ({ name: randomName('web-'), release: () => {} }));
      this.device = name;
      this.#releaseDevice = release;
    }
    for (const input of this.#inputs) if (input.type === 'connect') Object.assign(input, { device: this.device, relay: this.#store.relays() });
    this.#claiming = false;
    this.#run();
  }

  /** The session wants to know what storage has of this user. @param {string} user */
  #identify(user) {
    const { pos, epoch } = this.#store.cursor(user, this.device);
    const seen = this.#store.seen(user, this.device);
    const sends = this.#store.unsent(user, this.device);
    this.#inputs.unshift({ type: 'restored', cursor: pos, epoch, seen, sends });
    if (!this.#options.device) void this.#adopt(user);
  }

  /** Takes over what tabs that are closed now had not sent. @param {string} user */
  async #adopt(user) {
    for (const name of this.#store.devices()) {
      if (name === this.device || this.#store.unsent(user, name).length === 0) continue;
      const release = await this.#names.lock(name);
      if (!release) continue;
      if (this.session.user === user && this.state !== 'closed') {
        this.#run({ type: 'adopt', sends: this.#store.unsent(user, name) });
        this.#persist(); // under our name, before it goes from the other's
        this.#store.setUnsent(user, name, []);
      }
      release();
    }
  }

  #persistSoon() {
    queueMicrotask(() => this.#persist());
  }

  #persist() {
    const { user, outbox, seen } = this.session;
    if (user === null) return;
    this.#store.setSeen(user, this.device, seen.changes()); // first: what follows relies on them
    if (this.#unsentChanged) this.#store.setUnsent(user, this.device, outbox.unsent());
    this.#unsentChanged = false;
    if (this.#cursor !== null) this.#store.setCursor(user, this.device, this.#cursor);
    this.#cursor = null;
  }

  // ── The browser ─────────────────────────────────────────────────────────────

  /** @param {boolean} on */
  #listen(on) {
    const change = on ? 'addEventListener' : 'removeEventListener';
    globalThis[change]?.('online', this.#online);
    globalThis[change]?.('pageshow', this.#wake);
    if (typeof document !== 'undefined') document[change]('visibilitychange', this.#wake);
    connection()?.[change]?.('change', this.#online);
    this.#network = connection()?.type;
  }

  /** The network is back, or somebody looks at the page: now is a good time to try. */
  #wake = () => {
    if (typeof document !== 'undefined' && document.visibilityState === 'hidden') return;
    this.#run({ type: 'wake' });
  };

  /** It may be another network. Of the browser's estimates of the same one (`change` too) nothing follows. */
  #online = (/** @type {any} */ event) => {
    const network = connection()?.type;
    if (event?.type === 'change' && network === this.#network) return;
    this.#network = network;
    this.#run({ type: 'wake', changed: true });
  };
}

/** @returns {any} what the browser says of its network, if anything */
function connection() {
  return typeof navigator === 'undefined' ? undefined : /** @type {any} */ (navigator).connection;
}

/**
 * @param {any[]} frames
 * @param {number} limit bytes of one transport message
 * @returns {string[]} transport messages: one frame, or an array of frames
 */
export function batches(frames, limit) {
  /** @type {string[]} */
  const messages = [];
  /** @type {string[]} */
  let batch = [];
  let bytes = 2;
  const close = () => {
    if (batch.length > 0) messages.push(batch.length === 1 ? batch[0] : `[${batch.join(',')}]`);
    batch = [];
    bytes = 2;
  };
  for (const frame of frames) {
    const text = JSON.stringify(frame);
    const length = utf8Length(text) + 1;
    if (bytes + length > limit) close();
    batch.push(text);
    bytes += length;
  }
  close();
  return messages;
}
