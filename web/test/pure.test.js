import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe, isShown, preview } from '../content.js';
import { bytes, dayLabel, daysAgo, duration, hue, HUES, initials, isJumbo, linkParts, webAddress } from '../format.js';
import { tables } from '../i18n.js';
import { chooseLanguage, translate } from '../language.js';
import { rowsOf } from '../rows.js';
import { audioType, fromBase64, imageType, toBase64 } from '../sniff.js';

const t = (key, params) => translate('en', key, params);
const noon = new Date(2025, 10, 20, 12).getTime();
const hour = 3_600_000;

test('days are counted by local midnights', () => {
  assert.equal(daysAgo(noon - 11 * hour, noon), 0);
  assert.equal(daysAgo(noon - 13 * hour, noon), 1);
  const words = { today: 'Today', yesterday: 'Yesterday' };
  assert.equal(dayLabel(noon, noon, 'en', words), 'Today');
  assert.equal(dayLabel(noon - 24 * hour, noon, 'en', words), 'Yesterday');
  assert.equal(dayLabel(noon - 48 * hour, noon, 'en', words), 'Tuesday');
  assert.match(dayLabel(noon - 400 * 24 * hour, noon, 'en', words), /2024/);
});

test('durations and sizes', () => {
  assert.equal(duration(65.4), '1:05');
  assert.equal(duration(NaN), '0:00');
  assert.equal(bytes(900), '900 B');
  assert.equal(bytes(2048), '2 KB');
  assert.equal(bytes(3.5 * 1024 * 1024), '3.5 MB');
});

test('initials of Latin, Chinese and odd names', () => {
  assert.equal(initials('Ann'), 'A');
  assert.equal(initials('ann lee'), 'AL');
  assert.equal(initials('王小明'), '小明');
  assert.equal(initials('李雷'), '李雷');
  assert.equal(initials('😀 x'), '😀X');
  assert.equal(initials('  '), '?');
});

test('colours are stable and within bounds', () => {
  for (const id of ['', 'ann', 'bo', '鸿雁', 'x'.repeat(64)]) {
    assert.equal(hue(id), hue(id));
    assert.ok(hue(id) >= 0 && hue(id) < HUES);
  }
});

test('links: http and https only, without the sentence around them', () => {
  assert.deepEqual(linkParts('see https://a.example/x?y=1, ok'), [
    { text: 'see ' }, { text: 'https://a.example/x?y=1', href: 'https://a.example/x?y=1' }, { text: ', ok' },
  ]);
  assert.deepEqual(linkParts('看https://a.example/路。好').map((p) => p.text), ['看', 'https://a.example/路', '。好']);
  assert.deepEqual(linkParts('javascript:alert(1)'), [{ text: 'javascript:alert(1)' }]);
  assert.equal(linkParts('(https://a.example/b_(c))')[1].text, 'https://a.example/b_(c)');
  assert.equal(webAddress('javascript:alert(1)'), '');
  assert.equal(webAddress('data:text/html,x'), '');
  assert.equal(webAddress(5), '');
});

test('a few emoji alone are large', () => {
  assert.ok(isJumbo('👍'));
  assert.ok(isJumbo('👨‍👩‍👧 🇨🇳 ❤️'));
  assert.ok(!isJumbo('👍👍👍👍'));
  assert.ok(!isJumbo('ok 👍'));
  assert.ok(!isJumbo('12'));
  assert.ok(!isJumbo(''));
});

test('base64 there and back, with prefix, garbage refused', () => {
  const data = Uint8Array.from({ length: 20_000 }, (_, i) => i);
  assert.deepEqual(fromBase64(toBase64(data)), data);
  assert.deepEqual(fromBase64('data:image/jpeg;base64,AQI='), Uint8Array.of(1, 2));
  assert.equal(fromBase64('***'), null);
  assert.equal(fromBase64({}), null);
});

test('formats by their first bytes', () => {
  const of = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
  assert.equal(audioType(of('#!AMR\n...')), 'audio/amr');
  assert.equal(audioType(of('\x1a\x45\xdf\xa3')), 'audio/webm');
  assert.equal(audioType(of('\0\0\0\x20ftypM4A ')), 'audio/mp4');
  assert.equal(audioType(of('RIFF\0\0\0\0WAVE')), 'audio/wav');
  assert.equal(audioType(of('\xff\xfb\x90')), 'audio/mpeg');
  assert.equal(audioType(of('\xff\xf1\x50')), 'audio/aac');
  assert.equal(audioType(of('hello')), '');
  assert.equal(audioType(of('')), '');
  assert.equal(imageType(of('\xff\xd8\xff\xe0')), 'image/jpeg');
  assert.equal(imageType(of('\x89PNG')), 'image/png');
  assert.equal(imageType(of('<svg onload=…')), '');
});

const msg = (type, content, over = {}) => ({
  id: `m${over.at ?? 1}`, kind: 1, from: 'bo', to: 'ann', target: 'bo', mine: false, type, content,
  at: 1, time: noon, state: 'sent', seq: 0, ...over,
});

