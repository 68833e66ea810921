/**
 * A node's half of the protocol, in memory: mailboxes, sessions, requests. No I/O; the
 * fake server puts transports before it, the simulator a virtual network.
 *
 * Written from docs/protocol.md, not from the SDK, so that a misreading on one side shows.
 */

const CLASSES = { 'RC:TypSts': 'status' };
for (const name of ['RC:InfoNtf', 'RC:ContactNtf', 'RC:ProfileNtf', 'RC:CmdNtf', 'RC:GrpNtf', 'RC:DizNtf', 'RC:RcNtf']) CLASSES[name] = 'uncounted';
for (const name of ['RC:CmdMsg', 'RC:ReadNtf', 'RC:SRSMsg', 'RC:RRReqMsg', 'RC:RRRspMsg']) CLASSES[name] = 'unstored';

export class FakeNode {
  constructor({ now = Date.now } = {}) {
    this.now = now;
    this.lastPos = 0;
    this.users = new Map();
    this.sessions = new Set();
    /** Entries of a page of the backlog; small ones make for more ways to go wrong. */
    this.page = 1000;
    /** Called with each request; may return an `err` frame to be answered instead. */
    this.refuse = () => null;
    this.limits = { content: 131072, frame: 262144, window: 256 };
    this.ping = 25;
  }

  user(id) {
    let user = this.users.get(id);
    if (!user) {
      user = { id, name: id[0].toUpperCase() + id.slice(1), portrait: '', entries: [], devices: new Map(), sent: new Map(), conversations: new Map(), blocks: [] };
      this.users.set(id, user);
    }
    return user;
  }

  nextPos() {
    this.lastPos = Math.max(this.lastPos + 1, Math.floor(this.now()) * 1000);
    return this.lastPos;
  }

  end(user) {
    return user.entries.at(-1)?.pos ?? 0;
  }

  append(user, frame) {
    const prev = this.end(user);
    const pos = this.nextPos();
    user.entries.push({ ...frame, pos, prev });
    return { pos, prev };
  }

  /** Live sessions are told what has been appended. `except` has learnt it from its answer. */
  wake(user, except) {
    for (const session of this.sessions) if (session.user === user && session !== except) session.pump();
  }

  conversation(user, kind, target) {
    const key = `${kind}/${target}`;
    let conversation = user.conversations.get(key);
    if (!conversation) {
      conversation = { kind, target, messages: [], unread: 0, read: 0, pos: 0, removed: false, peer_read: 0, peer_delivered: 0 };
      user.conversations.set(key, conversation);
    }
    return conversation;
  }

  /** A message from one to another, as if sent by some other device. */
  deliver(from, to, content, more = {}) {
    const type = more.type ?? 'RC:TxtMsg';
    const m = { id: `M${this.lastPos + 1}`, kind: 1, from, to, type, at: this.nextPos(), content, ...more };
    this.put(m, undefined);
    return m;
  }

  put(m, cid, except) {
    const stored = m.stored !== false;
    const places = new Map();
    for (const id of new Set([m.from, m.to])) {
      const user = this.user(id);
      const mine = id === m.from;
      const place = this.append(user, { t: 'msg', m: mine && cid ? { ...m, cid } : m });
      places.set(id, place);
      if (stored) {
        const conversation = this.conversation(user, 1, mine ? m.to : m.from);
        conversation.messages.push(m);
        conversation.pos = place.pos;
        conversation.removed = false;
        if (!mine && m.counted !== false) conversation.unread += 1;
      }
    }
    for (const id of places.keys()) this.wake(this.user(id), except);
    return places.get(m.from);
  }

  /** `relay`: the node of the cluster that the session comes through. */
  attach(push, close, relay = { node: 'local' }) {
    return new FakeSession(this, push, close, relay);
  }

  /**
   * The owner of a mailbox turns out to have been cut off: what it wrote after `pos` was
   * merged into another's mailbox, behind what that one had (`others` are written first).
   */
  fork(user, pos, others) {
    const ours = user.entries.filter((entry) => entry.pos > pos);
    user.entries = user.entries.filter((entry) => entry.pos <= pos);
    user.forks = [...(user.forks ?? []).map((fork) => ({ ...fork, pos: Math.min(fork.pos, pos) })), { epoch: user.epoch, pos }];
    user.epoch = `epoch-${user.forks.length}`;
    for (const [device, cursor] of user.devices) user.devices.set(device, Math.min(cursor, pos));
    for (const session of [...this.sessions]) if (session.user === user) session.end(1001, 'moved');
    others();
    for (const entry of ours) this.append(user, entry);
  }
}

export class FakeSession {
  /**
   * @param {FakeNode} node
   * @param {(frames: any[]) => void} push
   * @param {(code: number, reason: string) => void} close
   * @param {{node: string}} relay
   */
  constructor(node, push, close, relay) {
    Object.assign(this, { node, push, close, relay, user: null, sent: 0, acked: 0, live: false, closed: false, watched: [] });
  }

