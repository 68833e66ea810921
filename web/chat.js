/**
 * Between the SDK and the store: what happens when something is sent, arrives, is opened
 * or read. Knows no page; `seen()` says whether the reader looks at the open thread's end.
 */

import { keyOf } from './model.js';

/** @typedef {import('./types.js').Item} Item */
/** @typedef {import('./types.js').Message} Message */

const PAGE = 30;
/** Conversations fetched at a time, and how many times at most. */
const LIST_PAGE = 200;
const LIST_PAGES = 5;
/** A typing mark is sent at most this often, and shown this long, ms. */
const TYPING_EVERY = 4000;
const TYPING_SHOWN = 7000;
/** A connection that comes back within this time is as if it had not gone, ms. */
export const PATIENCE = 700;
/** The server's bound on a watch list. */
const WATCHED = 200;

export class Chat extends EventTarget {
  #typingSent = 0;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #typingTimers = new Map();
  /** @type {Set<string>} keys whose read mark is on its way */
  #reading = new Set();
  #watched = '';
  #started = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watchTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #awayTimer;
  /** @type {Set<string>} ids asked for */
  #asked = new Set();

  /**
   * @param {import('./types.js').Client} client
   * @param {import('./store.js').Store} store
   * @param {() => boolean} seen
   */
  constructor(client, store, seen) {
    super();
    this.client = client;
    this.store = store;
    this.seen = seen;
    const on = (/** @type {string} */ name, /** @type {(detail: any) => void} */ f) =>
      client.addEventListener(name, (e) => f(/** @type {CustomEvent} */ (e).detail));
    on('message', (m) => this.#message(m));
    on('sent', (m) => this.store.addMessage(m, true));
    on('receipt', (r) => store.receipt(r));
    on('read', (r) => this.#readElsewhere(r));
    on('recall', (r) => store.recall(keyOf(r.kind, r.target), r.id));
    on('presence', (p) => store.presence(p.user, p.online));
    on('reset', () => this.#reset());
    on('state', (s) => {
      if (s.state === 'connected') {
        clearTimeout(this.#awayTimer);
        this.#awayTimer = undefined;
        store.setAway(false);
        this.#reconnected();
        return;
      }
      this.#awayTimer ??= setTimeout(() => store.setAway(true), PATIENCE);
      for (const key of [...store.typing.keys()]) store.setTyping(key, null);
    });
    store.addEventListener('change', (e) => {
      if (/** @type {CustomEvent} */ (e).detail.part === 'list') this.#watchSoon();
    });
  }

  /** Signs in and fetches the lists. @param {string} token */
  async start(token) {
    const who = await this.client.connect(token);
    this.store.me = { id: who.user, name: who.name || who.user, portrait: who.portrait || '' };
    await this.refresh();
    this.#started = true;
    return this.store.me;
  }

  /** Conversations, blocks and names, as the server has them. */
  async refresh() {
    const blocks = this.client.blocks();
    blocks.catch(() => {}); // told below, unless the list fails first
    /** @type {number | undefined} */
    let before;
    for (let page = 0; page < LIST_PAGES; page++) {
      const { conversations, more } = await this.client.conversations({ limit: LIST_PAGE, before });
      for (const c of conversations) this.store.mergeConversation(c);
      before = conversations.at(-1)?.pos;
      if (!more || !before) break;
    }
    for (const user of await blocks) this.store.setBlocked(user, true);
    this.#nameSoon();
  }

  /** @param {{kind: number, target: string, upto: number}} r read on another device */
  #readElsewhere({ kind, target, upto }) {
    const key = keyOf(kind, target);
    this.store.markRead(key, upto);
    // How many are left is known only to the server when messages came before this page.
    if (!this.store.conversations.get(key)?.unread) return;
    this.client.conversation(kind, target).then((c) => c && this.store.mergeConversation(c), () => {});
  }

  #reset() {
    this.store.forget();
    this.refresh().catch(() => {});
    if (this.store.open) this.#loadNewest(this.store.open);
  }

  #reconnected() {
    this.#watchSoon();
    const key = this.store.open;
    const t = key && this.store.threads.get(key);
    if (t && !t.loaded) this.#loadNewest(key);
  }

  /** @param {Message} m */
  #message(m) {
    const key = keyOf(m.kind, m.target);
    if (m.status) {
      if (m.type === 'RC:TypSts' && !m.mine) this.#showTyping(key, m.content?.typingContentType);
      return;
    }
    const seen = key === this.store.open && this.seen();
    const isNew = this.store.addMessage(m, seen);
    if (seen) this.markRead();
    this.#nameSoon();
    if (isNew && this.#started) this.dispatchEvent(new CustomEvent('arrived', { detail: { message: m, key, seen } }));
  }

  /** @param {string} key @param {unknown} what */
  #showTyping(key, what) {
    clearTimeout(this.#typingTimers.get(key));
    this.store.setTyping(key, what === 'RC:VcMsg' ? 'voice' : 'text');
    this.#typingTimers.set(key, setTimeout(() => this.store.setTyping(key, null), TYPING_SHOWN));
  }

  // ---- opening and reading ----

  /** @param {number} kind @param {string} target */
  openConversation(kind, target) {
    const c = this.store.conversation(kind, target);
    if (this.store.open === c.key) return;
    const t = this.store.thread(c.key);
    this.store.setOpen(c.key);
    this.#nameSoon();
    if (!t.loaded) this.#loadNewest(c.key);
    else if (c.unread) this.store.placeDivider(c.key);
  }

  closeConversation() {
    this.store.setOpen('');
  }

  /** @param {string} key */
  async #loadNewest(key) {
    const c = this.store.conversations.get(key);
    if (!c) return;
    this.store.setLoading(key, 'busy');
    try {
      const limit = Math.min(100, Math.max(PAGE, c.unread + 5));
      const { messages, more } = await this.client.history(c.kind, c.target, { limit });
      this.store.addHistory(key, messages, more, true);
    } catch {
      this.store.setLoading(key, 'failed');
    }
  }

