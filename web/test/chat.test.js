import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chat, newId, PATIENCE } from '../chat.js';
import { Store } from '../store.js';

/** A client that answers from plain tables and notes what it is asked. */
class FakeClient extends EventTarget {
  state = 'connected';
  asked = [];
  pages = [];
  list = [];
  failSend = null;
  at = 100;
  async connect() { return { user: 'ann', name: 'Ann', portrait: '' }; }
  async disconnect() { this.state = 'closed'; }
  async conversations() { return { conversations: this.list, more: false }; }
  async conversation(kind, target) { this.asked.push(['conversation', target]); return { ...this.list[0], unread: 1 }; }
  async blocks() { return ['cy']; }
  async users(ids) { this.asked.push(['users', ...ids]); return new Map(ids.map((id) => [id, { id, name: id.toUpperCase(), portrait: '' }])); }
  async watch(users) { this.asked.push(['watch', ...users]); return new Set(users); }
  async read(kind, target, upto) { this.asked.push(['read', target, upto]); return 0; }
  async history(kind, target, options) {
    this.asked.push(['history', target, options.before ?? 'newest']);
    const page = this.pages.shift();
    if (!page) throw Object.assign(new Error('down'), { code: 'network' });
    return page;
  }
  async send(m) {
    if (m.status) { this.asked.push(['typing', m.target]); return m; }
    if (this.failSend) throw Object.assign(new Error('no'), { code: this.failSend });
    this.at++;
    return { ...m, id: `s${this.at}`, cid: m.id, from: 'ann', to: m.target, mine: true, at: this.at, time: 1, pos: this.at };
  }
  async recall() {}
  tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));
const msg = (n) => ({ id: `m${n}`, kind: 1, from: 'bo', to: 'ann', target: 'bo', mine: false, type: 'RC:TxtMsg', at: n, time: n, pos: n, content: { content: 'x' } });

async function started(t, seen = () => true) {
  const client = new FakeClient();
  const store = new Store();
  const chat = new Chat(client, store, seen);
  t.after(() => chat.stop());
  client.list = [{ kind: 1, target: 'bo', pos: 3, unread: 2, read: 1, last: msg(3), peer_read: 0, peer_delivered: 0 }];
  await chat.start('token');
  return { client, store, chat };
}

test('start fetches list, blocks and names', async (t) => {
  const { client, store } = await started(t);
  await settle();
  assert.equal(store.me.name, 'Ann');
  assert.equal(store.unread, 2);
  assert.ok(store.blocked.has('cy'));
  assert.deepEqual(client.asked[0], ['users', 'bo']);
  assert.equal(store.person('bo').name, 'BO');
});

test('opening loads a page once; a failed page can be asked for again', async (t) => {
  const { client, store, chat } = await started(t);
  chat.openConversation(1, 'bo');
  await settle();
  assert.equal(store.thread('1:bo').loading, 'failed');
  client.pages.push({ messages: [msg(2), msg(3)], more: true });
  await chat.loadOlder();
  assert.equal(store.thread('1:bo').items.length, 2);
  assert.equal(store.thread('1:bo').divider, 'm2');
  client.pages.push({ messages: [msg(1)], more: false });
  await chat.loadOlder();
  assert.deepEqual(client.asked.at(-1), ['history', 'bo', 2]);
  await chat.loadOlder();
  assert.deepEqual(client.asked.at(-1), ['history', 'bo', 2], 'no more, so nothing is asked');
});

test('a message that is seen is read at once; one that is not stays unread', async (t) => {
  let eyes = true;
  const { client, store, chat } = await started(t, () => eyes);
  client.pages.push({ messages: [msg(2), msg(3)], more: false });
  chat.openConversation(1, 'bo');
  await settle();
  client.tell('message', msg(4));
  await settle();
  assert.deepEqual(client.asked.filter((a) => a[0] === 'read'), [['read', 'bo', 4]]);
  assert.equal(store.unread, 0);
  eyes = false;
  client.tell('message', msg(5));
  await settle();
  assert.equal(store.unread, 1);
});

