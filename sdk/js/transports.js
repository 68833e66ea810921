/**
 * The two ways to a node. Both carry the same frames; the session does not know which.
 *
 * A transport is made open-ended: it reports `opened` once, `frames` any number of times,
 * `closed` once, and nothing at all after `close()`. `send` takes one transport message
 * (the JSON text of a frame or an array).
 */

/** @typedef {{opened: () => void, frames: (frames: any[]) => void, closed: (code?: number, error?: string) => void}} Listener */
/** @typedef {{send(text: string): void, close(bye?: boolean): void}} Transport */

const BYE = '{"t":"bye"}';

/** Times of polling, milliseconds. */
const POLL_WAIT = 25_000;
const POLL_SLACK = 10_000; // an answer that late is not coming
const RETRY_BASE = 250;
const RETRY_CAP = 4000;
/** Failures in a row after which a polling session counts as lost. */
const RETRIES = 4;

/**
 * @param {any} value
 * @returns {any[]}
 */
function asFrames(value) {
  return Array.isArray(value) ? value : [value];
}

/** @implements {Transport} */
export class WsTransport {
  /** @type {Listener | null} */
  #listener;
  /** @type {any} */
  #socket = null;

  /**
   * @param {string} url `http(s)://…` of the node
   * @param {Listener} listener
   * @param {{WebSocket?: any}} [globals]
   */
  constructor(url, listener, { WebSocket = /** @type {any} */ (globalThis).WebSocket } = {}) {
    this.#listener = listener;
    try {
      this.#socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/ws`);
    } catch (cause) {
      // None here, or forbidden (mixed content, content security policy).
      queueMicrotask(() => this.#end(undefined, String(cause)));
      return;
    }
    this.#socket.onopen = () => this.#listener?.opened();
    this.#socket.onmessage = (/** @type {any} */ event) => this.#message(event.data);
    this.#socket.onclose = (/** @type {any} */ event) => this.#end(event.code, event.reason);
    this.#socket.onerror = () => {}; // `close` follows
  }

  /** @param {string} text */
  send(text) {
    if (this.#socket?.readyState === 1) this.#socket.send(text);
  }

  close(bye = false) {
    this.#listener = null;
    if (bye) this.send(BYE);
    this.#socket?.close(1000);
  }

  /** @param {any} data */
  #message(data) {
    let frames;
    try {
      frames = asFrames(JSON.parse(data));
    } catch {
      this.#socket.close(1000);
      this.#end(undefined, 'the server sent something that is not JSON');
      return;
    }
    this.#listener?.frames(frames);
  }

  /** @param {number} [code] @param {string} [error] */
  #end(code, error) {
    const listener = this.#listener;
    this.#listener = null;
    listener?.closed(code, error);
  }
}

/**
 * Long polling. The first message sent (the `hello`) makes the session. Answers are
 * numbered: a lost one is asked for again with the number before, so nothing is lost and
 * nothing comes twice. What is sent goes out in order, one request at a time; one that got
 * no answer is repeated, which the session allows (sends have ids, the rest is idempotent).
 *
 * Bodies go as text/plain, which spares cross-origin pages a preflight for each request.
 *
 * @implements {Transport}
 */
export class PollTransport {
  /** @type {Listener | null} */
  #listener;
  #url;
  #fetch;
  #random;
  /** @type {Set<AbortController>} requests under way */
  #requests = new Set();
  #sid = '';
  #seq = 0;
  /** @type {string[]} */
  #queue = [];
  #posting = false;

