/**
 * Connections on their way to a welcome.
 *
 * Purpose: reach one of several relays soon, whichever of them are down, slow or silent.
 * Flow (after happy eyeballs, RFC 8305): the relays are tried in their order. The next one
 * is started when the ones before have failed, or have made no progress for a while;
 * opening is progress, and so the start of another while. With each relay the transports
 * are tried one after the other. The first one welcomed wins, the others are hung up.
 *
 * A hello that was not answered cannot be called back: its server may read it late, and
 * then takes it for the device's newest session. `explains` says whether such a hello may
 * be behind a `replaced`, so that it is not taken for the work of another tab.
 *
 * Relays that failed while others are still being waited for are tried again after a pause,
 * as they would be if nobody were waited for.
 *
 * Pure: time comes in as an argument; what is to be opened and closed goes to `act`.
 */

/**
 * @typedef {import('./relays.js').Relay} Relay
 *
 * @typedef {object} Runner
 * @property {number} conn
 * @property {Relay} relay
 * @property {number} index of its transport
 * @property {number} tried transports tried with this relay
 * @property {number} by when it has to have got on, ms
 * @property {number} helloAt 0: not open yet
 */

/** An answer is waited for so many round trips before the next relay is started: TCP, TLS, upgrade, one to spare. */
const TRIPS = 4;

export class Race {
  #dial;
  #times;
  #act;
  /** @type {Map<number, Runner>} by connection */
  #runners = new Map();
  /** @type {Relay[]} not started yet */
  #queue = [];
  /** @type {Relay[]} failed in this round */
  #out = [];
  #again = false; // those that are out come back while others run
  #nextAt = Infinity;
  #againAt = Infinity;
  /** @type {number[]} until when a hello that was given up may still be read, ms */
  #unheard = [];
  #lastConn = 0;

  /** Time before which those that answered do not want to be asked again, ms. */
  notBefore = 0;

  /**
   * @param {import('./dial.js').Dialer} dial
   * @param {typeof import('./times.js').TIMES} times
   * @param {(effect: {do: string, [field: string]: any}) => void} act
   */
  constructor(dial, times, act) {
    this.#dial = dial;
    this.#times = times;
    this.#act = act;
  }

  get running() {
    return this.#runners.size > 0;
  }

  /** @param {number} conn */
  has(conn) {
    return this.#runners.has(conn);
  }

  /** @param {number} conn */
  relay(conn) {
    return this.#runners.get(conn)?.relay;
  }

