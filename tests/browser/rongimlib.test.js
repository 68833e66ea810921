/**
 * Pages of the 2.0.6 time, whose script address is all that was changed, in a real browser: on
 * another origin than the node, over WebSocket and over long polling.
 */

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { AWAY, complaints, launch } from './support/browser.js';
import { Host } from './support/host.js';
import { it } from './support/it.js';
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

after(async () => {
  await browser?.close();
  await host?.stop();
  await server?.remove();
});

/** Somebody with such a page before him. */
class Visitor {
  /** @type {string[]} what went wrong in the page */
  faults = [];

  /**
   * @param {string} id
   * @param {{polling?: boolean, token?: string, context?: import('playwright-core').BrowserContext}} [options]
   */
  static async open(id, options = {}) {
    const visitor = new Visitor();
    visitor.id = id;
    visitor.context = options.context ?? (await browser.newContext());
    visitor.page = await visitor.context.newPage();
    visitor.faults = complaints(visitor.page, AWAY);
    const query = new URLSearchParams({ appkey: server.key, token: options.token ?? (await server.token(id)) });
    if (options.polling) query.set('polling', '1');
    await visitor.page.goto(`${host.origin}/rongimlib.html?${query}`);
    return visitor;
  }

  /** @param {string} id @param {{polling?: boolean}} [options] connected when this returns */
  static async connect(id, options) {
    const visitor = await Visitor.open(id, options);
    assert.equal(await visitor.sees('connected'), id);
    return visitor;
  }

  /** @returns {Promise<{what: string, value: any}[]>} */
  events() {
    return this.page.evaluate('events');
  }

  /** All of one kind, so far. @param {string} what */
  async all(what) {
    return (await this.events()).filter((event) => event.what === what).map((event) => event.value);
  }

  /** The `n`-th of one kind. @param {string} what @param {number} [n] from 1 @returns {Promise<any>} */
  async sees(what, n = 1) {
    const found = await until(`${this.id} sees ${what} ${n}`, async () => {
      const list = await this.all(what);
      return list.length >= n && list;
    }).catch(async (late) => assert.fail(`${late.message}; ${JSON.stringify(await this.events())}; ${this.faults}`));
    return found[n - 1];
  }

  /** @param {string} to @param {'send' | 'image' | 'command'} button @param {string} [text] */
  async press(to, button, text = '') {
    await this.page.fill('#target', to);
    await this.page.fill('#text', text);
    await this.page.click(`#${button}`);
  }

  /**
   * An instance method of 2.x with a result callback in its place.
   *
   * @param {string} method
   * @param {...any} args `'CALLBACK'` stands for the callbacks
   * @returns {Promise<{ok?: any[], error?: number}>}
   */
  call(method, ...args) {
    return this.page.evaluate(
      ([name, list]) => new Promise((done) => {
        const callbacks = { onSuccess: (/** @type {any[]} */ ...ok) => done({ ok }), onError: (/** @type {number} */ error) => done({ error }) };
        const given = list.map((/** @type {any} */ one) => (one === 'CALLBACK' ? callbacks : one));
        /** @type {any} */ (window).RongIMClient.getInstance()[name](...given);
      }),
      /** @type {[string, any[]]} */ ([method, args]),
    );
  }

  async leave() {
    await this.context.close();
  }
}

