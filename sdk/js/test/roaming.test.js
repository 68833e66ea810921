/**
 * Sessions among several relays, under virtual time.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Bench, entry, transmitted } from './support/bench.js';
import { forSeeds, seeded } from './support/random.js';
import { Page, Simulation } from './support/simulation.js';

const contents = (messages) => messages.map((message) => message.content.content);
const onDisk = (simulation, user, from) => contents(simulation.node.user(user).entries.map((one) => one.m).filter((m) => m?.from === from));
const opens = (effects) => effects.filter((effect) => effect.do === 'open').map(({ url, transport }) => `${transport} ${url}`);
/** Nodes in the order of the visits; an event may only add the region. */
const relays = (page) => page.log.filter(([name]) => name === 'relay').map(([, { node }]) => node).filter((node, i, all) => node !== all[i - 1]);
const states = (page) => page.log.map(([name]) => name).filter((name) => ['connecting', 'connected', 'waiting', 'closed'].includes(name));

const calm = (delays, seed = 1) => {
  const simulation = new Simulation(seeded(seed)).cluster(delays);
  simulation.faults = false;
  return simulation;
};
const storage = () => ({ cursor: null, unsent: [], seen: [] });
const page = (simulation, kept = storage(), options = {}) => new Page(simulation, 'ann', 'web-a', kept, options);

/** Milliseconds until `condition` holds. */
function within(simulation, ms, condition) {
  const start = simulation.now;
  while (!condition()) {
    assert.ok(simulation.now - start < ms, `not within ${ms} ms: ${condition}`);
    simulation.run(5);
  }
  return simulation.now - start;
}

