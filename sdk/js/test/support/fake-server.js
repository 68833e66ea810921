/**
 * The fake node over real sockets: `GET /v1/ws` and `/v1/poll`, with faults to order.
 */

import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { FakeNode } from './fake-node.js';

export class FakeServer {
  /** `node`: of the cluster that this is a relay of, instead of one of its own. */
  static async start(node) {
    const server = new FakeServer(node);
    await new Promise((resolve) => server.http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  constructor(node = new FakeNode()) {
    this.node = node;
    this.name = 'local';
    /** Body of `GET /v1/relays`, or null: a server without. */
    this.relays = null;
    /** ms that `GET /v1/ping` takes; null: a server without. */
    this.distance = null;
    this.polls = new Map();
    this.sockets = new Set();
    this.requests = []; // what was asked over HTTP, for assertions
    /** `fault(where, detail)`: return true to lose it. See the calls below. */
    this.fault = () => false;
    this.allowWs = true;
    this.hangWs = false;
    this.http = createServer((request, response) => this.onRequest(request, response));
    this.http.on('upgrade', (request, socket) => this.onUpgrade(request, socket));
    this.http.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => {});
    });
  }

  get url() {
    return `http://127.0.0.1:${this.http.address().port}`;
  }

  stop() {
    for (const poll of this.polls.values()) this.answerPoll(poll, true);
    for (const socket of this.sockets) socket.destroy();
    return new Promise((resolve) => this.http.close(resolve));
  }

  /** Every line breaks without a word. */
  cut() {
    for (const session of [...this.node.sessions]) {
      session.closed = true;
      this.node.sessions.delete(session);
    }
    this.polls.clear();
    for (const socket of this.sockets) socket.destroy();
  }

  // ── WebSocket (RFC 6455: text, close, ping; no fragments, no extensions) ──────

  onUpgrade(request, socket) {
    if (this.hangWs) return;
    if (!this.allowWs || request.url !== '/v1/ws' || this.fault('ws-open')) return socket.destroy();
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    const session = this.node.attach(
      (frames) => {
        if (this.fault('ws-out', frames)) return this.drop(session, socket);
        if (!socket.destroyed) socket.write(encodeFrame(1, Buffer.from(JSON.stringify(frames.length === 1 ? frames[0] : frames))));
      },
      (code, reason) => {
        const body = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
        if (!socket.destroyed) socket.end(encodeFrame(8, body));
      },
      { node: this.name },
    );
    socket.on('data', frameReader((opcode, payload) => {
      if (opcode === 8) return session.end(1000);
      if (opcode !== 1) return;
      const frames = [].concat(JSON.parse(payload.toString()));
      if (this.fault('ws-in', frames)) return this.drop(session, socket);
      session.receive(frames);
      if (this.fault('ws-after', frames)) this.drop(session, socket);
    }));
    socket.on('close', () => this.drop(session, socket));
  }

  drop(session, socket) {
    session.closed = true;
    this.node.sessions.delete(session);
    socket.destroy();
  }

  // ── Polling ───────────────────────────────────────────────────────────────────

  async onRequest(request, response) {
    const url = new URL(request.url, 'http://fake');
    const [, , , sid] = url.pathname.split('/');
    let body = '';
    for await (const chunk of request) body += chunk;
    const frames = body ? [].concat(JSON.parse(body)) : [];
    this.requests.push({ method: request.method, path: url.pathname, query: url.searchParams, frames });
    if (this.fault('http-in', { method: request.method, frames })) return request.socket.destroy();
    const reply = (status, value) => {
      if (this.fault('http-out', { method: request.method, value })) return request.socket.destroy();
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (url.pathname === '/v1/relays' && this.relays !== null) {
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(typeof this.relays === 'string' ? this.relays : JSON.stringify(this.relays));
    }
    if (url.pathname === '/v1/ping' && this.distance !== null) {
      return setTimeout(() => response.writeHead(204).end(), this.distance).unref();
    }
    if (!url.pathname.startsWith('/v1/poll')) return reply(404, {});
    if (!sid) return this.openPoll(frames, reply);
    const poll = this.polls.get(sid);
    if (!poll) return reply(404, { t: 'err', code: 'session_gone', msg: 'unknown session' });
    if (request.method === 'POST') {
      poll.session.receive(frames);
      return reply(200, { frames: [] });
    }
    if (request.method === 'DELETE') {
      poll.session.end();
      return reply(200, { frames: [] });
    }
    const seq = Number(url.searchParams.get('seq'));
    if (poll.waiting) this.answerPoll(poll, true);
    if (seq === poll.seq - 1 && poll.last) return reply(200, poll.last); // the answer before was lost
    if (seq !== poll.seq) return reply(409, { t: 'err', code: 'bad_frame', msg: 'seq' });
    poll.last = null;
    const wait = Math.min(60, Number(url.searchParams.get('wait') ?? 0)) * 1000;
    poll.waiting = { reply, timer: setTimeout(() => this.answerPoll(poll, true), wait).unref() };
    this.answerPoll(poll, false);
  }

  openPoll(frames, reply) {
    const sid = randomBytes(16).toString('hex');
    const poll = { seq: 1, out: [], last: null, waiting: null, session: null, ended: false };
    poll.session = this.node.attach(
      (more) => {
        poll.out.push(...more);
        queueMicrotask(() => this.answerPoll(poll, false));
      },
      () => {
        poll.ended = true;
        queueMicrotask(() => this.answerPoll(poll, true));
      },
      { node: this.name },
    );
    poll.session.receive(frames);
    const first = poll.out.splice(0);
    if (poll.ended) {
      const status = { bad_token: 401, token_expired: 401, unsupported_version: 406 }[first[0].code] ?? 400;
      return reply(status, first[0]);
    }
    this.polls.set(sid, poll);
    poll.sid = sid;
    // The answer to the hello is answer 1: it cannot be asked for again, a lost one is a lost session.
    reply(200, { sid, seq: 1, frames: first });
  }

  answerPoll(poll, evenEmpty) {
    if (!poll.waiting || (poll.out.length === 0 && !evenEmpty)) return;
    const { reply, timer } = poll.waiting;
    clearTimeout(timer);
    poll.waiting = null;
    if (poll.out.length === 0) {
      if (poll.ended) this.polls.delete(poll.sid);
      return reply(200, { seq: poll.seq, frames: [] });
    }
    poll.seq += 1;
    poll.last = { seq: poll.seq, frames: poll.out.splice(0) };
    reply(200, poll.last);
  }
}

