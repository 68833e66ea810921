/**
 * The emoji picker.
 */

import { h } from './dom.js';
import { t } from './language.js';

const GROUPS = /** @type {const} */ ({
  faces: '😀 😃 😄 😁 😆 😅 🤣 😂 🙂 🙃 😉 😊 😇 🥰 😍 🤩 😘 😗 😚 😋 😛 😜 🤪 😝 🤑 🤗 🤭 🤫 🤔 🤐 🤨 😐 😑 😶 😏 😒 🙄 😬 😌 😔 😪 😴 😷 🤒 🤕 🤢 🥵 🥶 🥴 😵 🤯 🤠 🥳 😎 🤓 🧐 😕 😟 🙁 😮 😲 😳 🥺 😨 😰 😥 😢 😭 😱 😖 😞 😓 😩 😫 🥱 😤 😡 😠 🤬 😈 💀 💩 🤡 👻 👽 🤖 😺 😹 😻 🙈 🙉 🙊',
  hands: '👋 🖐 ✋ 👌 ✌️ 🤞 🤟 🤘 🤙 👈 👉 👆 👇 ☝️ 👍 👎 ✊ 👊 👏 🙌 👐 🤲 🤝 🙏 ✍️ 💪 👀 👂 👃 👄 🧠 👶 👧 👦 👩 👨 👵 👴 🙋 🙇 🤷 🤦 💃 🕺 🏃 🚶 👫 👪',
  nature: '🐶 🐱 🐭 🐹 🐰 🦊 🐻 🐼 🐨 🐯 🦁 🐮 🐷 🐸 🐵 🐔 🐧 🐦 🐤 🦆 🦅 🦉 🐴 🦄 🐝 🦋 🐌 🐞 🐢 🐍 🐙 🐟 🐬 🐳 🐘 🐾 🌵 🌲 🌴 🌱 🍀 🍁 🍂 💐 🌷 🌹 🌸 🌻 🌞 🌙 ⭐ ✨ ⚡ 🔥 🌈 ☀️ ⛅ ☁️ 🌧 ❄️ 💧 🌊',
  food: '🍏 🍎 🍐 🍊 🍋 🍌 🍉 🍇 🍓 🍒 🍑 🥭 🍍 🥝 🍅 🥑 🥦 🌽 🥕 🍞 🧀 🍳 🥞 🍔 🍟 🍕 🌮 🍜 🍝 🍣 🍱 🥟 🍚 🍙 🍦 🍰 🎂 🍫 🍬 🍩 🍪 🍵 ☕ 🥛 🧃 🍺 🍻 🥂 🍷 🥢',
  things: '⚽ 🏀 🏈 🎾 🏐 🏓 🏸 🎯 🎮 🎲 🎨 🎬 🎤 🎧 🎵 🎸 🎹 🏆 🥇 🎉 🎊 🎁 🎈 🏮 🧧 🚗 🚕 🚌 🚲 ✈️ 🚀 🚄 ⛵ 🏠 🏢 ⛰ 🏝 🌃 ⌚ 📱 💻 📷 💡 📚 📖 ✏️ 📝 📌 📎 ✂️ 🔒 🔑 🔧 🛒 💰 📦 ✉️ 📅 ⏰',
  signs: '❤️ 🧡 💛 💚 💙 💜 🖤 💔 💕 💞 💖 💘 💝 💯 💢 💬 💤 ✅ ❌ ❓ ❗ ⚠️ 🚫 ♻️ 🔴 🟢 🔵 ➕ ➖ 🆗 🆒 🔝 🈴 ㊗️ 🏳️‍🌈 🇨🇳',
});

const RECENT = 'hongyan.emoji';
const RECENT_MOST = 16;

/** @returns {string[]} */
function recent() {
  try {
    const list = JSON.parse(localStorage.getItem(RECENT) ?? '[]');
    return Array.isArray(list) ? list.filter((e) => typeof e === 'string').slice(0, RECENT_MOST) : [];
  } catch {
    return [];
  }
}

/**
 * Opens the picker, or closes it when it is open. Arrow keys walk, Escape closes.
 *
 * @param {HTMLElement} place what the picker is put into
 * @param {HTMLElement} button what opened it; gets the focus back
 * @param {(emoji: string) => void} choose
 */
export function toggleEmoji(place, button, choose) {
  const open = place.querySelector('.emoji');
  if (open) {
    open.dispatchEvent(new Event('leave'));
    return;
  }
  const groups = Object.entries(GROUPS).map(([name, list]) => ({ name, list: list.split(' ') }));
  const used = recent();
  if (used.length) groups.unshift({ name: 'recent', list: used });
  const panel = h('div', { class: 'emoji', role: 'dialog', 'aria-label': t('emoji.title') },
    ...groups.map(({ name, list }) => h('section', {},
      h('h3', {}, t(`emoji.${name}`)),
      h('div', { class: 'emoji-grid' }, ...list.map((e) => h('button', { type: 'button', tabindex: -1 }, e))))));
  const buttons = [...panel.querySelectorAll('button')];

  /** @param {boolean} giveBack */
  const close = (giveBack) => {
    panel.remove();
    removeEventListener('pointerdown', outside, true);
    button.setAttribute('aria-expanded', 'false');
    if (giveBack) button.focus();
  };
  /** @param {Event} e */
  const outside = (e) => {
    const target = /** @type {Node} */ (e.target);
    if (!panel.contains(target) && !button.contains(target)) close(false);
  };
  panel.addEventListener('leave', () => close(true));
  panel.addEventListener('click', (e) => {
    const emoji = e.target instanceof HTMLButtonElement ? e.target.textContent ?? '' : '';
    if (!emoji) return;
    localStorage.setItem(RECENT, JSON.stringify([emoji, ...recent().filter((r) => r !== emoji)].slice(0, RECENT_MOST)));
    choose(emoji);
  });
  panel.addEventListener('keydown', (e) => {
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    if (e.key === 'Escape') close(true);
    else if (e.key === 'ArrowRight') buttons[Math.min(at + 1, buttons.length - 1)].focus();
    else if (e.key === 'ArrowLeft') buttons[Math.max(at - 1, 0)].focus();
    else if (e.key === 'ArrowDown' || e.key === 'ArrowUp') vertical(buttons, at, e.key === 'ArrowDown')?.focus();
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  place.append(panel);
  addEventListener('pointerdown', outside, true);
  button.setAttribute('aria-expanded', 'true');
  buttons[0].tabIndex = 0;
  if (matchMedia('(hover: hover)').matches) buttons[0].focus();
}

/** The nearest button of the row below or above. @param {HTMLButtonElement[]} buttons @param {number} at @param {boolean} down */
function vertical(buttons, at, down) {
  const { offsetTop, offsetLeft } = buttons[at];
  const rest = down ? buttons.slice(at + 1) : buttons.slice(0, at).reverse();
  const first = rest.find((b) => b.offsetTop !== offsetTop);
  if (!first) return undefined;
  const row = rest.filter((b) => b.offsetTop === first.offsetTop);
  return row.reduce((best, b) => (Math.abs(b.offsetLeft - offsetLeft) < Math.abs(best.offsetLeft - offsetLeft) ? b : best));
}
