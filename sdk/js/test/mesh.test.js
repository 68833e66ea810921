/**
 * Several real nodes: TEST_HONGYAN=/path/to/hongyan npm test. Skipped without.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { client, text, until } from './support/clients.js';
import { Cluster } from './support/cluster.js';
import { TinyWebSocket } from './support/ws-client.js';

const binary = process.env.TEST_HONGYAN;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

describe('with three nodes', { skip: !binary }, () => {
  const cluster = new Cluster(binary, ['eu', 'us', 'ap']);
  const open = [];
  const node = (name) => cluster.nodes.get(name);

  before(() => cluster.start());
  after(async () => {
    for (const one of open) one.disconnect();
    await cluster.stop();
  });

  const connected = async (name, at, options) => {
    const one = client(node(at), { relay: 'home', ...options });
    open.push(one);
    one.info = await one.connect(await node(at).token(name));
    return one;
  };

  for (const transport of ['ws', 'poll']) {
    const transports = [transport];
    const named = (name) => `${name}-${transport}`;

    test(`over ${transport}, users at two nodes chat`, async () => {
      const ann = await connected(named('ann'), 'eu', { transports });
      const bo = await connected(named('bo'), 'us', { transports });
      for (const word of ['one', 'two', 'three']) await ann.send(text(word, bo.user));
      await until(() => bo.texts().length === 3, 'bo has all');
      await bo.send(text('four', ann.user));
      await until(() => ann.texts().length === 1, 'ann has the answer');
      assert.deepEqual([bo.texts(), ann.texts()], [['one', 'two', 'three'], ['four']]);
      await until(() => ann.log.some(([name, detail]) => name === 'receipt' && detail.what === 'delivered'), 'delivered');
      assert.equal(await bo.read(1, ann.user), 0);
      await until(() => ann.log.some(([name, detail]) => name === 'receipt' && detail.what === 'read'), 'read');
      const told = (one) => one.history(1, one === ann ? bo.user : ann.user).then((page) => page.messages.map((m) => m.content.content));
      assert.deepEqual([await told(ann), await told(bo)], [['one', 'two', 'three', 'four'], ['one', 'two', 'three', 'four']]);
      assert.deepEqual(await ann.watch([bo.user]), new Set([bo.user]));
      await ann.send(text('t', bo.user, { type: 'RC:TypSts' }));
      await until(() => bo.log.some(([name, detail]) => name === 'message' && detail.status), 'typing');
      await bo.block(ann.user);
      await assert.rejects(ann.send(text('x', bo.user)), { code: 'rejected_by_blacklist' });
      await bo.disconnect();
      await until(() => ann.log.some(([name, detail]) => name === 'presence' && detail.online === false), 'offline');
    });

    test(`over ${transport}, devices at two nodes see one mailbox`, async () => {
      const ann = await connected(named('cy'), 'eu', { transports });
      const phone = await connected(named('cy'), 'us', { transports, device: 'phone' });
      const bo = await connected(named('di'), 'ap', { transports });
      await bo.send(text('to both', ann.user));
      // The ack says that bo's node keeps it, not that it came: what the desk sends now might be first.
      await until(() => [ann, phone].every((one) => one.texts().includes('to both')), 'both devices have it');
      await ann.send(text('from the desk', bo.user));
      await phone.send(text('from the phone', bo.user));
      await until(() => [bo, ann, phone].every((one) => one.texts().length === 2), 'all have all');
      assert.deepEqual([ann.texts(), phone.texts()], [['to both', 'from the phone'], ['to both', 'from the desk']]);
      assert.deepEqual(bo.texts(), ['from the desk', 'from the phone']);
      assert.equal(await phone.unread(), 1);
      const big = 'x'.repeat(100_000);
      for (let i = 0; i < 20; i += 1) await phone.send(text(big, bo.user));
      await until(() => bo.texts().length === 22, 'large ones, too');
      const page = await phone.history(1, bo.user, { limit: 30 });
      assert.equal(page.messages.length, 23);
      // The desk goes; the phone stays where its mailbox was, and is carried on.
      await ann.disconnect();
      await bo.send(text('still there?', phone.user));
      await until(() => phone.texts().includes('still there?'), 'the phone has it');
    });
  }

  test('a device that goes from node to node with its cursor misses and repeats nothing', async () => {
    const bo = await connected('ed', 'us');
    const device = new Wanderer('fay');
    const expected = [];
    let sending = true;
    const flood = (async () => {
      for (let i = 0; sending; i += 1) {
        expected.push(`m${i}`);
        await bo.send(text(`m${i}`, 'fay'));
        await pause(12); // within the limit of sends
      }
    })();
    for (let round = 0; round < 12; round += 1) {
      await device.visit(node(['eu', 'us', 'ap'][round % 3]), () => pause(60));
    }
    sending = false;
    await flood;
    await device.visit(node('eu'), () => until(() => device.texts.length >= expected.length - device.skipped(expected), 'all came'));
    assert.deepEqual(device.texts, expected.slice(device.skipped(expected)));
    assert.deepEqual(device.whys.slice(1).filter((why) => why !== undefined && why !== 'new_device'), []);
  });

  test('a polling client may ask any node', async () => {
    const hello = { t: 'hello', v: 1, token: await node('eu').token('gus'), device: 'd' };
    const post = (at, path, body) => fetch(`${node(at).url}${path}`, { method: 'POST', body: JSON.stringify(body) });
    const begun = await (await post('eu', '/v1/poll', hello)).json();
    assert.equal(begun.frames[0].t, 'welcome');
    assert.equal((await post('us', `/v1/poll/${begun.sid}`, { t: 'unread', r: 5 })).status, 200);
    let { seq, frames } = begun;
    for (const at of ['ap', 'us', 'eu']) {
      const answer = await fetch(`${node(at).url}/v1/poll/${begun.sid}?seq=${seq}&wait=1`);
      assert.equal(answer.status, 200);
      const next = await answer.json();
      frames = frames.concat(next.frames);
      seq = next.seq;
    }
    assert.ok(frames.some((frame) => frame.t === 'ok' && frame.r === 5), JSON.stringify(frames));
    assert.equal((await fetch(`${node('ap').url}/v1/poll/${begun.sid}`, { method: 'DELETE' })).status, 204);
    const gone = await fetch(`${node('us').url}/v1/poll/${begun.sid}?seq=${seq}&wait=1`);
    assert.equal(gone.status, 404);
    assert.equal((await gone.json()).code, 'session_gone');
  });

  test('what a back end says at one node is true at all', async () => {
    const ann = await connected('hal', 'eu');
    const bo = await connected('ida', 'us');
    const ok = async (at, path, fields) => {
      const answer = await node(at).api(path, fields);
      assert.equal(answer.code, 200, JSON.stringify(answer));
      return answer;
    };
    await ok('ap', 'message/private/publish', { fromUserId: 'hal', toUserId: 'ida', objectName: 'RC:TxtMsg', content: '{"content":"from the back end"}' });
    await until(() => bo.texts().includes('from the back end'), 'bo has it');
    const message = bo.log.find(([name]) => name === 'message')[1];
    await ok('us', 'message/recall', { fromUserId: 'hal', targetId: 'ida', messageUID: message.id, sentTime: `${message.time}`, conversationType: '1' });
    await until(() => bo.log.some(([name]) => name === 'recall'), 'it is taken back');
    assert.equal((await ok('ap', 'user/checkOnline', { userId: 'hal' })).status, '1');
    await ok('us', 'user/blacklist/add', { userId: 'hal', blackUserId: 'ida' });
    await assert.rejects(bo.send(text('x', 'hal')), { code: 'rejected_by_blacklist' });
    assert.deepEqual((await ok('ap', 'user/blacklist/query', { userId: 'hal' })).users, ['ida']);
    await ok('us', 'user/refresh', { userId: 'hal', name: 'Hal', portraitUri: 'http://x/y.png' });
    assert.equal((await ok('eu', 'user/info', { userId: 'hal' })).userName, 'Hal');
    await ok('ap', 'user/block', { userId: 'hal', minute: '5' });
    await until(() => ann.state === 'closed', 'hal is out');
    await assert.rejects(connected('hal', 'us'), { code: 'user_blocked' });
    await ok('eu', 'user/unblock', { userId: 'hal' });
    await connected('hal', 'us');
  });

  test('a node that is killed is missed by nobody, and what it alone had comes when it is back', async () => {
    await cluster.settled();
    const ann = await connected('jo', 'eu', { relay: 'nearest' });
    const bo = await connected('kim', 'us', { relay: 'home' });
    for (const word of ['a', 'b']) await ann.send(text(word, 'kim'));
    await until(() => bo.texts().length === 2, 'before');
    await node('eu').kill();
    const killed = Date.now();
    const sends = ['c', 'd', 'e'].map((word) => ann.send(text(word, 'kim')));
    const back = ['f', 'g'].map((word) => bo.send(text(word, 'jo')));
    await Promise.all(sends);
    console.log(`sent again ${Date.now() - killed} ms after the kill`);
    await Promise.all(back);
    await until(() => bo.texts().length === 5 && ann.texts().length === 2, 'served elsewhere', 15_000);
    assert.deepEqual([bo.texts(), ann.texts()], [['a', 'b', 'c', 'd', 'e'], ['f', 'g']]);
    console.log(`served again ${Date.now() - killed} ms after the kill`);
    await node('eu').start();
    await cluster.settled();
    await ann.send(text('h', 'kim'));
    await until(() => bo.texts().includes('h'), 'after');
    assert.deepEqual(bo.texts(), ['a', 'b', 'c', 'd', 'e', 'h']);
    const told = async () => (await ann.history(1, 'kim', { limit: 50 })).messages;
    await until(async () => (await told()).length >= 8, 'eu has handed over what it alone had', 15_000);
    const messages = await told();
    assert.deepEqual(messages.map((m) => m.content.content).sort(), ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  });

  test('each node is drained in turn and nothing is lost, doubled or reordered', async () => {
    const ann = await connected('lee', 'eu', { relay: 'nearest' });
    const bo = await connected('mia', 'us', { relay: 'nearest' });
    const said = { lee: [], mia: [] };
    let sending = true;
    let worst = 0;
    const flood = async (from, to) => {
      for (let i = 0; sending; i += 1) {
        said[from.user].push(`${from.user}${i}`);
        const begun = Date.now();
        await from.send(text(`${from.user}${i}`, to.user));
        worst = Math.max(worst, Date.now() - begun);
        await pause(12); // within the limit of sends
      }
    };
    const floods = [flood(ann, bo), flood(bo, ann)];
    for (const name of ['eu', 'us', 'ap']) {
      await pause(300);
      assert.equal(await node(name).drain(), 0, node(name).said);
      await pause(300);
      await node(name).start();
      await cluster.settled();
    }
    sending = false;
    await Promise.all(floods);
    await until(() => bo.texts().length >= said.lee.length && ann.texts().length >= said.mia.length, 'all came', 15_000);
    assert.deepEqual(bo.texts(), said.lee);
    assert.deepEqual(ann.texts(), said.mia);
    console.log(`${said.lee.length + said.mia.length} messages, the slowest took ${worst} ms`);
  });
});

/** A device that speaks the protocol itself: it keeps nothing but its cursor and that cursor's epoch. */
class Wanderer {
  texts = [];
  /** What each `welcome` said of the resumption. */
  whys = [];

