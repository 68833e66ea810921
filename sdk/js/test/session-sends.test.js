/** The session: sends and requests on their way to the server. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Bench, entry, transmitted } from './support/bench.js';

const ids = (messages) => messages.map((message) => message.id);

describe('sends', () => {
  test('wait for the connection and go out in order', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.send('c1');
    bench.send('c2');
    bench.opened();
    bench.welcome();
    const effects = bench.input('restored', { cursor: null, sends: [] });
    assert.deepEqual(transmitted(effects, 'send').map((frame) => frame.id), ['c1', 'c2']);
  });

  test('without an answer go out again under the same ids, in order', () => {
    const bench = new Bench();
    bench.connect();
    for (const id of ['c1', 'c2', 'c3']) bench.send(id);
    bench.lose();
    bench.send('c4');
    const again = transmitted(bench.reconnect(), 'send');
    assert.deepEqual(again.map((frame) => frame.id), ['c1', 'c2', 'c3', 'c4']);
    assert.equal(new Set(again.map((frame) => frame.r)).size, 4);
  });

  test('whose answer was lost are settled by the stream, once', () => {
    const bench = new Bench();
    bench.connect();
    bench.send('c1');
    bench.lose();
    const [{ r }] = transmitted(bench.reconnect(), 'send');
    bench.frames(entry(110, 100, { id: 'S110', from: 'ann', to: 'bo', cid: 'c1' }), { t: 'ok', r, id: 'S110', at: 110, pos: 110, prev: 100, dup: true });
    assert.equal(bench.effects.filter((effect) => effect.do === 'settle').length, 1);
    assert.equal(bench.settled('c1').message.id, 'S110');
    assert.deepEqual(bench.events('message'), []);
  });

  test('at most 128 are in flight', () => {
    const bench = new Bench();
    bench.connect();
    let sent = [];
    for (let i = 0; i < 200; i += 1) sent = sent.concat(transmitted(bench.send(`c${i}`), 'send'));
    assert.equal(sent.length, 128);
    const more = transmitted(bench.frames(...sent.slice(0, 10).map(({ r }, i) => ({ t: 'ok', r, id: `S${i}`, at: i }))), 'send');
    assert.deepEqual(more.map((frame) => frame.id), Array.from({ length: 10 }, (_, i) => `c${128 + i}`));
  });

  test('an answer for what was given up does not stop the others', () => {
    const bench = new Bench({ sendTimeout: 1000 });
    bench.connect();
    for (let i = 0; i < 128; i += 1) bench.send(`old${i}`);
    bench.pass(1000);
    assert.equal(transmitted(bench.send('new'), 'send').length, 1);
  });

  test('to a busy node wait as long as it says, in their old place', () => {
    const bench = new Bench();
    bench.connect();
    const [one] = transmitted(bench.send('c1'), 'send');
    const [two] = transmitted(bench.send('c2'), 'send');
    bench.frames({ t: 'err', r: one.r, code: 'busy', retry_after: 700 }, { t: 'err', r: two.r, code: 'busy', retry_after: 700 });
    assert.deepEqual(transmitted(bench.pass(699), 'send'), []);
    assert.deepEqual(transmitted(bench.pass(1), 'send').map((frame) => frame.id), ['c1', 'c2']);
  });

  test('too fast are refused, unless they had to wait for the line', () => {
    const bench = new Bench();
    bench.connect();
    const [fast] = transmitted(bench.send('fast'), 'send');
    bench.frames({ t: 'err', r: fast.r, code: 'rate_limited', retry_after: 700 });
    assert.equal(bench.settled('fast').error.code, 'rate_limited');
    assert.equal(bench.settled('fast').error.retryAfter, 700);
    bench.lose();
    bench.send('late');
    const [late] = transmitted(bench.reconnect(), 'send');
    bench.frames({ t: 'err', r: late.r, code: 'rate_limited', retry_after: 700 });
    assert.equal(bench.settled('late'), undefined);
    assert.deepEqual(transmitted(bench.pass(700), 'send').map((frame) => frame.id), ['late']);
  });

  test('refused by the addressee are refused to the page', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames({ t: 'err', r, code: 'rejected_by_blacklist', msg: 'bo has blocked you' });
    assert.equal(bench.settled('c1').error.code, 'rejected_by_blacklist');
    bench.lose();
    assert.deepEqual(transmitted(bench.reconnect(), 'send'), []);
  });

  test('too large never leave', () => {
    const bench = new Bench();
    bench.connect({ limits: { content: 10, frame: 1000 } });
    assert.deepEqual(transmitted(bench.send('c1', { content: '鸿雁鸿雁' }), 'send'), []);
    assert.equal(bench.settled('c1').error.code, 'too_large');
  });

  test('that time out are told so; should they have arrived, that too', () => {
    const bench = new Bench({ sendTimeout: 5000 });
    bench.connect();
    bench.send('c1');
    bench.pass(5000);
    assert.equal(bench.settled('c1').error.code, 'timeout');
    bench.lose();
    assert.deepEqual(transmitted(bench.reconnect(), 'send'), [], 'not tried again');
    bench.frames(entry(110, 100, { id: 'S110', from: 'ann', to: 'bo', cid: 'c1' }));
    assert.deepEqual(ids(bench.events('sent')), ['S110']);
    assert.deepEqual(bench.events('message'), []);
  });

  test('of status messages are for now or never', () => {
    const bench = new Bench();
    bench.connect();
    bench.send('typing', { type: 'RC:TypSts' });
    assert.deepEqual(bench.session.outbox.unsent(), []);
    bench.lose();
    assert.equal(bench.settled('typing').error.code, 'network');
    bench.send('typing2', { type: 'RC:TypSts' });
    assert.equal(bench.settled('typing2').error.code, 'network');
  });

  test('left by an earlier page load go out first and are told by their message', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.send('new');
    bench.opened();
    bench.welcome();
    const old = { t: 'send', id: 'old', kind: 1, target: 'bo', type: 'RC:TxtMsg', content: {} };
    const effects = bench.input('restored', { cursor: null, sends: [old] });
    assert.deepEqual(transmitted(effects, 'send').map((frame) => frame.id), ['old', 'new']);
  });

  test('requests without an answer are asked again', () => {
    const bench = new Bench();
    bench.connect();
    bench.input('request', { key: 1, frame: { t: 'unread' } });
    bench.lose();
    const [again] = transmitted(bench.reconnect(), 'unread');
    bench.frames({ t: 'ok', r: again.r, unread: 3 });
    assert.equal(bench.effects.find((effect) => effect.do === 'answer').ok.unread, 3);
  });
});
