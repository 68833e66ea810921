/**
 * Send ids: ULIDs (48 bits of milliseconds, 80 random bits, Crockford's base 32; see the
 * ULID specification). Ids made by one factory grow strictly, also within a millisecond.
 */

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * @param {number} count
 * @returns {Uint8Array}
 */
export function randomBytes(count) {
  const bytes = new Uint8Array(count);
  if (globalThis.crypto?.getRandomValues) return globalThis.crypto.getRandomValues(bytes);
  // Uniqueness is all that is asked of these numbers; they guard nothing.
  for (let i = 0; i < count; i += 1) bytes[i] = Math.floor(Math.random() * 256);
  return bytes;
}

/**
 * @param {{now?: () => number, random?: (count: number) => Uint8Array}} [sources]
 * @returns {() => string} makes 26 characters at each call
 */
export function ulidFactory({ now = Date.now, random = randomBytes } = {}) {
  let lastTime = -1;
  /** @type {number[]} 16 digits of base 32 */
  let tail = [];
  return () => {
    const time = Math.max(now(), lastTime);
    if (time > lastTime) {
      tail = Array.from(random(16), (byte) => byte & 31);
      tail[0] &= 15; // headroom, so that counting up cannot run over
    } else {
      for (let i = tail.length - 1; i >= 0; i -= 1) {
        tail[i] = (tail[i] + 1) & 31;
        if (tail[i] !== 0) break;
      }
    }
    lastTime = time;
    let head = '';
    for (let rest = time, i = 0; i < 10; i += 1) {
      head = ALPHABET[rest % 32] + head;
      rest = Math.floor(rest / 32);
    }
    return head + tail.map((digit) => ALPHABET[digit]).join('');
  };
}
