/**
 * Making elements. Text only ever becomes text nodes.
 */

import { drawings } from './icons.js';
import { hue, initials, webAddress } from './format.js';
import { t } from './language.js';

/**
 * @typedef {Node | string | null | undefined | false} Child
 * @typedef {Record<string, any>} Props `onclick` and the like are listeners; `true` an empty
 * attribute; `false`, `null` and `undefined` none
 */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  append(el, children);
  return el;
}

/** @param {Element} el @param {Child[]} children */
function append(el, children) {
  for (const child of children) if (child) el.append(child);
}

/** Replaces what is in `el`. @param {Element} el @param {...Child} children */
export function fill(el, ...children) {
  el.replaceChildren();
  append(el, children);
}

/** Writes text only when it is another, so that screen readers are not disturbed. @param {Element} el @param {string} text */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

/**
 * The element with this id, of this kind.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const el = document.getElementById(id);
  if (!(el instanceof type)) throw new Error(`#${id} is missing in index.html`);
  return el;
}

const SVG = 'http://www.w3.org/2000/svg';

/** @param {keyof typeof drawings} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  for (const d of drawings[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/**
 * A button that shows an icon and says its name.
 *
 * @param {keyof typeof drawings} name
 * @param {string} label
 * @param {(e: MouseEvent) => void} onclick
 * @param {Props} [props]
 */
export function iconButton(name, label, onclick, props = {}) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick, ...props }, icon(name));
}

/**
 * A person's picture, or his initials in his colour.
 *
 * @param {{id: string, name: string, portrait: string}} person
 * @param {{online?: boolean, size?: 'small' | 'large'}} [options]
 */
export function avatar(person, { online = false, size } = {}) {
  const letters = initials(person.name);
  const el = h('span', { class: `avatar hue-${hue(person.id)}${size ? ` avatar-${size}` : ''}`, 'aria-hidden': 'true' },
    h('span', { class: 'avatar-letters' }, letters), online && h('span', { class: 'dot' }));
  const src = webAddress(person.portrait);
  if (src) {
    const img = h('img', { src, alt: '', referrerpolicy: 'no-referrer', onerror: () => img.remove() });
    el.prepend(img);
  }
  return el;
}

/** Puts the language's texts where index.html asks for them. @param {ParentNode} [root] */
export function applyTexts(root = document) {
  for (const el of root.querySelectorAll('[data-t]')) setText(el, t(el.getAttribute('data-t') ?? ''));
  for (const el of root.querySelectorAll('[data-t-label]')) {
    const text = t(el.getAttribute('data-t-label') ?? '');
    el.setAttribute('aria-label', text);
    if (el.matches('button')) el.setAttribute('title', text);
  }
  for (const el of root.querySelectorAll('[data-t-placeholder]')) el.setAttribute('placeholder', t(el.getAttribute('data-t-placeholder') ?? ''));
  for (const el of root.querySelectorAll('[data-icon]')) {
    if (!el.querySelector('.icon')) el.prepend(icon(/** @type {any} */ (el.getAttribute('data-icon'))));
  }
}

/** Says something to screen readers. @param {string} text */
export function announce(text) {
  const region = byId('announce', HTMLElement);
  region.append(h('p', {}, text));
  while (region.childElementCount > 5) region.firstElementChild?.remove();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;

/** Shows a short notice for some seconds, and says it. @param {string} text */
export function toast(text) {
  const el = byId('toast', HTMLElement);
  setText(el, text);
  el.classList.add('shown');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    el.classList.remove('shown');
    el.textContent = '';
  }, 2500 + text.length * 60);
}