describe('the nearest relay', () => {
  test('is gone over to once it is known, and the page notices nothing', () => {
    const simulation = calm({ home: 90, mid: 50, near: 8, gone: 1 });
    simulation.relay('gone').draining = true;
    const ann = page(simulation);
    assert.deepEqual([...ann.lines.values()].map(({ relay }) => relay.node), ['home'], 'the first connection waits for nothing');
    const bo = new Page(simulation, 'bo', 'web-b', storage(), { relay: 'home' });
    simulation.run(2000);
    assert.deepEqual(relays(ann), ['home']);
    simulation.run(8000);
    assert.deepEqual(relays(ann), ['home', 'near']);
    assert.deepEqual(ann.session.relay, { node: 'near', region: 'of near', url: 'http://near', rtt: 16 });
    assert.deepEqual(states(ann), ['connecting', 'connected']);
    assert.deepEqual(relays(bo), ['home']);
    assert.equal(bo.storage.relays, undefined);
    assert.equal(simulation.measurements, 1);
    ann.send('hi', 'bo');
    bo.send('hello', 'ann');
    simulation.run(2000);
    assert.deepEqual([contents(bo.received), contents(ann.received)], [['hi'], ['hello']]);
  });

  test('is looked for among the list, where we are, and home, each once', () => {
    const asked = (bench) => bench.pass(1000).find((effect) => effect.do === 'measure');
    const bench = new Bench();
    bench.connect();
    assert.deepEqual(asked(bench).besides.map(({ url }) => url), ['http://node']);
    const away = new Bench();
    away.input('connect', { token: 'T', device: 'web-1', relay: { url: 'http://near', at: away.now, measured: 0, relays: [] } });
    away.opened();
    away.welcome();
    away.input('restored', { cursor: null, sends: [] });
    const { base, list, besides } = asked(away);
    assert.deepEqual([base, list, besides.map(({ url }) => url)], ['http://near', null, ['http://near', 'http://node']]);
  });

  test('is not gone over to for a small difference', () => {
    const simulation = calm({ home: 40, other: 31 });
    const ann = page(simulation);
    simulation.run(60_000);
    assert.deepEqual(relays(ann), ['home']);
    assert.equal(ann.session.relay.rtt, 80);
  });

  test('is remembered: the next page begins there, and measures nothing while that is recent', () => {
    const simulation = calm({ home: 90, near: 8 });
    const ann = page(simulation);
    simulation.run(20_000);
    const next = ann.reload();
    assert.deepEqual([...next.lines.values()].map(({ relay }) => relay.node), ['near']);
    simulation.run(60_000);
    assert.deepEqual(relays(next), ['near']);
    assert.equal(next.session.relay.rtt, 16);
    assert.equal(simulation.measurements, 1);
    simulation.run(2 * 3_600_000);
    assert.ok(simulation.measurements >= 2 && simulation.measurements <= 5, `${simulation.measurements} in two hours`);
  });

  test('is forgotten after a day', () => {
    const simulation = calm({ home: 90, near: 8 });
    const ann = page(simulation);
    simulation.run(20_000);
    ann.reload();
    simulation.pages[0].gone = true;
    simulation.pages = [];
    simulation.now += 24 * 3_600_000;
    const next = page(simulation, ann.storage);
    assert.deepEqual([...next.lines.values()].map(({ relay }) => relay.node), ['home']);
  });

  test('is found anew in another network', () => {
    const simulation = calm({ home: 90, near: 8, other: 60 });
    const ann = page(simulation);
    simulation.run(120_000);
    Object.assign(simulation.relay('near'), { delay: 100 });
    Object.assign(simulation.relay('other'), { delay: 5 });
    ann.input('wake', { changed: true });
    assert.equal(ann.storage.relays, null);
    simulation.run(10_000);
    assert.deepEqual(relays(ann), ['home', 'near', 'other']);
    assert.equal(ann.storage.relays.url, 'http://other');
  });

  test('may be named by the welcome', () => {
    const simulation = calm({ home: 90, near: 8 });
    simulation.unlisted = true;
    simulation.node.relays = () => simulation.list();
    const ann = page(simulation);
    simulation.run(10_000);
    assert.deepEqual(relays(ann), ['home', 'near']);
  });

  test('is not looked for twice where there is no list', () => {
    const simulation = calm({ home: 90 });
    simulation.unlisted = true;
    const ann = page(simulation);
    simulation.run(24 * 3_600_000);
    assert.equal(simulation.measurements, 1);
    assert.deepEqual(relays(ann), ['home']);
    ann.input('disconnect');
    ann.input('connect', { token: 'token-ann', device: 'web-a', relay: null });
    simulation.run(60_000);
    assert.equal(simulation.measurements, 2);
  });

  test('is not gone over to in the middle of something, nor waited for without end', () => {
    const bench = new Bench();
    bench.connect();
    bench.pass(1000);
    const list = ['http://node', 'http://near'].map((url, i) => ({ node: `n${i}`, region: '', url, load: 0, draining: false, rtt: i ? 5 : 90 }));
    bench.input('measured', { relays: list });
    bench.send('c1');
    assert.deepEqual(opens(bench.pass(5000)), [], 'c1 is not answered');
    const [{ r }] = transmitted(bench.effects, 'send');
    bench.frames({ t: 'ok', r, id: 'S', at: 1 });
    assert.deepEqual(opens(bench.pass(1499)), []);
    assert.deepEqual(opens(bench.pass(1)), ['ws http://near']);
    const old = bench.effects.filter((effect) => effect.do === 'transmit').at(0).conn;
    bench.opened();
    bench.input('frames', { conn: old, frames: [entry(110, 100)] });
    const effects = bench.welcome({ cursor: 100, node: 'n1' });
    assert.deepEqual(effects.filter((effect) => effect.do === 'close').map(({ conn }) => conn), [old]);
    bench.frames(entry(110, 100), entry(120, 110));
    assert.deepEqual(bench.events('message').map(({ id }) => id), ['M110', 'M120']);

    const busy = new Bench();
    busy.connect();
    busy.pass(1000);
    busy.input('measured', { relays: list });
    const opened = [];
    for (let i = 0; i < 31; i += 1) {
      opened.push(...opens(busy.pass(1000)));
      if (opened.length === 0) busy.frames({ t: 'pong' });
    }
    assert.deepEqual(opened.slice(0, 1), ['ws http://near']);
  });

  test('that cannot be reached changes nothing', () => {
    const simulation = calm({ home: 90, near: 8 });
    const ann = page(simulation);
    within(simulation, 5000, () => simulation.measurements === 1);
    simulation.run(1001);
    simulation.relay('near').state = 'refused';
    simulation.run(30_000);
    assert.deepEqual(states(ann), ['connecting', 'connected']);
    assert.deepEqual(relays(ann), ['home']);
    assert.equal(ann.session.phase, 'up');
  });
});

