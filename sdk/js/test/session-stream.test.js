/** The session: entries on their way from the mailbox to the page. */

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
