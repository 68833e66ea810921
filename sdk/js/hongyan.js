/**
 * The browser SDK of Hongyan: what pages call. See docs/sdk.md for the surface,
 * docs/protocol.md for what is said on the wire.
 *
 * Parts: driver.js carries out what session.js decides; session.js is a pure state machine.
 */

import { Driver } from './driver.js';
import { HongyanError } from './errors.js';
import { toConversation, toMessage } from './message.js';
import { ulidFactory } from './ulid.js';

export { HongyanError };

/** @typedef {import('./message.js').Message} Message */
/** @typedef {import('./driver.js').Welcome} Welcome */

export const VERSION = '0.1.0';

/** Fields of a send that the page may give besides the required ones. */
const SEND_OPTIONS = ['counted', 'stored', 'status', 'mentioned', 'push'];

/**
 * @typedef {object} Options
 * @property {string} [url] `http(s)://host[:port]` of a node: home; default: where this module came from
 * @property {'nearest' | 'home'} [relay] `nearest` (default): go over to the nearest relay of the service; `home`: stay at `url`
 * @property {string[]} [transports] `ws` and `poll`, tried in this order
 * @property {string} [device] device name, 1 to 64 bytes; default: one for this tab
 * @property {import('./storage.js').StorageLike} [storage] default: `localStorage`, else memory
 * @property {number} [window] entries that the server may push unacked, 1 to 1024
 * @property {boolean} [delivered] ask for `delivered` receipts
 * @property {number} [sendTimeout] ms after which a send is given up; 0: never
 * @property {boolean} [reconnect] false: one try, then `closed`
 * @property {any} [WebSocket] for programs without a global one
 * @property {typeof fetch} [fetch] the same
 * @property {any} [times] see times.js; for tests
 * @property {() => number} [random] 0 to 1; for tests
 * @property {boolean} [secure] only https relays; default: when the page or home is https
 */

export class Hongyan extends EventTarget {
  #driver;
  #newId = ulidFactory();

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    const url = (options.url ?? new URL(import.meta.url).origin).replace(/\/+$/, '');
    if (!/^https?:\/\//.test(url)) throw new TypeError(`url has to be http(s)://host[:port] of a node, not ${JSON.stringify(url)}`);
    const transports = options.transports ?? ['ws', 'poll'];
    if (transports.length === 0 || transports.some((name) => name !== 'ws' && name !== 'poll')) {
      throw new TypeError(`transports has to be a list of 'ws' and 'poll', not ${JSON.stringify(transports)}`);
    }
    const { relay = 'nearest' } = options;
    if (relay !== 'nearest' && relay !== 'home') throw new TypeError(`relay has to be 'nearest' or 'home', not ${JSON.stringify(relay)}`);
    const emit = (/** @type {string} */ name, /** @type {any} */ detail) => void this.dispatchEvent(new CustomEvent(name, { detail }));
    this.#driver = new Driver({ ...options, url, relay, transports, sdk: `hongyan-js/${VERSION}` }, emit);
  }

  get state() {
    return this.#driver.state;
  }

  /** Who the server says I am; null before the first welcome. */
  get user() {
    return this.#driver.session.user;
  }

  get device() {
    return this.#driver.device;
  }

  /** `ws` or `poll`. */
  get transport() {
    return this.#driver.transportName;
  }

  /** Where the session is, or was last; null before the first welcome. @returns {{node: string, region: string, url: string, rtt: number | null} | null} */
  get relay() {
    return this.#driver.session.relay;
  }

  /** Server minus local clock, ms. */
  get clockOffset() {
    return this.#driver.session.clockOffset;
  }

  /**
   * @param {string} token from the server API
   * @returns {Promise<Welcome>}
   */
  connect(token) {
    if (typeof token !== 'string' || token === '') return Promise.reject(new HongyanError('bad_token', 'the token is empty'));
    return this.#driver.connect(token);
  }

  /** Says goodbye. Sends and requests without an answer are rejected with `closed`. @returns {Promise<void>} */
  async disconnect() {
    this.#driver.disconnect();
  }

  // ── Messages ────────────────────────────────────────────────────────────────

