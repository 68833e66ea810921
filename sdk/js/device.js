/**
 * Which device name this page uses.
 *
 * The server keeps one session a device: a second one under the same name ends the first.
 * With one name for the whole browser two tabs would push one another out, so **a device is
 * one tab**, and its name comes from
 *
 * 1. `sessionStorage`: a reloaded tab stays the same device and goes on from its cursor;
 * 2. the pool in `localStorage`: a new tab takes the name of one that was closed, so that
 *    the server does not see a new device for each tab ever opened, and what a closed tab
 *    had not sent is found again;
 * 3. a new random name, added to the pool.
 *
 * A name is used only by the page that holds its lock, because browsers copy
 * `sessionStorage` into a duplicated tab. The lock is a Web Lock, which the browser gives
 * back however the page ends. Web Locks exist only in secure contexts; elsewhere a lease in
 * `localStorage` does, renewed while the page lives. Its race (two tabs taking one name in
 * the same instant) ends with one `kick` `replaced`, never with a fight.
 */

import { randomBytes } from './ulid.js';

/** How long a lease holds without renewal: longer than the minute to which browsers slow the timers of hidden tabs. */
const LEASE = 150_000;
const RENEW = 20_000;
const SESSION_KEY = 'hongyan:device';

/**
 * @typedef {import('./storage.js').StorageLike} StorageLike
 * @typedef {import('./storage.js').Store} Store
 * @typedef {() => void} Release
 */

export class DeviceNames {
  #store;
  #session;
  #locks;
  #me = randomName('page-');

  /**
   * @param {Store} store
   * @param {StorageLike | null} session `sessionStorage`
   * @param {any} locks `navigator.locks`, or null
   */
  constructor(store, session, locks) {
    this.#store = store;
    this.#session = session;
    this.#locks = locks;
  }

  /** @returns {Promise<{name: string, release: Release}>} */
  async claim() {
    const remembered = this.#session?.getItem(SESSION_KEY);
    const names = new Set([...(remembered ? [remembered] : []), ...this.#store.devices()]);
    for (const name of names) {
      const release = await this.lock(name);
      if (release) return this.#keep(name, release);
    }
    const name = randomName('web-');
    return this.#keep(name, (await this.lock(name)) ?? (() => {}));
  }

  /**
   * @param {string} name
   * @returns {Promise<Release | null>} null: another page holds it
   */
  lock(name) {
    if (!this.#locks) return Promise.resolve(this.#lease(name));
    return new Promise((resolve) => {
      this.#locks
        .request(`hongyan:device:${name}`, { ifAvailable: true }, (/** @type {any} */ lock) => {
          if (!lock) return resolve(null);
          return new Promise((release) => resolve(() => release(undefined)));
        })
        .catch(() => resolve(this.#lease(name))); // no locks in this document after all
    });
  }

  /** @param {string} name @param {Release} release */
  #keep(name, release) {
    this.#store.addDevice(name);
    try {
      this.#session?.setItem(SESSION_KEY, name);
    } catch {
      // full: a reload will take a name from the pool
    }
    return { name, release };
  }

  /** @param {string} name @returns {Release | null} */
  #lease(name) {
    const key = `hongyan:lease:${name}`;
    const { storage } = this.#store;
    const held = () => {
      try {
        return JSON.parse(storage.getItem(key) ?? 'null');
      } catch {
        return null;
      }
    };
    const other = held();
    if (other && other.by !== this.#me && other.until > Date.now()) return null;
    const renew = () => {
      try {
        storage.setItem(key, JSON.stringify({ by: this.#me, until: Date.now() + LEASE }));
      } catch {
        // Full: two tabs may meet under one name; the server tells the older one.
      }
    };
    renew();
    const timer = setInterval(renew, RENEW);
    /** @type {any} */ (timer).unref?.(); // a program in node may end
    const release = () => {
      clearInterval(timer);
      globalThis.removeEventListener?.('pagehide', release);
      if (held()?.by === this.#me) storage.removeItem(key);
    };
    globalThis.addEventListener?.('pagehide', release);
    return release;
  }
}

/** @param {string} prefix */
export function randomName(prefix) {
  return prefix + Array.from(randomBytes(8), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
