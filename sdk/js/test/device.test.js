import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeviceNames } from '../device.js';
import { Store, memoryStorage } from '../storage.js';

/** Web Locks as one browser has them, for all its tabs. */
class FakeLocks {
  held = new Set();

  async request(name, { ifAvailable }, callback) {
    assert.equal(ifAvailable, true);
    if (this.held.has(name)) return callback(null);
    this.held.add(name);
    try {
      return await callback({ name });
    } finally {
      this.held.delete(name);
    }
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 1));

for (const kind of ['Web Locks', 'leases']) {
  describe(`device names, with ${kind}`, () => {
    const browser = () => ({ local: memoryStorage(), locks: kind === 'leases' ? null : new FakeLocks() });
    const tab = ({ local, locks }, session = memoryStorage()) => ({ session, names: new DeviceNames(new Store(local, 'http://node'), session, locks) });

    test('two tabs are two devices', async () => {
      const chrome = browser();
      const one = await tab(chrome).names.claim();
      const two = await tab(chrome).names.claim();
      assert.notEqual(one.name, two.name);
      one.release();
      two.release();
    });

    test('a reloaded tab is the device it was, even when others were closed before it', async () => {
      const chrome = browser();
      const other = await tab(chrome).names.claim();
      const { session, names } = tab(chrome);
      const before = await names.claim();
      other.release();
      before.release();
      await settled();
      const after = await tab(chrome, session).names.claim();
      assert.equal(after.name, before.name);
      after.release();
    });

    test('a duplicated tab, which has a copy of the session storage, is another device', async () => {
      const chrome = browser();
      const { session, names } = tab(chrome);
      const original = await names.claim();
      const copy = memoryStorage();
      copy.setItem('hongyan:device', session.getItem('hongyan:device'));
      const duplicate = await tab(chrome, copy).names.claim();
      assert.notEqual(duplicate.name, original.name);
      original.release();
      duplicate.release();
    });

    test('a new tab takes the name of a closed one', async () => {
      const chrome = browser();
      const closed = await tab(chrome).names.claim();
      closed.release();
      await settled();
      const fresh = await tab(chrome).names.claim();
      assert.equal(fresh.name, closed.name);
      fresh.release();
    });
  });
}

test('a lease that nobody renews runs out', async (t) => {
  t.mock.timers.enable({ apis: ['Date', 'setInterval'], now: 1_000_000 });
  const local = memoryStorage();
  const names = () => new DeviceNames(new Store(local, 'http://node'), null, null);
  local.setItem('hongyan:devices', '["web-x"]');
  local.setItem('hongyan:lease:web-x', JSON.stringify({ by: 'a page that crashed', until: 1_150_000 }));
  assert.equal(await names().lock('web-x'), null);
  t.mock.timers.tick(150_000);
  const release = await names().lock('web-x');
  assert.equal(typeof release, 'function');
  t.mock.timers.tick(600_000);
  assert.equal(await names().lock('web-x'), null, 'renewed while the page lives');
  release();
  assert.equal(local.getItem('hongyan:lease:web-x'), null);
});

describe('the store', () => {
  test('keeps users, devices and hosts apart', () => {
    const storage = memoryStorage();
    const store = new Store(storage, 'http://node:1');
    store.setCursor('a:b', 'c', { pos: 1, epoch: null });
    store.setCursor('a', 'b:c', { pos: 2, epoch: 'e' });
    assert.deepEqual(store.cursor('a:b', 'c'), { pos: 1, epoch: null });
    assert.deepEqual(store.cursor('a', 'b:c'), { pos: 2, epoch: 'e' });
    assert.deepEqual(new Store(storage, 'http://node:2').cursor('a', 'b:c'), { pos: null, epoch: null });
  });

  test('reads a cursor that was stored before there were epochs', () => {
    const storage = memoryStorage();
    storage.setItem('hongyan:cursor:node:ann:web', '5');
    assert.deepEqual(new Store(storage, 'http://node').cursor('ann', 'web'), { pos: 5, epoch: null });
  });

  test('keeps the ids seen of a bounded number of users', () => {
    const keys = new Map();
    const storage = { getItem: (key) => keys.get(key) ?? null, setItem: (key, value) => void keys.set(key, value), removeItem: (key) => void keys.delete(key) };
    const store = new Store(storage, 'http://node');
    for (let i = 0; i < 40; i += 1) store.setSeen(`user:${i}`, 'web', [[0, `${i}:`], [8, 'x']]);
    assert.equal([...keys.keys()].filter((key) => /^hongyan:seen\d/.test(key)).length, 32);
    assert.equal(store.seen('user:39', 'web')[0], '39:');
    assert.equal(store.seen('user:0', 'web')[0], null);
  });

  test('takes damaged values for missing ones, and a full disk for a pity', () => {
    const storage = memoryStorage();
    const store = new Store(storage, 'http://node');
    store.setCursor('ann', 'web', { pos: 5, epoch: null });
    storage.setItem('hongyan:cursor:node:ann:web', '{"half');
    storage.setItem('hongyan:unsent:node:ann:web', '[null,{"t":"send"},{"t":"send","id":"c1"}]');
    assert.equal(store.cursor('ann', 'web').pos, null);
    assert.deepEqual(store.unsent('ann', 'web'), [{ t: 'send', id: 'c1' }]);
    storage.setItem = () => {
      throw new Error('QuotaExceededError');
    };
    store.setCursor('ann', 'web', { pos: 6, epoch: null });
    store.setSeen('ann', 'web', [[0, '1:']]);
    store.setRelays({ url: 'http://x' });
  });
});
