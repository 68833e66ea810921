import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MOST_RELAYS, clearlyNearer, parseRelays, rank, readEpoch, readRecord, relayUrl } from '../relays.js';
import { REMEMBERED_IDS, SLOTS, Seen, markOf } from '../seen.js';
import { forSeeds } from './support/random.js';

const relay = (url, rtt = null, more = {}) => ({ node: '', region: '', url, load: 0, draining: false, rtt, ...more });
const urls = (relays) => relays.map(({ url }) => url);

/** Values that a broken or hostile server, or a broken disk, may come up with. */
const GARBAGE = [null, undefined, 0, NaN, -1, 1e300, '', 'x', 'x'.repeat(100_000), true, [], [[]], {}, { url: 1 }, { url: {} }, { url: [] }, { url: 'http://' },
  { url: 'javascript:alert(1)' }, { url: 'ws://a' }, { url: '//a' }, { url: 'http://u:p@a' }, { url: 'http://a/?q' }, { url: 'http://a/#h' }, { url: 'http://[' },
  { url: `http://${'a'.repeat(300)}` }, { toString: null }, Object.create(null), () => {}, Symbol('s'), 10n];

describe('a list of relays', () => {
  test('is read as it is meant', () => {
    const list = [
      { node: 'eu-1', region: 'eu', url: 'https://EU.example.com/', load: 0.12, draining: false },
      { node: 'us-1', region: 'us', url: 'https://us.example.com:8443', load: 0.5, draining: true },
      { node: 'ap-1', region: 'ap', url: '', load: 0 },
      { node: 'lost', region: 'ap', url: '' },
    ];
    assert.deepEqual(parseRelays(list, { base: 'https://im.example', node: 'ap-1', secure: true }), [
      { node: 'eu-1', region: 'eu', url: 'https://eu.example.com', load: 0.12, draining: false, rtt: null },
      { node: 'ap-1', region: 'ap', url: 'https://im.example', load: 0, draining: false, rtt: null },
      { node: 'us-1', region: 'us', url: 'https://us.example.com:8443', load: 0.5, draining: true, rtt: null },
    ]);
    assert.deepEqual(urls(parseRelays([{ node: 'local', region: '', load: 3 }], { base: 'http://a', secure: false })), ['http://a'], 'one alone is the one asked');
  });

  test('leads nobody from https to http', () => {
    const list = [{ url: 'http://a' }, { url: 'https://b' }];
    assert.deepEqual(urls(parseRelays(list, { base: 'https://home', secure: true })), ['https://b']);
    assert.deepEqual(urls(parseRelays(list, { base: 'http://home', secure: false })), ['http://a', 'https://b']);
    assert.equal(relayUrl('http://a', true), null);
  });

  test('may be anything', () => {
    for (const value of GARBAGE) {
      assert.deepEqual(parseRelays(value, { base: 'http://home', node: value, secure: false }), []);
      assert.equal(relayUrl(value, false), null);
      assert.equal(readEpoch(value), value === 'x' ? 'x' : null);
      assert.equal(readRecord(value, { home: 'http://home', secure: false, now: 1000, kept: 100 }), null);
      const record = readRecord({ url: 'http://a', at: 950, measured: value, relays: [value, { url: 'http://a', rtt: value, load: value, node: value }] }, { home: 'http://home', secure: false, now: 1000, kept: 100 });
      assert.deepEqual(urls(record.relays), ['http://a']);
      assert.ok(record.measured >= -1 && record.measured <= 1000);
      const [{ load, rtt, node }] = record.relays;
      assert.ok(load >= 0 && load <= 1 && typeof node === 'string' && node.length <= 64 && (rtt === null || rtt >= 0));
    }
    const all = parseRelays([...GARBAGE, { url: 'http://a' }, { url: 'http://A/' }], { base: 'http://home', secure: false });
    assert.deepEqual(urls(all), ['http://a']);
  });

  test('is read to a bound, those that stay first', () => {
    const list = Array.from({ length: 100_000 }, (_, i) => ({ url: `http://n${i}`, draining: i < 5 }));
    const relays = parseRelays(list, { base: 'http://home', secure: false });
    assert.equal(relays.length, MOST_RELAYS);
    assert.equal(relays.some((one) => one.draining), false);
  });
});

