/**
 * The conversation list.
 */

import { preview } from './content.js';
import { announce, avatar, fill, h, icon, iconButton } from './dom.js';
import { fullTime, listTime } from './format.js';
import { t, texts } from './language.js';
import { openMenu, pressed } from './menu.js';
import { progress } from './model.js';

/** @typedef {import('./types.js').Conversation} Conversation */

/**
 * @typedef {object} ListActions
 * @property {(key: string) => void} open
 * @property {(key: string) => void} remove
 * @property {() => void} create
 */

export class ListView {
  /** @type {Map<string, {li: HTMLLIElement, sign: string}>} */
  #rows = new Map();
  #filter = '';

  /**
   * @param {{list: HTMLElement, search: HTMLInputElement}} elements
   * @param {import('./store.js').Store} store
   * @param {ListActions} actions
   */
  constructor(elements, store, actions) {
    this.list = elements.list;
    this.store = store;
    this.actions = actions;
    elements.search.addEventListener('input', () => {
      this.#filter = elements.search.value.trim().toLowerCase();
      this.render();
    });
    elements.search.addEventListener('keydown', (e) => {
      if (e.key === 'Escape' && elements.search.value) {
        elements.search.value = this.#filter = '';
        this.render();
        e.stopPropagation();
      } else if (e.key === 'ArrowDown') {
        this.focus();
        e.preventDefault();
      }
    });
    this.list.addEventListener('keydown', (e) => this.#key(e));
  }

  /** Draws everything anew, for another language. */
  reset() {
    this.#rows.clear();
    this.list.replaceChildren();
    this.render();
  }

  render() {
    const all = this.store.list();
    const shown = all.filter((c) => !this.#filter || this.#name(c).toLowerCase().includes(this.#filter) || c.target.toLowerCase().includes(this.#filter));
    const focused = document.activeElement?.closest('[data-key]')?.getAttribute('data-key');
    const now = Date.now();
    /** @type {Set<string>} */
    const keep = new Set();
    let at = this.list.firstElementChild;
    for (const c of shown) {
      keep.add(c.key);
      const li = this.#row(c, now);
      if (li === at) at = at.nextElementSibling;
      else this.list.insertBefore(li, at);
    }
    for (const [key, { li }] of this.#rows) {
      if (keep.has(key)) continue;
      li.remove();
      this.#rows.delete(key);
    }
    this.list.querySelector('.list-empty')?.remove();
    if (!shown.length) this.list.append(this.#empty(all.length > 0));
    this.#rove();
    if (focused && !this.list.contains(document.activeElement)) this.focus(focused);
  }

  /** @param {Conversation} c */
  #name(c) {
    return this.store.person(c.target).name;
  }

  /** @param {boolean} filtered */
  #empty(filtered) {
    if (filtered) return h('li', { class: 'list-empty' }, h('p', {}, t('list.nothing')));
    return h('li', { class: 'list-empty' },
      h('p', { class: 'list-empty-title' }, t('list.empty.title')),
      h('p', {}, t('list.empty.text')),
      h('button', { type: 'button', class: 'button', onclick: () => this.actions.create() }, t('list.new')));
  }

  /** @param {Conversation} c @param {number} now */
  #row(c, now) {
    const person = this.store.person(c.target);
    const pending = this.store.pending(c.key);
    const last = pending ?? c.last;
    const typing = this.store.typing.get(c.key);
    const time = last?.time ?? (last?.at ? last.at / 1000 : c.touched);
    const current = c.key === this.store.open;
    const model = {
      name: person.name, portrait: person.portrait, current, typing, unread: c.unread,
      online: c.kind === 1 && this.store.isOnline(c.target),
      blocked: this.store.blocked.has(c.target),
      draft: current ? '' : c.draft.trim().slice(0, 100),
      text: last ? preview(last, t, last.mine ? '' : this.store.person(last.from).name) : '',
      mark: last?.mine && !last.recalled ? progress(c, /** @type {any} */ (last)) : '',
      time: time ? listTime(time, now, texts.locale, { yesterday: t('yesterday') }) : '',
      full: time ? fullTime(time, texts.locale) : '',
    };
    const sign = JSON.stringify(model);
    const old = this.#rows.get(c.key);
    if (old?.sign === sign) return old.li;
    const li = old?.li ?? this.#item(c.key);
    const hadFocus = li.contains(document.activeElement);
    fill(li, ...this.#content(c, person, model));
    if (hadFocus) li.querySelector('button')?.focus();
    this.#rows.set(c.key, { li, sign });
    return li;
  }

  /** @param {string} key */
  #item(key) {
    const li = h('li', { class: 'chat-item', 'data-key': key });
    pressed(li, (at) => this.#menu(key, at));
    return li;
  }

  /**
   * @param {Conversation} c
   * @param {import('./types.js').Person} person
   * @param {any} m
   */
  #content(c, person, m) {
    let line;
    if (m.typing) line = h('span', { class: 'chat-line typing' }, t(m.typing === 'voice' ? 'typing.voice' : 'typing'));
    else if (m.draft) line = h('span', { class: 'chat-line' }, h('span', { class: 'draft' }, t('list.draft')), ' ', m.draft);
    else line = h('span', { class: 'chat-line' }, m.mark && progressIcon(m.mark), m.text);
    const button = h('button', {
      type: 'button', class: 'chat-open', tabindex: -1, 'aria-current': m.current ? 'true' : null,
      onclick: () => this.actions.open(c.key),
    },
    avatar(person, { online: m.online }),
    h('span', { class: 'chat-text' },
      h('span', { class: 'chat-top' },
        h('span', { class: 'chat-name' }, m.name),
        m.online && h('span', { class: 'sr-only' }, `, ${t('online')}`),
        m.blocked && h('span', { class: 'chat-blocked', title: t('blocked') }, icon('block'), h('span', { class: 'sr-only' }, t('blocked'))),
        h('time', { class: 'chat-time', title: m.full }, m.time)),
      h('span', { class: 'chat-bottom' },
        line,
        m.unread > 0 && h('span', { class: 'badge' },
          h('span', { 'aria-hidden': 'true' }, m.unread > 99 ? '99+' : String(m.unread)),
          h('span', { class: 'sr-only' }, `, ${t('unread', { n: m.unread })}`)))));
    const options = iconButton('more', t('list.options', { name: m.name }), (e) => this.#menu(c.key, /** @type {Element} */ (e.currentTarget)),
      { tabindex: -1, class: 'icon-button chat-more', 'aria-haspopup': 'menu' });
    return [button, options];
  }

