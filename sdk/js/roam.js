/**
 * At which relay a session is, and at which it would be better off.
 *
 * Purpose: begin where the last session was (the first one: at home, at once), know in
 * which order to try the others, know when to measure, and name a relay that is clearly
 * nearer.
 * Flow: `fresh` → `candidates` → `welcomed` → (`ask` → `measured` → a target) …
 * `record` is what to remember; it is written anew after each of these.
 * Measuring costs every relay a few requests of every client, so it is done once when
 * nothing recent is remembered, about once an hour after that, when the network has
 * changed, and some time after a relay was left in need, to find the way back.
 *
 * Pure: time and randomness come in from outside.
 */

import { clearlyNearer, name, parseRelays, rank, readRecord, relayUrl } from './relays.js';

/** @typedef {import('./relays.js').Relay} Relay */

export class Roamer {
  /** @type {Relay} where the page's options, or the address of the SDK, point to */
  home;

  /** @type {Relay | null} where the session is, or was last */
  current = null;

  /** When to measure; Infinity: not. */
  measureAt = Infinity;

  /** Only https will do. */
  secure;

  /** Relays are measured and remembered; else the session stays at home. */
  nearest;

  #random;
  #times;
  /** Address to begin with; empty: the best known. */
  #first = '';
  /** @type {Relay[]} best first */
  #relays = [];
  #listedAt = -Infinity; // when a `welcome` has named them
  #measured = 0;
  #unlisted = false; // these servers have no list
  #revisits = 0;
  #welcomeAt = 0;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {'nearest' | 'home'} options.relay `home`: stay there, except where a `move` leads
   * @param {boolean} options.secure the page came over https
   * @param {() => number} options.random 0 to 1
   * @param {typeof import('./times.js').TIMES} options.times
   */
  constructor({ url, relay, secure, random, times }) {
    this.home = { node: '', region: '', url: relayUrl(url, false) ?? url, load: 0, draining: false, rtt: null };
    // Nor is the token of a session that began over https said in the clear.
    this.secure = secure || this.home.url.startsWith('https:');
    this.nearest = relay === 'nearest';
    this.#random = random;
    this.#times = times;
  }

