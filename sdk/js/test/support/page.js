/** A browser page with classic scripts, as far as our scripts look at one. */

import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import { TinyWebSocket } from './ws-client.js';

/** The engine runs in node's own realm and takes its WebSocket from there. */
globalThis.WebSocket = TinyWebSocket;

class FakeElement {
  constructor(name) {
    this.tagName = name.toUpperCase();
    this.attributes = {};
    this.style = {};
    this.children = [];
    this.textContent = '';
    this.className = '';
  }

  setAttribute(name, value) {
    this.attributes[name] = String(value);
  }

  getAttribute(name) {
    return this.attributes[name] ?? null;
  }

  appendChild(child) {
    this.children.push(child);
    return child;
  }

  cloneNode() {
    const copy = new FakeElement(this.tagName);
    Object.assign(copy, { className: this.className, textContent: this.textContent, attributes: { ...this.attributes }, style: { ...this.style } });
    copy.children = this.children.map((child) => child.cloneNode(true));
    return copy;
  }
}

export class FakePage {
  errors = [];

  constructor(globals = {}) {
    this.notes = new Map();
    const localStorage = {
      getItem: (key) => this.notes.get(key) ?? null,
      setItem: (key, value) => this.notes.set(key, String(value)),
      removeItem: (key) => this.notes.delete(key),
    };
    this.document = { currentScript: null, createElement: (name) => new FakeElement(name) };
    this.warnings = [];
    this.window = vm.createContext({
      document: this.document,
      localStorage,
      URL,
      queueMicrotask,
      clearTimeout,
      setTimeout: (run, ms) => setTimeout(() => {
        try {
          run();
        } catch (error) {
          this.errors.push(error); // window.onerror
        }
      }, ms),
      console: { ...console, warn: (text) => this.warnings.push(text) },
      ...globals,
    });
    this.window.window = this.window;
  }

  /** `<script src>` of one of our files. */
  load(name) {
    const url = new URL(`../../${name}`, import.meta.url);
    this.document.currentScript = { src: url.href };
    vm.runInContext(readFileSync(url, 'utf8'), this.window, {
      filename: url.href,
      importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    });
    this.document.currentScript = null;
    return this;
  }

  /** An inline script. */
  run(code) {
    return vm.runInContext(code, this.window);
  }
}

/** Values of another realm, as plain ones of this realm. */
export function plain(value) {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
