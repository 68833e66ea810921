/**
 * The errors of the SDK, and which of them end a session for good.
 */

/**
 * Codes after which connecting again by itself would be wrong: the answer would be
 * the same, or two tabs would push one another out for ever.
 */
export const FINAL_CODES = new Set(['replaced', 'bad_token', 'token_expired', 'user_blocked', 'unsupported_version']);

/** WebSocket close codes that mean what a final error code means, should the frame before the close be missing. */
export const CLOSE_CODES = new Map([
  [4401, 'bad_token'],
  [4403, 'user_blocked'],
  [4406, 'unsupported_version'],
  [4409, 'replaced'],
]);

/**
 * What went wrong, for programs (`code`) and people (`message`).
 *
 * `code` is the server's (see the protocol's table), or one of the SDK's own:
 * `timeout` (no answer within `sendTimeout`), `closed` (not connected, or
 * `disconnect` was called), `network` (the line was lost and will not be retried).
 */
export class HongyanError extends Error {
  /**
   * @param {string} code
   * @param {string} [message]
   * @param {number} [retryAfter] milliseconds after which another try makes sense
   */
  constructor(code, message, retryAfter) {
    super(message || code);
    this.name = 'HongyanError';
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /**
   * @param {any} frame an `err` or `kick` frame
   * @returns {HongyanError}
   */
  static fromFrame(frame) {
    const code = typeof frame.code === 'string' ? frame.code : 'internal';
    const text = typeof frame.msg === 'string' ? frame.msg : '';
    return new HongyanError(code, text, typeof frame.retry_after === 'number' ? frame.retry_after : undefined);
  }
}
