/**
 * The chat page as people use it: Ann at a desk, Bo with a phone.
 * Pictures of it are left in shots/, to be looked at.
 */

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe } from 'node:test';
import { AWAY, complaints, launch } from './support/browser.js';
import { it } from './support/it.js';
import { Server } from './support/server.js';
import { sleep, until } from './support/wait.js';

const shots = join(import.meta.dirname, 'shots');
const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Server} */
let server;

before(async () => {
  await mkdir(shots, { recursive: true });
  server = await Server.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Somebody at the chat page. */
class Person {
  /**
   * @param {string} name
   * @param {import('playwright-core').BrowserContextOptions} device
   */
  static async arrive(name, device) {
    const person = new Person();
    person.name = name;
    person.context = await browser.newContext({ locale: 'en-GB', timezoneId: 'Europe/Berlin', colorScheme: 'light', ...device });
    person.page = await person.context.newPage();
    person.page.setDefaultTimeout(15_000);
    person.faults = complaints(person.page, AWAY);
    await person.page.goto(server.origin);
    return person;
  }

  /** Logs in by name. */
  async enter() {
    await this.page.getByLabel('Your name').fill(this.name);
    await this.page.getByRole('button', { name: 'Start chatting' }).click();
    await this.page.locator('#chat').waitFor();
  }

  /** @param {string} name @param {import('playwright-core').BrowserContextOptions} [device] */
  static async at(name, device = DESK) {
    const person = await Person.arrive(name, device);
    await person.enter();
    return person;
  }

  /** Opens a chat with somebody by his id. @param {string} id */
  async begin(id) {
    await this.page.locator('#new').click();
    const dialog = this.page.getByRole('dialog', { name: 'New chat' });
    await dialog.getByLabel('User ID').fill(id);
    await dialog.getByRole('button', { name: 'Start' }).click();
    const anyway = dialog.getByRole('button', { name: 'Write anyway' });
    await until('the chat or a question', async () => (await this.page.locator('#conversation').isVisible()) || (await anyway.isVisible()));
    if (await anyway.isVisible()) await anyway.click();
    await this.page.locator('#input').waitFor();
  }

  /** Opens a chat of the list. @param {string} name */
  async open(name) {
    await this.item(name).locator('.chat-open').click();
    await this.page.locator('#peer-name', { hasText: name }).waitFor();
  }

  /** The chat in the list. @param {string} name */
  item(name) {
    return this.page.locator('.chat-item', { has: this.page.locator('.chat-name', { hasText: new RegExp(`^${name}$`) }) });
  }

  /** @param {string} text */
  async say(text) {
    await this.page.locator('#input').fill(text);
    await this.page.locator('#input').press('Enter');
  }

  /** The message with this text. @param {string} text */
  message(text) {
    return this.page.locator('.message', { hasText: text });
  }

  /** @param {string} text @param {'Sending' | 'Sent' | 'Delivered' | 'Read' | 'Not sent'} mark */
  marked(text, mark) {
    return this.message(text).getByRole('img', { name: mark, exact: true }).waitFor();
  }

  /** Texts of all messages of the open chat. @returns {Promise<string[]>} */
  texts() {
    return this.page.locator('.message .text').allTextContents();
  }

  /** @param {string} name of the file */
  async shot(name) {
    await sleep(350); // transitions
    await this.page.screenshot({ path: join(shots, `${name}.png`) });
  }

  /** Nothing may hang over the edge of the screen. */
  async fits() {
    const wide = await this.page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      return [...document.querySelectorAll('body *')]
        .filter((el) => el.checkVisibility() && !el.closest('.sr-only, .emoji') && el.getBoundingClientRect().right > width + 1)
        .map((el) => `${el.tagName}.${el.className}`);
    });
    assert.deepEqual(wide, [], `${this.name}: over the edge`);
  }

  async leave() {
    assert.deepEqual(this.faults, [], `${this.name}'s page complains`);
    await this.context.close();
  }
}

afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

