/**
 * The messages of the open conversation: drawing, scrolling, the actions of a message.
 */

import { bubbleBody } from './bubble.js';
import { preview } from './content.js';
import { avatar, byId, fill, h, icon, setText, toast } from './dom.js';
import { clock, dayLabel, fullTime } from './format.js';
import { errorText, t, texts } from './language.js';
import { progressIcon } from './list.js';
import { openMenu, pressed } from './menu.js';
import { rowsOf } from './rows.js';

/** @typedef {import('./rows.js').Row} Row */
/** @typedef {import('./types.js').Item} Item */
/** @typedef {{li: HTMLLIElement, sign: string, state: string, row: Row}} Drawn */

/** As near to the end as counts as being there, px. */
const NEAR = 48;
/** As near to the beginning as asks for older messages, px. */
const EARLY = 400;

/**
 * @typedef {object} ThreadActions
 * @property {() => void} older
 * @property {() => void} atEnd the reader has come to the end
 * @property {(item: Item) => void} recall
 * @property {(item: Item) => void} retry
 * @property {(item: Item) => void} drop
 * @property {(text: string) => void} again
 */

export class ThreadView {
  /** @type {Map<string, Drawn>} */
  #drawn = new Map();
  #key = '';
  /** Whether the view follows the newest message. */
  stuck = true;
  /** Whether the place to start reading has been found. */
  #placed = false;

  /**
   * @param {import('./store.js').Store} store
   * @param {ThreadActions} actions
   */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.log = byId('log', HTMLElement);
    this.head = byId('log-head', HTMLElement);
    this.rows = byId('rows', HTMLElement);
    this.pill = byId('pill', HTMLButtonElement);
    this.log.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.log.addEventListener('keydown', (e) => this.#keydown(e));
    this.pill.addEventListener('click', () => {
      this.log.focus({ preventScroll: true }); // first: it would end the scrolling
      this.toEnd(true);
    });
    // Pictures come in, the window turns, the composer grows: stay at the end.
    const observer = new ResizeObserver(() => {
      if (this.stuck) this.toEnd();
    });
    observer.observe(this.rows);
    observer.observe(this.log);
  }

  /** Draws everything anew, for another language. */
  reset() {
    this.#drawn.clear();
    this.rows.replaceChildren();
    this.render();
  }

  render() {
    const key = this.store.open;
    const thread = this.store.threads.get(key);
    const conversation = this.store.conversations.get(key);
    if (key !== this.#key) {
      this.#key = key;
      this.#drawn.clear();
      this.rows.replaceChildren();
      this.stuck = true;
      this.#placed = false;
    }
    if (!thread || !conversation) return;
    const anchor = this.stuck ? null : this.#anchor();
    const rows = rowsOf(thread, conversation);
    this.#reconcile(rows);
    this.#drawHead(thread, conversation);
    if (thread.loaded && !this.#placed) this.#place(thread.divider);
    else if (this.stuck) this.toEnd();
    else if (anchor) this.log.scrollTop += anchor.li.offsetTop - anchor.top;
    this.#drawPill();
    if (thread.loaded && thread.more && !thread.loading && this.log.scrollHeight <= this.log.clientHeight + EARLY) this.actions.older();
  }

  /** @param {Row[]} rows */
  #reconcile(rows) {
    const keep = new Set(rows.map((r) => r.key));
    for (const [key, { li }] of this.#drawn) {
      if (keep.has(key)) continue;
      li.remove();
      this.#drawn.delete(key);
    }
    /** @type {Element | null} */
    let before = null;
    for (const row of rows) {
      const li = this.#draw(row); // may take the place of its older self
      /** @type {Element | null} */
      const at = before ? before.nextElementSibling : this.rows.firstElementChild;
      if (li !== at) this.rows.insertBefore(li, at);
      before = li;
    }
  }