  /**
   * @param {{kind: number, target: string, type: string, content: any, counted?: boolean, stored?: boolean,
   *   status?: boolean, mentioned?: boolean, push?: {text?: string, data?: string}, id?: string}} message
   * @returns {Promise<Message>} once the server has it on disk
   */
  send(message) {
    const { kind, target, type, content, id = this.#newId() } = message;
    if (!Number.isInteger(kind)) return badField('kind', kind);
    if (typeof target !== 'string' || target === '') return badField('target', target);
    if (typeof type !== 'string' || type === '') return badField('type', type);
    if (typeof content !== 'string' && (typeof content !== 'object' || content === null)) return badField('content', content);
    // A copy: what the page does to the object later is not what was sent.
    /** @type {any} */
    const frame = { t: 'send', id, kind, target, type, content: JSON.parse(JSON.stringify(content)) };
    for (const name of SEND_OPTIONS) {
      const value = /** @type {any} */ (message)[name];
      if (value !== undefined) frame[name] = value;
    }
    return this.#driver.send(frame);
  }

  /**
   * @param {number} kind
   * @param {string} target
   * @param {number} [upto] position of an entry; left out: all
   * @returns {Promise<number>} unread messages left
   */
  async read(kind, target, upto) {
    return (await this.#request({ t: 'read', kind, target, upto })).unread;
  }

  /**
   * @param {{kind: number, target: string, id: string, at: number}} message
   * @param {{extra?: string}} [options]
   * @returns {Promise<void>}
   */
  async recall({ kind, target, id, at }, { extra } = {}) {
    await this.#request({ t: 'recall', kind, target, id, at, extra });
  }

  // ── Questions ───────────────────────────────────────────────────────────────

  /**
   * @param {number} kind
   * @param {string} target
   * @param {{before?: number, after?: number, limit?: number}} [options] `at` values, exclusive; 1 to 100
   * @returns {Promise<{messages: Message[], more: boolean}>} oldest first
   */
  async history(kind, target, { before, after, limit } = {}) {
    const ok = await this.#request({ t: 'history', kind, target, before, after, limit });
    return { messages: ok.messages.map((/** @type {any} */ m) => toMessage(m, this.user ?? '')), more: ok.more };
  }

  /**
   * @param {{limit?: number, before?: number}} [options] `before`: a conversation's `pos`
   * @returns {Promise<{conversations: any[], more: boolean}>} newest first
   */
  async conversations({ limit, before } = {}) {
    const ok = await this.#request({ t: 'conversations', limit, before });
    return { conversations: ok.conversations.map((/** @type {any} */ c) => toConversation(c, this.user ?? '')), more: ok.more };
  }

  /** @param {number} kind @param {string} target @returns {Promise<any>} null: there is none */
  async conversation(kind, target) {
    const { conversation } = await this.#request({ t: 'conversation', kind, target });
    return toConversation(conversation ?? null, this.user ?? '');
  }

  /** @param {number} kind @param {string} target @returns {Promise<void>} */
  async removeConversation(kind, target) {
    await this.#request({ t: 'remove', kind, target });
  }

  /** @returns {Promise<number>} over all conversations */
  async unread() {
    return (await this.#request({ t: 'unread' })).unread;
  }

  /** @param {string} user @returns {Promise<void>} */
  async block(user) {
    await this.#request({ t: 'block', user });
  }

  /** @param {string} user @returns {Promise<void>} */
  async unblock(user) {
    await this.#request({ t: 'unblock', user });
  }

  /** @returns {Promise<string[]>} newest first */
  async blocks() {
    return (await this.#request({ t: 'blocks' })).users;
  }

  /** @param {string} user @returns {Promise<boolean>} */
  async isBlocked(user) {
    return (await this.#request({ t: 'blocked', user })).blocked;
  }

  /** @param {string[]} ids at most 100 @returns {Promise<Map<string, {id: string, name: string, portrait: string}>>} */
  async users(ids) {
    const { users } = await this.#request({ t: 'users', ids });
    return new Map(users.map((/** @type {any} */ user) => [user.id, user]));
  }

  /** @param {string[]} users at most 200; replaces the list @returns {Promise<Set<string>>} those online */
  async watch(users) {
    return new Set((await this.#request({ t: 'watch', users: [...users] })).online);
  }

  /** @param {any} frame @returns {Promise<any>} the `ok` frame */
  #request(frame) {
    for (const name of Object.keys(frame)) if (frame[name] === undefined) delete frame[name];
    return this.#driver.request(frame);
  }
}

/** @param {string} name @param {any} value @returns {Promise<never>} */
function badField(name, value) {
  return Promise.reject(new HongyanError('bad_frame', `${name} is missing or wrong: ${JSON.stringify(value)}`));
}
