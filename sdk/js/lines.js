/**
 * Which connection carries the session.
 *
 * Purpose: have a line, notice when it is dead, get another one, go over to a better relay
 * without a gap.
 * A planned change (`move`, a nearer relay) is made before the old line is broken: the old
 * one carries the session until the new one is welcomed. The server ends the old session
 * itself, since a device has one; entries that came over both are told apart by their
 * positions, and what was sent and not answered is sent again under its ids.
 * Parts: race.js (several relays at once until one welcomes us), roam.js (which relays),
 * dial.js (which transports, which pauses).
 *
 * Phases: idle → racing → up; waiting between rounds of tries; closed.
 *
 * Pure: time and randomness come in from outside.
 */

import { Dialer } from './dial.js';
import { CLOSE_CODES, FINAL_CODES, HongyanError } from './errors.js';
import { Race } from './race.js';
import { relayUrl } from './relays.js';
import { Roamer } from './roam.js';

/** What a server says that knows nothing of us: at another place than home it may be somebody else's by now. */
const FOREIGN_CODES = new Set(['bad_token', 'unsupported_version']);

/** A `move` may be announced at most this long before, ms. */
const LONGEST_MOVE = 3_600_000;

/**
 * @typedef {import('./relays.js').Relay} Relay
 *
 * @typedef {object} Host the session
 * @property {(effect: {do: string, [field: string]: any}) => void} act
 * @property {(now: number, conn: number) => void} hello
 * @property {(now: number, helloAt: number, welcome: any) => void} welcomed
 * @property {() => void} left the line is gone
 * @property {() => boolean} busy something is asked and not answered
 * @property {(error: HongyanError) => void} ended there will be no other line
 */

export class Lines {
  /** @type {'idle' | 'racing' | 'up' | 'waiting' | 'closed'} */
  phase = 'idle';

  /** The connection that carries the session; 0: none. */
  conn = 0;

  #host;
  #times;
  #reconnect;
  #dial;
  #race;
  #roam;
  /** @type {Relay | null} of `conn` */
  #relay = null;
  #began = false; // the session has begun on `conn`
  #moving = false; // the race is on because the node goes away
  /** @type {string | null} */
  #moveUrl = null;
  /** @type {Relay | null} a nearer one, to be gone over to at a quiet moment */
  #target = null;
  /** @type {HongyanError | null} a relay that is not home would not have us */
  #refusal = null;
  #told = '';
  #ping = 25_000;
  #lastWord = 0;

  // Times at which something is due; Infinity: not.
  #retryAt = Infinity;
  #pingAt = Infinity;
  #pongBy = Infinity;
  #moveAt = Infinity;
  #upgradeAt = Infinity;
  #roamBy = Infinity;
  #sayAt = Infinity; // the page has not been told yet that we are connecting

  /**
   * @param {{url: string, transports: string[], relay: 'nearest' | 'home', secure: boolean, reconnect: boolean, random: () => number}} options
   * @param {typeof import('./times.js').TIMES} times
   * @param {Host} host
   */
  constructor({ url, transports, relay, secure, reconnect, random }, times, host) {
    this.#host = host;
    this.#times = times;
    this.#reconnect = reconnect;
    this.#dial = new Dialer({ transports, random, times });
    this.#race = new Race(this.#dial, times, host.act);
    this.#roam = new Roamer({ url, relay, secure, random, times });
  }

