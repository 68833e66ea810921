/**
 * hongyan.js as a module of a page of another origin, in a real browser: nothing is lost, comes
 * twice or out of order, whatever happens to the node, the network or the page.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe } from 'node:test';
import { launch } from './support/browser.js';
import { Host } from './support/host.js';
import { it } from './support/it.js';
import { Middlebox } from './support/middlebox.js';
import { Server } from './support/server.js';
import { sleep, until } from './support/wait.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Server} */
let server;
/** @type {Host} */
let host;

before(async () => {
  server = await Server.start();
  host = await Host.start(server.origin);
  browser = await launch();
});

afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

after(async () => {
  await browser?.close();
  await host?.stop();
  await server?.remove();
});

/** A page with the SDK in it. @param {string} user @param {{host?: Host, context?: import('playwright-core').BrowserContext}} [options] */
async function open(user, options = {}) {
  const context = options.context ?? (await browser.newContext());
  const page = await context.newPage();
  await page.goto(`${(options.host ?? host).origin}/sdk.html?token=${encodeURIComponent(await server.token(user))}`);
  await page.waitForFunction('window.ready');
  return page;
}

/** @param {import('playwright-core').Page} page @returns {Promise<any>} */
const welcome = (page) => page.evaluate('connected');

/** Texts that came, in the order they came. @param {import('playwright-core').Page} page @returns {Promise<string[]>} */
const texts = (page) => page.evaluate('seen.messages.map((m) => m.content.content)');

/**
 * Sends texts one every `pause` ms; `outcome` is set when all are answered.
 *
 * @param {import('playwright-core').Page} page @param {string} to @param {string[]} words @param {number} pause
 */
const sendSlowly = (page, to, words, pause) => page.evaluate(
  async ({ to: target, words: list, pause: ms }) => {
    const w = /** @type {any} */ (window);
    w.outcome = undefined;
    const answers = [];
    for (const word of list) {
      answers.push(w.text(target, word));
      await new Promise((done) => setTimeout(done, ms));
    }
    Promise.allSettled(answers).then((all) => {
      w.outcome = all.map((one) => (one.status === 'fulfilled' ? one.value.at : String(one.reason)));
    });
  },
  { to, words, pause },
);

/** @param {import('playwright-core').Page} page @returns {Promise<(number | string)[]>} the times, or what went wrong */
const outcome = (page) => until('all sends are answered', () => page.evaluate('window.outcome'), 60_000);

/** @param {string} name @param {number} n */
const numbered = (name, n) => Array.from({ length: n }, (_, i) => `${name} ${i + 1}`);

