/**
 * Who is signed in here: the server's sign-in doors and what the browser remembers.
 *
 * The login lives in this tab only, so that two tabs can be two people; the last name is
 * remembered for the next time.
 */

const LOGIN = 'hongyan.login';
const NOTICE = 'hongyan.notice';
const LAST_NAME = 'hongyan.name';

/** An answer that is not what we hoped for. `code` is the server's, or `network`. */
export class ServerError extends Error {
  /** @param {string} code @param {string} [message] */
  constructor(code, message) {
    super(message || code);
    this.code = code;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', credentials: 'omit', ...options });
  } catch {
    throw new ServerError('network');
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new ServerError(response.status >= 502 ? 'network' : String(body?.code ?? response.status), body?.msg);
}

/** @returns {Promise<{devLogin: boolean}>} */
export async function fetchMode() {
  const mode = await ask('/v1/mode');
  return { devLogin: mode.dev_login === true };
}

/** @param {string} name @returns {Promise<{userId: string, token: string, name: string}>} */
export function devLogin(name) {
  return ask('/v1/dev/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name }) });
}

/** @returns {Promise<{id: string, name: string, portrait: string, online: boolean}[]>} */
export async function devUsers() {
  return (await ask('/v1/dev/users')).users ?? [];
}

/** The token in the address, which is taken out of it at once. */
export function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  if (token) history.replaceState(null, '', location.pathname + location.search);
  return token;
}

/** @typedef {{token: string, dev: boolean}} Login */

/** @returns {Login | null} */
export function savedLogin() {
  try {
    const login = JSON.parse(sessionStorage.getItem(LOGIN) ?? 'null');
    return typeof login?.token === 'string' ? login : null;
  } catch {
    return null;
  }
}

/** @param {Login | null} login */
export function saveLogin(login) {
  if (login) sessionStorage.setItem(LOGIN, JSON.stringify(login));
  else sessionStorage.removeItem(LOGIN);
}

/** A code to explain on the login card after the page was loaded anew. @param {string} code */
export function leaveNotice(code) {
  sessionStorage.setItem(NOTICE, code);
}

export function takeNotice() {
  const code = sessionStorage.getItem(NOTICE) ?? '';
  sessionStorage.removeItem(NOTICE);
  return code;
}

export const lastName = () => localStorage.getItem(LAST_NAME) ?? '';

/** @param {string} name */
export const rememberName = (name) => localStorage.setItem(LAST_NAME, name);
