/**
 * The lines of a thread: date separators, the unread divider, grey lines, bubbles with
 * their place in a group. Pure; the view only draws what comes out here.
 */

import { describe } from './content.js';
import { daysAgo } from './format.js';
import { progress } from './model.js';

/** @typedef {import('./types.js').Item} Item */

/**
 * @typedef {{key: string, as: 'day', time: number}
 *   | {key: string, as: 'divider'}
 *   | {key: string, as: 'line', item: Item, what: import('./content.js').Description}
 *   | {key: string, as: 'bubble', item: Item, what: import('./content.js').Description,
 *      first: boolean, last: boolean, progress: '' | import('./model.js').Progress}} Row
 */

/** Messages of one person closer than this stand together, ms. */
const TOGETHER = 3 * 60_000;

/**
 * @param {import('./types.js').Thread} thread
 * @param {import('./types.js').Conversation | undefined} conversation
 * @returns {Row[]}
 */
export function rowsOf(thread, conversation) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {Extract<Row, {as: 'bubble'}> | null} */
  let open = null; // the bubble that the next one may join
  let day = NaN;
  for (const item of thread.items) {
    if (Number.isNaN(day) || daysAgo(item.time, day) !== 0) {
      open = null;
      rows.push({ key: `day:${new Date(item.time).toDateString()}:${item.id || item.cid}`, as: 'day', time: item.time });
    }
    day = item.time;
    if (item.id && item.id === thread.divider) {
      open = null;
      rows.push({ key: 'divider', as: 'divider' });
    }
    const what = describe(item);
    const key = `m:${item.mine && item.cid ? item.cid : item.id}`;
    if (what.as === 'recalled' || what.as === 'notice') {
      open = null;
      rows.push({ key, as: 'line', item, what });
      continue;
    }
    /** @type {boolean} */
    const joins = open !== null && open.item.from === item.from && item.time - open.item.time < TOGETHER;
    if (joins && open) open.last = false;
    open = {
      key, as: 'bubble', item, what, first: !joins, last: true,
      progress: item.mine ? progress(conversation, item) : '',
    };
    rows.push(open);
  }
  return rows;
}
