/**
 * Pictures made small enough for a message, and the one player of sounds.
 */

import { audioType, fromBase64, imageType, toBase64 } from './sniff.js';

/** Most bytes of a message's content as JSON. */
export const CONTENT_LIMIT = 100_000;
/** What is left for the file itself: base64 makes 4 characters of 3 bytes. */
export const FILE_LIMIT = Math.floor((CONTENT_LIMIT - 200) * 0.75);

const SIDES = [1600, 1280, 1024, 800, 640, 480, 320];
const QUALITIES = [0.84, 0.72, 0.6];
const LAST_RESORT = [0.45, 0.3];

/** A picture cannot be sent. `code`: `unreadable` or `toolarge` (then `size` is what it came to). */
export class PictureError extends Error {
  /** @param {'unreadable' | 'toolarge'} code @param {number} [size] */
  constructor(code, size = 0) {
    super(code);
    this.code = code;
    this.size = size;
  }
}

/** @typedef {{base64: string, width: number, height: number, size: number, smaller: boolean, animation: boolean}} Picture */

/**
 * A JPEG of the picture that fits into a message: as large, then as fine, as possible.
 *
 * @param {Blob} file
 * @returns {Promise<Picture>}
 * @throws {PictureError}
 */
export async function shrinkPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new PictureError('unreadable');
  }
  const type = imageType(new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  try {
    const longest = Math.max(bitmap.width, bitmap.height);
    const first = Math.min(longest, SIDES[0]);
    const sides = [first, ...SIDES.filter((s) => s < first)];
    let smallest = Infinity;
    for (const side of sides) {
      const scale = Math.min(1, side / longest);
      const width = Math.max(1, Math.round(bitmap.width * scale));
      const height = Math.max(1, Math.round(bitmap.height * scale));
      const canvas = draw(bitmap, width, height);
      for (const quality of side === sides.at(-1) ? [...QUALITIES, ...LAST_RESORT] : QUALITIES) {
        const jpeg = await toJpeg(canvas, quality);
        smallest = Math.min(smallest, jpeg.size);
        if (jpeg.size > FILE_LIMIT) continue;
        const base64 = toBase64(new Uint8Array(await jpeg.arrayBuffer()));
        return { base64, width, height, size: jpeg.size, smaller: width < bitmap.width, animation: type === 'image/gif' };
      }
    }
    throw new PictureError('toolarge', smallest);
  } finally {
    bitmap.close();
  }
}

/** @param {ImageBitmap} bitmap @param {number} width @param {number} height */
function draw(bitmap, width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const ctx = canvas.getContext('2d');
  if (!ctx) throw new PictureError('unreadable');
  ctx.fillStyle = '#fff'; // JPEG knows no transparency
  ctx.fillRect(0, 0, width, height);
  ctx.imageSmoothingQuality = 'high';
  ctx.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @param {number} quality @returns {Promise<Blob>} */
function toJpeg(canvas, quality) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new PictureError('unreadable'))), 'image/jpeg', quality);
  });
}

/** An address of inline picture data that an `img` may show, or ''. @param {string} base64 */
export function pictureSource(base64) {
  const bytes = fromBase64(base64);
  const type = bytes && imageType(bytes);
  return bytes && type ? `data:${type};base64,${toBase64(bytes)}` : '';
}

/** What the page can do with a recording. @param {string} base64 @returns {'playable' | 'amr' | 'broken'} */
export function voiceState(base64) {
  const bytes = fromBase64(base64);
  const type = bytes ? audioType(bytes) : '';
  if (type === 'audio/amr') return 'amr';
  return type && new Audio().canPlayType(type) ? 'playable' : 'broken';
}

/** Plays one recording at a time. Tells `change` at every step. */
class Player extends EventTarget {
  /** Key of the message that is loaded, or ''. */
  key = '';
  playing = false;
  failed = new Set();
  #audio = new Audio();
  #url = '';

  constructor() {
    super();
    for (const name of ['timeupdate', 'play', 'pause', 'ended', 'error']) {
      this.#audio.addEventListener(name, () => {
        this.playing = !this.#audio.paused && !this.#audio.ended;
        if (name === 'error' && this.key) this.failed.add(this.key);
        if (name === 'ended' || name === 'error') this.key = '';
        this.dispatchEvent(new Event('change'));
      });
    }
  }

  /** Seconds played. */
  get position() {
    return this.#audio.currentTime;
  }

  /** Plays, or pauses what plays. @param {string} key @param {string} base64 */
  async toggle(key, base64) {
    if (this.key === key) {
      if (this.playing) this.#audio.pause();
      else await this.#audio.play().catch(() => {});
      return;
    }
    const bytes = fromBase64(base64);
    if (!bytes) return;
    this.#audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(new Blob([bytes], { type: audioType(bytes) }));
    this.key = key;
    this.#audio.src = this.#url;
    await this.#audio.play().catch(() => {}); // an unplayable file is told by its `error` event
  }

  stop() {
    this.#audio.pause();
  }
}

/** @type {Player | undefined} */
let one;

/** The page's player. */
export const player = () => (one ??= new Player());
