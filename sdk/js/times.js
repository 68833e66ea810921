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

  /** A relay that has not opened by then is raced by the next one; longer for one known to be far. */
  stagger: 400,
  /** The same from `hello` to `welcome`: the server may have to ask another region first. */
  staggerGreet: 1000,
  /** For so long a hello that had no answer may still be taken for a newer session of this device. */
  unheard: 30_000,
  /** A remembered relay is good for this long. */
  kept: 24 * 3_600_000,
  /** Relays measured less than this long ago are not measured again when a page connects. */
  fresh: 600_000,
  /** From `welcome` to the first measurement: a page that is loading has better things to do. */
  settle: 1000,
  /** About so often a session that stays connected measures again. */
  remeasure: 3_600_000,
  /** About so long after a relay was left in need the relays are measured again; doubled each time, up to `remeasure`. */
  revisit: 60_000,
  /** A network that comes and goes causes measurements no closer than this. */
  remeasureLeast: 30_000,
  /** A nearer relay is gone over to when nothing was said for this long … */
  quiet: 1500,
  /** … or, on a line that is never quiet, after this long. */
  unquiet: 30_000,
  /** Between two lines of one planned change there may be this long, and the page is told nothing. */
  unsaid: 1000,
  /** The list of relays has to be there within this time. */
  list: 5000,
  /** All measuring has to be done within this time. */
  measure: 1500,
};
