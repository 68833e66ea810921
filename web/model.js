/**
 * Empty conversations and threads, and how far an own message has got. Pure.
 */

/** @param {number} kind @param {string} target */
export const keyOf = (kind, target) => `${kind}:${target}`;

/**
 * @param {number} kind
 * @param {string} target
 * @returns {import('./types.js').Conversation}
 */
export function emptyConversation(kind, target) {
  return {
    key: keyOf(kind, target), kind, target, pos: 0, read: 0, unread: 0, last: null,
    peerRead: 0, peerDelivered: 0, draft: '', touched: 0, base: 0, basePos: 0, recent: [],
  };
}

/**
 * @param {string} key
 * @returns {import('./types.js').Thread}
 */
export function emptyThread(key) {
  return { key, items: [], loaded: false, more: false, loading: '', divider: '' };
}

/** @typedef {'sending' | 'failed' | 'sent' | 'delivered' | 'read'} Progress */

/**
 * How far an own message has got.
 *
 * @param {import('./types.js').Conversation | undefined} c
 * @param {{at: number, state?: string}} m
 * @returns {Progress}
 */
export function progress(c, m) {
  if (m.state === 'sending' || m.state === 'failed') return m.state;
  if (c && m.at <= c.peerRead) return 'read';
  if (c && m.at <= c.peerDelivered) return 'delivered';
  return 'sent';
}