describe('when a relay fails', () => {
  for (const state of ['refused', 'silent']) {
    test(`the next one is there soon (${state})`, () => {
      const simulation = calm({ home: 60, near: 8, mid: 30 });
      const ann = page(simulation);
      simulation.run(20_000);
      assert.deepEqual(relays(ann), ['home', 'near']);
      simulation.down('near', state);
      ann.send('kept', 'bo');
      within(simulation, 40_000, () => states(ann).at(-1) === 'waiting'); // noticed
      const ms = within(simulation, 5000, () => ann.session.phase === 'up');
      // Pause (at most 500), stagger (400), open and welcome (8 ways), jitter.
      assert.ok(ms < 500 + 400 + 8 * 30 + 200, `${ms} ms`);
      simulation.run(500);
      assert.deepEqual(relays(ann), ['home', 'near', 'mid'], 'the nearest of those left');
      assert.equal(ann.answered.get('kept').content.content, 'kept');
      simulation.relay('near').state = 'up';
      simulation.run(10 * 60_000);
      assert.deepEqual(relays(ann), ['home', 'near', 'mid', 'near'], 'and the way back is found');
    });

    test(`a page that begins there is at the next one soon (${state})`, () => {
      const simulation = calm({ home: 60, near: 8 });
      const ann = page(simulation);
      simulation.run(20_000);
      simulation.down('near', state);
      const next = ann.reload();
      const ms = within(simulation, 5000, () => next.session.phase === 'up');
      assert.ok(ms < 400 + 8 * 60 + 200, `${ms} ms`);
      assert.deepEqual(states(next), ['connecting', 'connected']);
    });
  }

  test('and another hangs, the first one that is up again is taken', () => {
    const simulation = calm({ home: 60, near: 8 });
    const ann = page(simulation);
    simulation.run(20_000);
    simulation.down('home', 'silent');
    simulation.down('near', 'refused');
    simulation.run(1000);
    assert.notEqual(ann.session.phase, 'up');
    simulation.relay('near').state = 'up';
    within(simulation, 4000, () => ann.session.phase === 'up');
    simulation.run(500);
    assert.deepEqual(relays(ann), ['home', 'near']);
  });

  test('and all are down, the first one that is up again is taken', () => {
    for (const [first, node] of [['home', 'home'], ['near', 'near']]) {
      const simulation = calm({ home: 60, near: 8, mid: 30 });
      const ann = page(simulation);
      simulation.run(20_000);
      for (const name of ['home', 'near', 'mid']) simulation.down(name, 'refused');
      simulation.run(60_000);
      assert.notEqual(ann.session.phase, 'up');
      simulation.relay(first).state = 'up';
      within(simulation, 21_000, () => ann.session.phase === 'up');
      simulation.run(500);
      assert.equal(relays(ann).at(-1), node);
    }
  });

  test('a hello that is read late is not taken for another tab, but another tab is', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1', relay: { url: 'http://near', at: bench.now, measured: bench.now, relays: [] } });
    bench.opened(); // its hello goes, and is read late
    const slow = bench.conn;
    assert.deepEqual(opens(bench.pass(1000)), ['ws http://node']);
    assert.notEqual(bench.conn, slow);
    bench.opened();
    const effects = bench.welcome();
    assert.deepEqual(effects.filter((effect) => effect.do === 'close').map(({ conn }) => conn), [slow]);
    bench.input('restored', { cursor: null, sends: [] });
    bench.frames({ t: 'kick', code: 'replaced' });
    assert.equal(bench.state, 'waiting');
    bench.reconnect();
    bench.frames({ t: 'kick', code: 'replaced' });
    assert.equal(bench.state, 'closed');
    assert.equal(bench.events('kick').length, 1);
  });

  test('a stranger under its address does not have the last word', () => {
    const record = (bench) => ({ url: 'http://near', at: bench.now, measured: bench.now, relays: [] });
    const bench = new Bench({ transports: ['ws'] });
    bench.input('connect', { token: 'T', device: 'web-1', relay: record(bench) });
    bench.opened();
    assert.deepEqual(opens(bench.frames({ t: 'err', code: 'bad_token' })), ['ws http://node']);
    bench.opened();
    bench.welcome();
    bench.input('restored', { cursor: null, sends: [] });
    assert.equal(bench.state, 'connected');

    const alone = new Bench({ transports: ['ws'] });
    alone.input('connect', { token: 'T', device: 'web-1', relay: record(alone) });
    alone.opened();
    alone.frames({ t: 'err', code: 'bad_token' });
    alone.lose();
    assert.equal(alone.effects.find((effect) => effect.do === 'refused').error.code, 'bad_token', 'with nobody else to ask');

    const expired = new Bench({ transports: ['ws'] });
    expired.input('connect', { token: 'T', device: 'web-1', relay: record(expired) });
    expired.opened();
    expired.frames({ t: 'err', code: 'token_expired' });
    assert.equal(expired.state, 'closed', 'who knows the token may say so');
  });
});

