/**
 * What outlives a page load: device names, cursors and what belongs to them, unsent
 * messages, relays.
 *
 * Keys are `hongyan:…`. Cursor, ids seen and unsent messages belong to (host, user, device):
 * a device is one tab (device.js), so no two pages write one key. Relays belong to the home
 * address; tabs share them, and the last word holds.
 */

import { readEpoch } from './relays.js';
import { SLOTS } from './seen.js';

/** @typedef {{getItem(key: string): string | null, setItem(key: string, value: string): void, removeItem(key: string): void}} StorageLike */

/** Device names kept; more tabs than this at once get names that are not kept. */
const MAX_DEVICES = 16;

/** (host, user, device)s whose ids seen are kept: at most 50 kB each. */
const MAX_SEEN = 16;

/** @returns {StorageLike} for as long as the page lives */
export function memoryStorage() {
  /** @type {Map<string, string>} */
  const map = new Map();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, value),
    removeItem: (key) => void map.delete(key),
  };
}

/**
 * A browser's own storage, or null where there is none or it may not be used.
 *
 * @param {'localStorage' | 'sessionStorage'} name
 * @returns {StorageLike | null}
 */
export function browserStorage(name) {
  try {
    const storage = /** @type {any} */ (globalThis)[name];
    if (typeof document === 'undefined' || !storage) return null;
    storage.setItem('hongyan:probe', '1');
    storage.removeItem('hongyan:probe');
    return storage;
  } catch {
    return null; // blocked by the user's settings, or full
  }
}

export class Store {
  #storage;
  #url;
  #host;
  #seenBy = ''; // whose ids are being written

  /**
   * @param {StorageLike} storage
   * @param {string} url home: its host is part of the keys
   */
  constructor(storage, url) {
    this.#storage = storage;
    this.#url = url;
    this.#host = new URL(url).host;
  }

  get storage() {
    return this.#storage;
  }

  /**
   * @param {string} user
   * @param {string} device
   * @returns {{pos: number | null, epoch: string | null}} one value, so that they are always of one another
   */
  cursor(user, device) {
    const value = this.#read(this.#key('cursor', user, device));
    const pos = typeof value === 'number' ? value : value?.pos; // a bare number: of a version that knew no epochs
    if (!Number.isSafeInteger(pos)) return { pos: null, epoch: null };
    return { pos, epoch: readEpoch(value.epoch) };
  }

  /** @param {string} user @param {string} device @param {{pos: number, epoch: string | null}} cursor */
  setCursor(user, device, { pos, epoch }) {
    this.#write(this.#key('cursor', user, device), epoch === null ? pos : { pos, epoch });
  }

  /** Ids of messages that the page has been given. @param {string} user @param {string} device @returns {any[]} see seen.js */
  seen(user, device) {
    return Array.from({ length: SLOTS }, (_, slot) => this.#read(this.#key(`seen${slot}`, user, device)));
  }

  /** @param {string} user @param {string} device @param {[number, string][]} changes of `Seen` */
  setSeen(user, device, changes) {
    const owner = keyOf('', [this.#host, user, device]);
    if (this.#seenBy !== owner && changes.length > 0) {
      this.#seenBy = owner;
      const kept = this.#read('hongyan:seen');
      const owners = [owner, ...(Array.isArray(kept) ? kept.filter((one) => one !== owner) : [])];
      this.#write('hongyan:seen', owners.slice(0, MAX_SEEN));
      for (const old of owners.slice(MAX_SEEN)) {
        for (let slot = 0; slot < SLOTS; slot += 1) this.#remove(String(old).replace(/^hongyan:/, `hongyan:seen${slot}`));
      }
    }
    for (const [slot, text] of changes) this.#write(this.#key(`seen${slot}`, user, device), text);
  }

  /** @returns {any} what `setRelays` was given, or anything: to be checked (relays.js) */
  relays() {
    return this.#read(`hongyan:relays:${encodeURIComponent(this.#url)}`);
  }

  /** @param {any} record null: nothing */
  setRelays(record) {
    const key = `hongyan:relays:${encodeURIComponent(this.#url)}`;
    if (record) this.#write(key, record);
    else this.#remove(key);
  }

  /**
   * @param {string} user
   * @param {string} device
   * @returns {any[]} `send` frames, oldest first
   */
  unsent(user, device) {
    const value = this.#read(this.#key('unsent', user, device));
    if (!Array.isArray(value)) return [];
    return value.filter((frame) => frame?.t === 'send' && typeof frame.id === 'string');
  }

  /** @param {string} user @param {string} device @param {any[]} frames */
  setUnsent(user, device, frames) {
    const key = this.#key('unsent', user, device);
    if (frames.length > 0) this.#write(key, frames);
    else this.#remove(key);
  }

  /** Names of devices that this browser has used. @returns {string[]} */
  devices() {
    const value = this.#read('hongyan:devices');
    return Array.isArray(value) ? value.filter((name) => typeof name === 'string') : [];
  }

  /** @param {string} name */
  addDevice(name) {
    const names = this.devices();
    if (!names.includes(name) && names.length < MAX_DEVICES) this.#write('hongyan:devices', [...names, name]);
  }

  /** @param {string} what @param {string} user @param {string} device */
  #key(what, user, device) {
    return keyOf(what, [this.#host, user, device]);
  }

  /** @param {string} key */
  #read(key) {
    try {
      return JSON.parse(this.#storage.getItem(key) ?? 'null');
    } catch {
      return null; // not ours, or damaged: as if it were not there
    }
  }

  /** @param {string} key @param {any} value */
  #write(key, value) {
    try {
      this.#storage.setItem(key, JSON.stringify(value));
    } catch {
      // Full or forbidden. The page works on; only a reload will know less.
    }
  }

  /** @param {string} key */
  #remove(key) {
    try {
      this.#storage.removeItem(key);
    } catch {
      // as above
    }
  }
}

/** @param {string} what @param {string[]} of */
function keyOf(what, of) {
  return `hongyan:${what}:${of.map(encodeURIComponent).join(':')}`;
}