for (const polling of [false, true]) {
  const way = polling ? 'long polling' : 'WebSocket';
  const n = polling ? 2 : 1; // people of their own for each way

  describe(`a 2.x page over ${way}`, () => {
    const [ann, bo] = [`ann${n}`, `bo${n}`];

    it('exchanges text, image and command messages', async () => {
      const a = await Visitor.connect(ann, { polling });
      const b = await Visitor.connect(bo, { polling });
      assert.deepEqual(await a.all('status'), [1, 0]);
      assert.equal(await a.page.evaluate('RongIMClient.getInstance().getConnectionChannel()'), polling ? 0 : 1);

      await a.press(bo, 'send', '你好 <b>&');
      const sent = await a.sees('sent');
      assert.ok(sent.uid && Math.abs(sent.time - Date.now()) < 60_000, JSON.stringify(sent));
      const text = await b.sees('text');
      assert.deepEqual([text.from, text.target, text.text, text.uid], [ann, ann, '你好 <b>&', sent.uid]);

      await b.press(ann, 'image');
      assert.equal((await a.sees('image')).uri, 'https://files.example/dot.gif');
      await a.press(bo, 'command');
      assert.deepEqual((await b.sees('command')).data, { door: 'open' });
      assert.deepEqual([...a.faults, ...b.faults], []);
      await a.leave();
      await b.leave();
    });

    it('tells with code 405 that the other has blocked the sender', async () => {
      const a = await Visitor.connect(ann, { polling });
      await server.api('user/blacklist/add', { userId: bo, blackUserId: ann });
      await a.press(bo, 'send', 'are you there?');
      assert.deepEqual(await a.sees('send error'), { code: 405, why: 'in the blacklist', text: 'are you there?' });
      await server.api('user/blacklist/remove', { userId: bo, blackUserId: ann });
      await a.press(bo, 'send', 'and now?');
      await a.sees('sent');
      await a.leave();
    });

    it('tells of a forged token, once, and connects no more', async () => {
      const token = await server.token(ann);
      for (const forged of [`${token.slice(0, -4)}AAAA`, 'nonsense', '']) {
        const a = await Visitor.open(ann, { polling, token: forged });
        await a.sees('token incorrect');
        await sleep(300);
        const events = (await a.events()).map((event) => event.what);
        assert.deepEqual(events.filter((what) => what !== 'status'), ['token incorrect']);
        assert.notEqual((await a.all('status')).at(-1), 0);
        await a.leave();
      }
    });

    it('gives what was sent meanwhile, once and in order, after the node was killed', async () => {
      // People of their own: what others were sent before comes to a new page as an offline message, when it comes.
      const [gus, hal] = [`gus${n}`, `hal${n}`];
      const a = await Visitor.connect(gus, { polling });
      const b = await Visitor.connect(hal, { polling });
      await server.kill();
      for (const visitor of [a, b]) {
        await until(`${visitor.id} notices`, async () => (await visitor.all('status')).some((status) => status !== 0 && status !== 1));
      }
      for (const word of ['one', 'two', 'three']) await a.press(hal, 'send', word);
      await server.up();
      await a.sees('sent', 3);
      await b.sees('text', 3);
      await a.press(hal, 'send', 'four');
      await b.sees('text', 4);
      assert.deepEqual((await b.all('text')).map((text) => text.text), ['one', 'two', 'three', 'four']);
      for (const visitor of [a, b]) assert.equal((await visitor.all('status')).at(-1), 0);
      assert.deepEqual([...a.faults, ...b.faults], []);
      await a.leave();
      await b.leave();
    });

    it('gets what came while no page was open, as an offline message', async () => {
      const [c, d] = [`cy${n}`, `di${n}`];
      const context = await browser.newContext();
      const d1 = await Visitor.open(d, { polling, context });
      await d1.sees('connected');
      await d1.page.close();
      const a = await Visitor.connect(c, { polling });
      await a.press(d, 'send', 'while you were out');
      await a.sees('sent');
      const d2 = await Visitor.open(d, { polling, context });
      const text = await d2.sees('text');
      assert.deepEqual([text.text, text.offline], ['while you were out', true]);
      await sleep(300);
      assert.equal((await d2.all('text')).length, 1);
      await a.leave();
      await d2.leave();
    });

    it('has history, unread counts and recall', async () => {
      const [e, f] = [`ed${n}`, `flo${n}`];
      const a = await Visitor.connect(e, { polling });
      for (const word of ['1', '2', '3', '4', '5']) await a.press(f, 'send', word);
      await a.sees('sent', 5);
      const b = await Visitor.connect(f, { polling });
      await until('unread', async () => (await b.call('getUnreadCount', 1, e, 'CALLBACK')).ok?.[0] === 5);
      assert.deepEqual((await b.call('getTotalUnreadCount', 'CALLBACK')).ok, [5]);

      const { ok: [newest, more] } = await b.call('getRemoteHistoryMessages', 1, e, null, 3, 'CALLBACK');
      assert.deepEqual([newest.map((/** @type {any} */ m) => m.content.content), more], [['3', '4', '5'], true]);
      const { ok: [older, rest] } = await b.call('getRemoteHistoryMessages', 1, e, null, 3, 'CALLBACK');
      assert.deepEqual([older.map((/** @type {any} */ m) => m.content.content), rest], [['1', '2'], false]);

      const { ok: [list] } = await b.call('getConversationList', 'CALLBACK', null);
      assert.equal(list.length, 1);
      assert.deepEqual([list[0].targetId, list[0].unreadMessageCount, list[0].latestMessage.content.content], [e, 5, '5']);
      assert.ok((await b.call('clearUnreadCount', 1, e, 'CALLBACK')).ok);
      assert.deepEqual((await b.call('getUnreadCount', 1, e, 'CALLBACK')).ok, [0]);

      const mine = await a.call('getRemoteHistoryMessages', 1, f, null, 1, 'CALLBACK');
      const [last] = /** @type {any[]} */ (mine.ok)[0];
      assert.ok((await a.call('sendRecallMessage', last, 'CALLBACK')).ok);
      const recall = await b.sees('other');
      assert.equal(recall.name, 'RC:RcCmd');
      assert.equal(recall.content.messageUId, last.messageUId);
      assert.deepEqual(await b.call('sendRecallMessage', { ...last }, 'CALLBACK'), { error: 25101 });
      await a.leave();
      await b.leave();
    });

    it('is offline for the other when blocked by its own hand, and lists whom it has blocked', async () => {
      const a = await Visitor.connect(ann, { polling });
      assert.ok((await a.call('addToBlacklist', bo, 'CALLBACK')).ok);
      assert.deepEqual((await a.call('getBlacklist', 'CALLBACK')).ok, [[bo]]);
      const b = await Visitor.connect(bo, { polling });
      await b.press(ann, 'send', 'let me in');
      assert.equal((await b.sees('send error')).code, 405);
      assert.ok((await a.call('removeFromBlacklist', bo, 'CALLBACK')).ok);
      assert.deepEqual((await a.call('getBlacklist', 'CALLBACK')).ok, [[]]);
      await a.leave();
      await b.leave();
    });
  });
}