describe('a move', () => {
  const moving = (url, delays = { home: 60, near: 8, mid: 30 }) => {
    const simulation = calm(delays);
    const ann = page(simulation);
    simulation.run(20_000);
    for (const session of simulation.node.sessions) if (session.user.id === 'ann') session.push([{ t: 'move', after: 300, url }]);
    return { simulation, ann };
  };

  test('is obeyed without a gap, and remembered', () => {
    const { simulation, ann } = moving('http://mid');
    for (let i = 0; i < 20; i += 1) simulation.at(i * 50, () => ann.send(`m${i}`, 'bo'));
    simulation.run(2000);
    assert.deepEqual(relays(ann), ['home', 'near', 'mid']);
    assert.deepEqual(states(ann), ['connecting', 'connected']);
    assert.deepEqual(onDisk(simulation, 'bo', 'ann'), Array.from({ length: 20 }, (_, i) => `m${i}`));
    assert.equal(ann.answered.size, 20);
    assert.equal(ann.storage.relays.url, 'http://mid');
    simulation.run(10 * 60_000);
    assert.deepEqual(relays(ann), ['home', 'near', 'mid', 'near'], 'back when it is over');
  });

  test('to where nobody answers leads to another one, soon', () => {
    const { simulation, ann } = moving('http://nobody');
    ann.send('kept', 'bo');
    simulation.run(300 + 400 + 8 * 30 + 300);
    assert.deepEqual(relays(ann), ['home', 'near', 'mid']);
    assert.deepEqual(states(ann), ['connecting', 'connected']);
    simulation.run(1000);
    assert.equal(ann.answered.get('kept').content.content, 'kept');
  });

  test('without an address leads to the next nearest', () => {
    const { simulation, ann } = moving(undefined);
    simulation.run(2000);
    assert.deepEqual(relays(ann), ['home', 'near', 'mid']);
  });

  test('of a node that is gone before its time: nothing is lost', () => {
    const { simulation, ann } = moving('http://mid');
    simulation.run(100);
    simulation.down('near', 'refused');
    ann.send('kept', 'bo');
    simulation.run(3000);
    assert.deepEqual(relays(ann), ['home', 'near', 'mid']);
    assert.equal(ann.answered.get('kept').content.content, 'kept');
  });

  test('from https leads to https only', () => {
    const bench = new Bench({ url: 'https://node', transports: ['ws'] });
    bench.connect();
    bench.frames({ t: 'move', after: 0, url: 'http://plain' });
    assert.deepEqual(opens(bench.pass(1000)), ['ws https://node']);
  });
});

describe('a page that came over https', () => {
  test('goes to no relay over http', () => {
    const simulation = calm({ home: 90, near: 8 });
    const ann = page(simulation, storage(), { secure: true });
    simulation.run(60_000);
    assert.deepEqual(relays(ann), ['home']);
    ann.storage.relays = { url: 'http://near', at: simulation.now, measured: simulation.now, relays: [] };
    const next = ann.reload();
    assert.deepEqual([...next.lines.values()].map(({ relay }) => relay.node), ['home']);
  });
});

describe('whatever a server says of relays', () => {
  test('breaks no session', () => {
    for (const garbage of [null, 7, 'x', {}, [null, 1, 'x', [], {}, { url: 7 }, { url: 'ftp://a' }], Array(5000).fill({ url: `http://${'a'.repeat(500)}` })]) {
      const bench = new Bench();
      bench.connect({ relays: garbage, node: garbage, epoch: garbage });
      bench.frames({ t: 'move', after: garbage, url: garbage });
      bench.pass(2000);
      bench.input('measured', { relays: null, none: false });
      bench.opened();
      bench.welcome({ relays: garbage });
      bench.frames(entry(110, 100));
      assert.deepEqual(bench.events('message').map(({ id }) => id), ['M110']);
      assert.equal(typeof bench.session.relay.node, 'string');
    }
  });
});

