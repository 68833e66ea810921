/**
 * Which language the page speaks, and its texts with parameters put in.
 */

import { tables } from './i18n.js';


/** @typedef {keyof typeof tables} Language */

/**
 * @param {Language} lang
 * @param {string} key
 * @param {Record<string, string | number>} [params]
 */
export function translate(lang, key, params = {}) {
  const text = tables[lang][key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/gu, (_, name, one, many) => {
    if (one !== undefined) return Number(params[name]) === 1 ? one : many;
    return String(params[name] ?? '');
  });
}

/** @param {string | null} stored @param {readonly string[]} wanted @returns {Language} */
export function chooseLanguage(stored, wanted) {
  if (stored === 'en' || stored === 'zh') return stored;
  const first = wanted.find((w) => /^(?:en|zh)\b/iu.test(w));
  return first?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

const STORED = 'hongyan.language';

/** The language in use; `change` is told when it becomes another. */
class Texts extends EventTarget {
  /** @type {Language} */
  lang = 'en';

  /** Reads the remembered choice or the browser's wish, and marks the document. */
  start() {
    this.#use(chooseLanguage(localStorage.getItem(STORED), navigator.languages ?? [navigator.language]));
  }

  toggle() {
    this.#use(this.lang === 'en' ? 'zh' : 'en');
    localStorage.setItem(STORED, this.lang);
    this.dispatchEvent(new Event('change'));
  }

  /** @param {Language} lang */
  #use(lang) {
    this.lang = lang;
    document.documentElement.lang = lang === 'zh' ? 'zh-CN' : 'en';
  }

  /** For Intl. */
  get locale() {
    return this.lang === 'zh' ? 'zh-CN' : 'en-GB';
  }
}

export const texts = new Texts();

/** The text of `key` in the language in use. @param {string} key @param {Record<string, string | number>} [params] */
export const t = (key, params) => translate(texts.lang, key, params);

/** What to tell the reader about an error with this code. @param {string} code @param {string} [detail] */
export function errorText(code, detail) {
  return tables.en[`error.${code}`] ? t(`error.${code}`) : t('error.unknown', { code: detail || code });
}
