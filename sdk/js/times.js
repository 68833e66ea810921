/**
 * How long the session waits for what, in one place.
 */

/** Times in milliseconds. */
export const TIMES = {
  /** A WebSocket that is not open by then is given up. */
  open: 5000,
  /** From `hello` to `welcome`. */
  greet: 10_000,
  /** From `ping` to any sign of life. */
  pong: 10_000,
  /** Longest time that an entry stays unacked. */
  ack: 100,
  /** Pause before the n-th round of tries: a random time up to `backoff` · 2ⁿ, at most `backoffCap`. */
  backoff: 500,
  backoffCap: 20_000,
  /** A connection that has lived this long starts the backoff anew. */
  stable: 10_000,
  /** An own entry known from its answer must be reached by the stream within this time. */
  hole: 10_000,
  /** A session on a fallback transport tries the better one, if that ever worked, after this time. */
  upgrade: 60_000,
};
