/**
 * RongIMEmoji for pages written for RongIMLib 2.x: `RongIMLib.RongIMEmoji`, in one object what
 * the two generations of that script had (2.0 to 2.2.5, and 2.2.6 to 2.2.8). Emoji are drawn
 * with the character itself, in a span; there is no sprite image to be loaded.
 *
 * A classic script; it may come before or after RongIMLib.js.
 *
 * **Escape first.** As in the original, `emojiToHTML` and `symbolToHTML` leave the text around
 * the emoji as it is. Text of people goes through an HTML escape before it comes here:
 *
 *     element.innerHTML = RongIMLib.RongIMEmoji.emojiToHTML(escapeHtml(text));
 *
 * What this script puts in itself is escaped, also when a page brings its own table.
 */
(function define() {
  'use strict';

  /** @type {any} */
  const root = globalThis;

  /**
   * @typedef {object} Emoji
   * @property {string} unicode key in the table, such as `u1F600`
   * @property {string} emoji the character
   * @property {string} zh label, without brackets
   * @property {string} en label, without brackets
   *
   * @typedef {(found: string, emoji: Emoji) => string} Replace what to put in place of `found`
   */

  /** Code point, label of 2.0.6, English label. */
  const TABLE =
    '1F600 狞笑 grinning|1F601 露齿而笑 beaming|1F602 欢乐 tears of joy|1F603 微笑 smiley|1F605 赔笑 nervous laugh|' +
    '1F606 满意 satisfied|1F607 无辜 innocent|1F608 坏笑 mischievous|1F609 眨眼 wink|1F611 面无表情 expressionless|' +
    '1F612 一脸不快 unamused|1F613 汗 cold sweat|1F614 哀思 pensive|1F615 迷茫 confused|1F616 困惑的 confounded|' +
    '1F618 亲一个 blowing a kiss|1F621 愤怒 angry|1F62D 哭泣 sobbing|1F623 使劲 persevering|1F624 生气 snorting|' +
    '1F628 可怕 fearful|1F629 厌倦 weary|1F630 冷汗 anxious sweat|1F631 惊叫 screaming|1F632 惊讶 astonished|' +
    '1F633 呆住 flushed|1F634 睡眠 sleeping|1F635 断电了 dizzy|1F636 无口 no mouth|1F637 病了 masked|1F3A4 KTV karaoke|' +
    '1F3B2 色子 dice|1F3B5 音乐 music|1F3C0 篮球 basketball|1F3C2 单板滑雪 snowboard|1F3E1 房子 house|1F004 麻将 mahjong|' +
    '1F4A1 灯泡 bulb|1F4A2 爆筋 furious mark|1F4A3 炸弹 bomb|1F4A4 ZZZ zzz|1F4A9 狗屁 poop|1F4AA 肌肉 muscle|' +
    '1F4B0 钱袋 money bag|1F4DA 书籍 books|1F4DE 电话 phone|1F4E2 扩音器 loudspeaker|1F6AB 停止 no entry|1F6BF 淋浴 shower|' +
    '1F30F 土 earth|1F33B 向日葵 sunflower|1F35A 饭 rice|1F36B 巧克力 chocolate|1F37B 啤酒 beer|270A 拳头 raised fist|' +
    '1F44C 没问题 ok|1F44D 1 thumbs up|1F44E -1 thumbs down|1F44F 拍 clap|1F46A 家庭 family|1F46B 情侣 couple|' +
    '1F62C 鬼脸 grimace|1F47C 天使 angel|1F47D 外星人 alien|1F47F 恶魔 imp|1F48A 药 pill|1F48B 吻 kiss mark|' +
    '1F48D 戒指 ring|1F52B 枪 water pistol|1F60A 脸红 blush|1F60B 馋 yummy|1F60C 安心 relieved|1F60D 色色 heart eyes|' +
    '1F60E 墨镜 sunglasses|1F60F 傻笑 smirk|1F61A 接吻 kissing|1F61C 搞怪 tongue wink|1F61D 恶作剧 tongue out|' +
    '1F61E 失望的 disappointed|1F61F 苦涩 worried|1F62A 困 sleepy|1F62B 抓狂 tired|1F47B 鬼 ghost|1F622 哭 crying|' +
    '1F62F 寂静 hushed|1F64A 不说话 speak no evil|1F64F 祈祷 folded hands|1F319 月亮 crescent moon|1F332 树 tree|' +
    '1F339 玫瑰 rose|1F349 西瓜 watermelon|1F356 肉 meat|1F366 冰淇淋 ice cream|1F377 酒 wine|1F381 礼物 gift|' +
    '1F382 生日 birthday cake|1F384 圣诞 christmas tree|1F389 礼花 party popper|1F393 毕业 graduation|1F434 马 horse|' +
    '1F436 狗 dog|1F437 猪 pig|1F451 王冠 crown|1F484 口红 lipstick|1F494 伤心 broken heart|1F525 火了 fire|' +
    '1F556 时间 clock|1F648 不看 see no evil|1F649 不听 hear no evil|1F680 火箭 rocket|2B50 星星 star|' +
    '23F0 钟表 alarm clock|23F3 沙漏 hourglass|26A1 闪电 lightning|26BD 足球 soccer|26C4 雪人 snowman|26C5 多云 cloudy|' +
    '261D 第一 point up|263A 轻松 relaxed|1F44A 拳 fist bump|270B 手 raised hand|270C v victory|270F 笔 pencil|' +
    '2600 晴朗 sunny|2601 云 cloud|2614 伞 umbrella|2615 咖啡 coffee|2744 雪花 snowflake';

  const CLASS = 'RC_Expression';
  const JOINER = '\u200d'; // inside a sequence that is one picture
  const VARIATION = '\ufe0f'; // "as a picture, please"

  /** @type {Emoji[]} */
  let table = [];
  /** @type {Map<string, Emoji>} character, and its truncated form → emoji */
  let byCharacter = new Map();
  /** @type {Map<string, Emoji>} label in brackets, of both languages → emoji */
  let bySymbol = new Map();
  /** @type {RegExp} */
  let characters = /$^/;
  /** @type {'zh' | 'en'} */
  let language = 'zh';
  let size = 0; // px; 0: as the text around
  let ready = false;

  /** @returns {Emoji[]} */
  function builtIn() {
    return TABLE.split('|').map((row) => {
      const [, code, zh, en] = /** @type {RegExpExecArray} */ (/^(\S+) (\S+) (.+)$/.exec(row));
      return { unicode: `u${code}`, emoji: String.fromCodePoint(parseInt(code, 16)), zh, en };
    });
  }

  /**
   * @param {any} dataSource `{u1F600: {zh, en, tag}}`, as pages bring it; `tag` is the character
   * @returns {Emoji[]}
   */
  function fromDataSource(dataSource) {
    return Object.entries(dataSource ?? {}).flatMap(([unicode, entry]) => {
      const { zh, en, tag } = /** @type {any} */ (entry ?? {});
      const code = /^u([0-9a-f]{1,6})$/i.exec(unicode);
      const emoji = tag || (code && parseInt(code[1], 16) <= 0x10ffff ? String.fromCodePoint(parseInt(code[1], 16)) : '');
      if (!emoji) return [];
      const bare = (/** @type {any} */ label) => String(label ?? '').replace(/^\[|\]$/g, '');
      return [{ unicode, emoji: String(emoji), zh: bare(zh ?? en ?? unicode), en: bare(en ?? zh ?? unicode) }];
    });
  }

  /**
   * The form in which old builds receive a character above U+FFFF: cut to 16 bits.
   *
   * @param {string} emoji
   * @returns {string | null}
   */
  function truncated(emoji) {
    const code = emoji.codePointAt(0) ?? 0;
    const low = code & 0xffff;
    const single = emoji.length === 2 && code > 0xffff;
    return single && low >= 0xf000 && low <= 0xf700 ? String.fromCharCode(low) : null;
  }

  /** @param {Emoji} one */
  function symbolOf(one) {
    return `[${one[language]}]`;
  }

  /** @param {string} text */
  function escapeRegExp(text) {
    return text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
  }

  /** @param {string} text */
  function escapeHtml(text) {
    return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  }

  /** @param {Emoji[]} emoji */
  function use(emoji) {
    table = emoji;
    byCharacter = new Map();
    bySymbol = new Map();
    for (const one of table) {
      const short = truncated(one.emoji);
      if (short && !byCharacter.has(short)) byCharacter.set(short, one);
      byCharacter.set(one.emoji, one);
    }
    for (const one of [...table].reverse()) {
      bySymbol.set(`[${one.en}]`, one);
      bySymbol.set(`[${one.zh}]`, one);
    }
    const longestFirst = [...byCharacter.keys()].sort((a, b) => b.length - a.length);
    characters = new RegExp(`(?:${longestFirst.map(escapeRegExp).join('|')})${VARIATION}?`, 'g');
  }

  /**
   * @param {string} text
   * @param {RegExp | null | undefined} pattern the page's own, or ours
   * @param {(found: string, emoji: Emoji) => string} replace
   */
  function replaceCharacters(text, pattern, replace) {
    return String(text).replace(pattern ?? characters, (found, ...rest) => {
      const one = byCharacter.get(found) ?? byCharacter.get(found.replace(VARIATION, ''));
      const at = /** @type {number} */ (rest.find((value) => typeof value === 'number'));
      const whole = String(text);
      const partOfMore = whole[at - 1] === JOINER || whole[at + found.length] === JOINER;
      return one && !partOfMore ? replace(found, one) : found;
    });
  }

  /** @param {Emoji} one @param {number} [px] */
  function html(one, px) {
    const height = Number(px) || size;
    const style = height > 0 ? ` style="font-size:${height}px"` : '';
    return `<span class="${CLASS} RongIMExpression_${escapeHtml(one.unicode)}" name="${escapeHtml(symbolOf(one))}"${style}>${escapeHtml(one.emoji)}</span>`;
  }

  /** @param {Emoji} one @returns {any} a span around a span, as the first generation made them; null without a document */
  function node(one) {
    if (typeof document === 'undefined') return null;
    const outer = document.createElement('span');
    const inner = document.createElement('span');
    inner.className = `${CLASS} RongIMExpression_${one.unicode}`;
    inner.setAttribute('name', symbolOf(one));
    inner.textContent = one.emoji;
    if (size > 0) inner.style.fontSize = `${size}px`;
    outer.appendChild(inner);
    return outer;
  }

  /** Fonts with pictures first: some characters of the table are also letters' companions. */
  function addStyle() {
    if (typeof document === 'undefined' || !document.head) return;
    const style = document.createElement('style');
    style.textContent = `.${CLASS}{font-family:"Apple Color Emoji","Segoe UI Emoji","Noto Color Emoji",sans-serif;font-style:normal}`;
    document.head.appendChild(style);
  }

  function ensure() {
    if (!ready) RongIMEmoji.init();
  }

  const RongIMEmoji = {
    /** @type {any[]} `{unicode, symbol, emoji, node}` for each emoji (second generation) */
    list: [],

    /** @type {any[]} a DOM span for each emoji (first generation) */
    emojis: [],

    /** @type {{unicode: string, zh: string, en: string}[]} labels, with brackets */
    names: [],

    /** @type {any[]} the same under the name that the second generation used */
    name: [],

    /** @type {Record<string, {zh: string, en: string, tag: string}>} */
    data: {},

    /**
     * May be called again; without a call the first use does it.
     *
     * @param {any} [option] `dataSource`: a table in place of ours; `extension.dataSource`: more emoji;
     *   `lang`: 'zh' or 'en'; `size`: px. Sprite images (`url`, `bp`) are not used: emoji are characters.
     */
    init(option) {
      if (!ready) addStyle();
      ready = true;
      language = option?.lang === 'en' ? 'en' : 'zh';
      size = Number(option?.size) || 0;
      use([...(option?.dataSource ? fromDataSource(option.dataSource) : builtIn()), ...fromDataSource(option?.extension?.dataSource)]);
      this.list = table.map((one) => ({ unicode: one.unicode, symbol: symbolOf(one), emoji: one.emoji, node: node(one) }));
      this.emojis = table.map(node).filter((one) => one !== null);
      this.names = table.map(({ unicode, zh, en }) => ({ unicode, zh: `[${zh}]`, en: `[${en}]` }));
      this.name = this.names;
      this.data = Object.fromEntries(table.map(({ unicode, zh, en, emoji }) => [unicode, { zh: `[${zh}]`, en: `[${en}]`, tag: emoji }]));
    },

    /** Emoji are characters: whatever shows text shows them. */
    isSupportEmoji() {
      return true;
    },

    /**
     * `[微笑]` → 😃, for labels of both languages. What is no label stays.
     *
     * @param {string} text
     * @param {Replace} [replace]
     */
    symbolToEmoji(text, replace) {
      ensure();
      return String(text).replace(/\[[^[\]]+\]/g, (found) => {
        const one = bySymbol.get(found);
        if (!one) return found;
        return typeof replace === 'function' ? String(replace(found, one)) : one.emoji;
      });
    },

    /**
     * 😃 → `[微笑]`, in the language of `init`; also from the truncated form.
     *
     * @param {string} text
     * @param {RegExp | null} [pattern]
     * @param {Replace} [replace]
     */
    emojiToSymbol(text, pattern, replace) {
      ensure();
      return replaceCharacters(text, pattern, (found, one) => (typeof replace === 'function' ? String(replace(found, one)) : symbolOf(one)));
    },

    /**
     * 😃 → HTML of a span. The rest of `text` has to be escaped already.
     *
     * @param {string} text
     * @param {number} [px]
     * @param {RegExp | null} [pattern]
     * @param {Replace} [replace] its result goes into the HTML as it is
     */
    emojiToHTML(text, px, pattern, replace) {
      ensure();
      return replaceCharacters(text, pattern, (found, one) => (typeof replace === 'function' ? String(replace(found, one)) : html(one, px)));
    },

    /**
     * `[微笑]` and 😃 → HTML of a span. The rest of `text` has to be escaped already.
     *
     * @param {string} text
     * @param {number} [px]
     * @param {RegExp | null} [pattern]
     * @param {Replace} [replace]
     */
    symbolToHTML(text, px, pattern, replace) {
      return this.emojiToHTML(this.symbolToEmoji(text), px, pattern, replace);
    },
  };

  root.RongIMLib = Object.assign(root.RongIMLib ?? {}, { RongIMEmoji });
})();