test('a refused message is marked, and a retry goes through', async (t) => {
  const { client, store, chat } = await started(t);
  client.pages.push({ messages: [], more: false });
  chat.openConversation(1, 'bo');
  client.failSend = 'rejected_by_blacklist';
  chat.send('RC:TxtMsg', { content: 'hi' });
  await settle();
  const item = store.thread('1:bo').items[0];
  assert.deepEqual([item.state, item.error], ['failed', 'rejected_by_blacklist']);
  client.failSend = null;
  chat.retry('1:bo', item);
  await settle();
  assert.deepEqual(store.thread('1:bo').items.map((i) => i.state), ['sent']);
});

test('typing marks are seldom, only online, and go away with the message', async (t) => {
  const { client, store, chat } = await started(t);
  client.pages.push({ messages: [], more: false });
  chat.openConversation(1, 'bo');
  chat.sendTyping();
  chat.sendTyping();
  assert.equal(client.asked.filter((a) => a[0] === 'typing').length, 1);
  client.tell('message', { ...msg(9), type: 'RC:TypSts', status: true, pos: undefined, content: { typingContentType: 'RC:VcMsg' } });
  assert.equal(store.typing.get('1:bo'), 'voice');
  client.tell('message', msg(10));
  assert.equal(store.typing.has('1:bo'), false);
  client.tell('message', { ...msg(11), type: 'RC:TypSts', status: true, content: {} });
  client.tell('state', { state: 'waiting' });
  assert.equal(store.typing.size, 0);
});

test('what is read on another device is counted again by the server', async (t) => {
  const { client, store } = await started(t);
  client.tell('read', { kind: 1, target: 'bo', upto: 2 });
  await settle();
  assert.deepEqual(client.asked.at(-1), ['conversation', 'bo']);
  assert.equal(store.unread, 1);
  client.tell('read', { kind: 1, target: 'bo', upto: 3 });
  assert.equal(store.unread, 0);
});

test('a long list comes in pages', async (t) => {
  const client = new FakeClient();
  const asked = [];
  client.conversations = async ({ before }) => {
    asked.push(before);
    return { conversations: [{ kind: 1, target: `u${asked.length}`, pos: 10 - asked.length, unread: 1, read: 0, last: null }], more: asked.length < 3 };
  };
  const store = new Store();
  const chat = new Chat(client, store, () => false);
  t.after(() => chat.stop());
  await chat.start('token');
  assert.deepEqual(asked, [undefined, 9, 8]);
  assert.equal(store.unread, 3);
});

test('people in the list are watched, once for the same list', async (t) => {
  const { client, store } = await started(t);
  await new Promise((resolve) => setTimeout(resolve, 120));
  store.touch('1:bo', 5);
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.deepEqual(client.asked.filter((a) => a[0] === 'watch'), [['watch', 'bo']]);
  assert.ok(store.isOnline('bo'));
});

test('nobody is called online while the connection is lost', async (t) => {
  const { client, store } = await started(t);
  store.setOnline(['bo']);
  client.tell('state', { state: 'waiting' });
  client.tell('state', { state: 'connected' });
  await new Promise((resolve) => setTimeout(resolve, PATIENCE + 50));
  assert.ok(store.isOnline('bo'), 'a short break is none');
  for (const state of ['waiting', 'connecting', 'waiting']) {
    client.tell('state', { state });
    await new Promise((resolve) => setTimeout(resolve, PATIENCE / 3 + 30));
  }
  assert.ok(!store.isOnline('bo'));
  client.tell('state', { state: 'connected' });
  assert.ok(store.isOnline('bo'));
});

test('arrivals are announced only after the start, and once', async (t) => {
  const { client, chat } = await started(t);
  const heard = [];
  chat.addEventListener('arrived', (e) => heard.push(e.detail.message.id));
  client.tell('message', msg(3));
  client.tell('message', msg(4));
  client.tell('message', msg(4));
  assert.deepEqual(heard, ['m4']);
});

test('ids are ULIDs: 26 characters that sort by time', () => {
  assert.match(newId(), /^[0-9A-HJKMNP-TV-Z]{26}$/);
  assert.ok(newId(1000) < newId(2000));
  assert.notEqual(newId(1000), newId(1000));
});