  /** @param {string} key @param {Element | {x: number, y: number}} anchor */
  #menu(key, anchor) {
    const c = this.store.conversations.get(key);
    if (!c) return;
    openMenu(anchor, [{ label: t('list.remove'), icon: 'trash', danger: true, run: () => this.actions.remove(key) }],
      t('list.options', { name: this.#name(c) }));
  }

  /** @returns {HTMLButtonElement[]} */
  #buttons() {
    return [...this.list.querySelectorAll('.chat-open')].filter((b) => b instanceof HTMLButtonElement);
  }

  /** One stop of the Tab key: the open conversation, or the one with the focus, or the first. */
  #rove() {
    const buttons = this.#buttons();
    const stop = buttons.find((b) => b === document.activeElement) ?? buttons.find((b) => b.hasAttribute('aria-current')) ?? buttons[0];
    for (const b of buttons) b.tabIndex = b === stop ? 0 : -1;
  }

  /** @param {string} [key] */
  focus(key) {
    const buttons = this.#buttons();
    const wanted = key && buttons.find((b) => b.parentElement?.getAttribute('data-key') === key);
    (wanted || buttons.find((b) => b.tabIndex === 0) || buttons[0])?.focus();
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    const buttons = this.#buttons();
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    if (at < 0) return;
    const key = buttons[at].parentElement?.getAttribute('data-key') ?? '';
    const next = { ArrowDown: Math.min(at + 1, buttons.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: buttons.length - 1 }[e.key];
    if (next !== undefined) buttons[next].focus();
    else if (e.key === 'Delete') this.actions.remove(key);
    else if (e.key === 'ContextMenu' || (e.key === 'F10' && e.shiftKey)) this.#menu(key, buttons[at]);
    else return;
    e.preventDefault();
    this.#rove();
  }

  /** Says an arrival in a conversation that is not before the reader's eyes. @param {import('./types.js').Message} m */
  say(m) {
    const name = this.store.person(m.from).name;
    announce(t('arrived', { name, text: preview(m, t, name) }));
  }
}

/**
 * The mark of how far an own message has got.
 *
 * @param {import('./model.js').Progress} value
 */
export function progressIcon(value) {
  const name = /** @type {const} */ ({ sending: 'clock', failed: 'alert', sent: 'check', delivered: 'checks', read: 'checks' })[value];
  const label = t(`progress.${value}`);
  return h('span', { class: `progress progress-${value}`, role: 'img', 'aria-label': label, title: label }, icon(name));
}
