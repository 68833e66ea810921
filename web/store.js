/**
 * What the page knows: people, conversations, and the messages of each.
 *
 * Purpose: take what the SDK hands over in any order, any number of times, and hold one
 * consistent view of it.
 * Invariants: a message is in a thread once (by `id`, or by `cid` while it has no answer);
 * a message counts as unread once, however it came; receipts only move forward.
 * Pure: no page, no clock, no network. Every change is told by one `change` event with
 * `{part, key}`, so that a view redraws only what it must.
 */

import { isShown } from './content.js';
import { emptyConversation, emptyThread, keyOf } from './model.js';

/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Item} Item */
/** @typedef {import('./types.js').Conversation} Conversation */
/** @typedef {import('./types.js').Thread} Thread */
/** @typedef {import('./types.js').Person} Person */

/** Messages kept of a thread that is not open. */
const KEPT = 200;
/** Positions of pushed messages kept per conversation for counting. */
const COUNTED = 2000;

export class Store extends EventTarget {
  me = /** @type {Person} */ ({ id: '', name: '', portrait: '' });
  conversations = /** @type {Map<string, Conversation>} */ (new Map());
  threads = /** @type {Map<string, Thread>} */ (new Map());
  people = /** @type {Map<string, Person>} */ (new Map());
  online = /** @type {Set<string>} */ (new Set());
  /** Whether the connection is lost, so that nobody knows who is online. */
  away = false;
  blocked = /** @type {Set<string>} */ (new Set());
  /** Conversation key → what is being prepared there. */
  typing = /** @type {Map<string, 'text' | 'voice'>} */ (new Map());
  /** Key of the open conversation, or ''. */
  open = '';
  #seq = 0;

