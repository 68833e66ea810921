/** Relays over real sockets: the list, the round trips, and going over. */

import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { measure } from '../measure.js';
import { memoryStorage } from '../storage.js';
import { QUICK, client, text, until } from './support/clients.js';
import { FakeNode } from './support/fake-node.js';
import { FakeServer } from './support/fake-server.js';
import { FakePage } from './support/page.js';

let servers = [];
let open = [];

afterEach(async () => {
  for (const one of open) await one.disconnect();
  for (const server of servers) await server.stop();
  servers = [];
  open = [];
});

/** Relays of one cluster, by name their distance in ms; each knows all. */
async function cluster(distances) {
  const node = new FakeNode();
  const relays = {};
  for (const [name, distance] of Object.entries(distances)) {
    relays[name] = await FakeServer.start(node);
    Object.assign(relays[name], { name, distance });
    servers.push(relays[name]);
  }
  const list = Object.entries(relays).map(([name, { url }]) => ({ node: name, region: '', url, load: 0, draining: false }));
  for (const [name, server] of Object.entries(relays)) server.relays = { node: name, relays: list };
  return relays;
}

const times = { list: 1000, measure: 400 };
const of = (base, { besides = [], ...more } = {}) => measure({ base, list: null, besides, secure: false }, { fetch, times: { ...times, ...more } });

describe('measuring', () => {
  test('takes the best of three, of all at the same time', async () => {
    const { a, b, c, d } = await cluster({ a: 300, b: 5, c: 300, d: 300 });
    const start = Date.now();
    const { relays, none } = await measure({ base: a.url, list: null, besides: [], secure: false }, { fetch, times: { list: 5000, measure: 10_000 } });
    // One after the other they take 2.7 s, all at once 0.9.
    assert.ok(Date.now() - start < 2500, 'side by side');
    assert.equal(none, false);
    const [far, near] = relays;
    assert.ok(far.rtt >= 295 && near.rtt >= 4 && near.rtt < far.rtt, `${far.rtt} ${near.rtt}`);
    assert.deepEqual([a, b, c, d].map(({ requests }) => requests.filter(({ path }) => path === '/v1/ping').length), [3, 3, 3, 3]);
  });

  test('waits for nobody, and judges a slow one by what it did', async () => {
    const { a, slow, dead, gone } = await cluster({ a: 1, slow: 800, dead: 60_000, gone: 1 });
    await gone.stop();
    const start = Date.now();
    // Time for one answer of the slow one, and not for three.
    const { relays } = await of(a.url, { measure: 2000 });
    assert.ok(Date.now() - start < 2500);
    const rtt = (server) => relays.find(({ url }) => url === server.url)?.rtt;
    assert.ok(rtt(slow) >= 795);
    assert.equal(rtt(dead), null);
    assert.equal(relays.find(({ node }) => node === 'gone').rtt, null);
  });

  test('asks neither those that go away nor one that is alone, but also where we are', async () => {
    const { a, b } = await cluster({ a: 1, b: 1 });
    a.relays.relays = [{ node: 'b', url: b.url, draining: true }, { node: 'a', url: '' }];
    const { relays } = await of(a.url);
    assert.deepEqual(relays.map(({ node, rtt }) => [node, rtt]), [['a', null], ['b', null]]);
    assert.equal([...a.requests, ...b.requests].filter(({ path }) => path === '/v1/ping').length, 0);
    const here = { node: '', region: '', url: b.url, load: 0, draining: false, rtt: null };
    a.relays.relays = [{ node: 'a', url: '' }];
    assert.deepEqual((await of(a.url, { besides: [here] })).relays.map(({ url, rtt }) => [url, rtt >= 0]), [[a.url, true], [b.url, true]]);
  });

  test('takes no list for an answer, whatever else it is', async () => {
    const { a } = await cluster({ a: 1 });
    for (const body of ['', 'not JSON', '{"relays":', '[]', '7', '{"relays":[]}', '{"relays":{"length":9}}', JSON.stringify({ relays: [{ url: 'x'.repeat(70_000) }] })]) {
      a.relays = body;
      assert.deepEqual(await of(a.url), { relays: null, none: true }, body.slice(0, 40));
    }
    a.relays = null;
    assert.deepEqual(await of(a.url), { relays: null, none: true });
    const failing = (status) => measure({ base: 'http://a', list: null, besides: [], secure: false }, { fetch: async () => new Response('{}', { status }), times });
    assert.deepEqual(await failing(503), { relays: null, none: false }, 'later, maybe');
    const url = a.url;
    await a.stop();
    assert.deepEqual(await of(url), { relays: null, none: false });
  });
});

