/**
 * Sessions and a fake node in one thread under virtual time, with a network that delays,
 * breaks and swallows. Within one line bytes stay in order; a line that breaks loses all
 * that is under way, in both directions, and each side learns of it at another time.
 */

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
  constructor(simulation, user, device, storage = { cursor: null, unsent: [] }) {
    Object.assign(this, { simulation, user, device, storage, received: [], answered: new Map(), told: [], line: null });
    this.session = new Session({ url: 'http://node', transports: ['ws', 'poll'], random: simulation.random, window: 8 });
    simulation.pages.push(this);
    this.input('connect', { token: `token-${user}`, device });
  }

  /** The page is gone from one moment to the next; the next one finds its storage. */
  reload() {
    const { simulation, user, device, storage } = this;
    simulation.pages.splice(simulation.pages.indexOf(this), 1);
    this.gone = true;
    this.line?.abandon();
    return new Page(simulation, user, device, storage);
  }

  send(id, target) {
    this.input('send', { frame: { t: 'send', id, kind: 1, target, type: 'RC:TxtMsg', content: { content: id } } });
  }

  input(type, fields = {}) {
    if (this.gone) return;
    for (const effect of this.session.handle(this.simulation.now, { type, ...fields })) this.execute(effect);
    if (this.restore) {
      this.restore = false;
      this.input('restored', { cursor: this.storage.cursor, sends: this.storage.unsent });
    }
  }

  execute(effect) {
    if (effect.do === 'open') this.line = new Line(this.simulation, this, effect.conn);
    if (effect.do === 'close') this.line?.abandon();
    if (effect.do === 'transmit') this.line?.toNode(JSON.parse(JSON.stringify(effect.frames)));
    if (effect.do === 'identify') this.restore = true;
    if (effect.do === 'cursor') this.storage.cursor = effect.pos;
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
  constructor(simulation, page, conn) {
    Object.assign(this, { simulation, page, conn, broken: false, upAt: 0, downAt: 0 });
    const { random } = simulation;
    if (this.unlucky(0.2)) return void simulation.at(random() * 8000, () => this.page.input('closed', { conn }));
    simulation.at(random() * 50, () => {
      this.remote = simulation.node.attach((frames) => this.toPage(JSON.parse(JSON.stringify(frames))), () => this.break());
      if (!this.broken) this.page.input('opened', { conn });
    });
  }

  unlucky(chance) {
    return this.simulation.faults && this.simulation.random() < chance;
  }

  toNode(frames) {
    if (this.unlucky(0.04)) return this.break();
    this.upAt = Math.max(this.upAt, this.simulation.now + this.simulation.random() * 60);
    this.simulation.at(this.upAt - this.simulation.now, () => {
      if (this.broken || !this.remote) return;
      this.remote.receive(frames);
      if (this.unlucky(0.03)) this.break();
    });
  }

  toPage(frames) {
    if (this.unlucky(0.04)) return this.break();
    this.downAt = Math.max(this.downAt, this.simulation.now + this.simulation.random() * 60);
    this.simulation.at(this.downAt - this.simulation.now, () => {
      if (!this.broken) this.page.input('frames', { conn: this.conn, frames });
    });
  }

  /** All under way is lost; the page learns of it soon, or only by its ping. */
  break() {
    if (this.broken) return;
    this.abandon();
    if (!this.unlucky(0.1)) this.simulation.at(this.simulation.random() * 300, () => this.page.input('closed', { conn: this.conn }));
  }

  /** The page has turned away; the node learns of it later. */
  abandon() {
    this.broken = true;
    const { remote } = this;
    if (remote) {
      this.simulation.at(this.simulation.random() * 400, () => {
        remote.closed = true;
        this.simulation.node.sessions.delete(remote);
      });
    }
  }
}
