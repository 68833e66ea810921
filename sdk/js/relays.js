/**
 * Relays: what a list of them may say, and which of them is the nearest.
 *
 * Purpose: take nothing on trust that came over the wire or out of storage (a garbled list
 * must not break a page, an endless one must not occupy it, and none may lead a session
 * from https to http), and choose so that jitter does not move anybody.
 * Choice: relays whose round trips differ by less than anyone would notice (`SLACK_MS`,
 * `SLACK_SHARE`) count as equally near, and the less loaded goes first. A session moves only
 * to a relay that is nearer by more than that: the same slack is the hysteresis.
 *
 * Pure: no clock, no I/O.
 */

/** Relays of a list that are looked at. */
export const MOST_RELAYS = 16;

/** Entries of a list read in search of `MOST_RELAYS` usable ones. */
const MOST_ENTRIES = 256;

const LONGEST_URL = 256;
const LONGEST_NAME = 64;
const LONGEST_EPOCH = 128;

/** A round trip shorter by less than this many ms, or by less than this share, is not shorter. */
const SLACK_MS = 20;
const SLACK_SHARE = 0.25;

/** Longest round trip that a remembered one may claim, ms. */
const LONGEST_RTT = 60_000;

/**
 * @typedef {object} Relay
 * @property {string} node its id; empty: not known yet
 * @property {string} region empty: not known
 * @property {string} url `http(s)://host[:port]`, no slash at the end
 * @property {number} load 0 to 1
 * @property {boolean} draining it is going away
 * @property {number | null} rtt milliseconds; null: not measured
 *
 * @typedef {object} Record what is remembered of relays over page loads
 * @property {string} url where the last session was
 * @property {number} at when that was, ms
 * @property {number} measured when the relays were measured, ms; 0: they have to be
 * @property {Relay[]} relays nearest first
 */

/**
 * @param {any} value
 * @param {boolean} secure only https will do
 * @returns {string | null} as `Relay.url`, or null when it is none
 */
export function relayUrl(value, secure) {
  if (typeof value !== 'string' || value.length > LONGEST_URL || !/^https?:\/\//i.test(value)) return null;
  try {
    const { protocol, username, password, search, hash, origin, pathname } = new URL(value);
    if (username || password || search || hash || (secure && protocol !== 'https:')) return null;
    return origin + pathname.replace(/\/+$/, '');
  } catch {
    return null;
  }
}

/**
 * @param {any} list `relays` of an answer or of a `welcome`
 * @param {{base: string, node?: any, secure: boolean}} from `base`: who was asked; `node`: its id
 * @returns {Relay[]} usable ones, each address once, those that stay first
 */
export function parseRelays(list, { base, node, secure }) {
  if (!Array.isArray(list)) return [];
  /** @type {Map<string, Relay>} */
  const found = new Map();
  for (const one of list.slice(0, MOST_ENTRIES)) {
    if (typeof one !== 'object' || one === null || Array.isArray(one)) continue;
    // Without an address it can only be the one that answered, which is known by the address asked.
    const itself = (one.url ?? '') === '' && (list.length === 1 || (name(one.node) !== '' && one.node === node));
    const url = itself ? base : relayUrl(one.url, secure);
    if (url === null || found.has(url)) continue;
    const load = Number.isFinite(one.load) ? Math.min(1, Math.max(0, one.load)) : 0;
    found.set(url, { node: name(one.node), region: name(one.region), url, load, draining: one.draining === true, rtt: null });
  }
  const relays = [...found.values()];
  return [...relays.filter((one) => !one.draining), ...relays.filter((one) => one.draining)].slice(0, MOST_RELAYS);
}

/**
 * @param {Relay[]} relays
 * @returns {Relay[]} best first; those that are going away or were not measured last, in the order given
 */
export function rank(relays) {
  const measured = relays.filter((one) => one.rtt !== null && !one.draining).sort((a, b) => rtt(a) - rtt(b));
  const ranked = [];
  while (measured.length > 0) {
    const best = measured[0];
    let near = 1;
    while (near < measured.length && !clearlyNearer(best, measured[near])) near += 1;
    ranked.push(...measured.splice(0, near).sort((a, b) => a.load - b.load));
  }
  return [...ranked, ...relays.filter((one) => one.rtt === null && !one.draining), ...relays.filter((one) => one.draining)];
}

/**
 * @param {Relay} one
 * @param {Relay} other
 * @returns {boolean} `one` is so much nearer than `other` that moving there pays; false when either was not measured
 */
export function clearlyNearer(one, other) {
  if (one.rtt === null || other.rtt === null) return false;
  return other.rtt - one.rtt >= SLACK_MS && one.rtt <= other.rtt * (1 - SLACK_SHARE);
}

/**
 * @param {any} value out of storage
 * @param {{home: string, secure: boolean, now: number, kept: number}} terms `kept`: ms that it is good for
 * @returns {Record | null} null: none, garbled, or too old
 */
export function readRecord(value, { home, secure, now, kept }) {
  const url = value?.url === home ? home : relayUrl(value?.url, secure);
  const { at, measured } = value ?? {};
  // A clock that was set back makes a record of the future: nobody can say how old that is.
  if (url === null || !Number.isFinite(at) || at > now || now - at >= kept) return null;
  const relays = parseRelays(value.relays, { base: home, secure });
  const saved = new Map(Array.isArray(value.relays) ? value.relays.slice(0, MOST_ENTRIES).map((/** @type {any} */ one) => [one?.url, one?.rtt]) : []);
  for (const one of relays) {
    const ms = saved.get(one.url);
    if (Number.isFinite(ms) && ms >= 0 && ms <= LONGEST_RTT) one.rtt = ms;
  }
  return { url, at, measured: Number.isFinite(measured) && measured <= now ? measured : 0, relays };
}

/** @param {any} value `welcome.epoch` @returns {string | null} */
export function readEpoch(value) {
  return typeof value === 'string' && value.length > 0 && value.length <= LONGEST_EPOCH ? value : null;
}

/** @param {any} value @returns {string} */
export function name(value) {
  return typeof value === 'string' && value.length <= LONGEST_NAME ? value : '';
}

/** @param {Relay} relay */
function rtt(relay) {
  return relay.rtt ?? Infinity;
}