  end(code = 1000, reason = '') {
    if (this.closed) return;
    this.closed = true;
    this.node.sessions.delete(this);
    this.close(code, reason);
  }

  kick(code, closeCode) {
    this.push([{ t: 'kick', code, msg: code }]);
    this.end(closeCode, code);
  }

  receive(frames) {
    for (const frame of frames) {
      if (this.closed) return;
      if (!this.user) this.hello(frame);
      else this.frame(frame);
    }
  }

  hello(frame) {
    const fail = (code, closeCode) => {
      this.push([{ t: 'err', code, msg: code }]);
      this.end(closeCode, code);
    };
    if (frame.t !== 'hello') return fail('bad_frame', 4400);
    if (frame.v !== 1) return fail('unsupported_version', 4406);
    if (frame.token === 'expired') return fail('token_expired', 4401);
    if (!/^token-/.test(frame.token)) return fail('bad_token', 4401);
    const { node } = this;
    const user = node.user(frame.token.slice('token-'.length).split('.')[0]);
    this.device = frame.device;
    for (const other of node.sessions) if (other.user === user && other.device === frame.device) other.kick('replaced', 4409);
    this.user = user;
    this.window = frame.window ?? 256;
    this.delivered = frame.delivered === true;
    let cursor = frame.cursor ?? user.devices.get(frame.device);
    let why;
    this.helloed = frame;
    const fork = (user.forks ?? []).find((one) => one.epoch === frame.epoch);
    const oldest = user.entries[0]?.prev ?? 0;
    if (cursor === undefined) {
      why = 'new_device';
      cursor = Math.max(0, ...user.devices.values());
    } else if (frame.cursor !== undefined && fork && cursor > fork.pos) {
      why = 'forked';
      cursor = fork.pos;
    } else if (cursor > node.end(user)) {
      why = 'ahead';
      cursor = node.end(user);
    } else if (cursor < oldest) {
      why = 'trimmed';
      cursor = oldest;
    }
    user.devices.set(frame.device, cursor);
    this.sent = this.acked = cursor;
    node.sessions.add(this);
    const welcome = { t: 'welcome', v: 1, session: 's', user: user.id, name: user.name, portrait: user.portrait, node: this.relay.node, time: node.now(), cursor, resumed: !why || why === 'forked', ping: node.ping, limits: node.limits, relays: [] };
    if (why) welcome.why = why;
    if (user.epoch) welcome.epoch = user.epoch;
    if (node.relays) welcome.relays = node.relays();
    this.push([welcome]);
    this.pump();
  }

  /** Pushes what the window allows. */
  pump() {
    if (this.closed || !this.user) return;
    const frames = [];
    const { entries } = this.user;
    let index = entries.findIndex((entry) => entry.pos > this.sent);
    while (index >= 0 && index < entries.length && frames.length < this.node.page) {
      const unacked = entries.filter((entry) => entry.pos > this.acked && entry.pos <= this.sent).length;
      if (unacked >= this.window) break;
      frames.push(entries[index]);
      this.sent = entries[index].pos;
      index += 1;
    }
    const atEnd = this.sent === this.node.end(this.user);
    if (atEnd && !this.live) frames.push({ t: 'live', pos: this.sent });
    this.live = atEnd;
    if (frames.length > 0) this.push(frames);
  }

  answer(frame, fields) {
    this.push([{ t: 'ok', r: frame.r, ...fields }]);
  }

  error(frame, code, more = {}) {
    this.push([{ t: 'err', r: frame.r, code, msg: code, ...more }]);
  }

  frame(frame) {
    const refused = this.node.refuse(frame, this);
    if (refused) return this.push([{ t: 'err', r: frame.r, ...refused }]);
    const handler = this[`on_${frame.t}`];
    if (handler) handler.call(this, frame);
    else this.error(frame, 'bad_frame');
  }

  on_ack({ pos }) {
    this.acked = Math.max(this.acked, pos);
    this.user.devices.set(this.device, Math.max(pos, this.user.devices.get(this.device) ?? 0));
    this.pump();
  }

  on_ping(frame) {
    this.push([{ t: 'pong', r: frame.r, time: this.node.now() }]);
  }

  on_bye() {
    this.end(1000, 'bye');
  }

