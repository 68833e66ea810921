/**
 * Many runs over a bad network under virtual time. A failure prints SEED=…; SEED=… npm test
 * replays it.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forSeeds } from './support/random.js';
import { Page, Simulation } from './support/simulation.js';

const contents = (messages) => messages.map((message) => message.content.content);

/** The mailbox is the truth: what the node has on disk for a user, in its order. */
const onDisk = (simulation, user, from) => contents(simulation.node.user(user).entries.map((entry) => entry.m).filter((m) => m?.from === from));

test('over a bad network every send arrives once and in order, and every message is shown once', async () => {
  await forSeeds(200, (random) => {
    const simulation = new Simulation(random);
    const ann = new Page(simulation, 'ann', 'web-a');
    const bo = new Page(simulation, 'bo', 'web-b');
    const sent = { ann: [], bo: [] };
    for (let i = 0; i < 60; i += 1) {
      const [page, target] = random() < 0.5 ? [ann, 'bo'] : [bo, 'ann'];
      const id = `${page.user}-${i}`;
      simulation.at(random() * 60_000, () => {
        sent[page.user].push(id);
        page.send(id, target);
      });
    }
    simulation.run(60_000);
    simulation.faults = false;
    simulation.run(120_000);
    for (const [page, peer] of [[ann, 'bo'], [bo, 'ann']]) {
      assert.deepEqual(onDisk(simulation, page.user, page.user), sent[page.user], `${page.user}'s sends, on disk`);
      assert.deepEqual(contents(page.received), sent[peer], `what ${page.user} was shown`);
      assert.deepEqual([...page.answered.keys()].sort(), [...sent[page.user]].sort(), `answers to ${page.user}`);
      for (const [cid, message] of page.answered) assert.equal(message.content?.content, cid);
      const { node } = simulation;
      assert.equal(node.user(page.user).devices.get(page.device), node.end(node.user(page.user)), 'all is acked');
    }
  });
});

test('nor does a page that is reloaded at any moment lose, repeat or reorder what it sends', async () => {
  await forSeeds(200, (random) => {
    const simulation = new Simulation(random);
    let ann = new Page(simulation, 'ann', 'web-a');
    const bo = new Page(simulation, 'bo', 'web-b');
    const pages = [ann];
    const sent = [];
    let loaded = [];
    simulation.run(5000);
    for (let i = 0; i < 30; i += 1) {
      simulation.at(random() * 30_000, () => {
        if (ann.session.user === null) return; // before its first welcome a page keeps nothing
        sent.push(`ann-${i}`);
        ann.send(`ann-${i}`, 'bo');
      });
    }
    for (let i = 0; i < 4; i += 1) {
      simulation.at(random() * 30_000, () => {
        loaded.push(ann.received.length);
        ann = ann.reload();
        pages.push(ann);
      });
    }
    for (let i = 0; i < 20; i += 1) simulation.at(random() * 30_000, () => bo.send(`bo-${i}`, 'ann'));
    simulation.run(30_000);
    simulation.faults = false;
    simulation.run(120_000);
    assert.deepEqual(onDisk(simulation, 'bo', 'ann'), sent, 'on disk');
    assert.deepEqual(contents(bo.received), sent, 'shown to bo');
    const shown = pages.flatMap((page) => contents(page.received));
    const fromBo = shown.filter((text) => text.startsWith('bo'));
    assert.deepEqual(fromBo, onDisk(simulation, 'ann', 'bo'), 'each page goes on where the one before had got to');
    const told = pages.flatMap((page) => [...page.answered.keys(), ...contents(page.told)]);
    assert.deepEqual(ann.session.outbox.unsent(), []);
    assert.equal(new Set(told).size, told.length, 'no send is told twice');
  });
});

test('a backlog longer than the window arrives whole', async () => {
  await forSeeds(40, (random) => {
    const simulation = new Simulation(random);
    simulation.node.page = 5;
    simulation.node.user('ann').devices.set('web-a', 0);
    for (let i = 0; i < 200; i += 1) simulation.node.deliver('bo', 'ann', { content: `m${i}` });
    const ann = new Page(simulation, 'ann', 'web-a');
    simulation.at(500, () => ann.send('hello', 'bo'));
    simulation.run(60_000);
    simulation.faults = false;
    simulation.run(120_000);
    assert.deepEqual(contents(ann.received), Array.from({ length: 200 }, (_, i) => `m${i}`));
    assert.equal(ann.answered.get('hello').content.content, 'hello');
  });
});