  /** @param {Row} row */
  #draw(row) {
    const sign = this.#sign(row);
    const state = row.as === 'bubble' ? `${row.first} ${row.last} ${row.progress} ${row.item.error ?? ''} ${row.item.time}` : '';
    const old = this.#drawn.get(row.key);
    if (old?.sign === sign) {
      old.row = row;
      if (old.state !== state && row.as === 'bubble') {
        old.state = state;
        this.#state(old.li, row);
      }
      return old.li;
    }
    const li = this.#create(row);
    const focused = old?.li.contains(document.activeElement);
    old?.li.replaceWith(li);
    this.#drawn.set(row.key, { li, sign, state, row });
    if (focused) li.focus();
    return li;
  }

  /** What decides the unchanging part of a row. @param {Row} row */
  #sign(row) {
    if (row.as === 'day') return dayLabel(row.time, Date.now(), texts.locale, { today: t('today'), yesterday: t('yesterday') });
    if (row.as === 'divider') return 'divider';
    const person = this.store.person(row.item.from);
    return `${row.as} ${row.what.as} ${person.name} ${person.portrait} ${row.item.again ? 'again' : ''}`;
  }

  /** @param {Row} row @returns {HTMLLIElement} */
  #create(row) {
    if (row.as === 'day') return h('li', { class: 'day' }, h('span', {}, this.#sign(row)));
    if (row.as === 'divider') return h('li', { class: 'divider' }, h('span', {}, t('thread.new')));
    const person = this.store.person(row.item.from);
    if (row.as === 'line') {
      const again = row.item.again?.content;
      return h('li', { class: 'line', tabindex: -1 }, h('span', {}, preview(row.item, t, person.name)),
        typeof again === 'string' && h('button', { type: 'button', class: 'link', onclick: () => this.actions.again(again) }, t('message.again')));
    }
    const { body, kind } = bubbleBody(row.what, row.key, (id) => this.store.person(id).name);
    const more = h('button', { type: 'button', class: 'icon-button message-more', tabindex: -1, 'aria-label': t('message.actions'), title: t('message.actions'), 'aria-haspopup': 'menu' }, icon('more'));
    const li = h('li', { class: `message ${row.item.mine ? 'mine' : 'theirs'}`, tabindex: -1 },
      !row.item.mine && h('span', { class: 'message-avatar' }, avatar(person, { size: 'small' })),
      h('div', { class: 'message-main' },
        h('div', { class: `bubble bubble-${kind}` },
          h('span', { class: 'sr-only' }, `${row.item.mine ? t('you') : person.name}: `),
          !row.item.mine && row.item.kind !== 1 && h('span', { class: 'message-name' }, person.name),
          body, h('span', { class: 'meta' })),
        more,
        h('div', { class: 'message-note' })));
    const menu = (/** @type {Element | {x: number, y: number}} */ anchor) => this.#menu(row.key, anchor);
    more.addEventListener('click', () => menu(more));
    pressed(/** @type {HTMLElement} */ (li.querySelector('.bubble')), menu);
    this.#state(li, row);
    return li;
  }

  /** The part of a bubble that changes: place in the group, time, progress. @param {HTMLLIElement} li @param {Extract<Row, {as: 'bubble'}>} row */
  #state(li, row) {
    const { item } = row;
    li.classList.toggle('first', row.first);
    li.classList.toggle('last', row.last);
    li.classList.toggle('failed', row.progress === 'failed');
    li.classList.toggle('no-actions', !this.#actions(row).length);
    const meta = /** @type {Element} */ (li.querySelector('.meta'));
    fill(meta, h('time', { datetime: new Date(item.time).toISOString(), title: fullTime(item.time, texts.locale) }, clock(item.time, texts.locale)),
      row.progress && progressIcon(row.progress));
    const note = /** @type {Element} */ (li.querySelector('.message-note'));
    fill(note, ...(row.progress === 'failed' ? [
      h('span', { role: 'alert' }, errorText(item.error ?? 'unknown')), ' ',
      h('button', { type: 'button', class: 'link', onclick: () => this.actions.retry(item) }, t('retry')),
    ] : []));
  }

  /** @param {Row} row @returns {import('./menu.js').Action[]} */
  #actions(row) {
    if (row.as !== 'bubble') return [];
    const { item, what } = row;
    /** @type {import('./menu.js').Action[]} */
    const actions = [];
    if (what.as === 'text') {
      actions.push({ label: t('message.copy'), icon: 'copy', run: () => navigator.clipboard?.writeText(what.text).then(() => toast(t('message.copied')), () => {}) });
    }
    if (row.progress === 'failed') {
      actions.push({ label: t('retry'), icon: 'retry', run: () => this.actions.retry(item) });
      actions.push({ label: t('message.delete'), icon: 'trash', danger: true, run: () => this.actions.drop(item) });
    } else if (item.mine && item.state === 'sent') {
      actions.push({ label: t('message.recall'), icon: 'undo', danger: true, run: () => this.actions.recall(item) });
    }
    return actions;
  }

  /** @param {string} key @param {Element | {x: number, y: number}} anchor */
  #menu(key, anchor) {
    const row = this.#drawn.get(key)?.row;
    if (row) openMenu(anchor, this.#actions(row), t('message.actions'));
  }

  /** @param {import('./types.js').Thread} thread @param {import('./types.js').Conversation} c */
  #drawHead(thread, c) {
    const name = this.store.person(c.target).name;
    const state = thread.loading === 'failed' ? 'failed' : !thread.loaded || thread.loading ? 'loading'
      : thread.more ? 'more' : thread.items.length ? 'beginning' : 'empty';
    const sign = `${state} ${name} ${texts.lang}`;
    if (this.head.dataset.sign === sign) return;
    this.head.dataset.sign = sign;
    this.head.className = `log-head log-${state}`;
    if (state === 'failed') {
      fill(this.head, h('p', {}, t('thread.failed'), ' ', h('button', { type: 'button', class: 'link', onclick: () => this.actions.older() }, t('retry'))));
    } else if (state === 'loading') fill(this.head, h('span', { class: 'spinner', 'aria-hidden': 'true' }), h('p', { class: 'sr-only' }, t('thread.loading')));
    else if (state === 'beginning') fill(this.head, h('p', {}, t('thread.beginning')));
    else if (state === 'empty') fill(this.head, avatar(this.store.person(c.target), { size: 'large' }), h('p', {}, t('thread.empty', { name })));
    else fill(this.head);
  }

  // ---- scrolling ----

  /** The first row in sight, to keep it where it is. */
  #anchor() {
    const top = this.log.scrollTop;
    for (const el of this.rows.children) {
      const li = /** @type {HTMLElement} */ (el);
      if (li.offsetTop + li.offsetHeight > top && !li.matches('.day')) return { li, top: li.offsetTop };
    }
    return null;
  }

  /** Where reading starts: at the first new message when it would be out of sight, else at the end. @param {string} divider */
  #place(divider) {
    this.#placed = true;
    this.toEnd();
    const li = divider && this.#drawn.get('divider')?.li;
    if (!li || li.offsetTop - this.log.offsetTop >= this.log.scrollTop) return;
    this.stuck = false;
    this.log.scrollTop = li.offsetTop - 24;
  }

  /** @param {boolean} [smooth] */
  toEnd(smooth = false) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.log.scrollTo({ top: this.log.scrollHeight, behavior: smooth && !calm ? 'smooth' : 'instant' });
    if (!this.stuck && !smooth) this.#scrolled();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    const end = scrollHeight - scrollTop - clientHeight < NEAR;
    const came = end && !this.stuck;
    this.stuck = end;
    this.#drawPill();
    if (came) this.actions.atEnd();
    if (scrollTop < EARLY && this.#placed) {
      const thread = this.store.threads.get(this.#key);
      if (thread?.more && !thread.loading) this.actions.older();
    }
  }

  #drawPill() {
    const c = this.store.conversations.get(this.#key);
    this.pill.hidden = this.stuck;
    if (this.stuck) return;
    const text = c?.unread ? t('thread.pill', { n: c.unread }) : '';
    this.pill.classList.toggle('counted', text !== '');
    if (this.pill.dataset.text === text + texts.lang) return;
    this.pill.dataset.text = text + texts.lang;
    fill(this.pill, text ? h('span', {}, text) : h('span', { class: 'sr-only' }, t('thread.down')), icon('down'));
  }

  // ---- keyboard ----

  /** Arrow keys walk through the messages, Enter or the menu key opens a message's actions. @param {KeyboardEvent} e */
  #keydown(e) {
    const stops = /** @type {HTMLElement[]} */ ([...this.rows.querySelectorAll('.message, .line')]);
    const current = /** @type {HTMLElement | null} */ (document.activeElement?.closest('.message, .line') ?? null);
    const at = current ? stops.indexOf(current) : stops.length;
    if (e.key === 'ArrowUp') stops[Math.max(0, at - 1)]?.focus();
    else if (e.key === 'ArrowDown' && current) stops[Math.min(stops.length - 1, at + 1)]?.focus();
    else if (e.key === 'End') {
      this.toEnd();
      stops.at(-1)?.focus();
    } else if ((e.key === 'Enter' && document.activeElement === current) || e.key === 'ContextMenu' || (e.key === 'F10' && e.shiftKey)) {
      const found = [...this.#drawn].find(([, d]) => d.li === current);
      if (!found) return;
      const inner = current?.querySelector('.bubble a, .bubble button');
      if (e.key === 'Enter' && inner instanceof HTMLElement) inner.click();
      else this.#menu(found[0], /** @type {Element} */ (current?.querySelector('.bubble') ?? current));
    } else return;
    e.preventDefault();
  }
}

/** The header's line under the name. @param {import('./store.js').Store} store @param {Element} el */
export function drawStatus(store, el) {
  const c = store.conversations.get(store.open);
  const typing = c && store.typing.get(c.key);
  el.classList.toggle('typing', Boolean(typing));
  el.classList.toggle('on', Boolean(c && c.kind === 1 && store.isOnline(c.target)));
  if (!c) setText(el, '');
  else if (typing) setText(el, t(typing === 'voice' ? 'typing.voice' : 'typing'));
  else if (c.kind === 6) setText(el, t('system'));
  else setText(el, c.kind === 1 && !store.away ? t(store.isOnline(c.target) ? 'online' : 'offline') : '');
}