describe('the SDK in a page of another origin', () => {
  it('connects over WebSocket and says who one is', async () => {
    const page = await open('ann');
    const info = await welcome(page);
    assert.deepEqual([info.user, info.name, info.resumed], ['ann', 'ann', false]);
    assert.equal(await page.evaluate('client.transport'), 'ws');
    assert.deepEqual(await page.evaluate('seen.states'), ['connecting', 'connected']);
  });

  it('gives everything once and in order to both sides, over five crashes of the node amid sending', async () => {
    const ann = await open('ann1');
    const bo = await open('bo1');
    await Promise.all([welcome(ann), welcome(bo)]);
    /** @type {string[]} */
    const toBo = [];
    /** @type {string[]} */
    const toAnn = [];
    for (let round = 1; round <= 5; round++) {
      const there = numbered(`round ${round} there`, 30);
      const back = numbered(`round ${round} back`, 30);
      const sending = [sendSlowly(ann, 'bo1', there, 10), sendSlowly(bo, 'ann1', back, 10)];
      await sleep(60 + 50 * round); // the crash comes earlier or later in the row
      await server.kill();
      await sleep(100);
      await server.up();
      // As when a network is back: the pauses between tries grow with each crash.
      for (const page of [ann, bo]) await page.evaluate("dispatchEvent(new Event('online'))");
      await Promise.all(sending);
      for (const page of [ann, bo]) {
        const at = await outcome(page);
        assert.ok(at.every((one, i) => typeof one === 'number' && (i === 0 || one > at[i - 1])), `round ${round}: ${at}`);
      }
      toBo.push(...there);
      toAnn.push(...back);
    }
    await until('all is there', async () => (await texts(bo)).length >= toBo.length && (await texts(ann)).length >= toAnn.length);
    await sleep(500); // for what should not come
    assert.deepEqual(await texts(bo), toBo);
    assert.deepEqual(await texts(ann), toAnn);
    for (const page of [ann, bo]) {
      const { messages } = await page.evaluate(`client.history(1, '${page === ann ? 'bo1' : 'ann1'}', {limit: 100})`);
      assert.equal(new Set(messages.map((/** @type {any} */ m) => m.id)).size, 100);
    }
  });

  it('keeps what is sent while the node is away, in order, and sends it when the node is back', async () => {
    const ann = await open('ann2');
    const bo = await open('bo2');
    await Promise.all([welcome(ann), welcome(bo)]);
    await server.kill();
    await until('it is noticed', async () => (await ann.evaluate('client.state')) === 'waiting');
    await sendSlowly(ann, 'bo2', numbered('offline', 150), 0); // more than go out at a time
    await server.up();
    assert.equal((await outcome(ann)).filter((at) => typeof at === 'number').length, 150);
    await until('all is there', async () => (await texts(bo)).length >= 150);
    assert.deepEqual(await texts(bo), numbered('offline', 150));
  });

  it('keeps what was not sent over a reload of the page, and tells of it by `sent`', async () => {
    const ann = await open('ann3');
    const bo = await open('bo3');
    await Promise.all([welcome(ann), welcome(bo)]);
    const device = await ann.evaluate('client.device');
    await server.kill();
    await until('it is noticed', async () => (await ann.evaluate('client.state')) === 'waiting');
    await ann.evaluate(`void ['a', 'b', 'c'].map((word) => text('bo3', word))`);
    await ann.goto('about:blank'); // the page is gone before the node is back
    await server.up();
    await ann.goBack();
    await ann.waitForFunction('window.ready');
    assert.equal((await welcome(ann)).resumed, true);
    assert.equal(await ann.evaluate('client.device'), device);
    await until('sent', async () => (await ann.evaluate('seen.sent.length')) >= 3);
    assert.deepEqual(await ann.evaluate('seen.sent.map((m) => m.content.content)'), ['a', 'b', 'c']);
    await until('all is there', async () => (await texts(bo)).length >= 3);
    await sleep(300); // for what should not come
    assert.deepEqual(await texts(bo), ['a', 'b', 'c']);
    const { messages } = await ann.evaluate(`client.history(1, 'bo3')`);
    assert.equal(messages.length, 3);
  });

  it('gives to a reloaded page only what is new', async () => {
    const bo = await open('bo5');
    const ann = await open('ann5');
    await Promise.all([welcome(bo), welcome(ann)]);
    await ann.evaluate(`text('bo5', 'before')`);
    await until('it came', async () => (await texts(bo)).length === 1);
    await sleep(400); // acked
    await bo.goto('about:blank');
    await ann.evaluate(`text('bo5', 'meanwhile')`);
    await bo.goBack();
    await bo.waitForFunction('window.ready');
    assert.equal((await welcome(bo)).resumed, true);
    await until('live', () => bo.evaluate('seen.live'));
    assert.deepEqual(await texts(bo), ['meanwhile']);
  });
});

describe('behind a middlebox that lets no WebSocket through', () => {
  /** @type {Middlebox} */
  let box;
  /** @type {Host} */
  let behind;

  before(async () => {
    box = await Middlebox.start(server.port);
    behind = await Host.start(box.origin);
  });

  after(async () => {
    await behind?.stop();
    await box?.stop();
  });

  it('falls back to long polling', async () => {
    const ann = await open('ann6', { host: behind });
    const bo = await open('bo6');
    await Promise.all([welcome(ann), welcome(bo)]);
    assert.ok(box.refused > 0);
    assert.equal(await ann.evaluate('client.transport'), 'poll');
    await ann.evaluate(`text('bo6', 'by letter')`);
    await bo.evaluate(`text('ann6', 'by wire')`);
    await until('both', async () => (await texts(ann)).length + (await texts(bo)).length === 2);
    assert.deepEqual([await texts(bo), await texts(ann)], [['by letter'], ['by wire']]);
  });

  it('loses nothing over long polling when connections are cut all the time', async () => {
    const ann = await open('ann7', { host: behind });
    const bo = await open('bo7', { host: behind });
    await Promise.all([welcome(ann), welcome(bo)]);
    const sending = [sendSlowly(ann, 'bo7', numbered('there', 60), 20), sendSlowly(bo, 'ann7', numbered('back', 60), 20)];
    for (let i = 0; i < 8; i++) {
      await sleep(150);
      box.cut();
    }
    await Promise.all(sending);
    for (const page of [ann, bo]) {
      const at = await outcome(page);
      assert.ok(at.every((one) => typeof one === 'number'), String(at));
    }
    await until('all is there', async () => (await texts(bo)).length >= 60 && (await texts(ann)).length >= 60);
    await sleep(300);
    assert.deepEqual(await texts(bo), numbered('there', 60));
    assert.deepEqual(await texts(ann), numbered('back', 60));
  });

  it('goes on over long polling when the node was killed', async () => {
    const ann = await open('ann8', { host: behind });
    const bo = await open('bo8', { host: behind });
    await Promise.all([welcome(ann), welcome(bo)]);
    const sending = sendSlowly(ann, 'bo8', numbered('word', 40), 15);
    await sleep(200);
    await server.kill();
    await sleep(100);
    await server.up();
    await sending;
    assert.ok((await outcome(ann)).every((one) => typeof one === 'number'));
    await until('all is there', async () => (await texts(bo)).length >= 40);
    assert.deepEqual(await texts(bo), numbered('word', 40));
  });
});
