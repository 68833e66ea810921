import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf } from '../model.js';
import { Store } from '../store.js';

const BO = keyOf(1, 'bo');

function store() {
  const s = new Store();
  s.me = { id: 'ann', name: 'Ann', portrait: '' };
  return s;
}

/** A message from bo (or to bo when `mine`), whose time and position are `n`. */
function msg(n, over = {}) {
  const mine = over.mine ?? false;
  return {
    id: `m${n}`, kind: 1, from: mine ? 'ann' : 'bo', to: mine ? 'bo' : 'ann', target: 'bo', mine,
    type: 'RC:TxtMsg', at: n, time: n / 1000, pos: n, content: { content: `text ${n}` }, ...over,
  };
}

test('a message that comes twice is there once and counts once', () => {
  const s = store();
  s.addHistory(BO, [], false, true);
  assert.equal(s.addMessage(msg(5), false), true);
  assert.equal(s.addMessage(msg(5), false), false);
  assert.equal(s.thread(BO).items.length, 1);
  assert.equal(s.conversations.get(BO).unread, 1);
});

test('what was pushed before the list came is not counted on top of the list', () => {
  const s = store();
  s.addMessage(msg(5), false);
  s.addMessage(msg(6), false);
  s.mergeConversation({ kind: 1, target: 'bo', pos: 6, unread: 4, read: 2, last: msg(6) });
  assert.equal(s.conversations.get(BO).unread, 4);
  s.addMessage(msg(7), false);
  assert.equal(s.conversations.get(BO).unread, 5);
});

test('a list answer that is older than a push keeps the push counted', () => {
  const s = store();
  s.addMessage(msg(7), false);
  s.mergeConversation({ kind: 1, target: 'bo', pos: 6, unread: 1, read: 2, last: msg(6) });
  const c = s.conversations.get(BO);
  assert.equal(c.unread, 2);
  assert.equal(c.last.id, 'm7');
  assert.equal(c.pos, 7);
});

test('reading clears the count, on this device or another; later messages count again', () => {
  const s = store();
  s.mergeConversation({ kind: 1, target: 'bo', pos: 6, unread: 3, read: 2, last: msg(6) });
  s.addMessage(msg(7), false);
  s.markRead(BO, 7, 0);
  assert.equal(s.unread, 0);
  s.addMessage(msg(8), false);
  s.addMessage(msg(9), false);
  assert.equal(s.unread, 2);
  s.markRead(BO, 8);
  assert.equal(s.unread, 1);
});

test('own and uncounted messages are not unread; unstored ones are not shown', () => {
  const s = store();
  s.addHistory(BO, [], false, true);
  s.addMessage(msg(1, { mine: true }), false);
  s.addMessage(msg(2, { type: 'RC:InfoNtf', counted: false }), false);
  s.addMessage(msg(3, { type: 'RC:CmdMsg', stored: false, counted: false }), false);
  assert.equal(s.unread, 0);
  assert.deepEqual(s.thread(BO).items.map((i) => i.id), ['m1', 'm2']);
});

test('a pending message becomes the stored one, whichever of answer and push is first', () => {
  for (const order of ['answer', 'push']) {
    const s = store();
    s.addHistory(BO, [msg(1)], false, true);
    const pending = s.addPending({ kind: 1, target: 'bo', type: 'RC:TxtMsg', content: { content: 'x' }, cid: 'c1', time: 1 });
    assert.equal(pending.state, 'sending');
    assert.equal(s.pending(BO)?.cid, 'c1');
    const stored = msg(2, { mine: true, cid: 'c1' });
    s.addMessage(order === 'answer' ? stored : { ...stored, pos: undefined }, true);
    s.addMessage(stored, true);
    assert.deepEqual(s.thread(BO).items.map((i) => [i.id, i.state]), [['m1', 'sent'], ['m2', 'sent']], order);
    assert.equal(s.pending(BO), undefined);
    assert.equal(s.unread, 0);
  }
});

test('a failed message stays last, can be retried and dropped', () => {
  const s = store();
  s.addPending({ kind: 1, target: 'bo', type: 'RC:TxtMsg', content: {}, cid: 'c1', time: 1 });
  s.setSending(BO, 'c1', 'failed', 'rejected_by_blacklist');
  s.addHistory(BO, [msg(1), msg(2)], true, true);
  const { items } = s.thread(BO);
  assert.deepEqual(items.map((i) => i.state), ['sent', 'sent', 'failed']);
  assert.equal(items[2].error, 'rejected_by_blacklist');
  s.dropPending(BO, 'c1');
  assert.equal(s.thread(BO).items.length, 2);
});