  on_send(frame) {
    const { node, user } = this;
    if (frame.kind !== 1) return this.error(frame, 'not_supported');
    if (node.user(frame.target).blocks.includes(user.id)) return this.error(frame, 'rejected_by_blacklist');
    const known = user.sent.get(frame.id);
    if (known) return this.answer(frame, { ...known, dup: true });
    const at = node.nextPos();
    const kind = CLASSES[frame.type];
    const m = { id: `I-${user.id}-${frame.id}`, kind: 1, from: user.id, to: frame.target, type: frame.type, at, content: frame.content };
    if (frame.status ?? kind === 'status') {
      m.status = true;
      for (const session of node.sessions) if (session.user.id === frame.target) session.push([{ t: 'msg', m }]);
      return this.answer(frame, { id: m.id, at });
    }
    if (!(frame.counted ?? !kind)) m.counted = false;
    if (!(frame.stored ?? kind !== 'unstored')) m.stored = false;
    if (frame.mentioned) m.mentioned = true;
    const inOrder = this.live && this.sent === node.end(user);
    const place = node.put(m, frame.id, inOrder ? this : undefined);
    user.sent.set(frame.id, { id: m.id, at, ...place });
    if (inOrder) this.sent = place.pos; // the answer stands for the entry
    this.answer(frame, { id: m.id, at, ...place });
    if (inOrder) this.pump(); // a message to oneself, or what came with it
  }

  on_read({ r, kind, target, upto }) {
    const conversation = this.node.conversation(this.user, kind, target);
    conversation.unread = 0;
    conversation.read = upto ?? conversation.pos;
    this.node.append(this.user, { t: 'read', kind, target, upto: conversation.read });
    this.push([{ t: 'ok', r, unread: 0 }]);
    this.node.wake(this.user);
    const peer = this.node.user(target);
    this.node.append(peer, { t: 'receipt', what: 'read', kind, target: this.user.id, at: conversation.messages.at(-1)?.at ?? 0 });
    this.node.wake(peer);
  }

  on_recall(frame) {
    const { node, user } = this;
    const conversation = node.conversation(user, frame.kind, frame.target);
    const m = conversation.messages.find((one) => one.id === frame.id && one.at === frame.at);
    if (!m) return this.error(frame, 'not_found');
    if (m.from !== user.id) return this.error(frame, 'not_allowed');
    Object.assign(m, { recalled: true, content: {} });
    const peer = node.user(frame.target);
    const entry = { t: 'recall', kind: 1, id: m.id, at: m.at, by: user.id };
    const inOrder = this.live && this.sent === node.end(user);
    const place = node.append(user, { ...entry, target: frame.target });
    if (inOrder) this.sent = place.pos;
    this.answer(frame, place);
    node.append(peer, { ...entry, target: user.id });
    node.wake(user);
    node.wake(peer);
  }

  on_history(frame) {
    const { messages } = this.node.conversation(this.user, frame.kind, frame.target);
    const limit = frame.limit ?? 20;
    if (frame.after !== undefined) {
      const later = messages.filter((m) => m.at > frame.after);
      return this.answer(frame, { messages: later.slice(0, limit), more: later.length > limit });
    }
    const earlier = messages.filter((m) => frame.before === undefined || m.at < frame.before);
    this.answer(frame, { messages: earlier.slice(-limit), more: earlier.length > limit });
  }

  view(conversation) {
    if (!conversation || conversation.removed || conversation.messages.length === 0) return null;
    const { messages, removed, ...rest } = conversation;
    return { ...rest, last: messages.at(-1) };
  }

  on_conversations(frame) {
    const all = [...this.user.conversations.values()].map((c) => this.view(c)).filter((c) => c && c.pos < (frame.before ?? Infinity));
    all.sort((a, b) => b.pos - a.pos);
    const limit = frame.limit ?? 100;
    this.answer(frame, { conversations: all.slice(0, limit), more: all.length > limit });
  }

  on_conversation(frame) {
    this.answer(frame, { conversation: this.view(this.user.conversations.get(`${frame.kind}/${frame.target}`)) });
  }

  on_remove(frame) {
    const conversation = this.node.conversation(this.user, frame.kind, frame.target);
    conversation.removed = true;
    conversation.unread = 0;
    this.answer(frame, {});
  }

  on_unread(frame) {
    let unread = 0;
    for (const conversation of this.user.conversations.values()) unread += conversation.unread;
    this.answer(frame, { unread });
  }

  on_block(frame) {
    this.user.blocks = [frame.user, ...this.user.blocks.filter((id) => id !== frame.user)];
    this.answer(frame, {});
  }

  on_unblock(frame) {
    this.user.blocks = this.user.blocks.filter((id) => id !== frame.user);
    this.answer(frame, {});
  }

  on_blocks(frame) {
    this.answer(frame, { users: this.user.blocks });
  }

  on_blocked(frame) {
    this.answer(frame, { blocked: this.user.blocks.includes(frame.user) });
  }

  on_users(frame) {
    const known = frame.ids.filter((id) => this.node.users.has(id)).map((id) => this.node.user(id));
    this.answer(frame, { users: known.map(({ id, name, portrait }) => ({ id, name, portrait })) });
  }

  on_watch(frame) {
    this.watched = frame.users;
    const online = frame.users.filter((id) => [...this.node.sessions].some((session) => session.user.id === id));
    this.answer(frame, { online });
  }
}
