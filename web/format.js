/**
 * How times, sizes, names and links are written. Pure: language and clock come in.
 */

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/**
 * @param {string} lang
 * @param {Intl.DateTimeFormatOptions} options
 */
function format(lang, options) {
  const key = lang + JSON.stringify(options);
  let f = formats.get(key);
  if (!f) formats.set(key, (f = new Intl.DateTimeFormat(lang, options)));
  return f;
}

/** Local midnight before `ms`. @param {number} ms */
function midnight(ms) {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** Whole local days from `ms` to `now`; 0 is today. @param {number} ms @param {number} now */
export function daysAgo(ms, now) {
  return Math.round((midnight(now) - midnight(ms)) / 86_400_000);
}

/** `09:05`. @param {number} ms @param {string} lang */
export function clock(ms, lang) {
  return format(lang, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(ms);
}

/** Date and time in full, for titles. @param {number} ms @param {string} lang */
export function fullTime(ms, lang) {
  return format(lang, { dateStyle: 'full', timeStyle: 'medium' }).format(ms);
}

/**
 * The day as a heading: today, yesterday, a weekday, a date.
 *
 * @param {number} ms
 * @param {number} now
 * @param {string} lang
 * @param {{today: string, yesterday: string}} words
 */
export function dayLabel(ms, now, lang, words) {
  const days = daysAgo(ms, now);
  if (days <= 0) return words.today;
  if (days === 1) return words.yesterday;
  if (days < 7) return format(lang, { weekday: 'long' }).format(ms);
  const sameYear = new Date(ms).getFullYear() === new Date(now).getFullYear();
  return format(lang, sameYear
    ? { month: 'long', day: 'numeric', weekday: 'short' }
    : { year: 'numeric', month: 'long', day: 'numeric' }).format(ms);
}

/**
 * The short form for the conversation list: the clock today, then a day.
 *
 * @param {number} ms
 * @param {number} now
 * @param {string} lang
 * @param {{yesterday: string}} words
 */
export function listTime(ms, now, lang, words) {
  const days = daysAgo(ms, now);
  if (days <= 0) return clock(ms, lang);
  if (days === 1) return words.yesterday;
  if (days < 7) return format(lang, { weekday: 'short' }).format(ms);
  const sameYear = new Date(ms).getFullYear() === new Date(now).getFullYear();
  return format(lang, sameYear
    ? { month: 'numeric', day: 'numeric' }
    : { year: '2-digit', month: 'numeric', day: 'numeric' }).format(ms);
}

/** `1:05`. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.round(Number(seconds) || 0));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
}

/** `12 KB`. @param {number} n */
export function bytes(n) {
  if (!(n >= 0)) return '';
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${Math.round(n / 1024)} KB`;
  return `${(n / 1024 / 1024).toFixed(1)} MB`;
}

/**
 * One or two letters to stand for a name: the last two characters of a Chinese name
 * (as people are called), the first letters of the first two words otherwise.
 *
 * @param {string} name
 */
export function initials(name) {
  const clean = name.trim();
  if (!clean) return '?';
  const han = [...clean].filter((c) => /\p{Script=Han}/u.test(c));
  if (han.length) return han.slice(-2).join('');
  const words = clean.split(/[\s._\-@]+/u).filter(Boolean);
  const letters = (words.length > 1 ? words.slice(0, 2) : [clean]).map((w) => [...w][0]);
  return letters.join('').toUpperCase();
}

/** The number of avatar colours in the style sheet. */
export const HUES = 12;

/** The same colour for the same id, on every device. @param {string} id */
export function hue(id) {
  let hash = 2166136261;
  for (const c of id) hash = Math.imul(hash ^ (c.codePointAt(0) ?? 0), 16777619);
  return ((hash ^ (hash >>> 15)) >>> 0) % HUES;
}

const LINK = /\bhttps?:\/\/[^\s<>"'\u3000-\u303f\uff00-\uffef]+/giu;

/**
 * Splits text at its web addresses. Only http and https become links.
 *
 * @param {string} text
 * @returns {{text: string, href?: string}[]}
 */
export function linkParts(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    let url = match[0].replace(/[.,;:!?)\]}'"]+$/u, '');
    if (match[0][url.length] === ')' && url.includes('(')) url += ')';
    const href = webAddress(url);
    if (!href) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: url, href });
    from = match.index + url.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

/** The address when it is http or https, else ''. @param {unknown} value */
export function webAddress(value) {
  if (typeof value !== 'string' || !/^https?:\/\//iu.test(value)) return '';
  try {
    return new URL(value).href;
  } catch {
    return '';
  }
}

/** Whether text is nothing but one to three emoji, to be shown large. @param {string} text */
export function isJumbo(text) {
  const clean = text.trim();
  if (!clean || clean.length > 40 || !/^(?:\p{Extended_Pictographic}|\p{Regional_Indicator}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s)+$/u.test(clean)) return false;
  const segments = new Intl.Segmenter('en', { granularity: 'grapheme' }).segment(clean);
  return [...segments].filter((s) => s.segment.trim()).length <= 3;
}