test('older pages go before newer ones', () => {
  const s = store();
  s.addHistory(BO, [msg(5), msg(6)], true, true);
  s.addHistory(BO, [msg(3), msg(4)], false);
  assert.deepEqual(s.thread(BO).items.map((i) => i.id), ['m3', 'm4', 'm5', 'm6']);
  assert.equal(s.thread(BO).more, false);
});

test('the divider stands before the first unread message, not counting own ones', () => {
  const s = store();
  s.mergeConversation({ kind: 1, target: 'bo', pos: 6, unread: 2, read: 2, last: msg(6) });
  s.setOpen(BO);
  s.addHistory(BO, [msg(2), msg(3), msg(4), msg(5, { mine: true }), msg(6)], false, true);
  assert.equal(s.thread(BO).divider, 'm4');
});

test('a message that is not seen gets a divider; the next one does not move it', () => {
  const s = store();
  s.addHistory(BO, [], false, true);
  s.addMessage(msg(1), true);
  s.markRead(BO, 1, 0);
  assert.equal(s.thread(BO).divider, '');
  s.addMessage(msg(2), false);
  s.addMessage(msg(3), false);
  assert.equal(s.thread(BO).divider, 'm2');
});

test('receipts go forward only', () => {
  const s = store();
  s.conversation(1, 'bo');
  s.receipt({ what: 'delivered', kind: 1, target: 'bo', at: 9 });
  s.receipt({ what: 'read', kind: 1, target: 'bo', at: 7 });
  s.receipt({ what: 'read', kind: 1, target: 'bo', at: 3 });
  const c = s.conversations.get(BO);
  assert.deepEqual([c.peerDelivered, c.peerRead], [9, 7]);
});

test('a recall empties the message, in thread and list, and keeps own text for editing', () => {
  const s = store();
  s.addHistory(BO, [msg(1, { mine: true })], false, true);
  s.recall(BO, 'm1');
  const [item] = s.thread(BO).items;
  assert.equal(item.recalled, true);
  assert.deepEqual(item.content, {});
  assert.deepEqual(item.again, { content: 'text 1' });
  assert.equal(s.conversations.get(BO)?.last?.recalled ?? true, true);
});

test('a recall that overtakes a late copy of the message is not undone', () => {
  const s = store();
  s.addHistory(BO, [msg(1)], false, true);
  s.recall(BO, 'm1');
  s.addMessage(msg(1), true);
  assert.equal(s.thread(BO).items[0].recalled, true);
  assert.deepEqual(s.thread(BO).items[0].content, {});
});

test('the list is newest first and leaves out what is empty', () => {
  const s = store();
  s.addMessage(msg(5e15), false);
  s.addMessage(msg(6e15, { target: 'cy', from: 'cy' }), false);
  s.conversation(1, 'nobody');
  assert.deepEqual(s.list().map((c) => c.target), ['cy', 'bo']);
  s.touch(BO, 7e12);
  assert.deepEqual(s.list().map((c) => c.target), ['bo', 'cy']);
  s.removeConversation(BO);
  assert.deepEqual(s.list().map((c) => c.target), ['cy']);
});

test('after a reset only unsent messages and drafts are left', () => {
  const s = store();
  s.addHistory(BO, [msg(1)], true, true);
  s.addMessage(msg(2), false);
  s.setDraft(BO, 'half a');
  s.addPending({ kind: 1, target: 'bo', type: 'RC:TxtMsg', content: {}, cid: 'c1', time: 1 });
  s.forget();
  assert.equal(s.thread(BO).loaded, false);
  assert.deepEqual(s.thread(BO).items.map((i) => i.cid), ['c1']);
  assert.equal(s.conversations.get(BO).draft, 'half a');
  assert.equal(s.unread, 0);
});

test('leaving a long thread keeps its newest messages and knows that there are more', () => {
  const s = store();
  s.setOpen(BO);
  s.addHistory(BO, Array.from({ length: 300 }, (_, i) => msg(i + 1)), false, true);
  s.setOpen('');
  assert.equal(s.thread(BO).items.length, 200);
  assert.equal(s.thread(BO).items.at(-1).id, 'm300');
  assert.equal(s.thread(BO).more, true);
});

test('changes are told with their part and key', () => {
  const s = store();
  const seen = [];
  s.addEventListener('change', (e) => seen.push(`${e.detail.part} ${e.detail.key}`));
  s.setTyping(BO, 'text');
  s.setTyping(BO, 'text');
  s.presence('bo', true);
  assert.deepEqual(seen, [`list ${BO}`, `thread ${BO}`, 'people ']);
  s.presence('bo', false);
  assert.equal(s.typing.has(BO), false);
});
