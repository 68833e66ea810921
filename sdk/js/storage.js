/**
 * What outlives a page load: device names, cursors, unsent messages.
 *
 * Keys are `hongyan:…`. The cursor and the unsent messages belong to (host, user, device):
 * a device is one tab (device.js), so no two pages write one key.
 */

/** @typedef {{getItem(key: string): string | null, setItem(key: string, value: string): void, removeItem(key: string): void}} StorageLike */

/** Device names kept; more tabs than this at once get names that are not kept. */
const MAX_DEVICES = 16;

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
  #host;

  /**
   * @param {StorageLike} storage
   * @param {string} url of the node: its host is part of the keys
   */
  constructor(storage, url) {
    this.#storage = storage;
    this.#host = new URL(url).host;
  }

  get storage() {
    return this.#storage;
  }

  /**
   * @param {string} user
   * @param {string} device
   * @returns {number | null}
   */
  cursor(user, device) {
    const value = this.#read(this.#key('cursor', user, device));
    return Number.isSafeInteger(value) ? value : null;
  }

  /** @param {string} user @param {string} device @param {number} cursor */
  setCursor(user, device, cursor) {
    this.#write(this.#key('cursor', user, device), cursor);
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
    return `hongyan:${what}:${[this.#host, user, device].map(encodeURIComponent).join(':')}`;
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
