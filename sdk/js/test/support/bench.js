/** A session on the bench: no network, a clock that is turned by hand. */

import { Session } from '../../session.js';

export class Bench {
  constructor(options = {}) {
    this.now = 1_764_000_000_000;
    this.effects = [];
    this.session = new Session({ url: 'http://node', transports: ['ws', 'poll'], random: () => 0.5, ...options });
  }

  input(type, fields = {}) {
    const effects = this.session.handle(this.now, { type, ...fields });
    this.effects.push(...effects);
    for (const effect of effects) if (effect.do === 'open') this.conn = effect.conn;
    return effects;
  }

  /** Lets time pass, with a tick whenever the session has asked for one. */
  pass(ms) {
    const end = this.now + ms;
    const effects = [];
    for (let guard = 0; this.session.deadline() <= end; guard += 1) {
      if (guard > 1000) throw new Error(`the session asks for a tick again and again at ${this.session.deadline()}`);
      this.now = Math.max(this.now, this.session.deadline());
      effects.push(...this.input('tick'));
    }
    this.now = end;
    return effects;
  }

  frames(...frames) {
    return this.input('frames', { conn: this.conn, frames });
  }

  opened() {
    return this.input('opened', { conn: this.conn });
  }

  lose(fields = {}) {
    return this.input('closed', { conn: this.conn, ...fields });
  }

  welcome(fields = {}) {
    return this.frames({ t: 'welcome', v: 1, user: 'ann', name: 'Ann', portrait: '', time: this.now, cursor: 100, resumed: true, ping: 25, ...fields });
  }

  /** Connects a fresh page of ann; storage knows nothing. */
  connect(fields = {}) {
    this.input('connect', { token: 'T', device: 'web-1' });
    this.opened();
    this.welcome(fields);
    return this.input('restored', { cursor: null, sends: [] });
  }

  /** After a lost line: the next try gets through. */
  reconnect(fields = {}) {
    this.pass(30_000);
    this.opened();
    return this.welcome(fields);
  }

  send(id, more = {}) {
    return this.input('send', { frame: { t: 'send', id, kind: 1, target: 'bo', type: 'RC:TxtMsg', content: { content: id }, ...more } });
  }

  get state() {
    return this.effects.filter((effect) => effect.do === 'state').at(-1)?.state;
  }

  events(name) {
    return this.effects.filter((effect) => effect.do === 'event' && effect.name === name).map((effect) => effect.detail);
  }

  settled(cid) {
    return this.effects.find((effect) => effect.do === 'settle' && effect.cid === cid);
  }
}

/** Frames of type `t` that some effects transmit. */
export function transmitted(effects, t) {
  const frames = effects.filter((effect) => effect.do === 'transmit').flatMap((effect) => effect.frames);
  return t ? frames.filter((frame) => frame.t === t) : frames;
}

/** A pushed message of bo. */
export function entry(pos, prev, more = {}) {
  return { t: 'msg', pos, prev, m: { id: `M${pos}`, kind: 1, from: 'bo', to: 'ann', type: 'RC:TxtMsg', at: pos, content: { content: `m${pos}` }, ...more } };
}
