/**
 * Records a voice message that fits into a message. States only; the composer draws it.
 */

import { toBase64 } from './sniff.js';
import { FILE_LIMIT } from './media.js';

/** In the order of preference; what a browser can record, browsers can play. */
const TYPES = ['audio/webm;codecs=opus', 'audio/ogg;codecs=opus', 'audio/mp4', 'audio/webm'];
/** Enough for speech, and some 45 s in a message. */
const BITS_PER_SECOND = 12_000;
/** How often the recorder hands over what it has, ms. */
const SLICE = 200;

/** Why nothing is recorded: `denied`, `missing`, `insecure`, `unsupported`, `failed` or `short`. */
export class RecordError extends Error {
  /** @param {'denied' | 'missing' | 'insecure' | 'unsupported' | 'failed' | 'short'} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** Tells `progress` while it records and `full` when it stopped because no more fits. */
export class Recorder extends EventTarget {
  /** @type {MediaRecorder | null} */
  #recorder = null;
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {Blob[]} */
  #parts = [];
  #size = 0;
  #began = 0;
  #ended = 0;

  /** @throws {RecordError} */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new RecordError(isSecureContext ? 'unsupported' : 'insecure');
    const type = globalThis.MediaRecorder && TYPES.find((t) => MediaRecorder.isTypeSupported(t));
    if (!type) throw new RecordError('unsupported');
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } });
    } catch (e) {
      const name = e instanceof DOMException ? e.name : '';
      throw new RecordError(name === 'NotFoundError' ? 'missing' : name === 'NotAllowedError' ? 'denied' : 'failed');
    }
    try {
      this.#recorder = new MediaRecorder(this.#stream, { mimeType: type, audioBitsPerSecond: BITS_PER_SECOND });
      this.#recorder.addEventListener('dataavailable', (e) => this.#take(e.data));
      this.#recorder.start(SLICE);
    } catch {
      this.cancel();
      throw new RecordError('failed');
    }
    this.#began = performance.now();
  }

  /** @param {Blob} data */
  #take(data) {
    if (!data.size || this.#size + data.size > FILE_LIMIT) return;
    this.#parts.push(data);
    this.#size += data.size;
    this.dispatchEvent(new Event('progress'));
    // Stop while the last slices still fit: a file that is cut short may not play.
    if (this.fullness > 0.96 && this.#recorder?.state === 'recording') {
      this.#halt();
      this.dispatchEvent(new Event('full'));
    }
  }

  /** How much of a message is used, 0 to 1. */
  get fullness() {
    return this.#size / FILE_LIMIT;
  }

  get seconds() {
    return this.#began ? ((this.#ended || performance.now()) - this.#began) / 1000 : 0;
  }

  #halt() {
    this.#ended ||= performance.now();
    if (this.#recorder?.state === 'recording') this.#recorder.stop();
    this.#stream?.getTracks().forEach((track) => track.stop());
  }

  /**
   * Ends the recording.
   *
   * @returns {Promise<{content: string, duration: number}>} as `RC:VcMsg` carries it
   * @throws {RecordError} `short` when there is nothing worth sending
   */
  async finish() {
    const recorder = this.#recorder;
    if (!recorder) throw new RecordError('failed');
    if (recorder.state === 'recording') {
      const stopped = new Promise((resolve) => recorder.addEventListener('stop', resolve, { once: true }));
      this.#halt();
      await stopped;
    }
    if (this.seconds < 0.6 || !this.#size) throw new RecordError('short');
    const bytes = new Uint8Array(await new Blob(this.#parts).arrayBuffer());
    return { content: toBase64(bytes), duration: Math.max(1, Math.round(this.seconds)) };
  }

  cancel() {
    this.#halt();
    this.#parts = [];
    this.#recorder = null;
  }
}