export function encodeFrame(opcode, payload, mask) {
  const length = payload.length;
  const masked = mask ? 0x80 : 0;
  const head = length < 126 ? Buffer.from([0x80 | opcode, masked | length])
    : length < 65536 ? Buffer.from([0x80 | opcode, masked | 126, length >> 8, length & 255])
      : Buffer.concat([Buffer.from([0x80 | opcode, masked | 127, 0, 0, 0, 0]), Buffer.from([length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255])]);
  if (!mask) return Buffer.concat([head, payload]);
  const body = Buffer.from(payload);
  for (let i = 0; i < body.length; i += 1) body[i] ^= mask[i & 3];
  return Buffer.concat([head, mask, body]);
}

/** Calls `onFrame(opcode, payload)` for each whole frame of a byte stream. */
export function frameReader(onFrame) {
  let buffer = Buffer.alloc(0);
  return (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    for (;;) {
      if (buffer.length < 2) return;
      let length = buffer[1] & 127;
      let offset = 2;
      if (length === 126) {
        if (buffer.length < 4) return;
        length = buffer.readUInt16BE(2);
        offset = 4;
      } else if (length === 127) {
        if (buffer.length < 10) return;
        length = Number(buffer.readBigUInt64BE(2));
        offset = 10;
      }
      const masked = (buffer[1] & 0x80) !== 0;
      const start = offset + (masked ? 4 : 0);
      if (buffer.length < start + length) return;
      const payload = Buffer.from(buffer.subarray(start, start + length));
      if (masked) for (let i = 0; i < length; i += 1) payload[i] ^= buffer[offset + (i & 3)];
      const opcode = buffer[0] & 15;
      buffer = buffer.subarray(start + length);
      onFrame(opcode, payload);
    }
  };
}