describe('the nearest', () => {
  test('comes first; among those as near, the least loaded; what is going away or unknown last', () => {
    const relays = [
      relay('gone', 1, { draining: true }), relay('unknown'), relay('far', 200), relay('busy', 20, { load: 0.9 }), relay('calm', 35, { load: 0.1 }), relay('mid', 60),
    ];
    assert.deepEqual(urls(rank(relays)), ['calm', 'busy', 'mid', 'far', 'unknown', 'gone']);
  });

  test('is worth a move only when it is nearer by 20 ms and by a quarter', () => {
    assert.equal(clearlyNearer(relay('a', 30), relay('b', 50)), true);
    assert.equal(clearlyNearer(relay('a', 31), relay('b', 50)), false);
    assert.equal(clearlyNearer(relay('a', 180), relay('b', 210)), false);
    assert.equal(clearlyNearer(relay('a', 150), relay('b', 200)), true);
    assert.equal(clearlyNearer(relay('a'), relay('b', 200)), false);
    assert.equal(clearlyNearer(relay('a', 10), relay('b')), false);
  });

  test('is one order, whatever the order of the list', () => forSeeds(100, (random) => {
    const relays = Array.from({ length: 10 }, (_, i) => relay(`r${i}`, Math.floor(random() * 300), { load: random() }));
    const shuffled = relays.map((one) => ({ one, key: random() })).sort((a, b) => a.key - b.key).map(({ one }) => one);
    const ranked = rank(relays);
    assert.deepEqual(rank(shuffled).map(({ rtt }) => rtt), ranked.map(({ rtt }) => rtt));
    for (let i = 1; i < ranked.length; i += 1) assert.equal(clearlyNearer(ranked[i], ranked[i - 1]), false);
  }));
});

describe('ids seen', () => {
  test('are known for at least 4,096 messages, and not for ever', () => {
    const seen = new Seen();
    for (let i = 0; i < 10_000; i += 1) assert.equal(seen.first(`id-${i}`), true);
    for (let i = 10_000 - REMEMBERED_IDS; i < 10_000; i += 1) assert.equal(seen.first(`id-${i}`), false);
    assert.equal(seen.first('id-0'), true);
  });

  test('outlive the page in small pieces, also when it is left at any moment', () => forSeeds(30, (random) => {
    const slots = [];
    let seen = new Seen();
    const total = 1000 + Math.floor(random() * 12_000);
    for (let i = 0; i < total; i += 1) {
      assert.equal(seen.first(`id-${i}`), true);
      for (const [slot, text] of seen.changes()) {
        assert.ok(slot < SLOTS && text.length < 6000);
        slots[slot] = text;
      }
      if (random() < 0.002) {
        seen = new Seen();
        seen.restore(slots);
        assert.deepEqual(seen.changes(), []);
      }
    }
    seen = new Seen();
    seen.restore(slots);
    for (let i = Math.max(0, total - REMEMBERED_IDS); i < total; i += 1) assert.equal(seen.first(`id-${i}`), false, `${i} of ${total}`);
  }));

  test('of this page are kept when those of storage are added', () => {
    const stored = new Seen();
    stored.first('old');
    const seen = new Seen();
    seen.first('new');
    seen.restore(stored.changes().map(([, text]) => text));
    assert.deepEqual([seen.first('old'), seen.first('new')], [false, false]);
    assert.equal(seen.changes().length, 1);
  });

  test('that are garbled are left out', () => {
    const seen = new Seen();
    seen.restore([...GARBAGE, '5:', '7:abc', '-1:00000000000', `3:${'0'.repeat(100_000)}`, '999999999999999:0123456789a']);
    assert.equal(seen.first('x'), true);
    assert.equal(seen.first('x'), false);
  });

  test('have marks of one length that differ', () => {
    const marks = new Set(Array.from({ length: 100_000 }, (_, i) => markOf(`01KB000000000000000000${i}`)));
    assert.equal(marks.size, 100_000);
    for (const mark of marks) assert.equal(mark.length, 11);
  });
});