  deadline() {
    let time = Infinity;
    for (const { by } of this.#runners.values()) time = Math.min(time, by);
    if (this.#queue.length > 0) time = Math.min(time, this.#nextAt);
    return Math.min(time, this.#againAt);
  }

  /**
   * @param {number} now
   * @param {Relay[]} relays in the order in which they are to be tried
   * @param {boolean} again see `#again`
   */
  start(now, relays, again) {
    this.stop(now);
    this.#queue = [...relays];
    this.#again = again;
    this.#next(now);
  }

  /**
   * Others too, behind those that run.
   *
   * @param {Relay[]} relays
   * @param {boolean} again see `#again`
   */
  add(relays, again) {
    const running = new Set([...this.#runners.values()].map(({ relay }) => relay.url));
    this.#queue = relays.filter(({ url }) => !running.has(url));
    this.#out = [];
    this.#again = again;
  }

  /**
   * A transport is open: the hello may go.
   *
   * @param {number} now
   * @param {number} conn
   * @returns {boolean} false: it was open already
   */
  opened(now, conn) {
    const runner = this.#runners.get(conn);
    if (!runner || runner.helloAt > 0) return false;
    runner.helloAt = now;
    runner.by = now + this.#times.greet;
    this.#nextAt = Math.max(this.#nextAt, now + this.#times.staggerGreet);
    return true;
  }

  /**
   * One of them ended.
   *
   * @param {number} now
   * @param {number} conn
   * @param {number | null} answered null: without a word; else the server itself said no (its
   *   transport is not to blame) and is not to be asked again for so many ms
   * @returns {boolean} false: nobody is left
   */
  failed(now, conn, answered) {
    const runner = this.#runners.get(conn);
    if (!runner) return this.running;
    this.#drop(now, runner, answered === null);
    if (answered !== null) {
      this.#dial.answered(runner.index);
      this.notBefore = Math.max(this.notBefore, now + answered);
    } else if (runner.tried < this.#dial.count) {
      this.#run(now, runner.relay, (runner.index + 1) % this.#dial.count, runner.tried + 1);
      return true;
    }
    this.#out.push(runner.relay);
    this.#next(now);
    this.#plan(now);
    return this.running;
  }

  /**
   * @param {number} now
   * @returns {number[]} connections whose time is over; the caller says `failed` for each
   */
  tick(now) {
    if (now >= this.#againAt) {
      this.#queue.push(...this.#out.splice(0));
      this.#againAt = Infinity;
      this.#nextAt = now;
    }
    if (now >= this.#nextAt) this.#next(now);
    this.#plan(now);
    return [...this.#runners.values()].filter(({ by }) => now >= by).map(({ conn }) => conn);
  }

  /** That one was welcomed. @param {number} now @param {number} conn @returns {Runner} */
  won(now, conn) {
    const winner = /** @type {Runner} */ (this.#runners.get(conn));
    this.#runners.delete(conn);
    this.#dial.answered(winner.index);
    this.stop(now);
    return winner;
  }

  /** Hangs up all. @param {number} now */
  stop(now) {
    for (const runner of this.#runners.values()) this.#drop(now, runner, true);
    this.#queue = [];
    this.#out = [];
    this.#nextAt = this.#againAt = Infinity;
    this.notBefore = 0;
  }

  /**
   * The server says that another session has taken the place of `conn`'s.
   *
   * @param {number} now
   * @param {number} conn
   * @returns {boolean} it may have been one of ours; each hello that was given up explains one such word
   */
  explains(now, conn) {
    for (const runner of this.#runners.values()) if (runner.conn !== conn && runner.helloAt > 0) return true;
    this.#unheard = this.#unheard.filter((until) => now < until);
    return this.#unheard.shift() !== undefined;
  }

  /** All were started and some failed: they get another turn. @param {number} now */
  #plan(now) {
    if (!this.#again || this.#againAt !== Infinity || !this.running || this.#queue.length > 0 || this.#out.length === 0) return;
    this.#againAt = Math.max(now + this.#dial.pause(), this.notBefore);
  }

  /** Starts the next one, if there is one. @param {number} now */
  #next(now) {
    const relay = this.#queue.shift();
    if (!relay) return;
    const { stagger, staggerGreet } = this.#times;
    this.#nextAt = now + Math.min(Math.max(stagger, TRIPS * (relay.rtt ?? 0)), Math.max(stagger, staggerGreet));
    this.#run(now, relay, this.#dial.first, 1);
  }

  /** @param {number} now @param {Relay} relay @param {number} index @param {number} tried */
  #run(now, relay, index, tried) {
    this.#lastConn += 1;
    const conn = this.#lastConn;
    const transport = this.#dial.transport(index);
    const by = now + (transport === 'ws' ? this.#times.open : this.#times.greet);
    this.#runners.set(conn, { conn, relay, index, tried, by, helloAt: 0 });
    this.#act({ do: 'open', conn, transport, url: relay.url });
  }

  /** @param {number} now @param {Runner} runner @param {boolean} loose its hello, if any, has had no answer */
  #drop(now, runner, loose) {
    this.#runners.delete(runner.conn);
    if (loose && runner.helloAt > 0) this.#unheard = [...this.#unheard.filter((until) => now < until), now + this.#times.unheard];
    this.#act({ do: 'close', conn: runner.conn });
  }
}
