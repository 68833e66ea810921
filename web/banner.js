/**
 * The strip that says how the connection is.
 */

import { PATIENCE } from './chat.js';
import { announce, byId, setText } from './dom.js';
import { t } from './language.js';

export class Banner {
  #element = byId('banner', HTMLElement);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticker;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  #state = 'connected';
  #until = 0;

  constructor() {
    addEventListener('online', () => this.render());
    addEventListener('offline', () => this.render());
  }

  /** @param {{state: string, retryIn?: number}} s the SDK's state */
  set({ state, retryIn }) {
    clearInterval(this.#ticker);
    clearTimeout(this.#patience);
    const wasShown = !this.#element.hidden;
    this.#state = state;
    if (state === 'waiting') {
      this.#until = Date.now() + (retryIn ?? 0);
      this.#ticker = setInterval(() => this.render(), 500);
    }
    if (state === 'connected') {
      if (wasShown) announce(t('state.back'));
      this.render();
    } else if (wasShown) this.render();
    else this.#patience = setTimeout(() => this.render(), PATIENCE);
  }

  render() {
    const seconds = Math.max(1, Math.ceil((this.#until - Date.now()) / 1000));
    let text = '';
    if (this.#state !== 'connected' && this.#state !== 'idle') {
      if (!navigator.onLine) text = t('state.offline');
      else if (this.#state === 'waiting') text = t('state.waiting', { n: seconds });
      else if (this.#state === 'connecting') text = t('state.connecting');
      else text = t('error.closed');
    }
    if (text && this.#element.hidden) announce(text); // once, not with every second of the countdown
    this.#element.hidden = !text;
    setText(byId('banner-text', HTMLElement), text);
  }
}
