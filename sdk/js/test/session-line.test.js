/** The session: connecting, and keeping or leaving the line. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Bench, entry, transmitted } from './support/bench.js';

const ids = (messages) => messages.map((message) => message.id);

describe('connecting', () => {
  test('a WebSocket that does not open within 5 s gives way to polling, at once', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.pass(4999);
    assert.deepEqual(bench.pass(1).filter((effect) => effect.do === 'open').map((effect) => effect.transport), ['poll']);
  });

  test('one that closes before welcome does too; then there is a pause, then WebSocket again', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    const opened = [...bench.lose()];
    opened.push(...bench.lose());
    assert.equal(bench.state, 'waiting');
    opened.push(...bench.pass(250));
    assert.deepEqual(opened.filter((effect) => effect.do === 'open').map((effect) => effect.transport), ['poll', 'ws']);
  });

  test('what worked is kept', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.lose();
    bench.opened();
    bench.welcome();
    bench.input('restored', { cursor: null, sends: [] });
    bench.lose();
    assert.deepEqual(bench.pass(500).filter((effect) => effect.do === 'open').map((effect) => effect.transport), ['poll']);
  });

  test('from polling back to a WebSocket that has worked before, and only then', () => {
    const bench = new Bench();
    bench.connect();
    bench.lose();
    bench.pass(500);
    bench.lose(); // ws fails, poll at once
    bench.opened();
    bench.welcome();
    const later = [];
    for (let i = 0; i < 12; i += 1) {
      later.push(...bench.pass(5000).filter((effect) => effect.do === 'open'));
      bench.frames({ t: 'pong' });
    }
    assert.deepEqual(later.map((effect) => effect.transport), ['ws']);
    bench.lose();
    bench.opened();
    bench.welcome();
    bench.frames({ t: 'pong' });
    const again = [];
    for (let i = 0; i < 40; i += 1) {
      again.push(...bench.pass(5000).filter((effect) => effect.do === 'open'));
      bench.frames({ t: 'pong' });
    }
    assert.deepEqual(again, [], 'a failed upgrade is not tried for ever');
  });

  test('pauses are random, grow to 20 s, and start anew after a stable connection', () => {
    const bench = new Bench({ transports: ['ws'], random: () => 1 });
    bench.connect();
    const pauses = [];
    for (let i = 0; i < 8; i += 1) {
      pauses.push(bench.lose().find((effect) => effect.do === 'state').retryIn);
      bench.pass(pauses.at(-1));
    }
    assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
    bench.opened();
    bench.welcome();
    bench.pass(9_999);
    assert.equal(bench.lose().find((effect) => effect.do === 'state').retryIn, 20000, 'a short-lived one does not count');
    bench.pass(20_000);
    bench.opened();
    bench.welcome();
    bench.pass(10_000);
    assert.equal(bench.lose().find((effect) => effect.do === 'state').retryIn, 500);
    const calm = new Bench({ transports: ['ws'], random: () => 0 });
    calm.connect();
    assert.equal(calm.lose().find((effect) => effect.do === 'state').retryIn, 0);
  });

  test('a bad token ends it, and is not tried over polling', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    const effects = bench.frames({ t: 'err', code: 'bad_token', msg: 'forged' });
    assert.equal(effects.find((effect) => effect.do === 'refused').error.code, 'bad_token');
    assert.equal(bench.state, 'closed');
    assert.deepEqual(bench.pass(100_000), []);
  });

  test('so does its close code alone', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    bench.lose({ code: 4401 });
    assert.equal(bench.effects.find((effect) => effect.do === 'refused').error.code, 'bad_token');
  });

  test('a full node is asked again over the same transport, not before it says', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    bench.frames({ t: 'err', code: 'busy', retry_after: 3000 });
    assert.deepEqual(bench.pass(2999).filter((effect) => effect.do === 'open'), []);
    assert.deepEqual(bench.pass(1).filter((effect) => effect.do === 'open').map((effect) => effect.transport), ['ws']);
  });

  test('reconnect: false means one round', () => {
    const bench = new Bench({ reconnect: false });
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.lose();
    bench.lose();
    assert.equal(bench.state, 'closed');
    assert.equal(bench.effects.find((effect) => effect.do === 'refused').error.code, 'network');
  });

  test('what storage knows better than the server is said in a second hello', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, undefined);
    bench.welcome({ cursor: 90 });
    bench.frames(entry(100, 90));
    bench.input('restored', { cursor: 110, sends: [] });
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, 110);
    bench.welcome({ cursor: 110 });
    bench.frames(entry(120, 110));
    assert.deepEqual(ids(bench.events('message')), ['M120']);
  });

  test('frames that came while storage was looked up are not lost', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    bench.frames({ t: 'welcome', v: 1, user: 'ann', time: 0, cursor: 100, resumed: true, ping: 25 }, entry(110, 100));
    bench.frames(entry(120, 110));
    bench.input('restored', { cursor: null, sends: [] });
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120']);
  });

  test('another user gets nothing of the one before', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100));
    bench.send('c1');
    bench.frames({ t: 'kick', code: 'token_expired' });
    bench.input('connect', { token: 'of bo', device: 'web-1' });
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, undefined);
    bench.welcome({ user: 'bo', cursor: 0 });
    bench.input('restored', { cursor: null, sends: [] });
    assert.equal(bench.settled('c1').error.code, 'closed');
    bench.frames({ ...entry(50, 0), m: { ...entry(50, 0).m, from: 'cy', to: 'bo' } });
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M50']);
  });

  test('words of an old connection are not heard', () => {
    const bench = new Bench();
    bench.connect();
    const old = bench.conn;
    bench.lose();
    bench.reconnect();
    bench.input('frames', { conn: old, frames: [{ t: 'kick', code: 'replaced' }] });
    bench.input('closed', { conn: old, code: 4409 });
    assert.equal(bench.state, 'connected');
  });
});

describe('keeping the line', () => {
  test('silence is broken by a ping; a ping without an answer breaks the line', () => {
    const bench = new Bench();
    bench.connect();
    assert.deepEqual(transmitted(bench.pass(24_999), 'ping'), []);
    assert.equal(transmitted(bench.pass(1), 'ping').length, 1);
    bench.frames({ t: 'pong', time: 1 });
    bench.pass(10_000);
    assert.equal(bench.state, 'connected');
    bench.pass(15_000); // the next ping
    bench.pass(9_999);
    assert.equal(bench.state, 'connected');
    bench.pass(1);
    assert.equal(bench.state, 'waiting');
  });

  test('when the network comes back, waiting ends; a connected line is tested', () => {
    const bench = new Bench();
    bench.connect();
    assert.equal(transmitted(bench.input('wake'), 'ping').length, 1);
    bench.lose();
    assert.deepEqual(bench.input('wake').filter((effect) => effect.do === 'open').length, 1);
  });

  test('kicked by another session of the same device: the end', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames({ t: 'kick', code: 'replaced', msg: 'elsewhere' });
    assert.equal(bench.state, 'closed');
    assert.equal(bench.events('kick')[0].code, 'replaced');
    assert.deepEqual(bench.pass(100_000), []);
  });

  test('a kick for another reason is only a pause', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames({ t: 'kick', code: 'busy', retry_after: 2000 });
    assert.equal(bench.state, 'waiting');
    assert.deepEqual(bench.events('kick'), []);
    assert.equal(bench.pass(2000).filter((effect) => effect.do === 'open').length, 1);
  });

  test('sends outlive a token that expired', () => {
    const bench = new Bench();
    bench.connect();
    bench.send('c1');
    bench.frames({ t: 'kick', code: 'token_expired' });
    assert.equal(bench.settled('c1'), undefined);
    bench.input('connect', { token: 'T2', device: 'web-1' });
    bench.opened();
    bench.welcome();
    const effects = bench.input('restored', { cursor: 100, sends: bench.session.outbox.unsent() });
    assert.deepEqual(transmitted(effects, 'send').map((frame) => frame.id), ['c1']);
  });

  test('a node that goes away is left when it says, for where it says, with the cursor', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames({ t: 'move', after: 1000, url: 'https://other:9/' }, entry(110, 100));
    assert.deepEqual(bench.pass(999).filter((effect) => effect.do === 'open'), []);
    assert.equal(bench.pass(1).find((effect) => effect.do === 'open').url, 'https://other:9');
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, 110);
  });

  test('a node that is gone before its time is not asked before it', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames({ t: 'move', after: 1000 });
    bench.lose({ code: 1001 });
    assert.deepEqual(bench.pass(999).filter((effect) => effect.do === 'open'), []);
    assert.equal(bench.pass(1).find((effect) => effect.do === 'open').url, 'http://node');
  });

  test('where a move led to and nobody answers, the way back is known', () => {
    const bench = new Bench();
    bench.connect();
    const { conn } = bench;
    bench.frames({ t: 'move', after: 0, url: 'http://other' });
    bench.pass(1);
    bench.lose();
    bench.lose();
    // The line that is there serves until its node ends it.
    assert.equal(bench.state, 'connected');
    assert.equal(bench.pass(600).find((effect) => effect.do === 'open').url, 'http://other', 'once more');
    bench.lose();
    bench.lose();
    bench.lose({ conn });
    const tried = bench.pass(5000).concat(bench.pass(5000)).filter((effect) => effect.do === 'open');
    assert.ok(tried.some((effect) => effect.url === 'http://node'));
  });

  test('a relay that refuses because it is busy does not cost the line that serves', () => {
    const bench = new Bench();
    bench.connect();
    const { conn } = bench;
    bench.frames({ t: 'move', after: 0, url: 'http://other' });
    bench.pass(1);
    bench.opened();
    bench.frames({ t: 'kick', code: 'busy', msg: '' });
    assert.equal(bench.state, 'connected');
    const sent = [...bench.send('c1'), ...bench.pass(1)].filter((effect) => effect.do === 'transmit');
    assert.deepEqual(sent.map((effect) => effect.conn), [conn]);
    assert.ok(bench.pass(5000).some((effect) => effect.do === 'open' && effect.url === 'http://other'), 'once more');
    bench.opened();
    bench.welcome();
    assert.equal(bench.state, 'connected');
  });

  test('a move to where the page is begins the session there anew, and marks nothing', () => {
    const bench = new Bench();
    bench.connect();
    const { conn } = bench;
    bench.frames({ t: 'move', after: 0, url: 'http://node' });
    assert.deepEqual(bench.pass(1).filter((effect) => effect.do === 'open').map((effect) => effect.url), ['http://node']);
    bench.opened();
    const effects = bench.welcome();
    assert.ok(effects.some((effect) => effect.do === 'close' && effect.conn === conn), 'the old one is given up');
    assert.equal(bench.state, 'connected');
    assert.equal(bench.session.relay.url, 'http://node');
  });

  test('disconnect acks, says goodbye, and lets the page connect again', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100));
    bench.send('c1');
    const effects = bench.input('disconnect');
    assert.deepEqual(transmitted(effects, 'ack'), [{ t: 'ack', pos: 110 }]);
    assert.equal(effects.find((effect) => effect.do === 'close').bye, true);
    assert.equal(bench.settled('c1').error.code, 'closed');
    assert.deepEqual(bench.session.outbox.unsent(), []);
    bench.input('connect', { token: 'T', device: 'web-1' });
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, 110);
    bench.welcome({ cursor: 110 });
    assert.equal(bench.state, 'connected');
  });

  test('the watch list is said again, and changes meanwhile are told', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.input('request', { key: 1, frame: { t: 'watch', users: ['bo', 'cy'] } }), 'watch');
    bench.frames({ t: 'ok', r, online: ['bo'] });
    assert.deepEqual(bench.events('presence'), []);
    bench.lose();
    const [again] = transmitted(bench.reconnect(), 'watch');
    bench.frames({ t: 'ok', r: again.r, online: ['cy'] });
    assert.deepEqual(bench.events('presence'), [{ user: 'bo', online: false }, { user: 'cy', online: true }]);
  });
});
