/**
 * Where to connect, over what, and when.
 *
 * Purpose: fall back from one transport to the next at once, but come round only after a
 * pause that grows (full jitter, so that the clients of a node that comes back do not all
 * arrive together); prefer what has worked; follow a node's advice to move.
 *
 * Pure: time and randomness come in from outside.
 */

export class Dialer {
  #home;
  #transports;
  #random;
  #times;
  #url;
  #index = 0; // into #transports
  #tried = 0; // transports tried since the last pause
  #pauses = 0; // since the last stable connection
  #welcomeAt = 0;
  /** @type {Set<number>} indices of transports that have carried a session */
  #worked = new Set();

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string[]} options.transports best first
   * @param {() => number} options.random 0 to 1
   * @param {{backoff: number, backoffCap: number, stable: number}} options.times milliseconds
   */
  constructor({ url, transports, random, times }) {
    this.#home = url;
    this.#url = url;
    this.#transports = transports;
    this.#random = random;
    this.#times = times;
  }

  /** What to open now. */
  get target() {
    return { transport: this.#transports[this.#index], url: this.#url };
  }

  /** The page asks for a connection. */
  fresh() {
    this.#url = this.#home;
    this.#tried = 0;
    this.#pauses = 0;
  }

  /** `target` is being opened. */
  dialed() {
    this.#tried += 1;
  }

  /** The same target will be opened again for a reason of ours. */
  redial() {
    this.#tried = 0;
  }

  /** @param {number} now */
  welcomed(now) {
    this.#welcomeAt = now;
    this.#tried = 0;
    this.#worked.add(this.#index);
  }

  /** True when a better transport than the present one has worked before. */
  get mayUpgrade() {
    return this.#best() < this.#index;
  }

  /** Turns to that better one. Should it fail, it counts again only after it has carried a session. */
  upgrade() {
    this.#index = this.#best();
    this.#worked.delete(this.#index);
    this.#tried = 0;
  }

  /**
   * A connection ended after its welcome.
   *
   * @param {number} now
   */
  lost(now) {
    if (now - this.#welcomeAt >= this.#times.stable) this.#pauses = 0;
    this.#tried = 0;
    this.#index = this.#best();
  }

  /**
   * A connection ended before its welcome.
   *
   * @param {boolean} answered the server itself said no: the transport is not to blame
   * @returns {boolean} true: open the new target at once; false: `pause` first
   */
  failed(answered) {
    if (!answered) {
      this.#index = (this.#index + 1) % this.#transports.length;
      if (this.#tried < this.#transports.length) return true;
    }
    this.#tried = 0;
    this.#url = this.#home; // where a `move` led to is not worth a second round
    return false;
  }

  /** @param {string | null} url another node, or the same again */
  move(url) {
    this.#url = url ?? this.#url;
  }

  /** Milliseconds to wait before the next try. */
  pause() {
    const most = Math.min(this.#times.backoffCap, this.#times.backoff * 2 ** this.#pauses);
    this.#pauses += 1;
    return this.#random() * most;
  }

  #best() {
    return this.#worked.size > 0 ? Math.min(...this.#worked) : this.#index;
  }
}
