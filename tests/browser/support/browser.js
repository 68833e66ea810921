/**
 * Headless Chromium, and pages whose complaints are kept.
 */

import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const found = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = found.find((path) => path && existsSync(path));

export function launch() {
  if (!executablePath) throw new Error('there is no Chromium; install it, or name one with CHROMIUM');
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
}

/**
 * Keeps what goes wrong in a page: errors in the console (violations of its content policy among
 * them), exceptions, requests answered with an error.
 *
 * @param {import('playwright-core').Page} page
 * @param {RegExp[]} [expected] complaints that a test provokes
 */
export function complaints(page, expected = []) {
  /** @type {string[]} */
  const list = [];
  const add = (/** @type {string} */ text) => {
    if (!expected.some((pattern) => pattern.test(text))) list.push(text);
  };
  page.on('console', (message) => {
    if (message.type() === 'error') add(`${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => add(String(error.stack ?? error)));
  page.on('response', (response) => {
    if (response.status() >= 400) add(`${response.status()} ${response.url()}`);
  });
  return list;
}

/** What a page's console says while the server is away. */
export const AWAY = [/net::ERR_/, /WebSocket connection to .* failed/];
