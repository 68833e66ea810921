/**
 * The chat page: signs in, and joins store, chat and views.
 */

import { Hongyan } from '/sdk/hongyan.js';
import { Banner } from './banner.js';
import { Chat, code } from './chat.js';
import { Composer } from './composer.js';
import { confirm, newChat, replacedDialog } from './dialogs.js';
import { applyTexts, avatar, byId, fill, h, setText, toast } from './dom.js';
import { errorText, t, texts } from './language.js';
import { ListView } from './list.js';
import { LoginView } from './login.js';
import { player } from './media.js';
import { openMenu } from './menu.js';
import { keyOf } from './model.js';
import { devLogin, devUsers, fetchMode, lastName, leaveNotice, rememberName, saveLogin, savedLogin, takeNotice, tokenFromAddress } from './session.js';
import { Store } from './store.js';
import { drawStatus, ThreadView } from './thread.js';

/** Errors after which a new sign-in is needed. */
const FINAL = new Set(['bad_token', 'token_expired', 'user_blocked', 'unsupported_version']);
const OPEN = 'hongyan.open';

const narrow = matchMedia('(max-width: 719px)');

/** @param {unknown} e */
const explain = (e) => errorText(code(e), e instanceof Error ? e.message : '');

// ---- signing in ----

const login = new LoginView({
  submit: (value, mode) => (mode === 'name' ? signInAs(value) : signIn({ token: value, dev: false })),
  retry: () => askMode(),
  cancel: () => signOut(),
});

/** Asks the server how one signs in here, and shows that. @param {string} [notice] code of an error to explain */
async function askMode(notice = '') {
  login.show('');
  login.busy(() => t('login.busy'));
  try {
    const { devLogin: dev } = await fetchMode();
    login.show(dev ? 'name' : 'token', dev ? lastName() : '');
    if (notice) login.fail(() => errorText(notice));
  } catch (e) {
    login.fail(() => (code(e) === 'network' ? t('login.unreachable') : explain(e)));
  }
}

/** @param {string} name */
async function signInAs(name) {
  login.busy(() => t('login.busy'));
  try {
    const { token } = await devLogin(name);
    rememberName(name);
    await signIn({ token, dev: true });
  } catch (e) {
    login.fail(() => (code(e) === 'network' ? t('login.unreachable') : e instanceof Error && e.message ? e.message : explain(e)));
  }
}

/** @param {import('./session.js').Login} account */
async function signIn(account) {
  login.busy(() => t('login.busy'));
  const client = new Hongyan();
  let until = 0;
  const ticker = setInterval(() => login.render(), 500);
  client.addEventListener('state', (e) => {
    const { state, retryIn } = /** @type {CustomEvent} */ (e).detail;
    if (state !== 'waiting' || page) return;
    until = Date.now() + (retryIn ?? 0);
    login.busy(() => t('login.waiting', { n: Math.max(1, Math.ceil((until - Date.now()) / 1000)) }));
  });
  const store = new Store();
  const made = new Page(client, store, account);
  try {
    await made.chat.start(account.token);
    saveLogin(account);
    page = made;
    made.show();
  } catch (e) {
    await client.disconnect();
    saveLogin(null);
    if (savedMode === null) savedMode = (await fetchMode().catch(() => null))?.devLogin ? 'name' : 'token';
    login.show(savedMode, savedMode === 'name' ? lastName() : '');
    login.fail(() => explain(e));
  } finally {
    clearInterval(ticker);
  }
}

/** @type {'name' | 'token' | null} */
let savedMode = null;

/** Forgets the login and starts anew; a code is explained on the card. @param {string} [notice] */
async function signOut(notice = '') {
  saveLogin(null);
  sessionStorage.removeItem(OPEN);
  if (notice) leaveNotice(notice);
  const bye = page?.chat.stop();
  await Promise.race([bye, new Promise((resolve) => setTimeout(resolve, 800))]);
  location.reload();
}

// ---- the page ----

class Page {
  #queued = false;
  /** @type {Set<string>} */
  #stale = new Set();