  /** The page asks for a connection. @param {number} now @param {any} remembered */
  fresh(now, remembered) {
    const terms = { home: this.home.url, secure: this.secure, now, kept: this.#times.kept };
    const record = this.nearest ? readRecord(remembered, terms) : null;
    this.#first = record?.url ?? this.home.url;
    this.#relays = record?.relays ?? [];
    this.#listedAt = -Infinity;
    this.#measured = record?.measured ?? 0;
    this.#unlisted = false;
    this.#revisits = 0;
    this.measureAt = this.#measured > 0 ? this.#measured + this.#times.fresh : now;
  }

  /** @returns {Relay[]} in the order in which they are to be tried */
  candidates() {
    const first = this.#first === '' ? [] : [this.#relay(this.#first)];
    const known = this.nearest ? this.#relays : [];
    const order = [...first, ...known.filter((one) => !one.draining), this.home, ...known];
    return order.filter((one, i) => order.findIndex(({ url }) => url === one.url) === i);
  }

  /**
   * A session has begun.
   *
   * @param {number} now
   * @param {Relay} relay
   * @param {any} welcome
   */
  welcomed(now, relay, welcome) {
    const node = name(welcome.node);
    const listed = parseRelays(welcome.relays, { base: relay.url, node, secure: this.secure });
    if (listed.length > 0) {
      const home = this.#relays.filter(({ url }) => url === this.home.url && listed.every((one) => one.url !== url));
      this.#relays = rank([...listed.map((one) => ({ ...one, rtt: this.#relay(one.url).rtt })), ...home]);
      this.#listedAt = now;
    }
    if (this.#first !== '' && relay.url !== this.#first) this.#leftInNeed(now);
    this.current = { ...this.#relay(relay.url), node };
    this.#place();
    this.#first = relay.url;
    this.#welcomeAt = now;
    this.measureAt = Math.max(this.measureAt, now + this.#times.settle);
  }

  /** We are on the way to a nearer one. @param {Relay} target */
  heading({ url }) {
    this.#first = url;
  }

  /** May be measured; `home` sessions never are. */
  get mayMeasure() {
    return this.nearest && !this.#unlisted;
  }

  /** @param {number} now @returns {{base: string, list: Relay[] | null, besides: Relay[], secure: boolean}} what to measure: see measure.js */
  ask(now) {
    this.measureAt = now + this.#about(this.#times.remeasure); // should no answer come
    const { home, current, secure } = this;
    const base = current?.url ?? home.url;
    const list = now - this.#listedAt < this.#times.fresh ? this.#relays : null;
    return { base, list, besides: current && base !== home.url ? [current, home] : [current ?? home], secure };
  }

  /**
   * @param {number} now
   * @param {Relay[] | null} relays null: no list
   * @param {boolean} none these servers have none: not worth asking again
   * @returns {Relay | null} where to move to
   */
  measured(now, relays, none) {
    const { current } = this;
    if (!current || !this.mayMeasure) return null;
    this.#unlisted = none;
    if (!relays && !none) return null; // it failed; later
    this.#measured = now;
    this.#relays = rank(relays ?? []);
    this.measureAt = now + this.#about(this.#times.remeasure);
    current.rtt = this.#relay(current.url).rtt;
    this.#place();
    return this.#relays.find((one) => !one.draining && clearlyNearer(one, current)) ?? null;
  }

  /** The server sends us away. @param {number} now @param {string | null} url to there */
  moved(now, url) {
    const { current } = this;
    // Sent to where we are: the mailbox has come there, and nothing goes away.
    if (current && current.url !== url) this.#relays = rank(this.#relays.map((one) => (one.url === current.url ? { ...one, draining: true } : one)));
    this.#first = url ?? '';
    if (this.#first === '') this.#first = this.candidates()[0].url;
    this.measureAt = Math.min(this.measureAt, now + this.#about(this.#times.revisit)); // the way back, should it be nearer
  }

  /** A target could not be reached. @param {number} now @param {string} url */
  missed(now, url) {
    this.#relays = rank(this.#relays.map((one) => (one.url === url ? { ...one, rtt: null } : one)));
    if (this.#first === url) this.#first = this.current && !this.#relay(this.current.url).draining ? this.current.url : '';
    this.#leftInNeed(now);
  }

  /** We are in another network: what was measured does not hold. @param {number} now */
  changed(now) {
    this.#relays = this.#relays.map((one) => ({ ...one, rtt: null }));
    if (this.current) this.current.rtt = null;
    const last = this.#measured;
    this.#measured = 0;
    this.#revisits = 0;
    this.measureAt = Math.max(now + this.#about(this.#times.settle), last + this.#times.remeasureLeast);
  }

  /** @param {number} now @returns {import('./relays.js').Record} to be remembered */
  record(now) {
    return { url: this.current?.url ?? this.home.url, at: now, measured: this.#measured, relays: this.#relays };
  }

  /** A relay has failed; one that stands the test of `fresh` afterwards clears the count. @param {number} now */
  #leftInNeed(now) {
    if (now - this.#welcomeAt >= this.#times.fresh) this.#revisits = 0;
    const { revisit, remeasure } = this.#times;
    this.measureAt = now + this.#about(Math.min(revisit * 2 ** this.#revisits, remeasure));
    this.#revisits += 1;
    this.#measured = 0;
  }

  /** What is known of an address. @param {string} url @returns {Relay} */
  #relay(url) {
    return this.#relays.find((one) => one.url === url) ?? (url === this.home.url ? this.home : { ...this.home, url });
  }

  /** The region of `current`, which may be listed under another address. */
  #place() {
    const { current } = this;
    if (!current) return;
    const region = this.#relay(current.url).region || this.#relays.find(({ node }) => node === current.node)?.region;
    if (region) current.region = region;
  }

  /** Half to one and a half of it, so that clients do not all ask at once. @param {number} ms */
  #about(ms) {
    return ms * (0.5 + this.#random());
  }
}
