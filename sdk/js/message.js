/**
 * The protocol's message object, made ready for pages.
 */

/**
 * @typedef {object} Message the protocol's M plus `target`, `mine`, `time`, `pos`
 * @property {string} id
 * @property {number} kind conversation kind: 1 private, 3 group, 6 system …
 * @property {string} from
 * @property {string} to
 * @property {string} type message class, such as `RC:TxtMsg`
 * @property {number} at server time, microseconds
 * @property {any} content object, array or string, as the sender wrote it
 * @property {string} target the conversation's: for private the one that is not me
 * @property {boolean} mine sent by this user
 * @property {number} time server time, milliseconds
 * @property {number} [pos] position in the mailbox; not for status messages and history
 * @property {string} [cid] the id given to `send`; only on the user's own messages
 * @property {boolean} [counted]
 * @property {boolean} [stored]
 * @property {boolean} [status]
 * @property {boolean} [mentioned]
 * @property {{text?: string, data?: string}} [push]
 * @property {boolean} [recalled]
 * @property {boolean} [dup] the server had this send already
 */

/**
 * @param {any} m the protocol's M
 * @param {string} user who I am
 * @param {number} [pos]
 * @returns {Message}
 */
export function toMessage(m, user, pos) {
  const mine = m.from === user;
  let target = m.to;
  if (m.kind === 1 && !mine) target = m.from;
  if (m.kind === 6) target = m.from;
  /** @type {Message} */
  const message = { ...m, target, mine, time: Math.floor(m.at / 1000) };
  if (pos !== undefined) message.pos = pos;
  return message;
}

/**
 * The message that a `send` frame has become.
 *
 * @param {any} frame the `send` frame
 * @param {any} ok its answer
 * @param {string} user
 * @returns {Message}
 */
export function sentMessage(frame, ok, user) {
  const { t, r, id: cid, target, ...rest } = frame;
  const m = { ...rest, id: ok.id, from: user, to: target, at: ok.at, cid };
  if (ok.dup) m.dup = true;
  return toMessage(m, user, ok.pos);
}

/**
 * @param {any} conversation
 * @param {string} user
 */
export function toConversation(conversation, user) {
  if (!conversation?.last) return conversation;
  return { ...conversation, last: toMessage(conversation.last, user) };
}

/**
 * Bytes of `text` in UTF-8; lone surrogates count as the three bytes of U+FFFD.
 *
 * @param {string} text
 */
export function utf8Length(text) {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && text.charCodeAt(i + 1) >>> 10 === 0x37) {
      bytes += 2; // four bytes for two units
      i += 1;
    } else bytes += 2;
  }
  return bytes;
}