  constructor(name) {
    this.name = name;
  }

  /** How many of the first of `expected` came before the device was known. */
  skipped(expected) {
    return Math.max(0, expected.indexOf(this.texts[0]));
  }

  async visit(node, stay) {
    const token = await node.token(this.name);
    const socket = new TinyWebSocket(`${node.url.replace('http', 'ws')}/v1/ws`);
    let welcomed = false;
    let fault;
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.onopen = () => socket.send(JSON.stringify({ t: 'hello', v: 1, token, device: 'd', cursor: this.cursor, epoch: this.epoch }));
    socket.onmessage = ({ data }) => {
      for (const frame of [JSON.parse(data)].flat()) {
        if (frame.t === 'welcome') {
          welcomed = true;
          this.whys.push(frame.why);
          this.cursor = frame.cursor;
          this.epoch = frame.epoch;
        } else if (frame.pos !== undefined && frame.prev !== undefined) {
          if (frame.prev !== this.cursor) fault ??= `a gap: ${this.cursor}, then ${JSON.stringify(frame)}`;
          this.cursor = frame.pos;
          if (frame.t === 'msg') this.texts.push(frame.m.content.content);
          socket.send(JSON.stringify({ t: 'ack', pos: frame.pos }));
        } else if (frame.t === 'live') {
          this.cursor = Math.max(this.cursor, frame.pos);
        } else if (frame.t === 'err') fault ??= JSON.stringify(frame);
      }
    };
    await until(() => welcomed || fault, `welcome at ${node.name}`);
    await stay();
    socket.close();
    await closed;
    assert.equal(fault, undefined);
  }
}
