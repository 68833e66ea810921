/**
 * Against a real node: TEST_HONGYAN=/path/to/hongyan npm test. Skipped without.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { client, text, until } from './support/clients.js';
import { FakePage } from './support/page.js';

const binary = process.env.TEST_HONGYAN;

class RealNode {
  folder = mkdtempSync(join(tmpdir(), 'hongyan-sdk-'));
  url = '';

  async start() {
    const listen = this.url ? new URL(this.url).host : '127.0.0.1:0';
    const flags = ['--listen', listen, '--admin-listen', 'off', '--data', join(this.folder, 'data'), '--dev-login=true'];
    this.process = spawn(binary, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (chunk) => (said += chunk));
    await until(() => /http:\/\/127\.0\.0\.1:\d+/.test(said) || this.process.exitCode !== null, 'the node is up', 10_000);
    this.url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0] ?? assert.fail(said);
  }

  kill() {
    return new Promise((resolve) => {
      if (this.process.exitCode !== null) return resolve();
      this.process.once('exit', resolve);
      this.process.kill('SIGKILL');
    });
  }

  async token(name) {
    const response = await fetch(`${this.url}/v1/dev/login`, { method: 'POST', body: JSON.stringify({ name }) });
    return (await response.json()).token;
  }
}

describe('with a real node', { skip: !binary }, () => {
  const node = new RealNode();
  const open = [];

  before(() => node.start());
  after(async () => {
    for (const one of open) one.disconnect();
    await node.kill();
    rmSync(node.folder, { recursive: true });
  });

  const connected = async (name, options) => {
    const one = client(node, options);
    open.push(one);
    one.info = await one.connect(await node.token(name));
    return one;
  };

  for (const transport of ['ws', 'poll']) {
    const transports = [transport];
    const [annName, boName] = [`ann-${transport}`, `bo-${transport}`];

    test(`over ${transport}, all that pages ask for`, async () => {
      const ann = await connected(annName, { transports });
      const bo = await connected(boName, { transports });
      const phone = await connected(annName, { transports, device: 'phone' });
      assert.equal(ann.transport, transport);
      assert.equal(ann.user, annName);
      const sent = await ann.send(text('hi 鸿雁 😀', boName));
      assert.ok(sent.pos > 0 && Math.abs(sent.time - Date.now()) < 60_000);
      await until(() => bo.texts().length === 1 && phone.texts().length === 1);
      assert.deepEqual([bo.texts(), phone.texts(), ann.texts()], [['hi 鸿雁 😀'], ['hi 鸿雁 😀'], []]);
      const again = await ann.send(text('hi 鸿雁 😀', boName, { id: sent.cid }));
      assert.deepEqual([again.id, again.at, again.dup], [sent.id, sent.at, true]);
      await until(() => ann.log.some(([name, detail]) => name === 'receipt' && detail.what === 'delivered'));

      for (const content of ['two', 'three']) await ann.send(text(content, boName));
      assert.equal(await bo.unread(), 3);
      const { conversations } = await bo.conversations();
      assert.deepEqual(conversations.map(({ target, unread, last }) => [target, unread, last.content.content]), [[annName, 3, 'three']]);
      assert.equal(await bo.read(1, annName), 0);
      await until(() => ann.log.some(([name, detail]) => name === 'receipt' && detail.what === 'read'));
      const page = await bo.history(1, annName, { limit: 2 });
      assert.deepEqual(page.messages.map((m) => m.content.content), ['two', 'three']);
      assert.equal(page.more, true);

      await ann.recall(sent);
      await until(() => bo.log.some(([name]) => name === 'recall'));
      assert.equal((await bo.history(1, annName)).messages[0].recalled, true);
      await ann.recall(sent); // as after a lost answer

      await bo.block(annName);
      await assert.rejects(ann.send(text('x', boName)), { code: 'rejected_by_blacklist' });
      assert.deepEqual(await bo.blocks(), [annName]);
      assert.equal(await bo.isBlocked(annName), true);
      await bo.unblock(annName);
      assert.equal((await ann.users([boName, 'nobody'])).get(boName).id, boName);
      assert.deepEqual(await ann.watch([boName]), new Set([boName]));
      await bo.removeConversation(1, annName);
      assert.deepEqual((await bo.conversations()).conversations, []);
      await ann.send(text('t', boName, { type: 'RC:TypSts' }));
      await until(() => bo.log.some(([name, detail]) => name === 'message' && detail.status));
      await assert.rejects(ann.send(text('x', 'g', { kind: 3 })), { code: 'not_supported' });
      await bo.disconnect();
      await until(() => ann.log.some(([name, detail]) => name === 'presence' && detail.online === false));
      assert.deepEqual(ann.states(), ['connecting', 'connected'], 'all on one line');
    });

    test(`over ${transport}, a node that is killed in the middle loses and repeats nothing`, async () => {
      const ann = await connected(`${annName}-k`, { transports });
      const bo = await connected(`${boName}-k`, { transports });
      const expected = [];
      const sends = [];
      for (let round = 0; round < 3; round += 1) {
        for (let i = 0; i < 60; i += 1) {
          expected.push(`m${expected.length}`);
          sends.push(ann.send(text(expected.at(-1), bo.user)));
        }
        await new Promise((resolve) => setTimeout(resolve, 15 * round));
        await node.kill();
        await node.start();
      }
      await Promise.all(sends);
      await until(() => bo.texts().length >= expected.length, 'bo has all', 20_000);
      assert.deepEqual(bo.texts(), expected);
      const { messages } = await bo.history(1, ann.user, { limit: 100 });
      assert.deepEqual(messages.map((m) => m.content.content), expected.slice(-100));
    });
  }

  test('a forged token is refused', async () => {
    for (const transport of ['ws', 'poll']) {
      const one = client(node, { transports: [transport] });
      await assert.rejects(one.connect('forged'), { code: 'bad_token' });
    }
  });

  test('a page of RongIMLib 2.x chats with another', async () => {
    const pages = [];
    for (const name of ['old-ann', 'old-bo']) {
      const page = new FakePage({ options: { navi: node.url }, token: await node.token(name), log: [] }).load('RongIMLib.js');
      page.run(`
        RongIMClient.init('key', null, options);
        RongIMClient.setConnectionStatusListener({ onChanged: function () {} });
        RongIMClient.setOnReceiveMessageListener({ onReceived: function (m) { log.push(m.messageType + ' ' + m.content.content); } });
        RongIMClient.connect(token, { onSuccess: function (id) { log.push('in as ' + id); } });
      `);
      await until(() => page.window.log.includes(`in as ${name}`));
      pages.push(page);
    }
    const [ann, bo] = pages;
    ann.run("RongIMClient.getInstance().sendTextMessage(1, 'old-bo', 'hello', { onSuccess: function (m) { log.push('sent ' + m.messageUId.length); } })");
    await until(() => bo.window.log.includes('TextMessage hello') && ann.window.log.includes('sent 26'));
    for (const page of pages) page.run('RongIMClient.getInstance().disconnect()');
  });
});
