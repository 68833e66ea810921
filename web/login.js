/**
 * The sign-in card. It asks and shows; what a login means is decided in app.js.
 */

import { byId, setText } from './dom.js';
import { t } from './language.js';

export class LoginView {
  /** @type {'name' | 'token' | ''} */
  #mode = '';
  /** @type {() => string} the error as a text, so that it can change its language */
  #error = () => '';
  /** @type {() => string} */
  #status = () => '';

  /**
   * @param {object} actions
   * @param {(value: string, mode: 'name' | 'token') => void} actions.submit
   * @param {() => void} actions.retry asks for the mode again
   * @param {() => void} actions.cancel
   */
  constructor(actions) {
    this.root = byId('login', HTMLElement);
    this.form = byId('login-form', HTMLFormElement);
    this.input = byId('login-input', HTMLInputElement);
    this.button = byId('login-go', HTMLButtonElement);
    this.retry = byId('login-retry', HTMLButtonElement);
    this.cancel = byId('login-cancel', HTMLButtonElement);
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      if (!this.#mode || this.root.classList.contains('busy')) return;
      const mode = this.#mode;
      const value = this.input.value.trim();
      if (!value) {
        this.fail(() => t(`login.${mode}.empty`));
        return;
      }
      actions.submit(value, mode);
    });
    this.input.addEventListener('input', () => this.fail(() => ''));
    this.retry.addEventListener('click', () => actions.retry());
    this.cancel.addEventListener('click', () => actions.cancel());
  }

  /** Asks for a name or a token. @param {'name' | 'token' | ''} mode '' while it is not known @param {string} [value] */
  show(mode, value = '') {
    this.root.hidden = false;
    this.root.classList.remove('busy');
    this.#mode = mode;
    this.#status = () => '';
    this.input.value = value;
    this.input.type = mode === 'token' ? 'password' : 'text';
    this.input.maxLength = mode === 'token' ? 4096 : 64;
    this.input.autocomplete = mode === 'token' ? 'off' : 'username';
    this.render();
    if (mode) {
      this.input.focus();
      this.input.select();
    }
  }

  hide() {
    this.root.hidden = true;
    this.input.value = '';
  }

  /** Waits for the server. @param {() => string} status */
  busy(status) {
    this.root.hidden = false;
    this.root.classList.add('busy');
    this.#status = status;
    this.#error = () => '';
    this.render();
  }

  /** @param {() => string} text */
  fail(text) {
    this.root.classList.remove('busy');
    this.#status = () => '';
    this.#error = text;
    this.render();
    if (text() && this.#mode) this.input.focus();
  }

  render() {
    const mode = this.#mode;
    const busy = this.root.classList.contains('busy');
    const error = this.#error();
    this.form.hidden = !mode || (busy && this.#status() !== t('login.busy'));
    this.retry.hidden = Boolean(mode) || busy || !error;
    this.cancel.hidden = !busy;
    this.input.readOnly = busy;
    this.input.setAttribute('aria-invalid', String(Boolean(error && mode)));
    this.button.disabled = busy;
    setText(byId('login-status', HTMLElement), this.#status());
    setText(byId('login-error', HTMLElement), error);
    setText(byId('login-note', HTMLElement), mode === 'name' && !busy ? t('login.local') : '');
    if (!mode) return;
    setText(byId('login-label', HTMLElement), t(`login.${mode}`));
    setText(byId('login-hint', HTMLElement), t(`login.${mode}.hint`));
    setText(this.button, t(mode === 'name' ? 'login.start' : 'login.connect'));
  }
}