  /**
   * @param {import('./types.js').Client} client
   * @param {Store} store
   * @param {import('./session.js').Login} account
   */
  constructor(client, store, account) {
    this.client = client;
    this.store = store;
    this.account = account;
    this.chat = new Chat(client, store, () => this.#seen());
  }

  /** Puts the page in place of the login. */
  show() {
    const { store, chat } = this;
    this.root = byId('chat', HTMLElement);
    this.banner = new Banner();
    this.list = new ListView({ list: byId('list', HTMLElement), search: byId('search', HTMLInputElement) }, store, {
      open: (key) => this.open(key, true),
      remove: (key) => this.#remove(key),
      create: () => this.#create(),
    });
    this.thread = new ThreadView(store, {
      older: () => chat.loadOlder(),
      atEnd: () => this.#read(),
      recall: (item) => chat.recall(item).catch((e) => toast(explain(e))),
      retry: (item) => chat.retry(store.open, item),
      drop: (item) => store.dropPending(store.open, item.cid ?? ''),
      again: (text) => {
        this.composer?.insert(text);
        this.composer?.focus();
      },
    });
    this.composer = new Composer({
      send: (type, content) => {
        if (this.thread) this.thread.stuck = true;
        chat.send(type, content);
      },
      typing: (what) => chat.sendTyping(what),
      draft: (key, draft) => store.setDraft(key, draft),
      leave: () => this.close(),
    });
    this.#listen();
    login.hide();
    this.root.hidden = false;
    this.renderAll();
    const last = sessionStorage.getItem(OPEN);
    if (last && store.conversations.has(last) && !narrow.matches) this.open(last);
  }

  #listen() {
    const { store, client, chat } = this;
    store.addEventListener('change', (e) => this.#later(/** @type {CustomEvent} */ (e).detail));
    client.addEventListener('state', (e) => this.banner?.set(/** @type {CustomEvent} */ (e).detail));
    client.addEventListener('kick', (e) => this.#kicked(code(/** @type {CustomEvent} */ (e).detail)));
    chat.addEventListener('arrived', (e) => {
      const { message } = /** @type {CustomEvent} */ (e).detail;
      // The name of somebody new is on its way.
      setTimeout(() => this.list?.say(message), store.people.has(message.from) ? 0 : 500);
    });
    byId('new', HTMLElement).addEventListener('click', () => this.#create());
    byId('logout', HTMLElement).addEventListener('click', () => signOut());
    byId('back', HTMLElement).addEventListener('click', () => this.close());
    byId('options', HTMLElement).addEventListener('click', (e) => this.#options(/** @type {Element} */ (e.currentTarget)));
    addEventListener('focus', () => this.#read());
    addEventListener('blur', () => this.#away());
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#away() : this.#read()));
    addEventListener('popstate', () => {
      if (narrow.matches && this.root?.dataset.screen === 'thread') this.#leaveThread();
    });
    narrow.addEventListener('change', () => this.renderAll());
    document.addEventListener('keydown', (e) => {
      if (e.key === 'Escape' && !e.defaultPrevented && !document.querySelector('dialog[open]') && byId('log', HTMLElement).contains(document.activeElement)) this.composer?.focus();
    });
    // The day turns over, and "today" becomes "yesterday".
    setInterval(() => this.#later({ part: 'people', key: '' }), 60_000);
  }

  /** Whether the reader has the end of the open thread before his eyes. */
  #seen() {
    return Boolean(document.visibilityState === 'visible' && document.hasFocus() && this.thread?.stuck
      && (!narrow.matches || this.root?.dataset.screen === 'thread'));
  }

  #read() {
    if (this.#seen()) this.chat.markRead();
  }

  /** What has been read until now needs no divider any more. */
  #away() {
    const c = this.store.conversations.get(this.store.open);
    if (c && !c.unread) this.store.clearDivider(c.key);
  }

  // ---- drawing ----

  /** Collects changes and draws once. @param {{part: string, key: string}} change */
  #later({ part, key }) {
    if (part !== 'thread' || key === this.store.open) this.#stale.add(part);
    if (this.#queued || !this.#stale.size) return;
    this.#queued = true;
    setTimeout(() => {
      this.#queued = false;
      const stale = this.#stale;
      this.#stale = new Set();
      this.#draw(stale);
    }, 10);
  }

  /** @param {Set<string>} stale */
  #draw(stale) {
    if (stale.has('list') || stale.has('people')) this.list?.render();
    if (stale.has('thread') || stale.has('people')) {
      this.thread?.render();
      this.#drawHead();
    }
    const n = this.store.unread;
    const title = n ? `(${n > 99 ? '99+' : n}) ${t('app')}` : t('app');
    if (document.title !== title) document.title = title;
    this.#read();
  }

  /** Draws everything, in the language in use. */
  renderAll() {
    this.list?.reset();
    this.thread?.reset();
    this.banner?.render();
    const { me } = this.store;
    fill(byId('me-avatar', HTMLElement), avatar(me, { size: 'small' }));
    setText(byId('me-name', HTMLElement), me.name);
    setText(byId('me-id', HTMLElement), me.id === me.name ? '' : me.id);
    this.#drawHead();
    this.#draw(new Set());
  }

  #drawHead() {
    const { store } = this;
    const c = store.conversations.get(store.open);
    byId('nothing', HTMLElement).hidden = Boolean(c);
    byId('conversation', HTMLElement).hidden = !c;
    if (!c) return;
    const person = store.person(c.target);
    const head = byId('peer-avatar', HTMLElement);
    const sign = `${person.id} ${person.name} ${person.portrait} ${store.isOnline(c.target)}`;
    if (head.dataset.sign !== sign) {
      head.dataset.sign = sign;
      fill(head, avatar(person, { online: c.kind === 1 && store.isOnline(c.target) }));
    }
    setText(byId('peer-name', HTMLElement), person.name);
    drawStatus(store, byId('peer-status', HTMLElement));
    byId('log', HTMLElement).setAttribute('aria-label', t('thread.label', { name: person.name }));
    byId('composer', HTMLElement).hidden = c.kind === 6;
    this.composer?.open(c.key, person.name, c.draft);
    this.#drawNotice(c, person.name);
  }

  /** @param {import('./types.js').Conversation} c @param {string} name */
  #drawNotice(c, name) {
    const notice = byId('notice', HTMLElement);
    const blocked = c.kind === 1 && this.store.blocked.has(c.target);
    notice.hidden = !blocked && c.kind !== 6;
    const sign = `${blocked} ${c.key} ${name} ${texts.lang}`;
    if (notice.hidden || notice.dataset.sign === sign) return;
    notice.dataset.sign = sign;
    if (blocked) {
      fill(notice, h('span', {}, t('thread.blocked', { name })), ' ',
        h('button', { type: 'button', class: 'link', onclick: () => this.#block(c.target, false) }, t('thread.unblock')));
    } else fill(notice, t('thread.readonly'));
  }

  // ---- doing ----

  /** @param {string} key @param {boolean} [write] whether the field gets the focus */
  open(key, write = false) {
    const c = this.store.conversations.get(key);
    if (!c || !this.root) return;
    player().stop();
    this.chat.openConversation(c.kind, c.target);
    sessionStorage.setItem(OPEN, key);
    if (narrow.matches && this.root.dataset.screen !== 'thread') history.pushState({ screen: 'thread' }, '');
    this.root.dataset.screen = 'thread';
    this.#draw(new Set(['list', 'thread']));
    if (write && !narrow.matches && c.kind !== 6) this.composer?.focus();
    else if (narrow.matches) byId('log', HTMLElement).focus({ preventScroll: true });
  }

  /** Back to the list. */
  close() {
    if (narrow.matches && history.state?.screen === 'thread') history.back();
    else this.#leaveThread();
  }

  #leaveThread() {
    const key = this.store.open;
    if (this.root) this.root.dataset.screen = 'list';
    sessionStorage.removeItem(OPEN);
    player().stop();
    this.chat.closeConversation();
    this.#draw(new Set(['list', 'thread']));
    this.list?.focus(key);
  }

  #create() {
    newChat({
      me: this.store.me.id,
      people: this.account.dev ? async () => {
        const people = await devUsers();
        this.store.addPeople(people);
        return people;
      } : null,
      find: (id) => this.chat.findPerson(id),
      choose: (id) => {
        this.store.conversation(1, id);
        this.store.touch(keyOf(1, id), Date.now());
        this.open(keyOf(1, id), true);
      },
      explain,
    });
  }

  /** @param {string} key */
  async #remove(key) {
    const c = this.store.conversations.get(key);
    if (!c || !(await confirm(t('list.remove.confirm', { name: this.store.person(c.target).name }), t('list.remove')))) return;
    const wasOpen = this.store.open === key;
    try {
      await this.chat.removeConversation(key);
      if (wasOpen) this.close();
    } catch (e) {
      toast(explain(e));
    }
  }

  /** @param {string} user @param {boolean} blocked */
  async #block(user, blocked) {
    const { name } = this.store.person(user);
    if (blocked && !(await confirm(t('thread.block.confirm', { name }), t('thread.block', { name })))) return;
    await this.chat.setBlocked(user, blocked).catch((e) => toast(explain(e)));
  }

  /** @param {Element} anchor */
  #options(anchor) {
    const c = this.store.conversations.get(this.store.open);
    if (!c) return;
    const { name } = this.store.person(c.target);
    /** @type {import('./menu.js').Action[]} */
    const actions = [];
    if (c.kind === 1) {
      const blocked = this.store.blocked.has(c.target);
      actions.push({ label: blocked ? t('thread.unblock') : t('thread.block', { name }), icon: 'block', danger: !blocked, run: () => this.#block(c.target, !blocked) });
    }
    actions.push({ label: t('list.remove'), icon: 'trash', danger: true, run: () => this.#remove(c.key) });
    openMenu(anchor, actions, t('thread.options'));
  }

  /** The server ended the session for good. @param {string} why */
  #kicked(why) {
    if (why === 'replaced') replacedDialog(() => this.client.connect(this.account.token).catch((e) => this.#kicked(code(e))));
    else if (FINAL.has(why)) signOut(why);
    else toast(errorText(why));
  }
}

/** @type {Page | null} */
let page = null;

// ---- start ----

texts.start();
applyTexts();
document.title = t('app');
texts.addEventListener('change', () => {
  applyTexts();
  login.render();
  page?.renderAll();
});
for (const button of document.querySelectorAll('[data-language]')) button.addEventListener('click', () => texts.toggle());
if (history.state?.screen) history.replaceState(null, '');

const fromAddress = tokenFromAddress();
const known = fromAddress ? { token: fromAddress, dev: false } : savedLogin();
if (known) signIn(known);
else askMode(takeNotice());
