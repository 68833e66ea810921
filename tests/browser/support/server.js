/**
 * The real binary in local mode on free ports, with a data folder of its own. It can be killed
 * and started again at the same address, and is always ended by its process id.
 */

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { within } from './wait.js';

/** The program under test. */
export const binary = resolve(import.meta.dirname, process.env.HONGYAN_BIN ?? '../../../target/debug/hongyan');

/** A port that nobody listens on. @returns {Promise<number>} */
export function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
      probe.close(() => done(port));
    });
  });
}

export class Server {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  #folder = '';
  #output = '';

  /** @param {string[]} [flags] further flags of the binary */
  static async start(flags = []) {
    if (!existsSync(binary)) throw new Error(`there is no ${binary}: build it, or name one with HONGYAN_BIN`);
    const server = new Server();
    server.#folder = await mkdtemp(join(tmpdir(), 'hongyan-browser-'));
    server.flags = flags;
    server.port = await freePort();
    server.origin = `http://127.0.0.1:${server.port}`;
    await server.up();
    const apps = await readFile(join(server.#folder, 'data/apps.toml'), 'utf8');
    server.key = /^key = "(.*)"$/m.exec(apps)?.[1] ?? '';
    server.secret = /^secret = "(.*)"$/m.exec(apps)?.[1] ?? '';
    return server;
  }

  /** Starts, or starts again, at the same address and with the same data; ready when this returns. */
  async up() {
    const ports = ['--listen', `127.0.0.1:${this.port}`, '--admin-listen', '127.0.0.1:0'];
    const child = spawn(binary, [...ports, '--data', 'data', ...this.flags], {
      cwd: this.#folder,
      env: { PATH: process.env.PATH, HONGYAN_LOG: process.env.HONGYAN_LOG ?? 'warn' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const ready = new Promise((done, fail) => {
      const take = (/** @type {Buffer} */ data) => {
        this.#output += data;
        if (data.includes('is ready')) done(undefined);
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.once('exit', (code) => fail(new Error(`the server ended with ${code}:\n${this.#output}`)));
      child.once('error', fail);
    });
    ready.catch(() => {}); // an exit long after is no news
    await within(20_000, 'the server starts', ready);
  }

  /** As power failure does it: at once, nothing is said to anybody. */
  kill() {
    return this.#end('SIGKILL');
  }

  /** As an operator does it. */
  stop() {
    return this.#end('SIGTERM');
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await within(20_000, 'the server ends', ended);
  }

  /** Ends the server and removes its data. */
  async remove() {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** What it has written so far. */
  get output() {
    return this.#output;
  }

  /**
   * A signed call of the server API.
   *
   * @param {string} path such as `user/getToken`
   * @param {Record<string, string>} form
   * @returns {Promise<any>} the answer, which is a success
   */
  async api(path, form) {
    const nonce = randomBytes(8).toString('hex');
    const timestamp = String(Date.now());
    const signature = createHash('sha1').update(this.secret + nonce + timestamp).digest('hex');
    const response = await fetch(`${this.origin}/${path}.json`, {
      method: 'POST',
      headers: { 'App-Key': this.key, Nonce: nonce, Timestamp: timestamp, Signature: signature },
      body: new URLSearchParams(form),
    });
    const body = await response.json();
    if (response.status !== 200 || body.code !== 200) throw new Error(`${path}: ${response.status} ${JSON.stringify(body)}`);
    return body;
  }

  /** @param {string} user @param {string} [name] @returns {Promise<string>} */
  async token(user, name = user) {
    const { token } = await this.api('user/getToken', { userId: user, name, portraitUri: '' });
    return token;
  }
}