  /**
   * @param {string} url
   * @param {Listener} listener
   * @param {{fetch?: typeof globalThis.fetch, random?: () => number}} [globals]
   */
  constructor(url, listener, { fetch = globalThis.fetch, random = Math.random } = {}) {
    this.#url = `${url}/v1/poll`;
    this.#listener = listener;
    this.#fetch = fetch;
    this.#random = random;
    queueMicrotask(() => this.#listener?.opened());
  }

  /** @param {string} text */
  send(text) {
    this.#queue.push(text);
    if (!this.#posting) void this.#post();
  }

  close(bye = false) {
    const open = this.#listener !== null;
    this.#listener = null;
    const rest = this.#queue.splice(0);
    if (open && bye && this.#sid) {
      const url = `${this.#url}/${this.#sid}`;
      // What waits behind a request under way has to go out before the farewell.
      const farewell = async () => {
        for (const body of [...rest, BYE]) await this.#fetch.call(globalThis, url, { method: 'POST', body, keepalive: true });
      };
      farewell().catch(() => {}); // the server ends a silent session by itself
    }
    this.#abortAll();
  }

  async #post() {
    this.#posting = true;
    while (this.#queue.length > 0 && this.#listener) {
      const hello = this.#sid === '';
      // A hello is not repeated here: a second one would end the session that the first has made.
      const answer = await this.#ask('POST', hello ? this.#url : `${this.#url}/${this.#sid}`, hello ? 0 : RETRIES, this.#queue[0]);
      if (!answer) return;
      this.#queue.shift();
      if (hello) {
        if (typeof answer.sid !== 'string' || !Number.isSafeInteger(answer.seq)) return this.#end('a hello was answered without a session');
        this.#sid = encodeURIComponent(answer.sid);
        this.#seq = answer.seq;
        void this.#poll();
      }
      this.#listener?.frames(answer.frames);
    }
    this.#posting = false;
  }

  async #poll() {
    while (this.#listener) {
      const url = `${this.#url}/${this.#sid}?wait=${POLL_WAIT / 1000}&seq=${this.#seq}`;
      const answer = await this.#ask('GET', url, RETRIES);
      if (!answer) return;
      if (answer.seq !== this.#seq + 1 && answer.seq !== this.#seq) return this.#end('an answer is out of order');
      this.#seq = answer.seq;
      this.#listener?.frames(answer.frames);
    }
  }

  /**
   * Asks until there is an answer, or no sense in asking.
   *
   * @param {string} method
   * @param {string} url
   * @param {number} retries
   * @param {string} [body]
   * @returns {Promise<any>} the answer; null when the transport has ended
   */
  async #ask(method, url, retries, body) {
    for (let failures = 0; this.#listener; failures += 1) {
      let problem = 'no answer';
      try {
        const { status, ok, answer } = await this.#request(method, url, body);
        if (!this.#listener) return null;
        if (ok && Array.isArray(answer?.frames)) return answer;
        problem = answer?.msg || `HTTP ${status}`;
        if (answer?.code === 'session_gone') return this.#end(problem);
        const spoken = answer?.t === 'err' || answer?.t === 'kick';
        if (spoken && (this.#sid === '' || (status < 500 && status !== 429))) {
          this.#listener.frames([answer]); // the session decides what it means
          return this.#end(problem);
        }
      } catch (cause) {
        problem = String(cause);
      }
      if (!this.#listener) return null;
      if (failures >= retries) return this.#end(problem);
      const pause = this.#random() * Math.min(RETRY_CAP, RETRY_BASE * 2 ** failures);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return null;
  }

  /** @param {string} method @param {string} url @param {string} [body] */
  async #request(method, url, body) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), method === 'GET' ? POLL_WAIT + POLL_SLACK : POLL_SLACK);
    this.#requests.add(abort);
    try {
      const response = await this.#fetch.call(globalThis, url, { method, body, signal: abort.signal, cache: 'no-store' });
      const answer = await response.json().catch(() => null);
      return { status: response.status, ok: response.ok, answer };
    } finally {
      clearTimeout(timer);
      this.#requests.delete(abort);
    }
  }

  #abortAll() {
    for (const abort of this.#requests) abort.abort();
  }

  /** @param {string} error @returns {null} */
  #end(error) {
    const listener = this.#listener;
    this.#listener = null;
    this.#abortAll();
    listener?.closed(undefined, error);
    return null;
  }
}
