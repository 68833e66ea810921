import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Bench, entry, transmitted } from './support/bench.js';

const ids = (messages) => messages.map((message) => message.id);

describe('the stream', () => {
  test('entries in order reach the page in order, and are acked together', () => {
    const bench = new Bench();
    bench.connect();
    const effects = bench.frames(entry(110, 100), entry(120, 110));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120']);
    assert.deepEqual(transmitted(effects, 'ack'), []);
    assert.deepEqual(transmitted(bench.pass(100), 'ack'), [{ t: 'ack', pos: 120 }]);
    assert.deepEqual(transmitted(bench.pass(1000), 'ack'), [], 'one ack is enough');
  });

  test('half a window is acked at once', () => {
    const bench = new Bench({ window: 4 });
    bench.connect();
    assert.deepEqual(transmitted(bench.frames(entry(110, 100)), 'ack'), []);
    assert.deepEqual(transmitted(bench.frames(entry(120, 110)), 'ack'), [{ t: 'ack', pos: 120 }]);
  });

  test('the cursor is stored after the page has the message, and the ack comes last', () => {
    const bench = new Bench({ window: 2 });
    bench.connect();
    const order = bench.frames(entry(110, 100)).map((effect) => (effect.do === 'event' ? effect.name : effect.do));
    assert.deepEqual(order, ['message', 'cursor', 'transmit']);
  });

  test('an entry that comes twice reaches the page once', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100));
    bench.frames(entry(110, 100), entry(120, 110));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120']);
  });

  test('the same message at a second place reaches the page once', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100), entry(130, 110, { id: 'M110' }));
    assert.deepEqual(ids(bench.events('message')), ['M110']);
    assert.deepEqual(transmitted(bench.pass(100), 'ack'), [{ t: 'ack', pos: 130 }]);
  });

  test('a gap is not shown; the session comes again with its cursor', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100), entry(130, 120), entry(140, 130));
    assert.deepEqual(ids(bench.events('message')), ['M110']);
    assert.equal(bench.state, 'waiting');
    bench.pass(500);
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, 110);
    bench.welcome({ cursor: 110 });
    bench.frames(entry(120, 110), entry(130, 120), entry(140, 130));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120', 'M130', 'M140']);
  });

  test('a server that goes back behind the cursor does not make the page see things twice', () => {
    const bench = new Bench();
    bench.connect();
    const receipt = { t: 'receipt', pos: 115, prev: 110, what: 'read', kind: 1, target: 'bo', at: 80 };
    bench.frames(entry(110, 100), receipt, entry(120, 115));
    bench.lose();
    bench.reconnect({ cursor: 100 });
    bench.frames(entry(110, 100), receipt, entry(120, 115), entry(130, 120));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120', 'M130']);
    assert.equal(bench.events('receipt').length, 1);
  });

  test('after a reset to another mailbox, old positions mean nothing', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100));
    bench.lose();
    bench.reconnect({ cursor: 50, resumed: false, why: 'ahead' });
    assert.deepEqual(bench.events('reset'), [{ why: 'ahead' }]);
    bench.frames(entry(60, 50));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M60']);
  });

  test('live may lie past the last entry that came; the stream goes on from there', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(entry(110, 100), { t: 'live', pos: 150 });
    assert.deepEqual(transmitted(bench.pass(100), 'ack'), [{ t: 'ack', pos: 150 }]);
    bench.frames(entry(160, 150));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M160']);
    bench.frames({ t: 'live', pos: 120 }, entry(170, 160));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M160', 'M170'], 'an older one changes nothing');
  });

  test('an unknown kind of entry is acked and skipped', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames({ t: 'novelty', pos: 110, prev: 100 }, entry(120, 110));
    assert.deepEqual(ids(bench.events('message')), ['M120']);
    assert.deepEqual(transmitted(bench.pass(100), 'ack'), [{ t: 'ack', pos: 120 }]);
  });

  test('receipts, reads and recalls are told without their place', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(
      { t: 'read', pos: 110, prev: 100, kind: 1, target: 'bo', upto: 90 },
      { t: 'receipt', pos: 120, prev: 110, what: 'read', kind: 1, target: 'bo', at: 80 },
      { t: 'receipt', what: 'delivered', kind: 1, target: 'bo', at: 85 },
      { t: 'recall', pos: 130, prev: 120, kind: 1, target: 'bo', id: 'M1', at: 70, by: 'bo' },
    );
    assert.deepEqual(bench.events('read'), [{ kind: 1, target: 'bo', upto: 90 }]);
    assert.deepEqual(bench.events('receipt').map((receipt) => receipt.what), ['read', 'delivered']);
    assert.deepEqual(bench.events('recall'), [{ kind: 1, target: 'bo', id: 'M1', at: 70, by: 'bo' }]);
  });

  test('the conversation of a message is the peer, the group, or the system account', () => {
    const bench = new Bench();
    bench.connect();
    bench.frames(
      entry(110, 100),
      entry(120, 110, { from: 'ann', to: 'cy' }),
      entry(130, 120, { kind: 3, to: 'team' }),
      entry(140, 130, { kind: 6, from: 'news', to: 'ann' }),
    );
    assert.deepEqual(bench.events('message').map(({ target, mine }) => [target, mine]), [['bo', false], ['cy', true], ['team', false], ['news', false]]);
  });
});

describe('the answer to a send is a part of the stream', () => {
  const answer = (r, pos, prev) => ({ t: 'ok', r, id: `S${pos}`, at: pos, pos, prev });

  test('in order, it moves the cursor and is acked', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames(answer(r, 110, 100));
    assert.equal(bench.settled('c1').message.pos, 110);
    assert.equal(bench.settled('c1').message.mine, true);
    bench.frames(entry(120, 110));
    assert.deepEqual(ids(bench.events('message')), ['M120']);
    assert.deepEqual(transmitted(bench.pass(100), 'ack'), [{ t: 'ack', pos: 120 }]);
  });

  test('an answer that runs ahead of the backlog is joined to it later', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames(answer(r, 130, 120));
    bench.frames(entry(110, 100), entry(120, 110), entry(140, 130));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120', 'M140']);
    assert.equal(bench.state, 'connected');
  });

  test('the entry pushed as well is not shown a second time', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames(answer(r, 130, 120));
    bench.frames(entry(110, 100), entry(120, 110), entry(130, 120, { id: 'S130', from: 'ann', to: 'bo', cid: 'c1' }));
    assert.deepEqual(ids(bench.events('message')), ['M110', 'M120']);
    assert.deepEqual(bench.events('sent'), []);
  });

  test('nor is it when a merge of two mailboxes puts it at a second place', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames(answer(r, 110, 100), entry(130, 110, { id: 'S110', from: 'ann', to: 'bo', cid: 'c1' }));
    assert.deepEqual(bench.events('message'), []);
    assert.equal(bench.state, 'connected');
  });

  test('what an answer promised and the stream never brings is asked for again', () => {
    const bench = new Bench();
    bench.connect();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.frames(answer(r, 130, 120));
    bench.pass(9_999);
    assert.equal(bench.state, 'connected');
    bench.pass(1);
    assert.equal(bench.state, 'waiting');
    bench.pass(500);
    assert.equal(transmitted(bench.opened(), 'hello')[0].cursor, 100);
  });
});

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
    bench.frames({ t: 'move', after: 0, url: 'http://other' });
    bench.pass(1);
    bench.lose();
    bench.lose();
    assert.equal(bench.pass(5000).find((effect) => effect.do === 'open').url, 'http://node');
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
