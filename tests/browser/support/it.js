/** A test with a time limit of its own, so that one that hangs is named and the others still run. */

import * as node from 'node:test';

const LIMIT = 90_000;

/** @param {string} name @param {() => Promise<void>} test */
export const it = (name, test) => node.it(name, { timeout: LIMIT }, test);