describe('an epoch', () => {
  test('is kept with the cursor and said with it', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    assert.equal('epoch' in transmitted(bench.opened(), 'hello')[0], false);
    bench.welcome({ cursor: 100, epoch: 'e1' });
    const effects = bench.input('restored', { cursor: null, epoch: null, seen: [], sends: [] });
    assert.deepEqual(effects.find((effect) => effect.do === 'cursor'), { do: 'cursor', pos: 100, epoch: 'e1' });
    assert.deepEqual(bench.frames(entry(110, 100)).find((effect) => effect.do === 'cursor'), { do: 'cursor', pos: 110, epoch: 'e1' });
    bench.lose();
    bench.pass(500);
    const [hello] = transmitted(bench.opened(), 'hello');
    assert.deepEqual([hello.cursor, hello.epoch], [110, 'e1']);
    const again = bench.welcome({ cursor: 110, epoch: 'e2' });
    assert.deepEqual(again.find((effect) => effect.do === 'cursor'), { do: 'cursor', pos: 110, epoch: 'e2' });
    bench.lose();
    bench.pass(500);
    assert.equal(transmitted(bench.opened(), 'hello')[0].epoch, 'e2');
    bench.welcome({ cursor: 110 });
    bench.lose();
    bench.pass(2000);
    assert.equal('epoch' in transmitted(bench.opened(), 'hello')[0], false, 'a server that names none is told none');
  });

  test('of storage is said before the stream begins, should the server be at another', () => {
    const bench = new Bench();
    bench.input('connect', { token: 'T', device: 'web-1' });
    bench.opened();
    bench.welcome({ cursor: 110, epoch: 'e2' });
    bench.input('restored', { cursor: 110, epoch: 'e1', seen: [], sends: [] });
    const [hello] = transmitted(bench.opened(), 'hello');
    assert.deepEqual([hello.cursor, hello.epoch], [110, 'e1']);
  });

  test('forked: the stream starts before what is known; known messages are not shown again, and nothing is reset', () => {
    const bench = new Bench();
    bench.connect({ epoch: 'e1' });
    bench.frames(entry(110, 100), entry(120, 110));
    bench.lose();
    bench.reconnect({ cursor: 100, epoch: 'e2', resumed: true, why: 'forked' });
    assert.deepEqual(bench.events('reset'), []);
    bench.frames(entry(105, 100), entry(130, 105, { id: 'M110' }), entry(140, 130, { id: 'M120' }), entry(150, 140));
    assert.deepEqual(bench.events('message').map(({ id }) => id), ['M110', 'M120', 'M105', 'M150']);
    assert.equal(bench.effects.filter((effect) => effect.do === 'cursor').at(-1).pos, 150);
    assert.equal(bench.state, 'connected');
    bench.lose();
    bench.reconnect({ cursor: 100, epoch: 'e2', resumed: true, why: 'forked' });
    bench.frames(entry(102, 100));
    assert.equal(bench.events('message').at(-1).id, 'M102', 'the word counts, whatever the epoch');
  });

  test('that changes between two lines makes positions of the one mean nothing to the other', () => {
    const bench = new Bench();
    bench.connect({ epoch: 'e1' });
    const old = bench.conn;
    bench.frames({ t: 'move', after: 0, url: 'http://other' });
    bench.pass(1);
    bench.opened();
    const [{ r }] = transmitted(bench.send('c1'), 'send');
    bench.input('frames', { conn: old, frames: [entry(110, 100), entry(120, 110), { t: 'ok', r, id: 'S', at: 1, pos: 140, prev: 130 }] });
    bench.welcome({ cursor: 100, epoch: 'e2' });
    bench.frames(entry(105, 100), entry(130, 105, { id: 'M110' }), entry(135, 130, { id: 'M120' }), entry(150, 135));
    assert.deepEqual(bench.events('message').map(({ id }) => id), ['M110', 'M120', 'M105', 'M150']);
    assert.equal(bench.session.phase, 'up');
  });

  test('forked at any moment, with pages that are reloaded: each message once', async () => {
    await forSeeds(100, (random) => {
      const simulation = new Simulation(random).cluster({ east: 20, west: 30 });
      const ann = simulation.node.user('ann');
      ann.epoch = 'epoch-0';
      ann.devices.set('web-a', 0);
      let current = page(simulation);
      const pages = [current];
      for (let i = 0; i < 60; i += 1) simulation.at(random() * 60_000, () => simulation.node.deliver('bo', 'ann', { content: `m${i}` }));
      for (let i = 0; i < 20; i += 1) simulation.at(random() * 60_000, () => current.session.user && current.send(`s${i}`, 'bo'));
      for (let i = 0; i < 4; i += 1) {
        simulation.at(random() * 60_000, () => {
          if (ann.entries.length === 0) return;
          const { pos } = ann.entries[Math.floor(random() * ann.entries.length)];
          simulation.node.fork(ann, pos, () => simulation.node.deliver('cy', 'ann', { content: `other${i}` }));
        });
        simulation.at(random() * 60_000, () => {
          current = current.reload();
          pages.push(current);
        });
      }
      simulation.run(60_000);
      simulation.faults = false;
      simulation.run(120_000);
      const shown = pages.flatMap((one) => contents(one.received));
      const expected = ann.entries.map(({ m }) => m).filter((m) => m && m.from !== 'ann');
      assert.equal(new Set(shown).size, shown.length, 'none twice');
      assert.deepEqual([...shown].sort(), contents(expected).sort(), 'none missing');
      assert.deepEqual(pages.flatMap((one) => one.log.filter(([name]) => name === 'reset')), []);
      assert.equal(current.session.phase, 'up');
      assert.deepEqual(current.session.outbox.unsent(), []);
    });
  });
});

