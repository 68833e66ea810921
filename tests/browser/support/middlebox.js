/**
 * A TCP proxy before the node, as bad networks have them: while `blind` it refuses requests with
 * `Upgrade`, so no WebSocket opens. It reads no more than the head of a request.
 */

import { connect, createServer } from 'node:net';

const REFUSAL = 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

export class Middlebox {
  origin = '';
  blind = true;
  /** Upgrades refused. */
  refused = 0;
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();
  #server = createServer((client) => {
    const node = connect(this.port, '127.0.0.1');
    for (const socket of [client, node]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        node.destroy();
      });
    }
    client.on('data', (data) => {
      if (this.blind && /^upgrade:/im.test(data.toString('latin1'))) {
        this.refused++;
        client.end(REFUSAL);
        return;
      }
      node.write(data);
    });
    node.pipe(client);
  });

  /** @param {number} port of the node */
  constructor(port) {
    this.port = port;
  }

  /** @param {number} port of the node */
  static async start(port) {
    const box = new Middlebox(port);
    await new Promise((done) => box.#server.listen(0, '127.0.0.1', () => done(undefined)));
    const address = /** @type {import('node:net').AddressInfo} */ (box.#server.address());
    box.origin = `http://127.0.0.1:${address.port}`;
    return box;
  }

  /** Tears every connection, as a network that goes away. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop() {
    this.cut();
    return new Promise((done) => this.#server.close(done));
  }
}
