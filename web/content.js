/**
 * What a message of each class is to a reader: one plain description that the bubble
 * draws and the list shortens. Pure; trusts nothing in the content.
 */

import { webAddress } from './format.js';

/** @typedef {import('./types.js').Message} Message */

/**
 * @typedef {{as: 'text', text: string, quote?: {from: string, text: string}}
 *   | {as: 'image', data: string, url: string}
 *   | {as: 'voice', data: string, url: string, seconds: number}
 *   | {as: 'card', title: string, text: string, image: string, url: string}
 *   | {as: 'file', name: string, size: number, url: string}
 *   | {as: 'video', data: string, url: string, seconds: number, name: string}
 *   | {as: 'place', data: string, name: string, url: string}
 *   | {as: 'bundle', lines: string[]}
 *   | {as: 'notice', text: string}
 *   | {as: 'recalled'}
 *   | {as: 'unknown', type: string}} Description
 */

/** @param {unknown} value */
const str = (value) => (typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '');

/** @param {unknown} value */
const num = (value) => (Number.isFinite(Number(value)) ? Number(value) : 0);

/** @param {unknown} c @returns {Record<string, any>} */
const object = (c) => (c && typeof c === 'object' && !Array.isArray(c) ? /** @type {Record<string, any>} */ (c) : {});

/** Longest text laid out in one bubble; more is cut for the reader's browser's sake. */
const TEXT_LIMIT = 20_000;

/**
 * @param {Message} m
 * @returns {Description}
 */
export function describe(m) {
  if (m.recalled) return { as: 'recalled' };
  const c = object(m.content);
  switch (m.type) {
    case 'RC:TxtMsg':
      return { as: 'text', text: textOf(m.content).slice(0, TEXT_LIMIT) };
    case 'RC:ReferenceMsg':
      return {
        as: 'text',
        text: str(c.content).slice(0, TEXT_LIMIT),
        quote: { from: str(c.referMsgUserId), text: str(object(c.referMsg).content ?? object(c.referMsg).title).slice(0, 200) },
      };
    case 'RC:ImgMsg':
      return { as: 'image', data: str(c.content), url: webAddress(c.imageUri) };
    case 'RC:GIFMsg':
      return { as: 'image', data: str(c.content), url: webAddress(c.remoteUrl) };
    case 'RC:VcMsg':
      return { as: 'voice', data: str(c.content), url: '', seconds: num(c.duration) };
    case 'RC:HQVCMsg':
      return { as: 'voice', data: '', url: webAddress(c.remoteUrl), seconds: num(c.duration) };
    case 'RC:ImgTextMsg':
      return { as: 'card', title: str(c.title), text: str(c.content), image: webAddress(c.imageUri), url: webAddress(c.url) };
    case 'RC:FileMsg':
      return { as: 'file', name: str(c.name), size: num(c.size), url: webAddress(c.fileUrl) };
    case 'RC:SightMsg':
      return { as: 'video', data: str(c.content), url: webAddress(c.sightUrl), seconds: num(c.duration), name: str(c.name) };
    case 'RC:LBSMsg':
      return { as: 'place', data: str(c.content), name: str(c.poi), url: mapAddress(num(c.latitude), num(c.longitude)) };
    case 'RC:CombineMsg':
      return { as: 'bundle', lines: Array.isArray(c.summaryList) ? c.summaryList.slice(0, 4).map(str) : [] };
    case 'RC:InfoNtf':
    case 'RC:ContactNtf':
    case 'RC:ProfileNtf':
    case 'RC:GrpNtf':
    case 'RC:DizNtf':
      return { as: 'notice', text: str(c.message) || str(c.data) };
    case 'RC:CmdNtf':
      return { as: 'notice', text: str(c.name) };
    default:
      return { as: 'unknown', type: m.type };
  }
}

/** @param {unknown} content */
function textOf(content) {
  return typeof content === 'string' ? content : str(object(content).content);
}

/** @param {number} lat @param {number} lng */
function mapAddress(lat, lng) {
  if (Math.abs(lat) > 90 || Math.abs(lng) > 180) return '';
  return `https://www.openstreetmap.org/?mlat=${lat}&mlon=${lng}#map=16/${lat}/${lng}`;
}

/** Whether a message is something to read in a thread at all. @param {Message} m */
export function isShown(m) {
  return m.stored !== false && !m.status && m.type !== 'RC:RcNtf';
}

/**
 * One line that stands for a message, in the list and for the screen reader.
 *
 * @param {Message} m
 * @param {(key: string, params?: Record<string, string | number>) => string} t
 * @param {string} [who] name of the one who took it back
 */
export function preview(m, t, who = m.from) {
  const d = describe(m);
  switch (d.as) {
    case 'text': return oneLine(d.text);
    case 'image': return t('preview.image');
    case 'voice': return t('preview.voice', { n: Math.max(1, Math.round(d.seconds)) });
    case 'card': return t('preview.card', { title: oneLine(d.title || d.text) });
    case 'file': return t('preview.file', { name: oneLine(d.name) });
    case 'video': return t('preview.video');
    case 'place': return t('preview.place', { name: oneLine(d.name) });
    case 'bundle': return t('preview.bundle');
    case 'notice': return oneLine(d.text) || t('preview.notice');
    case 'recalled': return m.mine ? t('recalled.mine') : t('recalled.other', { name: who });
    default: return t('unsupported');
  }
}

/** @param {string} text */
function oneLine(text) {
  return text.slice(0, 200).replace(/\s+/gu, ' ').trim();
}
