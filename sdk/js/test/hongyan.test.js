import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { HongyanError, Hongyan } from '../hongyan.js';
import { memoryStorage } from '../storage.js';
import { client, text, until } from './support/clients.js';
import { FakeServer } from './support/fake-server.js';
import { forSeeds } from './support/random.js';

let server;
let open = [];

const start = (options) => {
  const one = client(server, options);
  open.push(one);
  return one;
};

beforeEach(async () => {
  server = await FakeServer.start();
});

afterEach(async () => {
  for (const one of open) one.disconnect();
  open = [];
  await server.stop();
});

for (const transport of ['ws', 'poll']) {
  const transports = [transport];

  describe(`over ${transport}`, () => {
    test('two users talk', async () => {
      const ann = start({ transports });
      const bo = start({ transports });
      const info = await ann.connect('token-ann');
      await bo.connect('token-bo');
      assert.deepEqual(info, { user: 'ann', name: 'Ann', portrait: '', resumed: false, why: 'new_device' });
      assert.equal(ann.transport, transport);
      const sent = await ann.send(text('hi 鸿雁 😀'));
      assert.equal(sent.mine, true);
      assert.equal(sent.target, 'bo');
      assert.equal(sent.time, Math.floor(sent.at / 1000));
      await until(() => bo.texts().length === 1);
      assert.deepEqual(bo.texts(), ['hi 鸿雁 😀']);
      assert.deepEqual(ann.texts(), [], 'what I send is told by the promise');
      await bo.send(text('hello', 'ann'));
      await until(() => ann.texts().length === 1);
      assert.deepEqual(ann.texts(), ['hello']);
    });

    test('another device of mine sees what I send', async () => {
      const one = start({ transports });
      const two = start({ transports, device: 'web-2' });
      await one.connect('token-ann');
      await two.connect('token-ann');
      await one.send(text('hi'));
      await until(() => two.texts().length === 1);
      const [, message] = two.log.find(([name]) => name === 'message');
      assert.equal(message.mine, true);
      assert.equal(message.target, 'bo');
    });

    test('a line cut in the middle of many sends delivers each once, in order', async () => {
      const ann = start({ transports });
      const bo = start({ transports });
      await Promise.all([ann.connect('token-ann'), bo.connect('token-bo')]);
      const expected = Array.from({ length: 300 }, (_, i) => `m${i}`);
      const sends = expected.map((content) => ann.send(text(content)));
      await until(() => bo.texts().length > 20);
      server.cut();
      const messages = await Promise.all(sends);
      await until(() => bo.texts().length >= 300);
      assert.deepEqual(bo.texts(), expected);
      assert.equal(new Set(messages.map((message) => message.id)).size, 300);
      const ats = messages.map((message) => message.at);
      assert.deepEqual(ats, [...ats].sort((a, b) => a - b));
    });

    test('a lost ack brings nothing twice', async () => {
      const ann = start({ transports });
      await ann.connect('token-ann');
      let swallowed = 0;
      server.fault = (where, detail) => {
        const frames = where === 'ws-in' ? detail : where === 'http-in' ? detail.frames : [];
        if (swallowed === 0 && frames.some((frame) => frame.t === 'ack')) return Boolean((swallowed += 1));
        return false;
      };
      server.node.deliver('bo', 'ann', { content: 'one' });
      await until(() => swallowed === 1);
      server.node.deliver('bo', 'ann', { content: 'two' });
      await until(() => ann.texts().length >= 2);
      const { node } = server;
      await until(() => node.user('ann').devices.get('web-1') === node.end(node.user('ann')), 'all acked in the end');
      assert.deepEqual(ann.texts(), ['one', 'two']);
    });

    test('a refused token rejects and stays closed', async () => {
      const ann = start({ transports });
      await assert.rejects(ann.connect('forged'), (error) => error instanceof HongyanError && error.code === 'bad_token');
      assert.equal(ann.state, 'closed');
      await assert.rejects(ann.connect('expired'), { code: 'token_expired' });
      await ann.connect('token-ann');
      assert.equal(ann.state, 'connected');
    });

    test('a second session of the device ends the first, which stays away', async () => {
      const first = start({ transports });
      const second = start({ transports });
      await first.connect('token-ann');
      await second.connect('token-ann');
      await until(() => first.state === 'closed');
      assert.equal(first.log.find(([name]) => name === 'kick')[1].code, 'replaced');
      await new Promise((resolve) => setTimeout(resolve, 150));
      assert.equal(second.state, 'connected');
    });

    test('disconnect says goodbye, and connecting again goes on from the cursor', async () => {
      const ann = start({ transports });
      await ann.connect('token-ann');
      server.node.deliver('bo', 'ann', { content: 'one' });
      await until(() => ann.texts().length === 1);
      await ann.disconnect();
      assert.equal(ann.state, 'closed');
      await until(() => server.node.sessions.size === 0);
      await assert.rejects(ann.send(text('never')), { code: 'closed' });
      server.node.deliver('bo', 'ann', { content: 'two' });
      assert.equal((await ann.connect('token-ann')).resumed, true);
      await until(() => ann.texts().length === 2);
      assert.deepEqual(ann.texts(), ['one', 'two']);
    });

    test('questions are answered', async () => {
      const ann = start({ transports });
      const bo = start({ transports });
      await Promise.all([ann.connect('token-ann'), bo.connect('token-bo')]);
      for (const content of ['one', 'two', 'three']) await bo.send(text(content, 'ann'));
      await until(() => ann.texts().length === 3);
      assert.equal(await ann.unread(), 3);
      const { conversations, more } = await ann.conversations();
      assert.equal(more, false);
      assert.deepEqual(conversations.map(({ target, unread, last }) => [target, unread, last.content.content, last.mine]), [['bo', 3, 'three', false]]);
      assert.equal((await ann.conversation(1, 'bo')).unread, 3);
      assert.equal(await ann.conversation(1, 'nobody'), null);
      assert.equal(await ann.read(1, 'bo'), 0);
      await until(() => bo.log.some(([name, detail]) => name === 'receipt' && detail.what === 'read'));
      const page = await ann.history(1, 'bo', { limit: 2 });
      assert.deepEqual(page.messages.map((message) => message.content.content), ['two', 'three']);
      assert.equal(page.more, true);
      const rest = await ann.history(1, 'bo', { before: page.messages[0].at, limit: 2 });
      assert.deepEqual(rest.messages.map((message) => message.content.content), ['one']);
      await ann.block('bo');
      assert.deepEqual(await ann.blocks(), ['bo']);
      assert.equal(await ann.isBlocked('bo'), true);
      await assert.rejects(bo.send(text('blocked', 'ann')), { code: 'rejected_by_blacklist' });
      await ann.unblock('bo');
      assert.equal(await ann.isBlocked('bo'), false);
      assert.deepEqual(await ann.users(['bo', 'nobody']), new Map([['bo', { id: 'bo', name: 'Bo', portrait: '' }]]));
      assert.deepEqual(await ann.watch(['bo', 'cy']), new Set(['bo']));
      await ann.removeConversation(1, 'bo');
      assert.deepEqual((await ann.conversations()).conversations, []);
    });

    test('a recall reaches the peer', async () => {
      const ann = start({ transports });
      const bo = start({ transports });
      await Promise.all([ann.connect('token-ann'), bo.connect('token-bo')]);
      const sent = await ann.send(text('oops'));
      await ann.recall(sent);
      await until(() => bo.log.some(([name]) => name === 'recall'));
      assert.deepEqual(bo.log.find(([name]) => name === 'recall')[1], { kind: 1, target: 'ann', id: sent.id, at: sent.at, by: 'ann' });
      assert.equal((await bo.history(1, 'ann')).messages[0].recalled, true);
      await assert.rejects(bo.recall({ ...sent, target: 'ann' }), { code: 'not_allowed' });
      server.cut();
      await until(() => ann.state === 'connected' && ann.states().length > 3);
      await ann.send(text('the recall took its place in the stream'));
    });
  });
}

