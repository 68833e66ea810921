import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakePage, plain } from './support/page.js';

function load(option) {
  const page = new FakePage({ option });
  page.load('RongEmoji.js');
  page.run('var emoji = RongIMLib.RongIMEmoji; emoji.init(option);');
  const call = (method) => (...values) => {
    page.window.values = values;
    return page.run(`emoji.${method}(...values)`);
  };
  return { page, toEmoji: call('symbolToEmoji'), toSymbol: call('emojiToSymbol'), toHtml: call('emojiToHTML'), symbolToHtml: call('symbolToHTML') };
}

describe('RongIMEmoji', () => {
  test('turns labels into characters and back', () => {
    const { toEmoji, toSymbol } = load();
    assert.equal(toEmoji('[微笑] hi [雪花][1][-1][v]'), '😃 hi ❄👍👎✌');
    assert.equal(toSymbol('😃 hi ❄👍👎✌'), '[微笑] hi [雪花][1][-1][v]');
    assert.equal(toEmoji('[没有这个] [] [[微笑]]'), '[没有这个] [] [😃]');
    assert.equal(toSymbol('☺️ and ☺'), '[轻松] and [轻松]');
  });

  test('every emoji of the table goes there and back, in both languages', () => {
    for (const lang of ['zh', 'en']) {
      const { page, toEmoji, toSymbol } = load({ lang });
      const list = plain(page.run('emoji.list.map(function (one) { return { symbol: one.symbol, emoji: one.emoji }; })'));
      assert.equal(list.length, 128);
      assert.equal(new Set(list.map((one) => one.symbol)).size, 128);
      for (const { symbol, emoji } of list) {
        assert.equal(toEmoji(symbol), emoji);
        assert.equal(toSymbol(emoji), symbol);
      }
    }
  });

  test('speaks English when told to, and understands both', () => {
    const { toEmoji, toSymbol } = load({ lang: 'en' });
    assert.equal(toSymbol('😂'), '[tears of joy]');
    assert.equal(toEmoji('[tears of joy][欢乐]'), '😂😂');
  });

  test('knows characters that an old build has cut to 16 bits', () => {
    const { toSymbol, toHtml } = load();
    assert.equal(toSymbol('\uf600'), '[狞笑]');
    assert.match(toHtml('\uf600'), />😀</);
  });

  test('does not tear sequences apart', () => {
    const { toSymbol } = load();
    const flame = '❤️\u200d🔥';
    assert.equal(toSymbol(`${flame} 🔥`), `${flame} [火了]`);
  });

  test('draws a span with the character', () => {
    const { toHtml, symbolToHtml } = load();
    const span = '<span class="RC_Expression RongIMExpression_u1F603" name="[微笑]">😃</span>';
    assert.equal(toHtml('a😃b'), `a${span}b`);
    assert.equal(symbolToHtml('a[微笑]b😃'), `a${span}b${span}`);
    assert.match(toHtml('😃', 30), / style="font-size:30px">/);
    assert.doesNotMatch(toHtml('😃', '30"><script>'), /script|style/);
  });

  test('leaves the escaping of the rest to the caller, as the original', () => {
    const { toHtml } = load();
    assert.match(toHtml('&lt;b&gt;😃'), /^&lt;b&gt;<span/);
  });

  test('puts nothing dangerous in, whatever table the page brings', () => {
    const nasty = '"><img src=x onerror=alert(1)>';
    const { toHtml, symbolToHtml, page } = load({ extension: { dataSource: { [`u"${nasty}`]: { zh: nasty, en: nasty, tag: '🦀' } } } });
    for (const made of [toHtml('🦀'), symbolToHtml(`[${nasty}]`)]) {
      assert.doesNotMatch(made, /<img/);
      assert.equal(made.match(/<span[^<>]*>🦀<\/span>/)[0], made);
    }
    assert.equal(page.run('emoji.list.length'), 129);
  });

  test('a table of the page replaces ours, and init may be called again', () => {
    const { page, toEmoji, toSymbol } = load({ dataSource: { u1F980: { zh: '[螃蟹]', en: '[crab]', tag: '🦀' } }, url: 'sprite.png' });
    assert.equal(toEmoji('[螃蟹][微笑]'), '🦀[微笑]');
    assert.equal(toSymbol('🦀😃'), '[螃蟹]😃');
    page.run('emoji.init()');
    assert.equal(toEmoji('[螃蟹][微笑]'), '[螃蟹]😃');
  });

  test('callbacks of the second generation decide themselves', () => {
    const { page } = load();
    assert.equal(page.run("emoji.symbolToEmoji('[微笑]!', function (found, one) { return one.unicode; })"), 'u1F603!');
    assert.equal(page.run("emoji.emojiToHTML('😃!', 10, null, function (found, one) { return '<b>' + one.zh + '</b>'; })"), '<b>微笑</b>!');
  });

  test('has the lists of both generations', () => {
    const { page } = load();
    assert.equal(page.run('emoji.emojis.length'), 128);
    assert.deepEqual(plain(page.run('[emoji.emojis[3].children[0].getAttribute("name"), emoji.emojis[3].children[0].textContent, emoji.emojis[3].children[0].className]')), ['[微笑]', '😃', 'RC_Expression RongIMExpression_u1F603']);
    assert.deepEqual(plain(page.run('emoji.names[3]')), { unicode: 'u1F603', zh: '[微笑]', en: '[smiley]' });
    assert.equal(page.run('emoji.list[3].node.tagName'), 'SPAN');
  });

  test('works without init, beside RongIMLib in either order', () => {
    const first = new FakePage().load('RongEmoji.js').load('RongIMLib.js');
    const second = new FakePage().load('RongIMLib.js').load('RongEmoji.js');
    for (const page of [first, second]) {
      assert.equal(page.run("RongIMLib.RongIMEmoji.symbolToEmoji('[微笑]')"), '😃');
      assert.equal(page.run('typeof RongIMLib.RongIMClient.init'), 'function');
    }
  });
});
