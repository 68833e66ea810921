import { Hongyan } from '../../hongyan.js';
import { memoryStorage } from '../../storage.js';
import { TinyWebSocket } from './ws-client.js';

/** Quick pauses: a test is no place for politeness. */
export const QUICK = { backoff: 20, backoffCap: 60, ack: 10 };

export function client(server, options = {}) {
  const one = new Hongyan({ url: server.url, WebSocket: TinyWebSocket, device: 'web-1', storage: memoryStorage(), times: QUICK, ...options });
  one.log = [];
  for (const name of ['state', 'message', 'sent', 'receipt', 'read', 'recall', 'presence', 'live', 'reset', 'kick']) {
    one.addEventListener(name, ({ detail }) => one.log.push([name, detail]));
  }
  one.texts = () => one.log.filter(([name]) => name === 'message').map(([, message]) => message.content.content);
  one.states = () => one.log.filter(([name]) => name === 'state').map(([, detail]) => detail.state);
  return one;
}

export function text(content, target = 'bo', more = {}) {
  return { kind: 1, target, type: 'RC:TxtMsg', content: { content }, ...more };
}

/** Waits until `condition` holds; the error says which did not. */
export async function until(condition, what = String(condition), ms = 5000) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