  /** @param {'list' | 'thread' | 'people'} part @param {string} [key] */
  #changed(part, key = '') {
    this.dispatchEvent(new CustomEvent('change', { detail: { part, key } }));
  }

  // ---- conversations ----

  /**
   * The conversation, made when there is none.
   *
   * @param {number} kind
   * @param {string} target
   * @returns {Conversation}
   */
  conversation(kind, target) {
    const key = keyOf(kind, target);
    let c = this.conversations.get(key);
    if (!c) this.conversations.set(key, (c = emptyConversation(kind, target)));
    return c;
  }

  /**
   * Takes a conversation as the server describes it. Pushes that the description does not
   * know yet stay counted on top of it.
   *
   * @param {any} s a conversation of docs/protocol.md
   */
  mergeConversation(s) {
    const c = this.conversation(s.kind, s.target);
    c.read = Math.max(c.read, s.read || 0);
    c.base = s.unread || 0;
    c.basePos = s.pos || 0;
    c.peerRead = Math.max(c.peerRead, s.peer_read || 0);
    c.peerDelivered = Math.max(c.peerDelivered, s.peer_delivered || 0);
    if (c.basePos >= c.pos) {
      c.pos = c.basePos;
      if (s.last && (!c.last || s.last.at >= c.last.at)) c.last = s.last;
    }
    this.#count(c);
    this.#changed('list', c.key);
    this.#changed('thread', c.key);
  }

  /** Forgets what was fetched (not drafts, not unsent messages), after a `reset`. */
  forget() {
    for (const c of this.conversations.values()) {
      Object.assign(c, { pos: 0, read: 0, last: null, base: 0, basePos: 0, recent: [], unread: 0 });
    }
    for (const t of this.threads.values()) {
      t.items = t.items.filter((i) => i.state !== 'sent');
      Object.assign(t, { loaded: false, more: false, loading: '', divider: '' });
    }
    this.#changed('list');
    this.#changed('thread', this.open);
  }

  /** @param {Conversation} c */
  #count(c) {
    c.recent = c.recent.filter((pos) => pos > c.basePos && pos > c.read).slice(-COUNTED);
    c.unread = c.base + c.recent.length;
  }

  /** @returns {number} */
  get unread() {
    let n = 0;
    for (const c of this.conversations.values()) n += c.unread;
    return n;
  }

  /** Those with something in them, newest first. @returns {Conversation[]} */
  list() {
    const time = (/** @type {Conversation} */ c) => Math.max(c.touched * 1000, c.last?.at ?? 0, c.pos);
    return [...this.conversations.values()]
      .filter((c) => c.last || c.pos || c.draft || c.touched || c.key === this.open)
      .sort((a, b) => time(b) - time(a) || (a.key < b.key ? -1 : 1));
  }

  /** Everything up to `upto` is read, here or on another device. @param {string} key @param {number} upto @param {number} [left] */
  markRead(key, upto, left) {
    const c = this.conversations.get(key);
    if (!c) return;
    c.read = Math.max(c.read, upto);
    if (upto >= c.basePos || left !== undefined) {
      c.base = left ?? 0;
      c.basePos = Math.max(c.basePos, upto);
    }
    this.#count(c);
    this.#changed('list', key);
  }

  /** @param {string} key */
  removeConversation(key) {
    this.conversations.delete(key);
    this.threads.delete(key);
    if (this.open === key) this.open = '';
    this.#changed('list', key);
  }

  /** @param {string} key @param {string} draft */
  setDraft(key, draft) {
    const c = this.conversations.get(key);
    if (!c || c.draft === draft) return;
    c.draft = draft;
    this.#changed('list', key);
  }

  /** Puts a conversation at the top, as when it is chosen from "new chat". @param {string} key @param {number} now ms */
  touch(key, now) {
    const c = this.conversations.get(key);
    if (c) c.touched = now;
    this.#changed('list', key);
  }

  // ---- threads ----

  /** @param {string} key @returns {Thread} */
  thread(key) {
    let t = this.threads.get(key);
    if (!t) this.threads.set(key, (t = emptyThread(key)));
    return t;
  }

  /**
   * Opens a conversation. What is unread in it gets the divider once it is loaded.
   *
   * @param {string} key '' closes
   */
  setOpen(key) {
    const old = this.threads.get(this.open);
    if (old && this.open !== key) {
      old.divider = '';
      const excess = old.items.length - KEPT;
      if (excess > 0) {
        old.items.splice(0, excess);
        old.more = true;
      }
    }
    this.open = key;
    this.#changed('list');
    this.#changed('thread', key);
  }

  /** @param {string} key @param {'' | 'busy' | 'failed'} loading */
  setLoading(key, loading) {
    this.thread(key).loading = loading;
    this.#changed('thread', key);
  }

  /**
   * Takes a page of history, oldest first.
   *
   * @param {string} key
   * @param {Message[]} messages
   * @param {boolean} more whether there are older ones than this page
   * @param {boolean} [newest] whether the page is the newest one
   */
  addHistory(key, messages, more, newest = false) {
    const t = this.thread(key);
    for (const m of messages) if (isShown(m)) this.#put(t, m);
    t.more = more;
    t.loading = '';
    if (newest) {
      t.loaded = true;
      const c = this.conversations.get(key);
      const last = messages.at(-1);
      if (c && last && isShown(last) && (!c.last || c.last.at <= last.at)) c.last = last;
      if (c?.unread) this.placeDivider(key);
    }
    this.#sort(t);
    this.#changed('thread', key);
    this.#changed('list', key);
  }

  /** Puts the divider before the first unread message that is loaded. @param {string} key */
  placeDivider(key) {
    const t = this.thread(key);
    const c = this.conversations.get(key);
    this.#sort(t);
    let left = c?.unread ?? 0;
    for (let i = t.items.length - 1; i >= 0 && left > 0; i--) {
      const m = t.items[i];
      if (m.mine || m.counted === false) continue;
      t.divider = m.id;
      left--;
    }
    this.#changed('thread', key);
  }

  /** @param {string} key */
  clearDivider(key) {
    const t = this.threads.get(key);
    if (!t?.divider) return;
    t.divider = '';
    this.#changed('thread', key);
  }

  /**
   * Takes a pushed message.
   *
   * @param {Message} m
   * @param {boolean} seen whether the reader has its conversation before his eyes
   * @returns {boolean} whether it is new to this page and worth announcing
   */
  addMessage(m, seen) {
    const key = keyOf(m.kind, m.target);
    if (!m.mine) this.setTyping(key, null);
    if (!isShown(m)) return false;
    const c = this.conversation(m.kind, m.target);
    const isNew = (m.pos ?? 0) > c.pos;
    const t = this.thread(key);
    if (t.loaded || t.loading === 'busy' || this.#find(t, m)) {
      this.#put(t, m);
      this.#sort(t);
    }
    if (isNew) {
      c.pos = /** @type {number} */ (m.pos);
      if (!m.mine && m.counted !== false) {
        if (!seen && t.loaded && !c.unread) t.divider = m.id;
        c.recent.push(c.pos);
      }
      this.#count(c);
    }
    if (!c.last || c.last.at <= m.at) c.last = m;
    this.#changed('list', key);
    this.#changed('thread', key);
    return isNew && !m.mine && !m.recalled;
  }

  /**
   * Adds an own message that the server has not answered yet.
   *
   * @param {{kind: number, target: string, type: string, content: any, cid: string, time: number}} m
   * @returns {Item}
   */
  addPending({ kind, target, type, content, cid, time }) {
    const c = this.conversation(kind, target);
    const t = this.thread(c.key);
    /** @type {Item} */
    const item = {
      id: '', cid, kind, target, type, content, time, at: Infinity, mine: true,
      from: this.me.id, to: target, state: 'sending', seq: ++this.#seq,
    };
    t.items.push(item);
    t.divider = '';
    c.touched = time;
    this.#changed('thread', c.key);
    this.#changed('list', c.key);
    return item;
  }

  /** A send failed, or is tried again. @param {string} key @param {string} cid @param {'sending' | 'failed'} state @param {string} [error] */
  setSending(key, cid, state, error) {
    const item = this.thread(key).items.find((i) => i.cid === cid);
    if (!item || item.state === 'sent') return;
    item.state = state;
    item.error = error;
    this.#changed('thread', key);
    this.#changed('list', key);
  }

  /** @param {string} key @param {string} cid */
  dropPending(key, cid) {
    const t = this.thread(key);
    t.items = t.items.filter((i) => i.state === 'sent' || i.cid !== cid);
    this.#changed('thread', key);
    this.#changed('list', key);
  }

  /** The newest own message without an answer, for the list. @param {string} key @returns {Item | undefined} */
  pending(key) {
    return this.threads.get(key)?.items.findLast((i) => i.state !== 'sent');
  }

  /** @param {Thread} t @param {{id: string, cid?: string, mine?: boolean}} m */
  #find(t, m) {
    return t.items.find((i) => (i.id && i.id === m.id) || (m.mine && m.cid && i.cid === m.cid));
  }

  /** @param {Thread} t @param {Message} m */
  #put(t, m) {
    const item = this.#find(t, m);
    if (!item) {
      t.items.push({ ...m, state: 'sent', seq: ++this.#seq });
      return;
    }
    const gone = item.recalled; // a recall may overtake the answer to the send
    Object.assign(item, m, { state: 'sent', error: undefined });
    if (gone) Object.assign(item, { recalled: true, content: {} });
  }

  /** @param {Thread} t */
  #sort(t) {
    t.items.sort((a, b) => (a.at === b.at ? a.seq - b.seq : a.at - b.at));
  }

  /** Takes a message back. @param {string} key @param {string} id */
  recall(key, id) {
    const item = this.threads.get(key)?.items.find((i) => i.id === id);
    if (item && !item.recalled) {
      if (item.mine && item.type === 'RC:TxtMsg') item.again = item.content;
      Object.assign(item, { recalled: true, content: {} });
    }
    const c = this.conversations.get(key);
    if (c?.last?.id === id) c.last = { ...c.last, recalled: true, content: {} };
    this.#changed('thread', key);
    this.#changed('list', key);
  }

  /** @param {{what: string, kind: number, target: string, at: number}} r */
  receipt({ what, kind, target, at }) {
    const c = this.conversations.get(keyOf(kind, target));
    if (!c) return;
    if (what === 'read') c.peerRead = Math.max(c.peerRead, at);
    if (what === 'delivered') c.peerDelivered = Math.max(c.peerDelivered, at);
    this.#changed('thread', c.key);
    this.#changed('list', c.key);
  }

  // ---- people ----

  /** @param {Iterable<Person>} people */
  addPeople(people) {
    for (const p of people) this.people.set(p.id, { id: p.id, name: p.name || p.id, portrait: p.portrait || '' });
    this.#changed('people');
  }

  /** @param {string} id @returns {Person} */
  person(id) {
    if (id === this.me.id) return this.me;
    return this.people.get(id) ?? { id, name: id, portrait: '' };
  }

  /** @param {Iterable<string>} users */
  setOnline(users) {
    this.online = new Set(users);
    this.#changed('people');
  }

  /** Whether somebody is known to be online now. @param {string} user */
  isOnline(user) {
    return !this.away && this.online.has(user);
  }

  /** @param {boolean} away */
  setAway(away) {
    if (this.away === away) return;
    this.away = away;
    this.#changed('people');
  }

  /** @param {string} user @param {boolean} online */
  presence(user, online) {
    if (online) this.online.add(user);
    else this.online.delete(user);
    if (!online) this.setTyping(keyOf(1, user), null);
    this.#changed('people');
  }

  /** @param {string} key @param {'text' | 'voice' | null} what */
  setTyping(key, what) {
    if ((this.typing.get(key) ?? null) === what) return;
    if (what) this.typing.set(key, what);
    else this.typing.delete(key);
    this.#changed('list', key);
    this.#changed('thread', key);
  }

  /** @param {string} user @param {boolean} blocked */
  setBlocked(user, blocked) {
    if (blocked) this.blocked.add(user);
    else this.blocked.delete(user);
    this.#changed('people');
  }
}
