/**
 * Base64 and what kind of file some bytes are, by their first bytes. Pure.
 */

/**
 * Bytes of base64 text, with or without a data prefix; `null` when it is not base64.
 *
 * @param {unknown} text
 * @returns {Uint8Array<ArrayBuffer> | null}
 */
export function fromBase64(text) {
  if (typeof text !== 'string' || !text) return null;
  const bare = text.replace(/^data:[^,]*,/u, '').replace(/\s+/gu, '').replace(/-/gu, '+').replace(/_/gu, '/');
  try {
    const raw = atob(bare);
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  } catch {
    return null;
  }
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let raw = '';
  for (let i = 0; i < bytes.length; i += 8192) raw += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(raw);
}

/** @param {Uint8Array} bytes @param {number} at @param {string} mark */
function has(bytes, at, mark) {
  for (let i = 0; i < mark.length; i++) if (bytes[at + i] !== mark.charCodeAt(i)) return false;
  return true;
}

/**
 * Media type of a sound, `''` when unknown. `audio/amr` is what phones of the older
 * SDKs record; no browser plays it.
 *
 * @param {Uint8Array} b
 */
export function audioType(b) {
  if (has(b, 0, '#!AMR')) return 'audio/amr';
  if (has(b, 0, 'OggS')) return 'audio/ogg';
  if (has(b, 0, '\x1a\x45\xdf\xa3')) return 'audio/webm';
  if (has(b, 4, 'ftyp')) return 'audio/mp4';
  if (has(b, 0, 'RIFF') && has(b, 8, 'WAVE')) return 'audio/wav';
  if (has(b, 0, 'fLaC')) return 'audio/flac';
  if (has(b, 0, 'ID3')) return 'audio/mpeg';
  if (b[0] === 0xff && (b[1] & 0xf6) === 0xf0) return 'audio/aac';
  if (b[0] === 0xff && (b[1] & 0xe0) === 0xe0) return 'audio/mpeg';
  return '';
}

/**
 * Media type of a picture, `''` when unknown. SVG is not taken on purpose.
 *
 * @param {Uint8Array} b
 */
export function imageType(b) {
  if (has(b, 0, '\xff\xd8\xff')) return 'image/jpeg';
  if (has(b, 0, '\x89PNG')) return 'image/png';
  if (has(b, 0, 'GIF8')) return 'image/gif';
  if (has(b, 0, 'RIFF') && has(b, 8, 'WEBP')) return 'image/webp';
  if (has(b, 4, 'ftypavif')) return 'image/avif';
  if (has(b, 0, 'BM')) return 'image/bmp';
  return '';
}
