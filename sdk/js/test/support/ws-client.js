/**
 * As much of the browser's WebSocket as the SDK uses, for node releases without one.
 */

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { encodeFrame, frameReader } from './fake-server.js';

export class TinyWebSocket {
  constructor(url) {
    this.readyState = 0;
    this.onopen = this.onmessage = this.onclose = this.onerror = () => {};
    const key = randomBytes(16).toString('base64');
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': key };
    this.request = request(url.replace(/^ws/, 'http'), { headers, agent: false });
    this.request.on('upgrade', (response, socket) => this.opened(socket));
    this.request.on('response', () => this.ended(1006, ''));
    this.request.on('error', () => this.ended(1006, ''));
    this.request.end();
  }

  opened(socket) {
    this.socket = socket;
    if (this.readyState !== 0) return socket.destroy();
    this.readyState = 1;
    socket.on('data', frameReader((opcode, payload) => {
      if (opcode === 1) this.onmessage({ data: payload.toString() });
      if (opcode === 9) socket.write(encodeFrame(10, payload, randomBytes(4)));
      if (opcode === 8) {
        const code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
        this.ended(code, payload.subarray(2).toString());
        socket.end();
      }
    }));
    socket.on('close', () => this.ended(1006, ''));
    socket.on('error', () => this.ended(1006, ''));
    this.onopen({});
  }

  ended(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  send(text) {
    if (this.readyState === 1 && !this.socket.destroyed) this.socket.write(encodeFrame(1, Buffer.from(text), randomBytes(4)));
  }

  close(code = 1000) {
    if (this.readyState === 1 && !this.socket.destroyed) this.socket.end(encodeFrame(8, Buffer.from([code >> 8, code & 255]), randomBytes(4)));
    else this.request.destroy();
    this.readyState = this.readyState === 3 ? 3 : 2;
  }
}
