/**
 * Over what to connect, and when.
 *
 * Purpose: fall back from one transport to the next at once, but come round only after a
 * pause that grows (full jitter, so that the clients of a node that comes back do not all
 * arrive together); prefer what has worked. What a network lets through is much the same
 * for all relays, so what worked with one is tried first with all.
 *
 * Pure: time and randomness come in from outside.
 */

export class Dialer {
  #transports;
  #random;
  #times;
  #index = 0; // into #transports
  #pauses = 0; // since the last stable connection
  #welcomeAt = 0;
  /** @type {Set<number>} indices of transports that have carried a session */
  #worked = new Set();

  /**
   * @param {object} options
   * @param {string[]} options.transports best first
   * @param {() => number} options.random 0 to 1
   * @param {{backoff: number, backoffCap: number, stable: number}} options.times milliseconds
   */
  constructor({ transports, random, times }) {
    this.#transports = transports;
    this.#random = random;
    this.#times = times;
  }

  /** Number of the transport to begin with. */
  get first() {
    return this.#index;
  }

  /** How many there are. */
  get count() {
    return this.#transports.length;
  }

  /** @param {number} index */
  transport(index) {
    return this.#transports[index];
  }

  /** The page asks for a connection. */
  fresh() {
    this.#pauses = 0;
  }

  /** A server has answered over this one. @param {number} index */
  answered(index) {
    this.#index = index;
  }

  /** @param {number} now */
  welcomed(now) {
    this.#welcomeAt = now;
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
  }

  /**
   * A connection ended after its welcome.
   *
   * @param {number} now
   */
  lost(now) {
    if (now - this.#welcomeAt >= this.#times.stable) this.#pauses = 0;
    this.#index = this.#best();
  }

  /** Milliseconds to wait before the next round of tries. */
  pause() {
    const most = Math.min(this.#times.backoffCap, this.#times.backoff * 2 ** this.#pauses);
    this.#pauses += 1;
    return this.#random() * most;
  }

  #best() {
    return this.#worked.size > 0 ? Math.min(...this.#worked) : this.#index;
  }
}