describe('falling back', () => {
  test('where WebSocket is refused, polling carries on', async () => {
    server.allowWs = false;
    const ann = start();
    await ann.connect('token-ann');
    assert.equal(ann.transport, 'poll');
    assert.deepEqual(ann.states(), ['connecting', 'connected']);
  });

  test('where WebSocket never opens, too', async () => {
    server.hangWs = true;
    const ann = start({ times: { open: 100 } });
    await ann.connect('token-ann');
    assert.equal(ann.transport, 'poll');
  });

  test('where WebSocket may not even be made, too', async () => {
    class Forbidden {
      constructor() {
        throw new Error('mixed content');
      }
    }
    const ann = start({ WebSocket: Forbidden });
    await ann.connect('token-ann');
    assert.equal(ann.transport, 'poll');
  });

  test('a session goes on over the other transport', async () => {
    const ann = start();
    await ann.connect('token-ann');
    server.node.deliver('bo', 'ann', { content: 'one' });
    await until(() => ann.texts().length === 1);
    server.allowWs = false;
    server.cut();
    server.node.deliver('bo', 'ann', { content: 'two' });
    await until(() => ann.texts().length === 2);
    assert.equal(ann.transport, 'poll');
    assert.deepEqual(ann.texts(), ['one', 'two']);
  });

  test('with reconnect: false nobody home is an error', async () => {
    const ann = start({ url: 'http://127.0.0.1:9', reconnect: false });
    await assert.rejects(ann.connect('token-ann'), { code: 'network' });
    assert.equal(ann.state, 'closed');
  });
});

