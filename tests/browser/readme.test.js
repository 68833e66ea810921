/** The README's back end examples, run as they stand there (PHP where it is installed). */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Server, binary } from './support/server.js';

const run = promisify(execFile);
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
const chinese = await readFile(new URL('../../README.zh-CN.md', import.meta.url), 'utf8');
const blocks = (/** @type {string} */ text) => text.match(/```[\s\S]*?```/g) ?? [];

/** @type {Server} */
let server;
let folder = '';

before(async () => {
  server = await Server.start();
  folder = await mkdtemp(join(tmpdir(), 'hongyan-readme-'));
});
after(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** @param {string} language @param {string} marker @param {string} file @param {string} command */
async function example(language, marker, file, command) {
  const block = blocks(readme).find((text) => text.startsWith(`\`\`\`${language}`) && text.includes(marker));
  assert.ok(block, `the README has no ${language} example with ${marker}`);
  const code = block.replace(/^```\w+\n|```$/g, '').replaceAll('127.0.0.1:8080', `127.0.0.1:${server.port}`);
  await writeFile(join(folder, file), code);
  const env = { PATH: process.env.PATH, HY_KEY: server.key, HY_SECRET: server.secret };
  const { stdout } = await run(command, [join(folder, file)], { env, timeout: 20_000 });
  return stdout.trim();
}

test('the Node example gets a token', async () => {
  assert.match(await example('js', 'createHash', 'back-end.mjs', process.execPath), /^[\w-]{60,}$/);
});

test('the PHP example gets a token', async (t) => {
  try {
    assert.match(await example('php', 'function hongyan', 'back-end.php', 'php'), /^[\w-]{60,}$/);
  } catch (error) {
    if (/** @type {{code?: string}} */ (error).code !== 'ENOENT') throw error;
    t.skip('php is not installed');
  }
});

test('the configuration example is a good one', async () => {
  const block = blocks(readme).find((text) => text.startsWith('```toml'));
  assert.ok(block, 'the README has no configuration example');
  // The certificate of the example is nobody's; all else is judged as it stands.
  const file = join(folder, 'hongyan.toml');
  await writeFile(file, block.replace(/^```toml\n|```$/g, '').replace(/\[tls\][\s\S]*/, ''));
  await run(binary, ['--config', file, 'check'], { env: { PATH: process.env.PATH }, timeout: 20_000 });
});

test('the certificates of several regions are made as it says', async () => {
  const block = blocks(readme).find((text) => text.startsWith('```sh') && text.includes('certs init'));
  assert.ok(block, 'the README does not say how certificates are made');
  const env = { PATH: `${dirname(binary)}${delimiter}${process.env.PATH}` };
  const commands = block.replace(/^```sh\n|```$/g, '');
  await run('sh', ['-ec', commands], { cwd: folder, env, timeout: 20_000 });
  const nodes = ['ap-1', 'ca', 'eu-1', 'us-1'];
  const files = nodes.flatMap((node) => [`${node}.key`, `${node}.pem`]);
  assert.deepEqual((await readdir(join(folder, 'certs'))).sort(), files.sort());
});

test('both languages of the README show the same code', () => {
  assert.deepEqual(blocks(chinese), blocks(readme));
});