test('every class has a description, hostile content has one too', () => {
  const types = ['RC:TxtMsg', 'RC:ImgMsg', 'RC:VcMsg', 'RC:HQVCMsg', 'RC:ImgTextMsg', 'RC:FileMsg', 'RC:LBSMsg', 'RC:SightMsg',
    'RC:GIFMsg', 'RC:ReferenceMsg', 'RC:CombineMsg', 'RC:InfoNtf', 'RC:ContactNtf', 'RC:GrpNtf', 'RC:CmdNtf', 'app:thing'];
  const contents = [null, undefined, 'text', 5, [], {}, { content: {} }, { content: 5, url: 'javascript:x', size: 'x', summaryList: [{}] }];
  for (const type of types) {
    for (const content of contents) {
      assert.equal(typeof describe(msg(type, content)).as, 'string');
      assert.equal(typeof preview(msg(type, content), t), 'string');
    }
  }
  assert.deepEqual(describe(msg('RC:ImgTextMsg', { title: 'T', url: 'javascript:x' })), { as: 'card', title: 'T', text: '', image: '', url: '' });
  assert.equal(preview(msg('RC:TxtMsg', 'plain text'), t), 'plain text');
  assert.equal(preview(msg('RC:TxtMsg', { content: 'two\nlines' }), t), 'two lines');
  assert.equal(preview(msg('app:thing', {}), t), '[unsupported message]');
});

test('a taken back message says who did it', () => {
  assert.equal(preview(msg('RC:TxtMsg', {}, { recalled: true, mine: true }), t), 'You took back a message');
  assert.equal(preview(msg('RC:TxtMsg', {}, { recalled: true }), t, 'Bo'), 'Bo took back a message');
});

test('commands and status messages are not shown', () => {
  assert.ok(!isShown(msg('RC:CmdMsg', {}, { stored: false })));
  assert.ok(!isShown(msg('RC:TypSts', {}, { status: true })));
  assert.ok(isShown(msg('RC:TxtMsg', {})));
});

test('rows: days, divider, groups and progress', () => {
  const items = [
    msg('RC:TxtMsg', { content: 'a' }, { at: 1, time: noon - 24 * hour }),
    msg('RC:TxtMsg', { content: 'b' }, { at: 2, time: noon }),
    msg('RC:TxtMsg', { content: 'c' }, { at: 3, time: noon + 1000 }),
    msg('RC:TxtMsg', { content: 'd' }, { at: 4, time: noon + 2000 }),
    msg('RC:InfoNtf', { message: 'hello' }, { at: 5, time: noon + 3000 }),
    msg('RC:TxtMsg', { content: 'e' }, { at: 6, time: noon + 4000, mine: true, from: 'ann', cid: 'c6' }),
    msg('RC:TxtMsg', { content: 'f' }, { at: 7, time: noon + 5000, mine: true, from: 'ann', cid: 'c7' }),
    msg('RC:TxtMsg', { content: 'g' }, { at: Infinity, id: '', time: noon + 10 * 60_000, mine: true, from: 'ann', cid: 'c8', state: 'failed' }),
  ];
  const rows = rowsOf({ key: '1:bo', items, loaded: true, more: false, loading: '', divider: 'm4' },
    { peerRead: 6, peerDelivered: 7 });
  assert.deepEqual(rows.map((r) => r.as), ['day', 'bubble', 'day', 'bubble', 'bubble', 'divider', 'bubble', 'line', 'bubble', 'bubble', 'bubble']);
  const bubbles = rows.filter((r) => r.as === 'bubble');
  assert.deepEqual(bubbles.map((r) => [r.first, r.last]), [
    [true, true], [true, false], [false, true], [true, true], [true, false], [false, true], [true, true],
  ]);
  assert.deepEqual(bubbles.slice(4).map((r) => r.progress), ['read', 'delivered', 'failed']);
  assert.equal(new Set(rows.map((r) => r.key)).size, rows.length);
});

test('both languages have the same texts with the same parameters', () => {
  assert.deepEqual(Object.keys(tables.zh).sort(), Object.keys(tables.en).sort());
  const params = (text) => [...new Set(text.match(/\{\w+/gu) ?? [])].sort();
  for (const [key, text] of Object.entries(tables.en)) {
    assert.ok(text && tables.zh[key], key);
    assert.deepEqual(params(tables.zh[key]), params(text), key);
  }
});

test('plural forms and unknown keys', () => {
  assert.equal(translate('en', 'unread', { n: 1 }), '1 unread message');
  assert.equal(translate('en', 'unread', { n: 2 }), '2 unread messages');
  assert.equal(translate('zh', 'unread', { n: 2 }), '2 条未读消息');
  assert.equal(translate('en', 'no.such.key'), 'no.such.key');
});

test('the language is the remembered one, else the first wanted one that we speak', () => {
  assert.equal(chooseLanguage('zh', ['en']), 'zh');
  assert.equal(chooseLanguage(null, ['fr-FR', 'zh-TW', 'en']), 'zh');
  assert.equal(chooseLanguage(null, ['en-US', 'zh']), 'en');
  assert.equal(chooseLanguage('xx', ['fr']), 'en');
});