describe('polling', () => {
  const transports = ['poll'];

  test('a lost answer is asked for again and loses nothing', async () => {
    const ann = start({ transports, random: () => 0 });
    await ann.connect('token-ann');
    let lost = 0;
    server.fault = (where, { value } = {}) => {
      if (where !== 'http-out' || !value.frames?.some((frame) => frame.t === 'msg') || lost >= 2) return false;
      lost += 1;
      return true;
    };
    server.node.deliver('bo', 'ann', { content: 'one' });
    await until(() => ann.texts().length === 1);
    assert.equal(lost, 2);
    assert.deepEqual(ann.states(), ['connecting', 'connected'], 'within one session');
  });

  test('a post without an answer is repeated, and sends once', async () => {
    const ann = start({ transports, random: () => 0 });
    await ann.connect('token-ann');
    let lost = 0;
    server.fault = (where, { method } = {}) => where === 'http-out' && method === 'POST' && lost < 1 && Boolean((lost += 1));
    const message = await ann.send(text('hi'));
    assert.equal(lost, 1);
    assert.equal(server.node.user('bo').entries.length, 1);
    assert.equal(message.id, server.node.user('bo').entries[0].m.id);
  });

  test('a session that the server has forgotten is made anew', async () => {
    const ann = start({ transports });
    await ann.connect('token-ann');
    server.node.deliver('bo', 'ann', { content: 'one' });
    await until(() => ann.texts().length === 1);
    for (const session of [...server.node.sessions]) server.node.sessions.delete(session);
    for (const poll of [...server.polls.values()]) {
      server.polls.delete(poll.sid);
      server.answerPoll(poll, true);
    }
    server.node.deliver('bo', 'ann', { content: 'two' });
    await until(() => ann.texts().length === 2);
    assert.deepEqual(ann.texts(), ['one', 'two']);
  });

  test('many sends of one moment travel together', async () => {
    const ann = start({ transports });
    await ann.connect('token-ann');
    await Promise.all(Array.from({ length: 50 }, (_, i) => ann.send(text(`m${i}`))));
    const posts = server.requests.filter(({ frames }) => frames.some((frame) => frame.t === 'send'));
    assert.ok(posts.length <= 2, `${posts.length} posts for 50 sends`);
  });
});

