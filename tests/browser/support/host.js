/**
 * Another web server, which has the pages of an application: what it serves comes from another
 * origin than the node.
 */

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

const folder = join(import.meta.dirname, '../pages');
const kinds = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' };

export class Host {
  origin = '';
  /** What stands for HOST in a page: `address:port` of the node. */
  node = '';
  #server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://host');
    if (pathname === '/favicon.ico') return void response.writeHead(204).end();
    try {
      const text = await readFile(join(folder, normalize(pathname)), 'utf8');
      response.writeHead(200, { 'Content-Type': kinds[/** @type {keyof typeof kinds} */ (extname(pathname))] ?? 'text/plain' });
      response.end(text.replaceAll('HOST', this.node));
    } catch {
      response.writeHead(404).end();
    }
  });

  /** @param {string} node origin of the node that the pages load the SDK from */
  static async start(node) {
    const host = new Host();
    host.node = node.replace('http://', '');
    await new Promise((done) => host.#server.listen(0, '127.0.0.1', () => done(undefined)));
    const { port } = /** @type {import('node:net').AddressInfo} */ (host.#server.address());
    host.origin = `http://127.0.0.1:${port}`;
    return host;
  }

  stop() {
    this.#server.closeAllConnections();
    return new Promise((done) => this.#server.close(done));
  }
}
