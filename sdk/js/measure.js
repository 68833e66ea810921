/**
 * How far the relays are.
 *
 * Purpose: a list of relays, and round trips to all of them at the same time, within a
 * short time and quietly: what does not answer is simply not measured.
 * The first request to a relay pays for name, connection and encryption, so the best of
 * three counts; one that is too far for three in the time given is judged by what it did.
 */

import { name, parseRelays } from './relays.js';

/** @typedef {import('./relays.js').Relay} Relay */

/** Round trips to one relay. */
const TRIPS = 3;

/** Characters of a list that are read. */
const LONGEST_LIST = 65_536;

/**
 * @param {object} what
 * @param {string} what.base whom to ask for the list
 * @param {Relay[] | null} what.list the list, when it is known
 * @param {Relay[]} what.besides to be measured although a list may not have them
 * @param {boolean} what.secure only https will do
 * @param {object} means
 * @param {typeof globalThis.fetch} means.fetch
 * @param {{list: number, measure: number}} means.times milliseconds
 * @param {() => number} [means.clock] milliseconds, steady
 * @returns {Promise<{relays: Relay[] | null, none: boolean}>} `relays` null: there is no list; `none`: nor will there be
 */
export async function measure({ base, list, besides, secure }, { fetch, times, clock = () => performance.now() }) {
  const { relays, none } = list ? { relays: list, none: false } : await ask(base, secure, fetch, times.list);
  if (!relays) return { relays, none };
  const all = [...relays, ...besides.filter(({ url }) => relays.every((one) => one.url !== url))];
  const near = all.filter(({ url, draining }) => !draining || besides.some((one) => one.url === url));
  if (near.length < 2) return { relays: all, none };
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), times.measure);
  const trips = await Promise.all(near.map(({ url }) => trip(url, fetch, clock, abort.signal)));
  clearTimeout(timer);
  const measured = new Map(near.map(({ url }, i) => [url, trips[i]]));
  return { relays: all.map((one) => ({ ...one, rtt: measured.get(one.url) ?? null })), none };
}

/** @param {string} base @param {boolean} secure @param {typeof globalThis.fetch} fetch @param {number} within ms */
async function ask(base, secure, fetch, within) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), within);
  try {
    const response = await get(fetch, `${base}/v1/relays`, abort.signal);
    if (!response.ok) return { relays: null, none: response.status < 500 && response.status !== 429 };
    const text = await response.text();
    const answer = text.length <= LONGEST_LIST ? JSON.parse(text) : null;
    const relays = parseRelays(answer?.relays, { base, node: name(answer?.node), secure });
    return relays.length > 0 ? { relays, none: false } : { relays: null, none: true };
  } catch (cause) {
    return { relays: null, none: cause instanceof SyntaxError };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {string} url
 * @param {typeof globalThis.fetch} fetch
 * @param {() => number} clock
 * @param {AbortSignal} signal
 * @returns {Promise<number | null>} the best round trip in whole ms; null: none
 */
async function trip(url, fetch, clock, signal) {
  let best = null;
  try {
    for (let i = 0; i < TRIPS; i += 1) {
      const start = clock();
      const response = await get(fetch, `${url}/v1/ping`, signal);
      if (!response.ok) return null;
      const ms = Math.round(clock() - start);
      best = best === null ? ms : Math.min(best, ms);
    }
  } catch {
    // too late, or not reachable: what was measured until now counts
  }
  return best;
}

/** @param {typeof globalThis.fetch} fetch @param {string} url @param {AbortSignal} signal */
function get(fetch, url, signal) {
  return fetch.call(globalThis, url, { signal, cache: 'no-store', credentials: 'omit', redirect: 'error' });
}