describe('over a page load', () => {
  test('unsent messages are sent and told, and the cursor goes on', async () => {
    const storage = memoryStorage();
    const before = start({ storage });
    await before.connect('token-ann');
    server.node.deliver('bo', 'ann', { content: 'one' });
    await until(() => before.texts().length === 1);
    server.allowWs = false;
    server.fault = () => true; // nothing gets through any more
    server.cut();
    await until(() => before.state !== 'connected');
    before.send(text('kept')).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 5));
    const copy = memoryStorage(); // what the browser has when the page is gone
    for (const key of ['cursor', 'unsent']) {
      const name = `hongyan:${key}:${encodeURIComponent(new URL(server.url).host)}:ann:web-1`;
      copy.setItem(name, storage.getItem(name));
    }
    before.disconnect();
    server.fault = () => false;
    server.node.deliver('bo', 'ann', { content: 'two' });
    const page = start({ storage: copy });
    await page.connect('token-ann');
    await until(() => page.log.some(([name]) => name === 'sent') && page.texts().length === 1);
    assert.deepEqual(page.texts(), ['two']);
    const [, sent] = page.log.find(([name]) => name === 'sent');
    assert.deepEqual([sent.content.content, sent.mine, sent.target], ['kept', true, 'bo']);
    await until(() => copy.getItem(`hongyan:unsent:${encodeURIComponent(new URL(server.url).host)}:ann:web-1`) === null);
    assert.equal(server.node.user('bo').entries.filter(({ m }) => m.from === 'ann').length, 1);
  });

  test('a handler that sends in the middle of a batch does no harm', async () => {
    const ann = start();
    server.node.user('ann').devices.set('web-1', 0);
    for (const content of ['one', 'two', 'three']) server.node.deliver('bo', 'ann', { content });
    const echoes = [];
    ann.addEventListener('message', ({ detail }) => echoes.push(ann.send(text(`re ${detail.content.content}`))));
    await ann.connect('token-ann');
    await until(() => echoes.length === 3);
    await Promise.all(echoes);
    assert.deepEqual(server.node.user('bo').entries.filter(({ m }) => m.from === 'ann').map(({ m }) => m.content.content), ['re one', 're two', 're three']);
  });

  test('one that disconnects gets the rest of the batch first, and none of it again', async () => {
    const ann = start();
    server.node.user('ann').devices.set('web-1', 0);
    for (const content of ['one', 'two', 'three']) server.node.deliver('bo', 'ann', { content });
    ann.addEventListener('message', () => ann.disconnect(), { once: true });
    await ann.connect('token-ann');
    await until(() => ann.state === 'closed');
    assert.deepEqual(ann.log.map(([name, detail]) => detail.content?.content ?? detail.state ?? name), ['connecting', 'connected', 'one', 'two', 'three', 'live', 'closed']);
    await ann.connect('token-ann');
    server.node.deliver('bo', 'ann', { content: 'four' });
    await until(() => ann.texts().length === 4);
    assert.deepEqual(ann.texts(), ['one', 'two', 'three', 'four']);
  });

  test('what a closed tab had not sent is taken over by another', async () => {
    const storage = memoryStorage();
    const left = { t: 'send', id: 'left', kind: 1, target: 'bo', type: 'RC:TxtMsg', content: { content: 'left behind' } };
    storage.setItem('hongyan:devices', '["web-mine","web-open","web-closed"]');
    storage.setItem('hongyan:lease:web-open', JSON.stringify({ by: 'another page', until: Date.now() + 60_000 }));
    const key = (name) => `hongyan:unsent:${encodeURIComponent(new URL(server.url).host)}:ann:${name}`;
    storage.setItem(key('web-closed'), JSON.stringify([left]));
    storage.setItem(key('web-open'), JSON.stringify([{ ...left, id: 'theirs' }]));
    const ann = start({ storage, device: undefined });
    await ann.connect('token-ann');
    assert.equal(ann.device, 'web-mine');
    await until(() => ann.log.some(([name]) => name === 'sent'));
    assert.deepEqual(server.node.user('bo').entries.map(({ m }) => m.content.content), ['left behind']);
    assert.equal(storage.getItem(key('web-closed')), null);
    assert.notEqual(storage.getItem(key('web-open')), null, 'that tab sends them itself');
  });
});

describe('arguments', () => {
  test('are checked with a clear word', async () => {
    assert.throws(() => new Hongyan({ url: 'ftp://x' }), /http\(s\)/);
    assert.throws(() => new Hongyan({ url: 'http://x', transports: ['smoke'] }), /transports/);
    const ann = start();
    await assert.rejects(ann.connect(''), { code: 'bad_token' });
    await ann.connect('token-ann');
    await assert.rejects(ann.send(text('x', '')), { code: 'bad_frame', message: /target/ });
    await assert.rejects(ann.send({ ...text('x'), content: null }), { code: 'bad_frame', message: /content/ });
    await assert.rejects(ann.send({ ...text('x'), kind: 3 }), { code: 'not_supported' });
  });

  test('content is what it was when it was sent', async () => {
    const ann = start();
    const content = { content: 'as sent' };
    const connecting = ann.connect('token-ann');
    const sending = ann.send({ ...text(''), content });
    content.content = 'changed later';
    await connecting;
    assert.equal((await sending).content.content, 'as sent');
    assert.equal(server.node.user('bo').entries[0].m.content.content, 'as sent');
  });
});

test('over sockets that fail at random nothing is lost, repeated or out of order', async () => {
  await forSeeds(12, async (random, seed) => {
    const faulty = await FakeServer.start();
    const transports = [['ws'], ['poll'], ['ws', 'poll']][seed % 3];
    const ann = client(faulty, { transports, random });
    const bo = client(faulty, { transports, random });
    try {
      await Promise.all([ann.connect('token-ann'), bo.connect('token-bo')]);
      faulty.fault = () => random() < 0.08;
      const expected = Array.from({ length: 60 }, (_, i) => `m${i}`);
      const answers = [];
      for (const content of expected) {
        answers.push(ann.send(text(content)));
        if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 10));
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
      faulty.fault = () => false;
      await Promise.all(answers);
      await until(() => bo.texts().length >= expected.length, 'bo has all', 20_000);
      assert.deepEqual(bo.texts(), expected);
      assert.equal(faulty.node.user('bo').entries.length, expected.length);
    } finally {
      ann.disconnect();
      bo.disconnect();
      await faulty.stop();
    }
  });
});

after(() => {
  for (const one of open) one.disconnect();
});
