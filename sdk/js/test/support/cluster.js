/**
 * Real nodes with real links between them, on this machine.
 */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './clients.js';

const KEY = 'test';
const SECRET = 'not-a-secret-but-a-test';

/** @returns {Promise<number>} a TCP port that is free at the moment */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** @returns {Promise<number>} the same for UDP */
function freeUdpPort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4').once('error', reject).bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

export class Cluster {
  folder = mkdtempSync(join(tmpdir(), 'hongyan-cluster-'));
  /** @type {Map<string, ClusterNode>} */
  nodes = new Map();

  /** @param {string} binary @param {string[]} names */
  constructor(binary, names) {
    this.binary = binary;
    this.names = names;
  }

  /** All nodes, each at an address of its own, linked with each other. */
  async start() {
    this.#run('certs', 'init', '--dir', join(this.folder, 'certs'));
    for (const name of this.names) {
      this.#run('certs', 'issue', '--node', name, '--dir', join(this.folder, 'certs'));
      this.nodes.set(name, new ClusterNode(this, name, await freePort(), await freePort(), await freeUdpPort()));
    }
    await Promise.all([...this.nodes.values()].map((node) => node.start()));
    await this.settled();
  }

  /** Waits until all running nodes list each other. */
  settled() {
    const running = [...this.nodes.values()].filter((node) => node.running);
    const seen = async (node) => (await (await fetch(`${node.url}/v1/relays`)).json()).relays.length;
    const all = async () => (await Promise.all(running.map(seen))).every((count) => count === running.length);
    return until(() => all().catch(() => false), 'all nodes know each other', 15_000);
  }

  async stop() {
    await Promise.all([...this.nodes.values()].map((node) => node.kill()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** @param {string[]} args */
  #run(...args) {
    const { status, stderr } = spawnSync(this.binary, args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  }
}

class ClusterNode {
  running = false;
  said = '';

  constructor(cluster, name, port, adminPort, meshPort) {
    Object.assign(this, { cluster, name, port, adminPort, meshPort, url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${adminPort}` });
  }

  async start(...more) {
    const { folder, nodes, binary } = this.cluster;
    mkdirSync(join(folder, this.name), { recursive: true });
    const seeds = [...nodes.values()].filter((node) => node !== this).map((node) => `127.0.0.1:${node.meshPort}`);
    const set = {
      node: this.name,
      region: this.name,
      'mesh.listen': `127.0.0.1:${this.meshPort}`,
      'mesh.seeds': seeds.join(','),
      'mesh.certs': join(folder, 'certs'),
      'mesh.public_url': this.url,
    };
    const args = ['--listen', `127.0.0.1:${this.port}`, '--admin-listen', `127.0.0.1:${this.adminPort}`, '--data', join(folder, this.name), '--dev-login=true'];
    for (const [key, value] of Object.entries(set)) args.push('--set', `${key}=${value}`);
    const env = { ...process.env, HONGYAN_APPS: `${KEY}:${SECRET}` };
    this.process = spawn(binary, [...args, ...more], { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.running = true;
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (chunk) => (this.said += chunk));
    const ready = async () => this.process.exitCode !== null || (await fetch(`${this.admin}/readyz`).catch(() => null))?.ok;
    await until(ready, `${this.name} is ready`, 15_000);
    assert.equal(this.process.exitCode, null, this.said);
  }

  /** @param {NodeJS.Signals} signal @returns {Promise<number | null>} its exit code */
  #end(signal) {
    if (!this.running) return Promise.resolve(null);
    this.running = false;
    return new Promise((resolve) => {
      this.process.once('exit', (code) => resolve(code));
      this.process.kill(signal);
    });
  }

  kill() {
    return this.#end('SIGKILL');
  }

  drain() {
    return this.#end('SIGTERM');
  }

  async token(name) {
    const response = await fetch(`${this.url}/v1/dev/login`, { method: 'POST', body: JSON.stringify({ name }) });
    return (await response.json()).token;
  }

  /** Calls the server API. */
  async api(path, fields) {
    const [nonce, timestamp] = ['7', `${Math.floor(Date.now() / 1000)}`];
    const signature = createHash('sha1').update(SECRET + nonce + timestamp).digest('hex');
    const headers = {
      'App-Key': KEY,
      Nonce: nonce,
      Timestamp: timestamp,
      Signature: signature,
      'content-type': 'application/x-www-form-urlencoded',
    };
    const response = await fetch(`${this.url}/${path}.json`, { method: 'POST', headers, body: new URLSearchParams(fields) });
    return response.json();
  }
}