  /** Fetches what came before the oldest message shown, or the newest page anew after a failure. */
  async loadOlder() {
    const key = this.store.open;
    const t = this.store.threads.get(key);
    const c = this.store.conversations.get(key);
    if (!t || !c || t.loading === 'busy') return;
    if (!t.loaded) return this.#loadNewest(key);
    const before = t.items.find((i) => i.state === 'sent')?.at;
    if (!t.more || !before) return;
    this.store.setLoading(key, 'busy');
    try {
      const { messages, more } = await this.client.history(c.kind, c.target, { before, limit: PAGE });
      this.store.addHistory(key, messages, more);
    } catch {
      this.store.setLoading(key, 'failed');
    }
  }

  /** Tells the server that the open conversation has been read to its end. */
  async markRead() {
    const key = this.store.open;
    const c = this.store.conversations.get(key);
    if (!c?.unread || !this.store.threads.get(key)?.loaded || this.#reading.has(key)) return;
    this.#reading.add(key);
    const upto = c.pos;
    try {
      const left = await this.client.read(c.kind, c.target, upto || undefined);
      this.store.markRead(key, upto, left);
    } catch {
      return; // asked again with the next message, scroll or focus
    } finally {
      this.#reading.delete(key);
    }
    if (c.unread && key === this.store.open && c.pos > upto && this.seen()) this.markRead();
  }

  // ---- sending ----

  /**
   * Sends to the open conversation; the message shows at once.
   *
   * @param {string} type
   * @param {any} content
   */
  send(type, content) {
    const c = this.store.conversations.get(this.store.open);
    if (!c) return;
    const item = this.store.addPending({ kind: c.kind, target: c.target, type, content, cid: newId(), time: Date.now() });
    this.#typingSent = 0;
    this.#deliver(c.key, item);
  }

  /** @param {string} key @param {Item} item */
  retry(key, item) {
    this.store.setSending(key, item.cid ?? '', 'sending');
    this.#deliver(key, item);
  }

  /** @param {string} key @param {Item} item */
  async #deliver(key, { kind, target, type, content, cid }) {
    try {
      const m = await this.client.send({ kind, target, type, content, id: cid });
      this.store.addMessage({ ...m, cid, mine: true, target, kind }, true);
    } catch (e) {
      this.store.setSending(key, cid ?? '', 'failed', code(e));
    }
  }

