/**
 * Where messages are written: text, emoji, pictures, recordings.
 */

import { askPicture } from './dialogs.js';
import { byId, h, setText, toast } from './dom.js';
import { toggleEmoji } from './emoji.js';
import { bytes, duration } from './format.js';
import { t } from './language.js';
import { CONTENT_LIMIT } from './media.js';
import { Recorder, RecordError } from './recorder.js';

/**
 * @typedef {object} ComposerActions
 * @property {(type: string, content: any) => void} send
 * @property {(what: string) => void} typing
 * @property {(key: string, draft: string) => void} draft
 * @property {() => void} leave Escape in an empty field
 */

export class Composer {
  /** @type {Recorder | null} */
  #recorder = null;
  #key = '';
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticker;

  /** @param {ComposerActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.form = byId('composer', HTMLFormElement);
    this.input = byId('input', HTMLTextAreaElement);
    this.file = byId('file', HTMLInputElement);
    this.emoji = byId('emoji', HTMLButtonElement);
    this.record = byId('record', HTMLButtonElement);
    this.send = byId('send', HTMLButtonElement);
    this.recording = byId('recording', HTMLElement);
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      this.#submit();
    });
    this.input.addEventListener('keydown', (e) => this.#keydown(e));
    this.input.addEventListener('input', () => {
      this.#resize();
      this.actions.draft(this.#key, this.input.value);
      if (this.input.value.trim()) this.actions.typing('RC:TxtMsg');
    });
    this.input.addEventListener('paste', (e) => this.#files(e, e.clipboardData));
    byId('photo', HTMLButtonElement).addEventListener('click', () => this.file.click());
    this.file.addEventListener('change', () => {
      const [file] = this.file.files ?? [];
      this.file.value = '';
      if (file) this.picture(file);
    });
    this.emoji.addEventListener('click', () => toggleEmoji(byId('emoji-place', HTMLElement), this.emoji, (e) => this.insert(e)));
    this.record.addEventListener('click', () => this.#startRecording());
    byId('record-discard', HTMLButtonElement).addEventListener('click', () => this.#endRecording());
    byId('record-send', HTMLButtonElement).addEventListener('click', () => this.#sendRecording());
    this.recording.addEventListener('keydown', (e) => {
      if (e.key !== 'Escape') return;
      e.stopPropagation();
      this.#endRecording();
    });
    this.#dropping();
    this.#resize();
  }

  /** Another conversation is open. @param {string} key @param {string} name @param {string} draft */
  open(key, name, draft) {
    this.input.setAttribute('aria-label', t('compose.label', { name }));
    if (key === this.#key) return;
    if (this.#recorder) this.#endRecording();
    this.#key = key;
    this.input.value = draft;
    this.#resize();
  }

  focus() {
    this.input.focus();
  }

  /** Puts text at the caret. @param {string} text */
  insert(text) {
    const { selectionStart, selectionEnd } = this.input;
    this.input.setRangeText(text, selectionStart, selectionEnd, 'end');
    this.input.dispatchEvent(new Event('input'));
  }

  #resize() {
    const el = this.input;
    el.style.height = 'auto';
    el.style.height = `${Math.min(el.scrollHeight, 160)}px`;
    el.style.overflowY = el.scrollHeight > 160 ? 'auto' : 'hidden';
    const empty = !el.value.trim();
    this.send.hidden = empty;
    this.record.hidden = !empty;
  }

  /** @param {KeyboardEvent} e */
  #keydown(e) {
    if (e.isComposing || e.keyCode === 229) return; // Enter chooses a word of the input method
    if (e.key === 'Enter' && !e.shiftKey && !e.altKey) {
      e.preventDefault();
      this.#submit();
    } else if (e.key === 'Escape' && !this.input.value) {
      this.actions.leave();
    }
  }

  #submit() {
    const text = this.input.value.trim();
    if (!text) return;
    const size = new TextEncoder().encode(JSON.stringify({ content: text })).length;
    if (size > CONTENT_LIMIT) {
      toast(t('compose.long', { size: bytes(size), limit: bytes(CONTENT_LIMIT) }));
      return;
    }
    this.actions.send('RC:TxtMsg', { content: text });
    this.input.value = '';
    this.actions.draft(this.#key, '');
    this.#resize();
    this.focus();
  }

  // ---- pictures ----

  /** @param {Blob} file */
  async picture(file) {
    const key = this.#key;
    const content = await askPicture(file);
    if (content && key === this.#key) this.actions.send('RC:ImgMsg', content);
    this.focus();
  }

  /** Takes a pasted or dropped picture. @param {Event} e @param {DataTransfer | null} data */
  #files(e, data) {
    const file = [...(data?.files ?? [])].find((f) => f.type.startsWith('image/'));
    if (!file) return;
    e.preventDefault();
    this.picture(file);
  }

  #dropping() {
    const zone = byId('thread', HTMLElement);
    const over = h('div', { class: 'drop', 'aria-hidden': 'true' });
    let depth = 0;
    const carries = (/** @type {DragEvent} */ e) => Boolean(this.#key && !this.form.hidden && e.dataTransfer?.types.includes('Files'));
    const leave = () => {
      depth = 0;
      over.remove();
    };
    zone.addEventListener('dragenter', (e) => {
      if (!carries(e)) return;
      depth++;
      setText(over, t('compose.drop'));
      zone.append(over);
    });
    zone.addEventListener('dragleave', (e) => {
      if (carries(e) && --depth <= 0) leave();
    });
    zone.addEventListener('dragover', (e) => {
      if (carries(e)) e.preventDefault();
    });
    zone.addEventListener('drop', (e) => {
      if (!carries(e)) return;
      e.preventDefault();
      leave();
      this.#files(e, e.dataTransfer);
    });
  }

  // ---- recordings ----

  async #startRecording() {
    if (this.#recorder) return;
    const recorder = new Recorder();
    this.#recorder = recorder;
    try {
      await recorder.start();
    } catch (e) {
      this.#recorder = null;
      toast(t(`record.${e instanceof RecordError ? e.code : 'failed'}`));
      return;
    }
    if (this.#recorder !== recorder) return recorder.cancel(); // the conversation changed meanwhile
    this.form.classList.add('is-recording');
    this.recording.hidden = false;
    const note = byId('record-note', HTMLElement);
    const time = byId('record-time', HTMLElement);
    const bar = byId('record-bar', HTMLProgressElement);
    setText(note, '');
    const draw = () => {
      setText(time, duration(recorder.seconds));
      bar.value = recorder.fullness;
    };
    draw();
    recorder.addEventListener('full', () => {
      clearInterval(this.#ticker);
      this.form.classList.add('is-full');
      setText(note, t('record.full'));
    });
    this.#ticker = setInterval(() => {
      draw();
      this.actions.typing('RC:VcMsg');
    }, 200);
    byId('record-send', HTMLButtonElement).focus();
  }

  async #sendRecording() {
    const recorder = this.#recorder;
    if (!recorder) return;
    try {
      const content = await recorder.finish();
      if (this.#recorder === recorder) this.actions.send('RC:VcMsg', content);
    } catch (e) {
      toast(t(`record.${e instanceof RecordError ? e.code : 'failed'}`));
    }
    this.#endRecording();
  }

  #endRecording() {
    clearInterval(this.#ticker);
    this.#recorder?.cancel();
    this.#recorder = null;
    this.recording.hidden = true;
    this.form.classList.remove('is-recording', 'is-full');
    this.focus();
  }
}