describe('the chat page', () => {
  it('logs in by name, at a desk and on a phone', async () => {
    const ann = await Person.arrive('Ann', DESK);
    await ann.page.getByLabel('Your name').waitFor();
    assert.equal(await ann.page.evaluate(() => document.activeElement?.id), 'login-input');
    await ann.shot('login-desk');
    await ann.page.getByRole('button', { name: 'Start chatting' }).click();
    await ann.page.getByText('Please enter a name.').waitFor();
    await ann.enter();
    await ann.page.getByText('No chats yet').or(ann.page.locator('.list-empty')).first().waitFor();
    assert.equal(await ann.page.textContent('#me-name'), 'Ann');
    await ann.shot('empty-desk');
    await ann.fits();

    const bo = await Person.arrive('Bo', PHONE);
    await bo.shot('login-phone');
    await bo.fits();
    await bo.enter();
    await bo.shot('empty-phone');
    await bo.fits();

    await ann.page.reload();
    await ann.page.locator('#chat').waitFor();
    assert.equal(await ann.page.textContent('#me-name'), 'Ann', 'a reload stays logged in');
    await ann.page.locator('#logout').click();
    await ann.page.getByLabel('Your name').waitFor();
    assert.equal(await ann.page.inputValue('#login-input'), 'Ann', 'the name is remembered');
    await ann.leave();
    await bo.leave();
  });

  it('carries a conversation both ways, with unread badge, read marks and typing', async () => {
    const ann = await Person.at('Cleo');
    const bo = await Person.at('Dan', PHONE);
    await ann.begin('dan');
    await ann.page.getByText('Say hello to Dan.').waitFor();
    await ann.shot('first-desk');
    await ann.say('Hello Dan, are you coming to the harbour tonight?');
    await ann.marked('harbour', 'Delivered');
    await ann.say('It starts at eight.');

    const badge = bo.item('Cleo').locator('.badge');
    await until('two unread', async () => (await badge.textContent())?.startsWith('2'));
    assert.equal(await bo.page.title(), '(2) Hongyan');
    await bo.shot('unread-phone');
    await bo.fits();
    await bo.open('Cleo');
    await ann.marked('harbour', 'Read');
    await ann.marked('at eight', 'Read');
    assert.deepEqual(await bo.texts(), ['Hello Dan, are you coming to the harbour tonight?', 'It starts at eight.']);
    await bo.shot('divider-phone');

    await bo.page.locator('#input').pressSequentially('Yes!');
    await ann.page.locator('#peer-status', { hasText: 'typing' }).waitFor();
    await ann.shot('typing-desk');
    await bo.page.locator('#send').tap();
    await ann.message('Yes!').waitFor();
    await until('typing ends', async () => !(await ann.page.textContent('#peer-status'))?.includes('typing'));
    assert.equal(await ann.page.textContent('#peer-status'), 'online');
    await bo.say('I bring the boat 🚣 and 三明治, see https://example.com/harbour?tonight=1 for the way there.\n\nA second line, then.');
    await ann.message('三明治').locator('a').waitFor();
    await ann.say('Good.');
    await bo.message('Good.').waitFor();
    await ann.shot('conversation-desk');
    await bo.shot('conversation-phone');
    await bo.fits();

    await bo.page.locator('#back').tap();
    await bo.item('Cleo').waitFor();
    await ann.say('One more thing');
    await until('unread', async () => (await badge.textContent())?.startsWith('1'));
    await bo.page.locator('#logout').tap();
    await bo.page.getByLabel('Your name').waitFor();
    await until('offline', async () => (await ann.page.textContent('#peer-status')) === 'offline');
    await ann.leave();
    await bo.leave();
  });

  it('has emoji, pictures and recall', async () => {
    const ann = await Person.at('Eva');
    const bo = await Person.at('Finn', PHONE);
    await ann.begin('finn');
    await ann.say('look');
    await bo.open('Eva');

    await ann.page.locator('#emoji').click();
    await ann.page.getByRole('dialog', { name: 'Emoji' }).waitFor();
    await ann.shot('emoji-desk');
    await ann.page.locator('.emoji button', { hasText: '😎' }).click();
    await ann.page.keyboard.press('Escape');
    assert.equal(await ann.page.inputValue('#input'), '😎');
    await ann.page.locator('#send').click();
    await bo.message('😎').waitFor();
    await bo.page.locator('#emoji').tap();
    await bo.page.locator('.emoji').waitFor();
    await bo.shot('emoji-phone');
    await bo.fits();
    await bo.page.locator('#emoji').tap();

    const picture = await drawn(ann.page);
    await ann.page.setInputFiles('#file', { name: 'hill.png', mimeType: 'image/png', buffer: picture });
    const dialog = ann.page.getByRole('dialog', { name: 'Send this photo?' });
    await dialog.locator('img').waitFor();
    await ann.shot('photo-desk');
    await dialog.getByRole('button', { name: 'Send' }).click();
    const photo = bo.page.locator('.bubble-image img');
    await photo.waitFor();
    assert.ok(await photo.evaluate((img) => /** @type {HTMLImageElement} */ (img).decode().then(() => true)));
    await ann.shot('picture-desk');
    await bo.shot('picture-phone');
    await bo.page.locator('.photo').tap();
    await bo.page.locator('dialog.viewer img').waitFor();
    await bo.shot('viewer-phone');
    await bo.page.keyboard.press('Escape');

    await ann.say('this was a mistake');
    await bo.message('a mistake').waitFor();
    await ann.marked('a mistake', 'Read');
    await ann.message('a mistake').hover();
    await ann.shot('hover-desk');
    await ann.message('a mistake').getByRole('button', { name: 'Message actions' }).click();
    await ann.shot('menu-desk');
    await ann.page.getByRole('menuitem', { name: 'Take back' }).click();
    await ann.page.locator('.line', { hasText: 'You took back a message' }).waitFor();
    await bo.page.locator('.line', { hasText: 'Eva took back a message' }).waitFor();
    assert.equal(await bo.message('a mistake').count(), 0);
    await ann.page.getByRole('button', { name: 'Edit again' }).click();
    assert.equal(await ann.page.inputValue('#input'), 'this was a mistake');
    await ann.shot('recall-desk');
    await bo.fits();
    await ann.leave();
    await bo.leave();
  });

  it('shows that the server is away, keeps what is written, and sends it when the server is back', async () => {
    const ann = await Person.at('Gina');
    const bo = await Person.at('Hugo', PHONE);
    await ann.begin('hugo');
    await ann.say('before');
    await bo.open('Gina');
    await bo.message('before').waitFor();
    await server.kill();
    await ann.page.locator('#banner:not([hidden])').waitFor();
    await bo.page.locator('#banner:not([hidden])').waitFor();
    await ann.say('written meanwhile');
    await bo.say('here too');
    await ann.marked('meanwhile', 'Sending');
    await until('nobody is called online', async () => (await ann.page.textContent('#peer-status')) === '');
    assert.equal(await ann.page.locator('.dot:visible').count(), 0);
    await ann.shot('offline-desk');
    await bo.shot('offline-phone');
    await server.up();
    // As when a network is back: the pauses between tries have grown meanwhile.
    for (const one of [ann, bo]) await one.page.evaluate("dispatchEvent(new Event('online'))");
    await ann.page.locator('#banner').waitFor({ state: 'hidden' });
    await bo.message('written meanwhile').waitFor();
    await ann.message('here too').waitFor();
    await ann.marked('meanwhile', 'Read');
    await ann.page.locator('#peer-status', { hasText: 'online' }).waitFor();
    assert.equal(await bo.message('written meanwhile').count(), 1);
    assert.equal(await ann.message('here too').count(), 1);
    await ann.leave();
    await bo.leave();
  });

  it('says why a message was not delivered, and offers to try again', async () => {
    const ann = await Person.at('Ida');
    const bo = await Person.at('Jon');
    await ann.begin('jon');
    await ann.say('hello');
    await bo.open('Ida');
    await bo.page.locator('#options').click();
    await bo.page.getByRole('menuitem', { name: 'Block Ida' }).click();
    await bo.page.getByRole('dialog').getByRole('button', { name: 'Block Ida' }).click();
    await bo.page.locator('#notice', { hasText: 'You blocked Ida' }).waitFor();
    await ann.say('can you hear me?');
    await ann.marked('hear me', 'Not sent');
    await ann.shot('blocked-desk');
    await bo.page.locator('#notice').getByRole('button', { name: 'Unblock' }).click();
    await bo.page.locator('#notice').waitFor({ state: 'hidden' });
    await ann.message('hear me').getByRole('button', { name: 'Try again' }).click();
    await bo.message('hear me').waitFor();
    await ann.leave();
    await bo.leave();
  });

  it('loads older messages when one scrolls up', async () => {
    const ann = await Person.at('Kai');
    const bo = await Person.at('Lea');
    for (let i = 1; i <= 90; i++) {
      await server.api('message/private/publish', { fromUserId: 'lea', toUserId: 'kai', objectName: 'RC:TxtMsg', isIncludeSender: '1', content: JSON.stringify({ content: `line ${i}` }) });
    }
    const badge = ann.item('Lea').locator('.badge');
    await until('unread', async () => (await badge.textContent())?.startsWith('90'));
    await ann.open('Lea');
    await ann.shot('long-desk');
    // Reading starts at the first unread one; the end is a press away.
    await ann.page.locator('#pill').click();
    await ann.page.locator('.message').last().getByText('line 90', { exact: true }).waitFor();
    await bo.open('Kai');
    await bo.page.locator('.message').last().getByText('line 90', { exact: true }).waitFor();
    await until('the first line', async () => {
      await bo.page.locator('#log').evaluate((log) => log.scrollTo(0, 0));
      await sleep(100);
      return (await bo.texts())[0] === 'line 1';
    });
    assert.deepEqual(await bo.texts(), Array.from({ length: 90 }, (_, i) => `line ${i + 1}`));
    await until('read to the end', async () => (await badge.count()) === 0);
    await ann.leave();
    await bo.leave();
  });

  it('can be used with the keyboard alone', async () => {
    const ann = await Person.arrive('Mia', DESK);
    const { keyboard } = ann.page;
    const focus = () => ann.page.evaluate(() => document.activeElement?.id || document.activeElement?.className);
    await ann.page.getByLabel('Your name').waitFor();
    await keyboard.type('Mia');
    await keyboard.press('Enter');
    await ann.page.locator('#chat').waitFor();
    const bo = await Person.at('Ned');

    // To "new chat", choose a person from the list.
    await until('the new chat button has the focus', async () => {
      if ((await focus()) === 'new') return true;
      await keyboard.press('Tab');
      return false;
    });
    await keyboard.press('Enter');
    await ann.page.getByRole('dialog', { name: 'New chat' }).locator('.person').first().waitFor();
    assert.equal(await ann.page.evaluate(() => document.activeElement?.getAttribute('name')), 'id');
    await ann.shot('new-chat-desk');
    await keyboard.press('Escape');
    await ann.page.locator('dialog').waitFor({ state: 'detached' });
    assert.equal(await focus(), 'new', 'the focus goes back');
    await keyboard.press('Enter');
    await ann.page.getByRole('dialog', { name: 'New chat' }).locator('.person').first().waitFor();
    await keyboard.type('ned');
    await keyboard.press('Enter');
    await until('the field has the focus', async () => (await focus()) === 'input');
    await keyboard.type('no mouse');
    await keyboard.press('Shift+Enter');
    await keyboard.type('was harmed');
    await keyboard.press('Enter');
    await ann.marked('no mouse', 'Delivered');
    await keyboard.type('second');
    await keyboard.press('Enter');
    await ann.marked('second', 'Delivered');

    // Emoji by arrow keys.
    await keyboard.press('Shift+Tab');
    await keyboard.press('Shift+Tab');
    assert.equal(await focus(), 'emoji');
    await keyboard.press('Enter');
    await keyboard.press('ArrowRight');
    await keyboard.press('ArrowDown');
    await keyboard.press('Enter');
    await keyboard.press('Escape');
    assert.equal(await focus(), 'emoji');
    assert.notEqual(await ann.page.inputValue('#input'), '');
    await ann.page.locator('#input').fill('');

    // Take a message back.
    await until('the messages have the focus', async () => {
      if ((await focus()) === 'log') return true;
      await keyboard.press('Shift+Tab');
      return false;
    });
    await ann.shot('focus-desk');
    await keyboard.press('ArrowUp');
    await keyboard.press('ArrowUp');
    await keyboard.press('Enter');
    await ann.page.getByRole('menu').waitFor();
    await ann.shot('keyboard-menu-desk');
    await keyboard.press('ArrowDown');
    await keyboard.press('Enter');
    await ann.page.locator('.line', { hasText: 'You took back a message' }).waitFor();
    await keyboard.press('Escape');
    await until('Escape goes to the field', async () => (await focus()) === 'input');
    await keyboard.press('Escape');
    await until('and then to the list', async () => String(await focus()).includes('chat-open'));
    await keyboard.press('Enter');
    await until('Enter opens it', async () => (await focus()) === 'input');
    await ann.leave();
    await bo.leave();
  });

  it('speaks Chinese and English', async () => {
    const ann = await Person.arrive('Olga', DESK);
    await ann.page.locator('[data-language]:visible').click();
    await ann.page.getByLabel('你的名字').waitFor();
    assert.equal(await ann.page.evaluate(() => document.documentElement.lang.slice(0, 2)), 'zh');
    await ann.shot('login-zh-desk');
    await ann.page.getByLabel('你的名字').fill('Olga');
    await ann.page.getByRole('button', { name: '开始聊天' }).click();
    await ann.page.locator('#chat').waitFor();
    const bo = await Person.arrive('鸿雁', { ...PHONE, locale: 'zh-CN' });
    await bo.page.getByLabel('你的名字').fill('鸿雁');
    await bo.page.getByRole('button', { name: '开始聊天' }).tap();
    await bo.page.locator('#new').tap();
    await bo.page.locator('.person', { hasText: 'Olga' }).tap();
    await bo.say('云中谁寄锦书来，雁字回时，月满西楼。');
    await ann.open('鸿雁');
    await ann.message('锦书').waitFor();
    await ann.say('花自飘零水自流。一种相思，两处闲愁。');
    await bo.message('相思').waitFor();
    await ann.shot('chat-zh-desk');
    await bo.shot('chat-zh-phone');
    await bo.fits();
    await ann.page.reload();
    await ann.page.locator('#chat').waitFor();
    assert.equal(await ann.page.evaluate(() => document.documentElement.lang.slice(0, 2)), 'zh', 'the choice is kept');
    await ann.page.locator('[data-language]:visible').click();
    await ann.page.getByPlaceholder('Write a message').waitFor();
    await ann.page.locator('#peer-status', { hasText: 'online' }).waitFor();
    await ann.leave();
    await bo.leave();
  });

  it('is readable in the dark', async () => {
    const ann = await Person.at('Pia', { ...DESK, colorScheme: 'dark' });
    const bo = await Person.at('Quin', { ...PHONE, colorScheme: 'dark' });
    await ann.begin('quin');
    await ann.say('Good night!');
    await bo.shot('list-dark-phone');
    await bo.open('Pia');
    await bo.say('Sleep well.');
    await ann.message('Sleep well').waitFor();
    await ann.shot('dark-desk');
    await bo.shot('dark-phone');
    await ann.leave();
    await bo.leave();
  });

  it('is pushed out by the same tab name, says so, and can take the chat back', async () => {
    const ann = await Person.at('Rita');
    const device = await ann.page.evaluate(() => sessionStorage.getItem('hongyan:device'));
    const { token } = await ann.page.evaluate(() => JSON.parse(sessionStorage.getItem('hongyan.login') ?? '{}'));
    const hello = JSON.stringify({ t: 'hello', v: 1, token, device });
    assert.equal((await fetch(`${server.origin}/v1/poll`, { method: 'POST', body: hello })).status, 200);
    const dialog = ann.page.getByRole('dialog');
    await dialog.waitFor();
    await ann.shot('replaced-desk');
    await dialog.getByRole('button').click();
    await ann.page.locator('#banner').waitFor({ state: 'hidden' });
    await ann.begin('rita2');
    await ann.say('still here');
    await ann.marked('still here', 'Sent');
    await ann.leave();
  });
});

/** A picture of some size. @param {import('playwright-core').Page} page */
async function drawn(page) {
  const base64 = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1200, height: 800 });
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const sky = ctx.createLinearGradient(0, 0, 0, 800);
    sky.addColorStop(0, '#6fb1e0');
    sky.addColorStop(1, '#fbe3c0');
    ctx.fillStyle = sky;
    ctx.fillRect(0, 0, 1200, 800);
    for (let i = 0; i < 4; i++) {
      ctx.fillStyle = `hsl(${150 + i * 12} 30% ${52 - i * 10}%)`;
      ctx.beginPath();
      ctx.moveTo(0, 800);
      for (let x = 0; x <= 1200; x += 10) ctx.lineTo(x, 420 + i * 80 + Math.sin(x / (140 - i * 20) + i) * 60);
      ctx.lineTo(1200, 800);
      ctx.fill();
    }
    return canvas.toDataURL('image/png').split(',')[1];
  });
  return Buffer.from(base64, 'base64');
}