describe('2.x pages together', () => {
  it('writes from WebSocket to long polling and back', async () => {
    const a = await Visitor.connect('gus');
    const b = await Visitor.connect('hal', { polling: true });
    await a.press('hal', 'send', 'from a socket');
    assert.equal((await b.sees('text')).text, 'from a socket');
    await b.press('gus', 'send', 'from a poll');
    assert.equal((await a.sees('text')).text, 'from a poll');
    await a.leave();
    await b.leave();
  });

  it('is told with status 6 when the same device connects elsewhere', async () => {
    const context = await browser.newContext();
    const a = await Visitor.open('ida', { context });
    await a.sees('connected');
    const device = await a.page.evaluate(() => sessionStorage.getItem('hongyan:device'));
    const hello = JSON.stringify({ t: 'hello', v: 1, token: await server.token('ida'), device });
    const other = await fetch(`${server.origin}/v1/poll`, { method: 'POST', body: hello });
    assert.equal(other.status, 200);
    const { sid } = await other.json();
    await until('kicked', async () => (await a.all('status')).at(-1) === 6);
    assert.equal(await a.page.textContent('#status'), 'kicked');
    await sleep(1500);
    assert.equal((await a.all('status')).at(-1), 6, 'it does not push the other one out again');
    const gone = await fetch(`${server.origin}/v1/poll/${sid}`, { method: 'DELETE' });
    assert.ok(gone.ok, `the other is still there: ${gone.status}`);
    await a.leave();
  });

  it('lets one user have two pages, which both get everything', async () => {
    const context = await browser.newContext();
    const j1 = await Visitor.open('jo', { context });
    await j1.sees('connected');
    const j2 = await Visitor.open('jo', { context });
    await j2.sees('connected');
    const a = await Visitor.connect('kim');
    await a.press('jo', 'send', 'to both');
    assert.equal((await j1.sees('text')).text, 'to both');
    assert.equal((await j2.sees('text')).text, 'to both');
    assert.equal((await j1.all('status')).at(-1), 0);
    await context.close();
    await a.leave();
  });

  it('shows emoji without running what people write', async () => {
    const page = await browser.newPage();
    const faults = complaints(page);
    await page.goto(`${host.origin}/emoji.html`);
    assert.equal(await page.locator('#panel > span').count(), 128);
    await page.locator('#panel > span').first().click();
    assert.deepEqual(await page.evaluate('picked'), ['[狞笑]']);
    assert.equal(await page.evaluate(() => /** @type {any} */ (window).show('hi [微笑] <img src=x onerror=document.title=1>')), 'hi 😃 <img src=x onerror=document.title=1>');
    assert.equal(await page.locator('#shown img').count(), 0);
    assert.equal(await page.textContent('#shown'), 'hi 😃 <img src=x onerror=document.title=1>');
    assert.equal(await page.evaluate(() => /** @type {any} */ (window).RongIMLib.RongIMEmoji.emojiToSymbol('😃!')), '[微笑]!');
    assert.equal(await page.title(), 'Emoji demo');
    assert.deepEqual(faults, []);
    await page.close();
  });
});
