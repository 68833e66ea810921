/**
 * What is inside a message bubble, by class of message.
 */

import { h, icon, setText } from './dom.js';
import { showPicture } from './dialogs.js';
import { bytes, duration, isJumbo, linkParts } from './format.js';
import { t } from './language.js';
import { pictureSource, player, voiceState } from './media.js';

/** @typedef {import('./content.js').Description} Description */

/** @param {string} href @param {import('./dom.js').Props} props @param {...import('./dom.js').Child} children */
function outLink(href, props, ...children) {
  return h('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow', ...props }, ...children);
}

/**
 * @param {Description} what
 * @param {string} key the message's key, for the player
 * @param {(id: string) => string} nameOf
 * @returns {{body: HTMLElement, kind: string}} `kind` is the bubble's class
 */
export function bubbleBody(what, key, nameOf) {
  switch (what.as) {
    case 'text': return text(what, nameOf);
    case 'image': return image(what);
    case 'voice': return what.data ? voice(what, key) : remoteVoice(what);
    case 'card': return card(what);
    case 'file': return attachment('file', what.name || t('file.name'), [what.size ? bytes(what.size) : '', what.url ? t('file.open') : t('file.none')], what.url);
    case 'video': return video(what);
    case 'place': return place(what);
    case 'bundle': return { kind: 'card', body: h('div', { class: 'card' }, h('strong', { class: 'card-title' }, t('bundle.title')), ...what.lines.map((l) => h('p', { class: 'card-text' }, l))) };
    default: return { kind: 'unknown', body: h('p', { class: 'text', title: what.as === 'unknown' ? what.type : null }, t('unsupported')) };
  }
}

/** @param {Extract<Description, {as: 'text'}>} what @param {(id: string) => string} nameOf */
function text({ text: value, quote }, nameOf) {
  if (!quote && isJumbo(value)) return { kind: 'jumbo', body: h('p', { class: 'text', dir: 'auto' }, value.trim()) };
  const parts = linkParts(value).map((p) => (p.href ? outLink(p.href, {}, p.text) : p.text));
  const words = h('p', { class: 'text', dir: 'auto' }, ...parts);
  if (!quote) return { kind: 'text', body: words };
  const source = h('blockquote', { class: 'quote', dir: 'auto' }, quote.from && h('cite', {}, nameOf(quote.from)), quote.text);
  return { kind: 'text', body: h('div', {}, source, words) };
}

/** @param {Extract<Description, {as: 'image'}>} what */
function image({ data, url }) {
  const src = pictureSource(data) || url;
  const broken = () => h('span', { class: 'broken' }, icon('image'), t('image.broken'));
  if (!src) return { kind: 'broken', body: h('div', {}, broken()) };
  const img = h('img', { src, alt: t('image.alt'), loading: 'lazy', decoding: 'async', referrerpolicy: 'no-referrer', onerror: () => {
    button.closest('.bubble')?.classList.replace('bubble-image', 'bubble-broken');
    button.replaceWith(broken());
  } });
  const button = h('button', { type: 'button', class: 'photo', 'aria-label': t('image.open'), onclick: () => showPicture(src, url) }, img);
  return { kind: 'image', body: h('div', {}, button) };
}

/** @param {Extract<Description, {as: 'voice'}>} what @param {string} key */
function voice({ data, seconds }, key) {
  const state = voiceState(data);
  if (state !== 'playable') {
    return { kind: 'broken', body: h('div', { class: 'broken' }, icon('mic'),
      h('span', {}, h('strong', {}, duration(seconds)), ' ', t(state === 'amr' ? 'voice.amr' : 'voice.broken'))) };
  }
  const p = player();
  const total = Math.max(1, Math.round(seconds));
  const play = h('button', { type: 'button', class: 'voice-play', onclick: () => p.toggle(key, data) });
  const bar = h('progress', { class: 'voice-bar', max: total, value: 0, 'aria-hidden': 'true' });
  const time = h('span', { class: 'voice-time' }, duration(total));
  const note = h('span', { class: 'voice-note', role: 'status' });
  const body = h('div', { class: `voice voice-${Math.min(4, Math.floor(total / 8))}` }, play, bar, time, note);
  let drawn = '';
  const draw = () => {
    const loaded = p.key === key;
    const now = loaded && p.playing ? 'pause' : 'play';
    if (now !== drawn) {
      play.replaceChildren(icon(now));
      const label = now === 'pause' ? t('voice.pause') : t('voice.play', { n: total });
      play.setAttribute('aria-label', label);
      play.title = label;
      drawn = now;
    }
    bar.value = loaded ? Math.min(p.position, total) : 0;
    setText(time, duration(loaded && p.position > 0 ? p.position : total));
    setText(note, p.failed.has(key) ? t('voice.broken') : '');
  };
  draw();
  const follow = () => {
    if (body.isConnected) draw();
    else p.removeEventListener('change', follow);
  };
  p.addEventListener('change', follow);
  return { kind: 'voice', body };
}

/** @param {Extract<Description, {as: 'voice'}>} what */
function remoteVoice({ url, seconds }) {
  return attachment('mic', duration(seconds), [url ? t('voice.remote') : t('voice.broken')], url);
}

/** @param {keyof typeof import('./icons.js').drawings} name @param {string} title @param {string[]} facts @param {string} url */
function attachment(name, title, facts, url) {
  const inner = [
    h('span', { class: 'attachment-icon' }, icon(name)),
    h('span', { class: 'attachment-text' }, h('span', { class: 'attachment-name' }, title), h('span', { class: 'attachment-facts' }, facts.filter(Boolean).join(' · '))),
  ];
  return { kind: 'file', body: url ? outLink(url, { class: 'attachment' }, ...inner) : h('div', { class: 'attachment' }, ...inner) };
}

/** @param {Extract<Description, {as: 'card'}>} what */
function card({ title, text: words, image: src, url }) {
  const img = src && h('img', { src, alt: '', loading: 'lazy', referrerpolicy: 'no-referrer', onerror: (/** @type {Event} */ e) => /** @type {Element} */ (e.target).remove() });
  const inner = [img, h('strong', { class: 'card-title' }, title || url), words && h('p', { class: 'card-text' }, words), url && h('span', { class: 'card-host' }, icon('link'), new URL(url).host)];
  return { kind: 'card', body: url ? outLink(url, { class: 'card' }, ...inner) : h('div', { class: 'card' }, ...inner) };
}

/** @param {Extract<Description, {as: 'video'}>} what */
function video({ data, url, seconds, name }) {
  const still = pictureSource(data);
  if (!still) return attachment('film', name || t('preview.video'), [duration(seconds), url ? t('video.open') : t('file.none')], url);
  const inner = [h('img', { src: still, alt: t('preview.video') }), h('span', { class: 'photo-play' }, icon('play')), h('span', { class: 'photo-time' }, duration(seconds))];
  return { kind: 'image', body: url ? outLink(url, { class: 'photo', 'aria-label': t('video.open') }, ...inner) : h('div', { class: 'photo' }, ...inner) };
}

/** @param {Extract<Description, {as: 'place'}>} what */
function place({ data, name, url }) {
  const still = pictureSource(data);
  const inner = [
    still && h('img', { src: still, alt: '' }),
    h('strong', { class: 'card-title card-place' }, icon('pin'), name || t('place.name')),
    url && h('span', { class: 'card-host' }, t('place.open')),
  ];
  return { kind: 'card', body: url ? outLink(url, { class: 'card' }, ...inner) : h('div', { class: 'card' }, ...inner) };
}
