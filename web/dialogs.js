/**
 * Windows over the page: questions, the picture viewer, the picture to be sent, new chat.
 * They are `dialog` elements, so Escape closes them and the focus stays inside.
 */

import { avatar, fill, h, icon, iconButton } from './dom.js';
import { bytes, webAddress } from './format.js';
import { t } from './language.js';
import { CONTENT_LIMIT, PictureError, shrinkPicture } from './media.js';

/**
 * @param {string} name class
 * @param {string} title
 * @param {...import('./dom.js').Child} children
 */
function dialog(name, title, ...children) {
  const el = h('dialog', { class: `dialog ${name}`, 'aria-label': title, onclose: () => el.remove() },
    h('header', { class: 'dialog-head' }, h('h2', {}, title), iconButton('close', t('close'), () => el.close())),
    ...children);
  el.addEventListener('click', (e) => {
    if (e.target === el) el.close(); // the backdrop
  });
  document.body.append(el);
  el.showModal();
  return el;
}

/**
 * Asks a question.
 *
 * @param {string} question
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
export function confirm(question, yes) {
  return new Promise((resolve) => {
    const no = h('button', { type: 'button', class: 'button', onclick: () => el.close() }, t('cancel'));
    const sure = h('button', { type: 'button', class: 'button danger', onclick: () => { answer = true; el.close(); } }, yes);
    let answer = false;
    const el = h('dialog', { class: 'dialog question', 'aria-label': question, onclose: () => { el.remove(); resolve(answer); } },
      h('p', {}, question), h('div', { class: 'dialog-actions' }, no, sure));
    document.body.append(el);
    el.showModal();
    no.focus();
  });
}

/** Shows a picture in full. @param {string} src @param {string} url where the original is */
export function showPicture(src, url) {
  const original = webAddress(url);
  const el = h('dialog', { class: 'viewer', 'aria-label': t('image.alt'), onclose: () => el.remove(), onclick: (/** @type {Event} */ e) => {
    if (!(e.target instanceof HTMLAnchorElement)) el.close();
  } },
  h('img', { src: original || src, alt: t('image.alt'), referrerpolicy: 'no-referrer', onerror: (/** @type {Event} */ e) => {
    const img = /** @type {HTMLImageElement} */ (e.target);
    if (img.src !== src) img.src = src; // the original is gone; the message has a small one
  } }),
  h('div', { class: 'viewer-bar' },
    original && h('a', { href: original, target: '_blank', rel: 'noopener noreferrer', class: 'button' }, t('image.original')),
    iconButton('close', t('close'), () => el.close())));
  document.body.append(el);
  el.showModal();
}

/**
 * Makes a picture small enough, shows it, and asks whether to send it.
 *
 * @param {Blob} file
 * @returns {Promise<{content: string, imageUri: string} | null>} content for `RC:ImgMsg`
 */
export function askPicture(file) {
  return new Promise((resolve) => {
    /** @type {{content: string, imageUri: string} | null} */
    let answer = null;
    const body = h('div', { class: 'photo-body', 'aria-live': 'polite' }, h('p', {}, t('photo.busy')));
    const send = h('button', { type: 'button', class: 'button primary', disabled: true }, t('compose.send'));
    const el = dialog('photo-dialog', t('photo.title'), body,
      h('div', { class: 'dialog-actions' }, h('button', { type: 'button', class: 'button', onclick: () => el.close() }, t('cancel')), send));
    el.addEventListener('close', () => resolve(answer));
    shrinkPicture(file).then((p) => {
      const notes = [
        t('photo.size', { width: p.width, height: p.height, size: bytes(p.size) }),
        p.smaller ? t('photo.smaller', { limit: bytes(CONTENT_LIMIT) }) : '',
        p.animation ? t('photo.still') : '',
      ];
      fill(body, h('img', { src: `data:image/jpeg;base64,${p.base64}`, alt: t('image.alt') }), ...notes.filter(Boolean).map((n) => h('p', {}, n)));
      send.addEventListener('click', () => {
        answer = { content: p.base64, imageUri: '' };
        el.close();
      });
      send.disabled = false;
      send.focus();
    }, (e) => {
      const text = e instanceof PictureError && e.code === 'toolarge'
        ? t('photo.toolarge', { limit: bytes(CONTENT_LIMIT), size: bytes(e.size) })
        : t('photo.unreadable');
      fill(body, h('p', { class: 'error', role: 'alert' }, icon('alert'), text));
    });
  });
}

/**
 * Chooses whom to write to.
 *
 * @param {object} options
 * @param {string} options.me own id
 * @param {(() => Promise<{id: string, name: string, portrait: string, online: boolean}[]>) | null} options.people
 *   who is here, when the server tells
 * @param {(id: string) => Promise<boolean>} options.find whether the server knows an id
 * @param {(id: string) => void} options.choose
 * @param {(e: unknown) => string} options.explain
 */
export function newChat({ me, people, find, choose, explain }) {
  const error = h('p', { class: 'error', role: 'alert', id: 'new-error' });
  const input = h('input', { name: 'id', type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', maxlength: 64, 'aria-describedby': 'new-error' });
  const start = h('button', { class: 'button primary' }, t('new.start'));
  const list = h('ul', { class: 'people', 'aria-label': t('new.people') });
  /** @param {string} id */
  const take = (id) => {
    el.close();
    choose(id);
  };
  const form = h('form', { class: 'new-form', onsubmit: async (/** @type {Event} */ e) => {
    e.preventDefault();
    const id = input.value.trim();
    if (!id || id === me) {
      fill(error, t(id ? 'new.id.self' : 'new.id.empty'));
      return input.focus();
    }
    start.disabled = true;
    try {
      if (await find(id)) return take(id);
      fill(error, t('new.id.unknown', { id }), ' ', h('button', { type: 'button', class: 'link', onclick: () => take(id) }, t('new.id.anyway')));
    } catch (e2) {
      fill(error, explain(e2));
    } finally {
      start.disabled = false;
    }
  } }, h('label', {}, h('span', {}, t('new.id')), input), start);
  const el = dialog('new-chat', t('new.title'), form, error, people && h('h3', {}, t('new.people')), people && list);
  input.focus();
  people?.().then((all) => {
    const others = all.filter((p) => p.id !== me).sort((a, b) => Number(b.online) - Number(a.online) || a.name.localeCompare(b.name));
    fill(list, ...others.map((p) => h('li', {}, h('button', { type: 'button', class: 'person', onclick: () => take(p.id) },
      avatar(p, { online: p.online }),
      h('span', { class: 'person-text' }, h('span', { class: 'person-name' }, p.name || p.id), h('span', { class: 'person-id' }, p.id)),
      h('span', { class: p.online ? 'person-state on' : 'person-state' }, t(p.online ? 'online' : 'offline'))))));
    if (!others.length) fill(list, h('li', { class: 'people-none' }, t('new.nobody')));
  }, () => fill(list, h('li', { class: 'people-none' }, t('new.failed'))));
}

/** Says that the chat goes on elsewhere. @param {() => void} use */
export function replacedDialog(use) {
  const el = h('dialog', { class: 'dialog question', 'aria-label': t('kick.replaced.title'), oncancel: (/** @type {Event} */ e) => e.preventDefault() },
    h('h2', {}, t('kick.replaced.title')), h('p', {}, t('kick.replaced.text')),
    h('div', { class: 'dialog-actions' }, h('button', { type: 'button', class: 'button primary', onclick: () => { el.close(); el.remove(); use(); } }, t('kick.replaced.use'))));
  document.body.append(el);
  el.showModal();
}
