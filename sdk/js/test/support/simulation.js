/**
 * Sessions and a fake node in one thread under virtual time, with a network that delays,
 * breaks and swallows. Within one line bytes stay in order; a line that breaks loses all
 * that is under way, in both directions, and each side learns of it at another time. What is
 * under way on a line that the page has left may still arrive: nothing sent can be called back.
 *
 * The fake node stands for a whole cluster; its relays are ways to it, each with a distance
 * (ms one way) and a state: `up`, `refused` (no process), `silent` (no answer to anything).
 */

import { parseRelays } from '../../relays.js';
import { Session } from '../../session.js';
import { FakeNode } from './fake-node.js';

export class Simulation {
  constructor(random) {
    this.random = random;
    this.now = 1_764_000_000_000;
    this.order = 0;
    this.tasks = []; // {at, order, run}
    this.node = new FakeNode({ now: () => this.now });
    this.pages = [];
    this.faults = true;
    this.lines = new Set();
    this.relays = new Map([['http://node', { node: 'local', delay: 0, state: 'up' }]]);
    this.measurements = 0;
  }

  /** The cluster has these relays: by name its distance. */
  cluster(delays) {
    this.relays = new Map(Object.entries(delays).map(([node, delay]) => [`http://${node}`, { node, region: `of ${node}`, load: 0.1, delay, state: 'up' }]));
    return this;
  }

  relay(node) {
    return this.relays.get(`http://${node}`);
  }

  list() {
    return [...this.relays].map(([url, { node, region, load, draining }]) => ({ node, region, url, load, draining: draining === true }));
  }

  /** Takes a relay down; all its lines break. */
  down(node, state) {
    this.relay(node).state = state;
    for (const line of [...this.lines]) if (line.relay === this.relay(node)) line.break(state === 'silent');
  }

  at(delay, run) {
    this.order += 1;
    this.tasks.push({ at: Math.ceil(this.now + delay), order: this.order, run });
  }

  /** Runs the earliest task or tick; false when there is nothing to do before `end`. */
  step(end) {
    let task = null;
    for (const one of this.tasks) if (!task || one.at < task.at || (one.at === task.at && one.order < task.order)) task = one;
    let page = null;
    for (const one of this.pages) if (!page || one.session.deadline() < page.session.deadline()) page = one;
    const tick = page ? page.session.deadline() : Infinity;
    const next = Math.min(task?.at ?? Infinity, tick);
    if (next > end) return false;
    this.now = Math.max(this.now, next);
    if (task && task.at <= tick) {
      this.tasks.splice(this.tasks.indexOf(task), 1);
      task.run();
    } else page.input('tick');
    return true;
  }

  run(ms) {
    const end = this.now + ms;
    for (let steps = 0; this.step(end); steps += 1) if (steps > 200_000) throw new Error('no rest');
    this.now = end;
  }
}

/** A page of a user: what it has been given, and storage that outlives it. */
export class Page {
  constructor(simulation, user, device, storage = { cursor: null, unsent: [], seen: [] }, options = {}) {
    Object.assign(this, { simulation, user, device, storage, options, received: [], answered: new Map(), told: [], log: [], lines: new Map() });
    const [url] = simulation.relays.keys();
    this.session = new Session({ url, transports: ['ws', 'poll'], random: simulation.random, window: 8, ...options });
    simulation.pages.push(this);
    this.input('connect', { token: `token-${user}`, device, relay: storage.relays });
  }

  /** The page is gone from one moment to the next; the next one finds its storage. */
  reload() {
    const { simulation, user, device, storage } = this;
    simulation.pages.splice(simulation.pages.indexOf(this), 1);
    this.gone = true;
    for (const line of this.lines.values()) line.abandon(false);
    return new Page(simulation, user, device, storage, this.options);
  }

  send(id, target) {
    this.input('send', { frame: { t: 'send', id, kind: 1, target, type: 'RC:TxtMsg', content: { content: id } } });
  }

  input(type, fields = {}) {
    if (this.gone) return;
    for (const effect of this.session.handle(this.simulation.now, { type, ...fields })) this.execute(effect);
    if (this.restore) {
      this.restore = false;
      const { cursor, epoch, seen, unsent } = this.storage;
      this.input('restored', { cursor, epoch, seen, sends: unsent });
    }
  }

  /** As measure.js would, without its jitter. */
  measure({ base, list, besides, secure }) {
    const { simulation } = this;
    simulation.measurements += 1;
    const relays = list ?? (simulation.unlisted ? null : parseRelays(simulation.list(), { base, secure }));
    if (!relays) return simulation.at(50, () => this.input('measured', { relays, none: true }));
    const all = [...relays, ...besides.filter(({ url }) => relays.every((one) => one.url !== url))];
    const rtts = all.map(({ url }) => simulation.relays.get(url)).map((relay) => (relay?.state === 'up' ? relay.delay * 2 : null));
    simulation.at(1000, () => this.input('measured', { relays: all.map((one, i) => ({ ...one, rtt: rtts[i] })), none: false }));
  }

