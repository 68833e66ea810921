import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { batches } from '../driver.js';
import { utf8Length } from '../message.js';
import { ulidFactory } from '../ulid.js';

describe('send ids', () => {
  test('have the form of a ULID and name their time', () => {
    const ulid = ulidFactory({ now: () => 1469918176385, random: (count) => new Uint8Array(count) });
    assert.equal(ulid(), '01ARYZ6S410000000000000000'); // the time of the ULID specification's example
  });

  test('grow within a millisecond, and when the clock steps back', () => {
    let now = 1000;
    const ulid = ulidFactory({ now: () => now });
    const ids = [ulid(), ulid(), ulid()];
    now = 900;
    ids.push(ulid());
    assert.deepEqual(ids, [...new Set(ids)].sort());
  });

  test('carry over', () => {
    const bytes = Uint8Array.from([0, ...Array(15).fill(31)]);
    const ulid = ulidFactory({ now: () => 0, random: () => bytes });
    assert.equal(ulid().slice(10), '0ZZZZZZZZZZZZZZZ');
    assert.equal(ulid().slice(10), '1000000000000000');
  });
});

test('bytes are counted as a UTF-8 encoder writes them', () => {
  for (const text of ['', 'abc', 'é', '鸿雁', '😀', 'a😀鸿é', '\ud83d', '\ude00x', 'x\ud83dx', '\ud83d\ud83d\ude00', '\uffff']) {
    assert.equal(utf8Length(text), new TextEncoder().encode(text).length, JSON.stringify(text));
  }
});

test('outgoing frames share transport messages, within the limit', () => {
  assert.deepEqual(batches([], 100), []);
  assert.deepEqual(batches([{ a: 1 }], 100), ['{"a":1}']);
  assert.deepEqual(batches([{ a: 1 }, { b: 2 }, { c: 3 }], 100), ['[{"a":1},{"b":2},{"c":3}]']);
  const frames = Array.from({ length: 50 }, (_, i) => ({ text: '鸿'.repeat(i) }));
  const messages = batches(frames, 300);
  assert.deepEqual(messages.flatMap((text) => JSON.parse(text)), frames);
  for (const text of messages) assert.ok(utf8Length(text) <= 300, `${utf8Length(text)} bytes`);
});