  /** Where the session is. */
  get relay() {
    if (!this.#roam.current) return null;
    const { node, region, url, rtt } = this.#roam.current;
    return { node, region, url, rtt };
  }

  deadline() {
    const { phase } = this;
    let time = Math.min(this.#retryAt, this.#sayAt, this.#pingAt, this.#pongBy, this.#moveAt, this.#upgradeAt, this.#race.deadline());
    if (this.#mayRoam) time = Math.min(time, this.#target ? this.#roamAt : this.#roam.measureAt);
    return phase === 'idle' || phase === 'closed' ? Infinity : time;
  }

  /** @param {number} conn */
  racing(conn) {
    return this.#race.has(conn);
  }

  // ── Getting one ─────────────────────────────────────────────────────────────

  /** @param {number} now @param {any} remembered the last `remember` effect's record */
  connect(now, remembered) {
    this.#dial.fresh();
    this.#roam.fresh(now, remembered);
    this.#told = '';
    this.#retry(now);
  }

  /** Connects anew to where it is connected. @param {number} now */
  again(now) {
    this.#open(now, this.#relay);
  }

  /** @param {number} now @param {Relay | null} [first] */
  #retry(now, first) {
    this.#state('connecting');
    this.#open(now, first);
  }

  /** @param {number} now @param {Relay | null} [first] to be tried before the others */
  #open(now, first = null) {
    this.#hangUp(now);
    this.phase = 'racing';
    this.#refusal = null;
    const candidates = this.#roam.candidates();
    this.#race.start(now, first ? [first, ...candidates.filter(({ url }) => url !== first.url)] : candidates, this.#reconnect);
  }

  /** Word from a connection that is in the race. @param {number} now @param {{type: string, [field: string]: any}} input */
  race(now, { type, conn, frames, code, error }) {
    if (type === 'opened' && this.#race.opened(now, conn)) this.#host.hello(now, conn);
    if (type === 'closed') this.closed(now, conn, code, error);
    if (type !== 'frames') return;
    const frame = frames.find((/** @type {any} */ one) => ['welcome', 'err', 'kick'].includes(one?.t));
    if (frame?.t === 'welcome') this.#welcomed(now, conn, frame);
    else if (frame) this.refused(now, conn, HongyanError.fromFrame(frame));
  }

  /**
   * The server does not want us: over a line, or in the race for one.
   *
   * @param {number} now
   * @param {number} conn
   * @param {HongyanError} error
   */
  refused(now, conn, error) {
    const final = FINAL_CODES.has(error.code);
    // Not another tab: a hello of our own was read late, or is being answered now.
    const ours = error.code === 'replaced' && this.#race.explains(now, conn);
    if (conn === this.conn) {
      return final && !ours ? this.#host.ended(error) : this.lost(now, error);
    }
    const wait = error.retryAfter ?? 0;
    if (!final || ours || this.phase === 'up') return this.#outrun(now, conn, error, wait);
    if (!FOREIGN_CODES.has(error.code) || this.#race.relay(conn)?.url === this.#roam.home.url) return this.#host.ended(error);
    this.#refusal = error; // home has the last word
    this.#outrun(now, conn, error, wait);
  }

  /** One is out of the race. @param {number} now @param {number} conn @param {HongyanError} error @param {number | null} answered see race.js */
  #outrun(now, conn, error, answered) {
    const relay = this.#race.relay(conn);
    if (this.#race.failed(now, conn, answered)) return;
    const notBefore = this.#race.notBefore;
    this.#race.stop(now);
    if (this.phase === 'up') {
      if (relay) this.#roam.missed(now, relay.url);
      if (!this.#moving) return;
      this.#moving = false;
      // The line still serves, until the node ends it.
      this.#moveAt = Math.max(now + this.#dial.pause(), notBefore);
    } else if (this.#refusal) this.#host.ended(this.#refusal);
    else if (!this.#reconnect) this.#host.ended(error);
    else this.#wait(Math.max(now + this.#dial.pause(), notBefore), now, error);
  }

  /** @param {number} now @param {number} conn @param {any} frame */
  #welcomed(now, conn, frame) {
    const { relay, helloAt } = this.#race.won(now, conn);
    this.#leave();
    this.conn = conn;
    this.#relay = relay;
    this.phase = 'up';
    this.#host.act({ do: 'line', conn });
    this.#host.welcomed(now, helloAt, frame);
  }

  /** The session has begun. @param {number} now @param {any} welcome */
  begun(now, welcome) {
    this.#began = true;
    this.#ping = (welcome.ping > 0 ? welcome.ping : 25) * 1000;
    this.#pingAt = now + this.#ping;
    this.#lastWord = now;
    this.#dial.welcomed(now);
    if (this.#dial.mayUpgrade) this.#upgradeAt = now + this.#times.upgrade;
    if (this.#relay) this.#roam.welcomed(now, this.#relay, welcome);
    this.#placed(now);
  }

  // ── Losing it ───────────────────────────────────────────────────────────────

  /** A transport ended by itself. @param {number} now @param {number} conn @param {number} [code] @param {string} [text] */
  closed(now, conn, code, text) {
    const final = CLOSE_CODES.get(code ?? 0);
    const error = new HongyanError(final ?? 'network', text || (final ? '' : 'the connection was lost'));
    if (final) this.refused(now, conn, error);
    else if (conn === this.conn) this.lost(now, error);
    else this.#outrun(now, conn, error, null);
  }

  /** Gives the line up and plans the next. @param {number} now @param {string | HongyanError} why */
  lost(now, why) {
    const error = typeof why === 'string' ? new HongyanError('network', why) : why;
    const [moveAt, moveUrl] = [this.#moveAt, this.#moveUrl];
    if (this.#began) this.#dial.lost(now);
    if (this.#race.running) {
      // On the way to another relay already (and this is how the server ends the session whose
      // place the new one takes); the rest may try as well.
      this.#leave();
      this.phase = 'racing';
      this.#sayAt = now + this.#times.unsaid;
      this.#race.add(this.#roam.candidates(), this.#reconnect);
      return;
    }
    this.#hangUp(now);
    if (!this.#reconnect) return this.#host.ended(error);
    if (moveAt !== Infinity) {
      this.#roam.moved(now, moveUrl);
      return this.#wait(Math.max(now, moveAt), now, error);
    }
    this.#wait(now + Math.max(this.#dial.pause(), error.retryAfter ?? 0), now, error);
  }

  /** @param {number} at @param {number} now @param {HongyanError} error */
  #wait(at, now, error) {
    this.phase = 'waiting';
    this.#retryAt = at;
    this.#state('waiting', { retryIn: Math.round(at - now), error });
  }

  /** The end. @param {number} now @param {boolean} bye */
  shut(now, bye) {
    this.#hangUp(now, bye);
    this.phase = 'closed';
  }

  /** @param {number} now @param {boolean} [bye] */
  #hangUp(now, bye = false) {
    this.#race.stop(now);
    this.#leave(bye);
    this.#retryAt = Infinity;
  }

  /** Leaves the line, if there is one; what it still says is stale. */
  #leave(bye = false) {
    if (this.conn !== 0) this.#host.act({ do: 'close', conn: this.conn, bye });
    this.conn = 0;
    this.#began = this.#moving = false;
    this.#pingAt = this.#pongBy = this.#moveAt = this.#upgradeAt = this.#roamBy = this.#sayAt = Infinity;
    this.#moveUrl = this.#target = null;
    this.#host.left();
  }

  // ── Using it ────────────────────────────────────────────────────────────────

  /** @param {number} now @param {any[]} frames */
  transmit(now, frames) {
    this.#pingAt = now + this.#ping;
    this.#lastWord = now;
    this.#host.act({ do: 'transmit', conn: this.conn, frames });
  }

  /** Any word is a sign of life. @param {number} now */
  heard(now) {
    this.#pongBy = Infinity;
    this.#lastWord = now;
  }

  /**
   * The network came back, or the page is looked at again.
   *
   * @param {number} now
   * @param {boolean} changed it may be another network
   */
  wake(now, changed) {
    if (changed) {
      this.#roam.changed(now);
      this.#target = null;
      if (this.#roam.nearest) this.#host.act({ do: 'remember', record: null });
    }
    if (this.phase === 'waiting') this.#retry(now);
    else if (this.#began && this.#pongBy === Infinity) this.#sayPing(now); // is the line still there?
  }

  /** @param {number} now */
  #sayPing(now) {
    this.#pongBy = now + this.#times.pong;
    this.transmit(now, [{ t: 'ping' }]);
  }

  /** @param {number} now */
  tick(now) {
    if (now >= this.#retryAt) return this.#retry(now);
    if (now >= this.#sayAt) {
      this.#sayAt = Infinity;
      this.#state('connecting');
    }
    if (this.#race.running) {
      for (const conn of this.#race.tick(now)) this.#outrun(now, conn, new HongyanError('network', 'no answer from the server'), null);
    }
    if (!this.#began) return;
    if (now >= this.#moveAt) return this.#obey(now);
    if (now >= this.#pongBy) return this.lost(now, 'no answer to a ping');
    if (now >= this.#upgradeAt) {
      this.#dial.upgrade();
      return this.#retry(now, this.#relay);
    }
    if (now >= this.#pingAt) this.#sayPing(now);
    if (!this.#mayRoam) return;
    if (this.#target && now >= this.#roamAt) this.#roamTo(now, this.#target);
    else if (!this.#target && now >= this.#roam.measureAt) this.#host.act({ do: 'measure', ...this.#roam.ask(now) });
  }

  // ── Another relay ───────────────────────────────────────────────────────────

  /** The node will go away. @param {number} now @param {any} frame */
  move(now, { after, url }) {
    this.#moveAt = now + (after >= 0 ? Math.min(after, LONGEST_MOVE) : 0);
    this.#moveUrl = relayUrl(url, this.#roam.secure);
  }

  /** @param {number} now */
  #obey(now) {
    const moveUrl = this.#moveUrl;
    this.#moveAt = Infinity;
    this.#roam.moved(now, moveUrl);
    const here = moveUrl !== null && moveUrl === this.#relay?.url;
    const others = this.#roam.candidates().filter(({ url }) => (url === this.#relay?.url) === here);
    if (others.length > 0) {
      this.#moving = true;
      this.#race.start(now, others, false);
    } else if (this.#reconnect) {
      // It comes back under its own address, or another does.
      this.#hangUp(now);
      this.#wait(now, now, new HongyanError('network', 'the node is going away'));
    } else this.lost(now, 'the node is going away');
  }

  /** @param {number} now @param {Relay[] | null} relays @param {boolean} none see roam.js */
  measured(now, relays, none) {
    const target = this.#roam.measured(now, relays, none);
    if (!this.#began) return;
    this.#placed(now);
    this.#target = target;
    this.#lastWord = now;
    this.#roamBy = now + this.#times.unquiet;
  }

  get #mayRoam() {
    return this.#began && !this.#race.running && this.#moveAt === Infinity && this.#roam.mayMeasure;
  }

  get #roamAt() {
    return Math.min(this.#lastWord + this.#times.quiet, this.#roamBy);
  }

  /** @param {number} now @param {Relay} target */
  #roamTo(now, target) {
    if (now < this.#roamBy && this.#host.busy()) {
      this.#lastWord = now;
      return;
    }
    this.#target = null;
    this.#roam.heading(target);
    this.#race.start(now, [target], false);
  }

  /** Tells and remembers where we are. @param {number} now */
  #placed(now) {
    const { relay } = this;
    const told = JSON.stringify([relay?.node, relay?.region, relay?.url]);
    if (told !== this.#told) this.#host.act({ do: 'event', name: 'relay', detail: relay });
    this.#told = told;
    if (this.#roam.nearest) this.#host.act({ do: 'remember', record: this.#roam.record(now) });
  }

  /** @param {string} state @param {{retryIn?: number, error?: HongyanError}} [more] */
  #state(state, more) {
    this.#host.act({ do: 'state', state, ...more });
  }
}
