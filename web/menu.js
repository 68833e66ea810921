/**
 * A small menu beside what it belongs to; one at a time.
 */

import { h, icon } from './dom.js';

/**
 * @typedef {object} Action
 * @property {string} label
 * @property {keyof typeof import('./icons.js').drawings} icon
 * @property {boolean} [danger]
 * @property {() => void} run
 */

/** @type {(() => void) | null} */
let closeOpen = null;

/**
 * Opens a menu. Arrow keys move, Enter runs, Escape, Tab and a press elsewhere close it.
 *
 * @param {Element | {x: number, y: number}} anchor
 * @param {Action[]} actions
 * @param {string} label
 */
export function openMenu(anchor, actions, label) {
  closeOpen?.();
  if (!actions.length) return;
  const before = document.activeElement;
  const items = actions.map((a) => h('button', {
    type: 'button', role: 'menuitem', tabindex: -1, class: a.danger ? 'danger' : '',
    onclick: () => { close(true); a.run(); },
  }, icon(a.icon), a.label));
  const menu = h('div', { class: 'menu', role: 'menu', 'aria-label': label }, ...items);

  /** @param {boolean} [giveBack] whether the focus goes back */
  function close(giveBack = false) {
    menu.remove();
    removeEventListener('pointerdown', outside, true);
    removeEventListener('resize', leave);
    removeEventListener('scroll', leave, true);
    if (anchor instanceof Element) anchor.setAttribute('aria-expanded', 'false');
    if (closeOpen === leave) closeOpen = null;
    if (giveBack && before instanceof HTMLElement && before.isConnected) before.focus();
  }
  const leave = () => close();
  /** @param {Event} e */
  const outside = (e) => { if (!menu.contains(/** @type {Node} */ (e.target))) close(); };

  menu.addEventListener('keydown', (e) => {
    const at = items.indexOf(/** @type {any} */ (document.activeElement));
    const step = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[e.key];
    if (step !== undefined) items.at(step % items.length)?.focus();
    else if (e.key === 'Escape' || e.key === 'Tab') close(true);
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  menu.addEventListener('contextmenu', (e) => e.preventDefault());

  document.body.append(menu);
  place(menu, anchor instanceof Element ? anchor.getBoundingClientRect() : new DOMRect(anchor.x, anchor.y, 0, 0));
  if (anchor instanceof Element) anchor.setAttribute('aria-expanded', 'true');
  closeOpen = leave;
  addEventListener('pointerdown', outside, true);
  addEventListener('resize', leave);
  addEventListener('scroll', leave, true);
  items[0].focus();
}

/** Below the anchor, or above when there is no room; never off the screen. @param {HTMLElement} menu @param {DOMRect} at */
function place(menu, at) {
  const { width, height } = menu.getBoundingClientRect();
  const below = at.bottom + 4 + height <= innerHeight - 8;
  const left = at.left + width <= innerWidth - 8 ? at.left : at.right - width;
  menu.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - height - 4)}px`;
}

/** How long a finger rests for the menu, ms. */
const LONG = 450;

/**
 * Calls `open` for the mouse's menu button and for a finger that rests on `el` (not every
 * phone tells a long press as `contextmenu`).
 *
 * @param {HTMLElement} el
 * @param {(at: {x: number, y: number}) => void} open
 */
export function pressed(el, open) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let done = false; // the finger's menu is open; its click and menu event are spent
  const stop = () => clearTimeout(timer);
  el.addEventListener('pointerdown', (e) => {
    done = false;
    stop();
    if (e.pointerType !== 'touch') return;
    timer = setTimeout(() => {
      done = true;
      open({ x: e.clientX, y: e.clientY });
    }, LONG);
  });
  for (const name of /** @type {const} */ (['pointerup', 'pointercancel', 'pointerleave'])) el.addEventListener(name, stop);
  el.addEventListener('pointermove', (e) => {
    if (Math.hypot(e.movementX, e.movementY) > 6) stop();
  });
  el.addEventListener('click', (e) => {
    if (!done) return;
    done = false;
    e.preventDefault();
    e.stopPropagation();
  }, true);
  el.addEventListener('contextmenu', (e) => {
    stop();
    const target = /** @type {Element} */ (e.target);
    // The browser's own menu knows more about links, pictures and selected text.
    if (e.pointerType === 'mouse' && (target.closest('a, img') || String(getSelection()))) return;
    e.preventDefault();
    if (!done) open({ x: e.clientX, y: e.clientY });
    done = e.pointerType === 'touch';
  });
}