describe('over sockets', () => {
  const quick = { ...QUICK, settle: 20, quiet: 30, measure: 5000 };
  const start = (server, options = {}) => {
    const one = client(server, { times: quick, ...options });
    open.push(one);
    return one;
  };

  for (const transport of ['ws', 'poll']) {
    test(`a session goes over to the nearest relay, and the next page begins there (${transport})`, async () => {
      const { home, near } = await cluster({ home: 80, near: 1 });
      const storage = memoryStorage();
      const options = { storage, transports: [transport] };
      const ann = start(home, options);
      await ann.connect('token-ann');
      assert.equal(ann.relay.url, home.url);
      const bo = start(home, { relay: 'home' });
      const told = [];
      for (const one of [ann, bo]) one.addEventListener('relay', ({ detail }) => told.push([one.user, detail.node, detail.url]));
      await bo.connect('token-bo');
      const sends = [];
      for (let i = 0; i < 40; i += 1) {
        sends.push(ann.send(text(`m${i}`)), bo.send(text(`n${i}`, 'ann')));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await until(() => ann.relay.url === near.url);
      await Promise.all(sends);
      await bo.send(text('n40', 'ann'));
      await until(() => ann.texts().length === 41 && bo.texts().length === 40);
      assert.deepEqual(ann.texts(), Array.from({ length: 41 }, (_, i) => `n${i}`));
      assert.deepEqual(bo.texts(), Array.from({ length: 40 }, (_, i) => `m${i}`));
      assert.deepEqual(ann.states(), ['connecting', 'connected']);
      assert.equal(bo.relay.url, home.url);
      assert.deepEqual(told, [['bo', 'home', home.url], ['ann', 'near', near.url]]);
      assert.equal(ann.transport, transport);
      await ann.disconnect();
      const before = home.requests.length;
      const next = start(home, options);
      await next.connect('token-ann');
      assert.equal(next.relay.url, near.url);
      assert.equal(home.requests.length, before, 'home was not asked at all');
    });
  }

  test('a relay that is gone costs a page less than half a second', async () => {
    const { home, near } = await cluster({ home: 1, near: 1 });
    const storage = memoryStorage();
    storage.setItem(`hongyan:relays:${encodeURIComponent(home.url)}`, JSON.stringify({ url: near.url, at: Date.now(), measured: Date.now(), relays: [] }));
    near.hangWs = true;
    const ann = start(home, { storage });
    const begin = Date.now();
    await ann.connect('token-ann');
    // Without the race: as long as opening may take, 5 s.
    assert.ok(Date.now() - begin < 4000, `${Date.now() - begin} ms`);
    assert.equal(ann.relay.url, home.url);
  });

  test('a server of before is asked once, and nobody hears of it', async () => {
    const server = await FakeServer.start();
    servers.push(server);
    const ann = start(server);
    const said = [];
    const console_ = { ...console };
    for (const name of ['log', 'warn', 'error', 'info']) console[name] = (...words) => said.push(words);
    try {
      await ann.connect('token-ann');
      await until(() => server.requests.some(({ path }) => path === '/v1/relays'));
      server.cut();
      await until(() => ann.states().length === 5);
      await new Promise((resolve) => setTimeout(resolve, 150));
    } finally {
      Object.assign(console, console_);
    }
    assert.equal(server.requests.filter(({ path }) => path === '/v1/relays').length, 1);
    assert.equal(server.requests.filter(({ path }) => path === '/v1/ping').length, 0);
    assert.deepEqual(said, []);
    assert.deepEqual(ann.states(), ['connecting', 'connected', 'waiting', 'connecting', 'connected']);
  });

  test('a page of RongIMLib 2.x goes over too, and its status does not change', async () => {
    const { home, near } = await cluster({ home: 80, near: 1 });
    const page = new FakePage({ options: { navi: home.url }, statuses: [], log: [] }).load('RongIMLib.js');
    open.push({ disconnect: () => page.run('RongIMClient.getInstance().disconnect()') });
    page.run(`
      RongIMClient.init('key', null, options);
      RongIMClient.setConnectionStatusListener({ onChanged: function (status) { statuses.push(status); } });
      RongIMClient.setOnReceiveMessageListener({ onReceived: function (m) { log.push(m.content.content); } });
      RongIMClient.connect('token-ann', { onSuccess: function (id) { log.push(id); } });
    `);
    await until(() => page.window.log.includes('ann'));
    await until(() => [...near.node.sessions].some(({ relay }) => relay.node === 'near'), 'gone over', 10_000);
    home.node.deliver('bo', 'ann', { content: 'hello' });
    await until(() => page.window.log.includes('hello'));
    assert.deepEqual([...page.window.statuses], [1, 0]);
  });
});

test('relay has two values', async () => {
  const server = await FakeServer.start();
  servers.push(server);
  assert.throws(() => client(server, { relay: 'far' }), /nearest/);
});