  /** Says that something is being written; seldom, and only when it can arrive. @param {string} [what] */
  sendTyping(what = 'RC:TxtMsg') {
    const c = this.store.conversations.get(this.store.open);
    const now = Date.now();
    if (!c || c.kind !== 1 || this.client.state !== 'connected' || now - this.#typingSent < TYPING_EVERY) return;
    if (this.store.blocked.has(c.target)) return;
    this.#typingSent = now;
    this.client.send({ kind: c.kind, target: c.target, type: 'RC:TypSts', content: { typingContentType: what, data: '' }, status: true })
      .catch(() => {}); // a lost typing mark is nobody's loss
  }

  /** @param {Item} item */
  async recall(item) {
    await this.client.recall(item);
    this.store.recall(keyOf(item.kind, item.target), item.id);
  }

  // ---- people ----

  /** @param {string} user @param {boolean} blocked */
  async setBlocked(user, blocked) {
    await (blocked ? this.client.block(user) : this.client.unblock(user));
    this.store.setBlocked(user, blocked);
  }

  /** @param {string} key */
  async removeConversation(key) {
    const c = this.store.conversations.get(key);
    if (!c) return;
    if (c.last || c.pos) await this.client.removeConversation(c.kind, c.target);
    this.store.removeConversation(key);
  }

  /** Whether the server knows this user; his name is kept when it does. @param {string} id */
  async findPerson(id) {
    const found = await this.client.users([id]);
    this.store.addPeople(found.values());
    return found.has(id);
  }

  /** Asks for the names of people that have none yet. */
  #nameSoon() {
    const ids = [];
    for (const c of this.store.conversations.values()) {
      for (const id of [c.kind === 3 || c.kind === 2 ? '' : c.target, c.last?.from ?? '']) {
        if (id && id !== this.store.me.id && !this.store.people.has(id) && !this.#asked.has(id)) {
          this.#asked.add(id);
          ids.push(id);
        }
      }
    }
    for (let i = 0; i < ids.length; i += 100) {
      const part = ids.slice(i, i + 100);
      this.client.users(part).then(
        (found) => this.store.addPeople(found.values()),
        () => part.forEach((id) => this.#asked.delete(id)),
      );
    }
  }

  #watchSoon() {
    if (this.#watchTimer !== undefined) return;
    this.#watchTimer = setTimeout(() => {
      this.#watchTimer = undefined;
      const users = this.store.list().filter((c) => c.kind === 1).map((c) => c.target).slice(0, WATCHED);
      const key = [...users].sort().join('\n');
      if (key === this.#watched || this.client.state !== 'connected') return;
      this.#watched = key;
      this.client.watch(users).then((online) => this.store.setOnline(online), () => { this.#watched = ''; });
    }, 50);
  }

  /** Ends everything that would go on by itself. */
  async stop() {
    for (const timer of [this.#watchTimer, ...this.#typingTimers.values()]) clearTimeout(timer);
    await this.client.disconnect();
    clearTimeout(this.#awayTimer);
  }
}

/** The error's code, or `unknown`. @param {unknown} e */
export function code(e) {
  return e && typeof e === 'object' && 'code' in e && typeof e.code === 'string' ? e.code : 'unknown';
}

/** A new message id: ULID form, time first, so that it sorts. */
export function newId(now = Date.now()) {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  let time = '';
  for (let n = now, i = 0; i < 10; i++, n = Math.floor(n / 32)) time = alphabet[n % 32] + time;
  return time + Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => alphabet[b & 31]).join('');
}