test('back and forth between relays 50 times over a bad network: nothing is lost, doubled or out of order', async () => {
  await forSeeds(100, (random) => {
    const simulation = new Simulation(random).cluster({ east: 20, west: 40, north: 10 });
    const ann = page(simulation);
    const bo = new Page(simulation, 'bo', 'web-b');
    const sent = { ann: [], bo: [] };
    for (let i = 0; i < 200; i += 1) {
      const [from, target] = random() < 0.5 ? [ann, 'bo'] : [bo, 'ann'];
      const id = `${from.user}-${i}`;
      simulation.at(random() * 200_000, () => {
        sent[from.user].push(id);
        from.send(id, target);
      });
    }
    for (let i = 0; i < 50; i += 1) {
      simulation.at(i * 4000 + random() * 4000, () => {
        const url = `http://${['east', 'west', 'north', 'nobody'][Math.floor(random() * 4)]}`;
        const how = random();
        if (how < 0.6) {
          for (const session of simulation.node.sessions) session.push([{ t: 'move', after: random() * 500, url: random() < 0.8 ? url : undefined }]);
        } else {
          for (const relay of simulation.relays.values()) relay.delay = random() * 120;
          for (const one of [ann, bo]) one.input('wake', { changed: true });
        }
        if (how > 0.9) {
          const node = ['east', 'west', 'north'][Math.floor(random() * 3)];
          simulation.down(node, random() < 0.5 ? 'refused' : 'silent');
          simulation.at(random() * 5000, () => (simulation.relay(node).state = 'up'));
        }
      });
    }
    simulation.run(200_000);
    simulation.faults = false;
    simulation.run(120_000);
    for (const [one, peer] of [[ann, 'bo'], [bo, 'ann']]) {
      assert.deepEqual(onDisk(simulation, one.user, one.user), sent[one.user], `${one.user}'s sends, on disk`);
      assert.deepEqual(contents(one.received), sent[peer], `what ${one.user} was shown`);
      assert.deepEqual([...one.answered.keys()].sort(), [...sent[one.user]].sort(), `answers to ${one.user}`);
      for (const [cid, message] of one.answered) assert.equal(message.content?.content, cid);
      assert.ok(relays(one).length >= 5, `${one.user} moved ${relays(one).length} times`);
      assert.equal(states(one).includes('closed'), false);
      const { node } = simulation;
      assert.equal(node.user(one.user).devices.get(one.device), node.end(node.user(one.user)), 'all is acked');
    }
  });
});

test('between relays that are well, a planned change is never noticed', async () => {
  await forSeeds(50, (random) => {
    const simulation = new Simulation(random).cluster({ east: 20, west: 40 });
    simulation.faults = false;
    const ann = page(simulation);
    const bo = new Page(simulation, 'bo', 'web-b');
    simulation.run(5000);
    const expected = Array.from({ length: 200 }, (_, i) => `m${i}`);
    expected.forEach((id, i) => simulation.at(i * 250 + random() * 250, () => ann.send(id, 'bo')));
    for (let i = 0; i < 50; i += 1) {
      simulation.at(i * 1000 + 500, () => {
        for (const session of simulation.node.sessions) session.push([{ t: 'move', after: random() * 100, url: i % 2 ? 'http://east' : 'http://west' }]);
      });
    }
    simulation.run(60_000);
    assert.deepEqual(contents(bo.received), expected);
    assert.deepEqual([...ann.answered.keys()], expected);
    for (const one of [ann, bo]) {
      assert.deepEqual(states(one), ['connecting', 'connected']);
      assert.ok(relays(one).length >= 50, `${relays(one).length}`);
    }
  });
});