  execute(effect) {
    if (effect.do === 'open') this.lines.set(effect.conn, new Line(this.simulation, this, effect.conn, effect.url));
    if (effect.do === 'close') {
      this.lines.get(effect.conn)?.abandon(true);
      this.lines.delete(effect.conn);
    }
    if (effect.do === 'transmit') this.lines.get(effect.conn)?.toNode(JSON.parse(JSON.stringify(effect.frames)));
    if (effect.do === 'identify') this.restore = true;
    if (effect.do === 'measure') this.measure(effect);
    if (effect.do === 'remember') this.storage.relays = JSON.parse(JSON.stringify(effect.record));
    if (effect.do === 'cursor') Object.assign(this.storage, { cursor: effect.pos, epoch: effect.epoch });
    if (effect.do === 'event' || effect.do === 'state') this.log.push([effect.name ?? effect.state, effect.detail ?? effect]);
    if (effect.do === 'cursor' || effect.do === 'unsent') for (const [slot, text] of this.session.seen.changes()) this.storage.seen[slot] = text;
    if (effect.do === 'unsent') this.storage.unsent = this.session.outbox.unsent();
    if (effect.do === 'event' && effect.name === 'message') this.received.push(effect.detail);
    if (effect.do === 'event' && effect.name === 'sent') this.told.push(effect.detail);
    if (effect.do === 'settle') {
      if (this.answered.has(effect.cid)) throw new Error(`${effect.cid} is answered twice`);
      this.answered.set(effect.cid, effect.error ?? effect.message);
    }
  }
}

class Line {
  constructor(simulation, page, conn, url) {
    const relay = simulation.relays.get(url) ?? { state: 'silent', delay: 0 };
    Object.assign(this, { simulation, page, conn, relay, broken: false, upAt: 0, downAt: 0 });
    simulation.lines.add(this);
    const { random } = simulation;
    if (relay.state === 'silent') return;
    if (relay.state === 'refused') return void simulation.at(relay.delay * 2, () => this.page.input('closed', { conn }));
    if (this.unlucky(0.2)) return void simulation.at(random() * 8000, () => this.page.input('closed', { conn }));
    simulation.at(relay.delay * 6 + random() * 50, () => {
      if (this.relay.state !== 'up') return;
      this.remote = simulation.node.attach((frames) => this.toPage(JSON.parse(JSON.stringify(frames))), (code) => this.end(code), relay);
      if (!this.broken) this.page.input('opened', { conn });
    });
  }

  unlucky(chance) {
    return this.simulation.faults && this.simulation.random() < chance;
  }

  toNode(frames) {
    if (this.unlucky(0.04)) return this.break();
    this.upAt = Math.max(this.upAt, this.simulation.now + this.relay.delay + this.simulation.random() * 60);
    this.simulation.at(this.upAt - this.simulation.now, () => {
      if (this.broken || !this.remote) return;
      this.remote.receive(frames);
      if (this.unlucky(0.03)) this.break();
    });
  }

  toPage(frames) {
    if (this.unlucky(0.04)) return this.break();
    this.downAt = Math.max(this.downAt, this.simulation.now + this.relay.delay + this.simulation.random() * 60);
    this.simulation.at(this.downAt - this.simulation.now, () => {
      if (!this.broken && !this.left) this.page.input('frames', { conn: this.conn, frames });
    });
  }

  /** The node ends it: in good order, behind all that it has said, or not. */
  end(code) {
    if (this.unlucky(0.3)) return this.break();
    this.simulation.at(Math.max(0, this.downAt - this.simulation.now), () => {
      if (this.broken || this.left) return;
      this.abandon(false);
      this.page.input('closed', { conn: this.conn, code });
    });
  }

  /** All under way is lost; the page learns of it soon, or only by its ping. */
  break(silently = false) {
    if (this.broken) return;
    this.abandon(false);
    if (!silently && !this.unlucky(0.1)) this.simulation.at(this.simulation.random() * 300, () => this.page.input('closed', { conn: this.conn }));
  }

  /** The page has turned away; the node learns of it later, behind what is under way if that `mayArrive`. */
  abandon(mayArrive) {
    const { simulation, remote } = this;
    simulation.lines.delete(this);
    this.left = true;
    const late = mayArrive && !this.broken && this.unlucky(0.5);
    if (!late) this.broken = true;
    if (!remote) return;
    simulation.at((late ? Math.max(0, this.upAt - simulation.now) : 0) + 1 + simulation.random() * 400, () => {
      remote.closed = true;
      simulation.node.sessions.delete(remote);
    });
  }
}
