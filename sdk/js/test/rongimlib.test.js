import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { client as nativeClient, text, until } from './support/clients.js';
import { FakeServer } from './support/fake-server.js';
import { FakePage, plain } from './support/page.js';

let server;
let pages = [];
let natives = [];

beforeEach(async () => {
  server = await FakeServer.start();
});

afterEach(async () => {
  for (const page of pages) page.run('try { RongIMClient.getInstance().disconnect() } catch {}');
  for (const one of natives) one.disconnect();
  pages = [];
  natives = [];
  await server.stop();
});

/** A page with the SDK and both listeners, not connected yet. */
function load(options = {}, globals = {}) {
  const page = new FakePage({ options: { navi: server.url, ...options }, statuses: [], received: [], log: [], ...globals });
  page.load('RongIMLib.js');
  page.run(`
    RongIMClient.init('app-key', null, options);
    RongIMClient.setConnectionStatusListener({ onChanged: function (status) { statuses.push(status); } });
    RongIMClient.setOnReceiveMessageListener({ onReceived: function (message) { received.push(message); } });
  `);
  pages.push(page);
  return page;
}

async function connected(user, options, globals) {
  const page = load(options, globals);
  page.window.token = `token-${user}`;
  page.run(`RongIMClient.connect(token, {
    onSuccess: function (id) { log.push('in as ' + id); },
    onTokenIncorrect: function () { log.push('token'); },
    onError: function (code) { log.push('error ' + code); },
  });`);
  await until(() => page.window.log.includes(`in as ${user}`), `${user} is in`);
  return page;
}

async function native(user) {
  const one = nativeClient(server);
  natives.push(one);
  await one.connect(`token-${user}`);
  return one;
}

/** Calls a method of the instance whose last argument is a callbacks object; resolves with what was called back. */
function ask(page, method, ...values) {
  return new Promise((resolve) => {
    page.window.args = values;
    page.window.done = (name, ...results) => resolve({ [name]: results });
    page.run(`
      var callbacks = { onSuccess: function () { done('ok', ...arguments); }, onError: function () { done('error', ...arguments); } };
      RongIMClient.getInstance().${method}(...args.map(function (arg) { return arg === '$cb' ? callbacks : arg; }));
    `);
  });
}

describe('a page of the time of 2.0.6', () => {
  // As such pages are written; only the script's address is ours.
  const script = `
    RongIMClient.init('app-key', null, options);
    RongIMClient.setConnectionStatusListener({
      onChanged: function (status) {
        switch (status) {
          case RongIMLib.ConnectionStatus.CONNECTED: log.push('connected'); break;
          case RongIMLib.ConnectionStatus.CONNECTING: log.push('connecting'); break;
          case RongIMLib.ConnectionStatus.DISCONNECTED: log.push('disconnected'); break;
          case RongIMLib.ConnectionStatus.KICKED_OFFLINE_BY_OTHER_CLIENT: log.push('elsewhere'); break;
          case RongIMLib.ConnectionStatus.NETWORK_UNAVAILABLE: log.push('network'); break;
        }
      }
    });
    RongIMClient.setOnReceiveMessageListener({
      onReceived: function (message) {
        switch (message.messageType) {
          case RongIMClient.MessageType.TextMessage: log.push(message.senderUserId + ': ' + message.content.content); break;
          case RongIMClient.MessageType.ImageMessage: log.push('image ' + message.content.imageUri); break;
          default: log.push('other ' + message.messageType);
        }
      }
    });
    RongIMClient.connect(token, {
      onSuccess: function (userId) { log.push('in as ' + userId); },
      onTokenIncorrect: function () { log.push('token incorrect'); },
      onError: function (code) { log.push('error ' + code); }
    });
    function say(target, text) {
      var msg = RongIMLib.TextMessage.obtain(text);
      RongIMClient.getInstance().sendMessage(RongIMLib.ConversationType.PRIVATE, target, msg, {
        onSuccess: function (message) { log.push('sent ' + message.content.content + ' ' + (message.messageUId.length > 0) + ' ' + (message.sentTime > 1e12)); },
        onError: function (code, message) {
          switch (code) {
            case RongIMLib.ErrorCode.TIMEOUT: log.push('timeout'); break;
            case RongIMLib.ErrorCode.UNKNOWN_ERROR: log.push('unknown'); break;
            case RongIMLib.ErrorCode.REJECTED_BY_BLACKLIST: log.push('blacklisted'); break;
            default: log.push('error ' + code);
          }
        }
      });
    }
  `;
  const open = (user, globals = {}) => {
    const page = new FakePage({ options: { navi: server.url }, token: `token-${user}`, log: [], ...globals });
    pages.push(page);
    page.load('RongIMLib.js').run(script);
    return page;
  };

  for (const [name, globals, channel] of [['WebSocket', {}, 1], ['WEB_XHR_POLLING', { WEB_XHR_POLLING: true }, 0]]) {
    test(`chats over ${name}`, async () => {
      const ann = open('ann', globals);
      const bo = open('bo', globals);
      await until(() => ann.window.log.includes('in as ann') && bo.window.log.includes('in as bo'));
      assert.deepEqual(plain(ann.window.log), ['connecting', 'connected', 'in as ann']);
      assert.equal(ann.run('RongIMClient.getInstance().getConnectionChannel()'), channel);
      ann.run("say('bo', '你好 😀')");
      await until(() => bo.window.log.includes('ann: 你好 😀'));
      await until(() => ann.window.log.includes('sent 你好 😀 true true'));
      await ask(bo, 'addToBlacklist', 'ann', '$cb');
      ann.run("say('bo', 'again')");
      await until(() => ann.window.log.includes('blacklisted'));
    });
  }

  test('asks for a new token when its token is refused', async () => {
    const page = open('ann', { token: 'forged' });
    await until(() => page.window.log.includes('token incorrect'));
    assert.deepEqual(plain(page.window.log), ['connecting', 'token incorrect']);
    page.run("log.length = 0; RongIMClient.connect('token-ann', { onSuccess: function (id) { log.push('in as ' + id); } });");
    await until(() => page.window.log.includes('in as ann'));
  });

  test('is told when the line breaks and mends', async () => {
    const page = open('ann');
    await until(() => page.window.log.includes('in as ann'));
    page.window.log.length = 0;
    server.cut();
    await until(() => page.window.log.includes('connected'));
    assert.deepEqual(plain(page.window.log), ['network', 'connecting', 'connected']);
  });
});

describe('connecting', () => {
  test('needs init and both listeners, and says so', () => {
    const page = new FakePage().load('RongIMLib.js');
    assert.throws(() => page.run('RongIMClient.getInstance()'), /init/);
    assert.throws(() => page.run("RongIMClient.connect('t', {})"), /init/);
    page.window.options = { navi: server.url };
    page.run("RongIMClient.init('k', null, options)");
    assert.throws(() => page.run("RongIMClient.connect('t', {})"), /setConnectionStatusListener/);
    page.run('RongIMClient.setConnectionStatusListener({ onChanged: function () {} })');
    assert.throws(() => page.run("RongIMClient.connect('t', {})"), /setOnReceiveMessageListener/);
  });

  test('twice with one token is one session, and both are told', async () => {
    const page = await connected('ann');
    page.run("RongIMClient.connect('token-ann', { onSuccess: function (id) { log.push('again ' + id); } });");
    await until(() => page.window.log.includes('again ann'));
    assert.equal(server.node.sessions.size, 1);
  });

  test('after disconnect works on the same page, as another user too', async () => {
    const page = await connected('ann');
    page.run('RongIMClient.getInstance().disconnect()');
    assert.equal(page.run('RongIMClient.getInstance().getCurrentConnectionStatus()'), 2);
    await until(() => server.node.sessions.size === 0);
    const refused = await ask(page, 'getBlacklist', '$cb');
    assert.deepEqual(refused, { error: [30001] });
    page.run("RongIMClient.reconnect({ onSuccess: function (id) { log.push('back ' + id); } });");
    await until(() => page.window.log.includes('back ann'));
    page.run("RongIMClient.getInstance().logout(); RongIMClient.connect('token-bo', { onSuccess: function (id) { log.push('now ' + id); } });");
    await until(() => page.window.log.includes('now bo'));
    assert.equal(page.run('RongIMClient.getInstance().getCurrentUserId()'), 'bo');
  });

  test('disconnect while the engine is still loading leaves nobody behind', async () => {
    const page = load();
    page.run("RongIMClient.connect('token-ann', {}); RongIMClient.getInstance().disconnect();");
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(server.node.sessions.size, 0);
    assert.deepEqual(plain(page.window.statuses), [1, 2]);
  });

  test('kicked by the same device elsewhere is status 6', async () => {
    const page = await connected('ann');
    for (const session of server.node.sessions) session.kick('replaced', 4409);
    await until(() => page.window.statuses.at(-1) === 6);
  });

  test('a token that expires later is told to the callbacks of connect', async () => {
    const page = await connected('ann');
    for (const session of server.node.sessions) session.kick('token_expired', 4401);
    await until(() => page.window.log.includes('token'));
    assert.equal(page.window.statuses.at(-1), 2);
  });

  test('an empty token is incorrect', async () => {
    const page = load();
    page.run("RongIMClient.connect('', { onTokenIncorrect: function () { log.push('token'); } });");
    await until(() => page.window.log.includes('token'));
  });

  test('of several nodes one that answers is found', async () => {
    const page = await connected('ann', { navi: ['http://127.0.0.1:9', server.url.replace('http://', '')] });
    assert.equal(page.window.statuses.at(-1), 0);
  });

  test('an engine that cannot be loaded is a network error', async () => {
    const page = load({ engine: 'file:///nowhere/hongyan.js' });
    page.run("RongIMClient.connect('token-ann', { onError: function (code) { log.push('error ' + code); } });");
    await until(() => page.window.log.includes('error 30002'));
    assert.deepEqual(plain(page.window.statuses), [1, 3]);
  });

  test("a page's own mistakes in a callback stop nothing", async () => {
    const page = load();
    page.run("RongIMClient.setOnReceiveMessageListener({ onReceived: function (m) { received.push(m); throw new Error('mine'); } });");
    page.run("RongIMClient.connect('token-ann', { onSuccess: function () { throw new Error('also mine'); } });");
    await until(() => server.node.sessions.size === 1);
    server.node.deliver('bo', 'ann', { content: 'one' });
    server.node.deliver('bo', 'ann', { content: 'two' });
    await until(() => page.window.received.length === 2 && page.errors.length === 3);
  });
});

describe('messages', () => {
  test('arrive with the fields of 2.x', async () => {
    const page = await connected('ann');
    const bo = await native('bo');
    const sent = await bo.send({ kind: 1, target: 'ann', type: 'RC:TxtMsg', content: { content: 'hi', extra: 'x', user: { id: 'bo' } } });
    await until(() => page.window.received.length === 1);
    const [message] = page.window.received;
    const { messageId, receivedTime, ...rest } = plain(message);
    assert.deepEqual(rest, {
      content: { content: 'hi', extra: 'x', user: { id: 'bo' }, messageName: 'TextMessage' },
      conversationType: 1, targetId: 'bo', senderUserId: 'bo', messageDirection: 2, messageType: 'TextMessage', objectName: 'RC:TxtMsg',
      messageUId: sent.id, sentTime: sent.time, receivedStatus: 0, sentStatus: 40, extra: 'x', offLineMessage: false,
      hasReceivedByOtherClient: false, isStatusMessage: false,
    });
    assert.match(messageId, /^1_\d+$/);
    assert.ok(Math.abs(receivedTime - Date.now()) < 5000);
    page.window.message = message;
    assert.equal(page.run('message.content instanceof RongIMLib.TextMessage'), true);
  });

  test('from before the connection are off-line messages', async () => {
    const first = await connected('ann');
    first.run('RongIMClient.getInstance().disconnect()');
    await until(() => server.node.sessions.size === 0);
    server.node.deliver('bo', 'ann', { content: 'missed' });
    first.run("RongIMClient.reconnect({})");
    await until(() => first.window.received.length === 1);
    server.node.deliver('bo', 'ann', { content: 'live' });
    await until(() => first.window.received.length === 2);
    assert.deepEqual(plain(first.window.received).map((m) => m.offLineMessage), [true, false]);
  });

  test('of mine from elsewhere are sent ones in the peer\'s conversation', async () => {
    const page = await connected('ann');
    const other = await native('ann');
    await other.send(text('from my phone'));
    await until(() => page.window.received.length === 1);
    const [message] = page.window.received;
    assert.deepEqual([message.messageDirection, message.targetId, message.senderUserId, message.sentStatus], [1, 'bo', 'ann', 30]);
  });

  test('of unknown classes are UnknownMessage; command data is parsed', async () => {
    const page = await connected('ann');
    server.node.deliver('bo', 'ann', { a: 1 }, { type: 'app:odd' });
    server.node.deliver('bo', 'ann', { name: 'n', data: '{"x":1}' }, { type: 'RC:CmdMsg' });
    server.node.deliver('bo', 'ann', 'bare text', { type: 'RC:TxtMsg' });
    await until(() => page.window.received.length === 3);
    const [odd, command, bare] = plain(page.window.received);
    assert.equal(odd.messageType, 'UnknownMessage');
    assert.deepEqual(odd.content.message, { content: { a: 1 }, objectName: 'app:odd' });
    assert.deepEqual(command.content.data, { x: 1 });
    assert.equal(bare.content.content, 'bare text');
  });

  test('of registered classes are theirs, with their flags on the wire', async () => {
    const page = await connected('ann');
    const bo = await native('bo');
    page.run("RongIMClient.registerMessageType('CardMessage', 'app:card', new RongIMLib.MessageTag(false, true), ['title'])");
    const answer = await new Promise((resolve) => {
      page.window.done = resolve;
      page.run(`RongIMClient.getInstance().sendMessage(1, 'bo', new RongIMClient.RegisterMessage.CardMessage({ title: 't' }), {
        onBefore: function (id) { log.push('before ' + typeof id); },
        onSuccess: function (m) { done(m); },
      });`);
    });
    assert.deepEqual([answer.messageType, answer.objectName, answer.sentStatus], ['CardMessage', 'app:card', 30]);
    assert.ok(page.window.log.includes('before number'));
    await until(() => bo.texts().length === 1);
    const [, message] = bo.log.find(([name]) => name === 'message');
    assert.deepEqual([message.type, message.content, message.counted], ['app:card', { title: 't' }, false]);
    await bo.send({ kind: 1, target: 'ann', type: 'app:card', content: { title: 'back' } });
    await until(() => page.window.received.length === 1);
    assert.equal(page.window.received[0].messageType, 'CardMessage');
    assert.equal(page.window.received[0].content.title, 'back');
  });

  test('go out as the old builds wrote them', async () => {
    const page = await connected('ann');
    const bo = await native('bo');
    page.run(`
      var im = RongIMClient.getInstance();
      im.sendTextMessage(1, 'bo', 'hi', {});
      im.sendMessage(1, 'bo', RongIMLib.ImageMessage.obtain('b64', 'http://i'), {});
      im.sendMessage(1, 'bo', new RongIMLib.TextMessage({ content: 'new style', mentionedInfo: { type: 2, userIdList: ['bo'] } }), {}, true, 'push!', 'data', null, undefined);
      im.sendMessage(1, 'bo', RongIMLib.FileMessage.obtain({ name: 'n', size: 1, type: 'txt', fileUrl: 'u' }), {});
      im.sendMessage(1, 'bo', RongIMLib.ReadReceiptMessage.obtain('uid', 5, 1), {});
      im.sendTypingStatusMessage(1, 'bo', 'TextMessage', {});
    `);
    await until(() => bo.texts().length === 6);
    const seen = bo.log.filter(([name]) => name === 'message').map(([, { type, content, status, stored, mentioned }]) => ({ type, content, status, stored, mentioned }));
    const nothing = { status: undefined, stored: undefined, mentioned: undefined };
    assert.deepEqual(seen.slice(0, 5), [
      { ...nothing, type: 'RC:TxtMsg', content: { content: 'hi', extra: '' } },
      { ...nothing, type: 'RC:ImgMsg', content: { content: 'b64', imageUri: 'http://i', extra: '' } },
      { ...nothing, type: 'RC:TxtMsg', content: { content: 'new style', mentionedInfo: { type: 2, userIdList: ['bo'] } }, mentioned: true },
      { ...nothing, type: 'RC:FileMsg', content: { extra: '', name: 'n', size: 1, type: 'txt', fileUrl: 'u' } },
      { ...nothing, type: 'RC:ReadNtf', content: { messageUId: 'uid', lastMessageSendTime: 5, type: 1 }, stored: false },
    ]);
    assert.deepEqual(seen[5], { type: 'RC:TypSts', content: { typingContentType: 'RC:TxtMsg', data: '' }, status: true, stored: undefined, mentioned: undefined });
  });

  test('that fail say why in numbers, with the message', async () => {
    const page = await connected('ann');
    const cases = [['rate_limited', 20604], ['too_large', 30016], ['not_allowed', 20406], ['internal', -2], ['bad_frame', 33003]];
    for (const [code, number] of cases) {
      server.node.refuse = (frame) => (frame.t === 'send' ? { code } : null);
      const { error } = await ask(page, 'sendTextMessage', 1, 'bo', 'x', '$cb');
      assert.equal(error[0], number, code);
      assert.equal(error[1].sentStatus, 20);
      assert.equal(error[1].content.content, 'x');
    }
    server.node.refuse = () => null;
    for (const [kind, number] of [[2, 21406], [3, 22406], [4, 23406], [5, 39002]]) {
      assert.equal((await ask(page, 'sendTextMessage', kind, 'x', 'x', '$cb')).error[0], number);
    }
    assert.equal((await ask(page, 'sendMessage', 1, 'bo', { content: 'no class' }, '$cb')).error[0], 33003);
    page.run('RongIMClient.getInstance().disconnect()');
    assert.equal((await ask(page, 'sendTextMessage', 1, 'bo', 'x', '$cb')).error[0], 30001);
  });

  test('without an answer time out after 30 s with -1', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
    const page = load();
    page.run("RongIMClient.connect('token-ann', { onSuccess: function (id) { log.push('in as ' + id); } })");
    while (!page.window.log.includes('in as ann')) await new Promise(setImmediate);
    for (const session of server.node.sessions) session.on_send = () => (session.asked = true);
    const asking = ask(page, 'sendTextMessage', 1, 'bo', 'x', '$cb');
    while (!server.node.sessions.values().next().value.asked) await new Promise(setImmediate);
    t.mock.timers.tick(29_900);
    for (const session of server.node.sessions) session.push([{ t: 'pong' }]);
    await new Promise(setImmediate);
    t.mock.timers.tick(101);
    assert.equal((await asking).error[0], -1);
    page.run('RongIMClient.getInstance().disconnect()');
    await new Promise(setImmediate);
  });

  test('can be recalled by their sender; the peer is told by a command', async () => {
    const ann = await connected('ann');
    const bo = await connected('bo');
    const { ok: [message] } = await ask(ann, 'sendTextMessage', 1, 'bo', 'oops', '$cb');
    await until(() => bo.window.received.length === 1);
    const fields = plain(message);
    assert.deepEqual(await ask(bo, 'sendRecallMessage', fields, '$cb'), { error: [25101] });
    const { ok: [command] } = await ask(ann, 'sendRecallMessage', fields, '$cb');
    assert.equal(command.messageType, 'RecallCommandMessage');
    await until(() => bo.window.received.length === 2);
    const recall = plain(bo.window.received[1]);
    assert.deepEqual([recall.messageType, recall.objectName, recall.targetId, recall.senderUserId, recall.messageDirection], ['RecallCommandMessage', 'RC:RcCmd', 'ann', 'ann', 2]);
    assert.deepEqual(recall.content, { conversationType: 1, targetId: 'ann', messageUId: message.messageUId, sentTime: message.sentTime, extra: '', messageName: 'RecallCommandMessage' });
    const { ok: [history] } = await ask(bo, 'getHistoryMessages', 1, 'ann', 0, 20, '$cb');
    assert.equal(history[0].messageType, 'RecallCommandMessage');
    assert.equal(history[0].content.messageUId, message.messageUId);
  });

  test('of an earlier page load can be recalled by what the page kept of them', async () => {
    const first = await native('ann');
    const sent = await first.send(text('oops'));
    await first.disconnect();
    const page = await connected('ann');
    const kept = { conversationType: 1, targetId: 'bo', messageUId: sent.id, sentTime: sent.time, senderUserId: 'ann' };
    assert.ok((await ask(page, 'sendRecallMessage', kept, '$cb')).ok);
    assert.deepEqual(await ask(page, 'sendRecallMessage', { ...kept, messageUId: 'other' }, '$cb'), { error: [25101] });
  });
});

describe('history', () => {
  test('pages backwards by null and by time, without loss within a millisecond', async () => {
    for (let i = 0; i < 50; i += 1) server.node.deliver('bo', 'ann', { content: `m${i}` }); // many in one millisecond
    const page = await connected('ann');
    const contents = ([messages]) => [...messages].map((m) => m.content.content);
    const names = (from, to) => Array.from({ length: to - from }, (_, i) => `m${from + i}`);
    const newest = (await ask(page, 'getRemoteHistoryMessages', 1, 'bo', 0, 20, '$cb')).ok;
    assert.deepEqual(contents(newest), names(30, 50));
    assert.equal(newest[1], true);
    assert.deepEqual(contents((await ask(page, 'getRemoteHistoryMessages', 1, 'bo', null, 20, '$cb')).ok), names(10, 30));
    const again = (await ask(page, 'getHistoryMessages', 1, 'bo', 0, 20, '$cb')).ok;
    const byTime = (await ask(page, 'getHistoryMessages', 1, 'bo', again[0][0].sentTime, 100, '$cb')).ok;
    assert.deepEqual(contents(byTime), names(0, 30));
    assert.equal(byTime[1], false);
    const forwards = (await ask(page, 'getHistoryMessages', 1, 'bo', 0, 5, '$cb', undefined, 1)).ok;
    assert.deepEqual(contents(forwards), names(0, 5));
  });

  test('longer than one answer of the server comes whole; filters by object name', async () => {
    for (let i = 0; i < 130; i += 1) server.node.deliver('bo', 'ann', { content: `m${i}` }, { type: i % 2 ? 'RC:TxtMsg' : 'RC:InfoNtf' });
    const page = await connected('ann');
    const { ok } = await ask(page, 'getHistoryMessages', 1, 'bo', 0, 130, '$cb');
    assert.equal(ok[0].length, 130);
    assert.equal(ok[0][0].content.content, 'm0');
    const filtered = (await ask(page, 'getHistoryMessages', 1, 'bo', 0, 10, '$cb', 'RC:TxtMsg')).ok;
    assert.deepEqual([...filtered[0]].map((m) => m.content.content), Array.from({ length: 10 }, (_, i) => `m${111 + 2 * i}`));
  });
});

describe('conversations', () => {
  test('are listed with titles, counts and the latest message', async () => {
    server.node.deliver('bo', 'ann', { content: 'one' });
    server.node.deliver('cy', 'ann', { content: 'two' });
    server.node.deliver('cy', 'ann', { content: 'three' });
    const page = await connected('ann');
    const list = async (...more) => plain((await ask(page, 'getConversationList', '$cb', ...more)).ok[0]);
    const brief = (all) => all.map((c) => [c.targetId, c.conversationTitle, c.unreadMessageCount, c.latestMessage?.content.content]);
    assert.deepEqual(brief(await list(null)), [['cy', 'Cy', 2, 'three'], ['bo', 'Bo', 1, 'one']]);
    assert.deepEqual(brief(await list([3])), []);
    assert.deepEqual(brief(await list([1], 1)), [['cy', 'Cy', 2, 'three']]);
    assert.deepEqual(await ask(page, 'getTotalUnreadCount', '$cb'), { ok: [3] });
    assert.deepEqual(await ask(page, 'getTotalUnreadCount', '$cb', [1]), { ok: [3] });
    assert.deepEqual(await ask(page, 'getUnreadCount', 1, 'cy', '$cb'), { ok: [2] });
    assert.deepEqual(await ask(page, 'clearUnreadCount', 1, 'cy', '$cb'), { ok: [true] });
    assert.deepEqual(await ask(page, 'getUnreadCount', 1, 'cy', '$cb'), { ok: [0] });
    assert.equal((await ask(page, 'getConversation', 1, 'bo', '$cb')).ok[0].senderUserName, 'Bo');
    assert.deepEqual(await ask(page, 'setConversationToTop', 1, 'bo', true, '$cb'), { ok: [true] });
    page.run("RongIMClient.getInstance().createConversation(1, 'di', 'Di!')");
    page.run("RongIMClient.getInstance().saveTextMessageDraft(1, 'cy', 'half a th')");
    const all = await list(null);
    assert.deepEqual(all.map((c) => [c.targetId, c.isTop, c.draft]), [['bo', true, ''], ['cy', false, 'half a th'], ['di', false, '']]);
    assert.deepEqual(await ask(page, 'removeConversation', 1, 'cy', '$cb'), { ok: [true] });
    assert.deepEqual((await list(null)).map((c) => c.targetId), ['bo', 'di']);
    assert.deepEqual(await ask(page, 'hasRemoteUnreadMessages', 'token', '$cb'), { ok: [true] });
  });

  test('drafts are kept and forgotten', async () => {
    const page = await connected('ann');
    page.run("var im = RongIMClient.getInstance(); im.saveTextMessageDraft(1, 'bo', 'dear bo')");
    assert.equal(page.run("im.getTextMessageDraft(1, 'bo')"), 'dear bo');
    assert.equal(page.run("im.clearTextMessageDraft(1, 'bo')"), true);
    assert.equal(page.run("im.getTextMessageDraft(1, 'bo')"), '');
  });
});

test('the blacklist', async () => {
  const page = await connected('ann');
  assert.deepEqual(await ask(page, 'getBlacklistStatus', 'bo', '$cb'), { error: [101] });
  assert.ok((await ask(page, 'addToBlacklist', 'bo', '$cb')).ok);
  assert.deepEqual(plain(await ask(page, 'getBlacklist', '$cb')), { ok: [['bo']] });
  assert.deepEqual(await ask(page, 'getBlacklistStatus', 'bo', '$cb'), { ok: ['IN_BLACK_LIST'] });
  assert.ok((await ask(page, 'removeFromBlacklist', 'bo', '$cb')).ok);
  assert.deepEqual(plain(await ask(page, 'getBlacklist', '$cb')), { ok: [[]] });
});

test('what the server does not do ends in onError, not in silence', async () => {
  const page = await connected('ann');
  assert.deepEqual(await ask(page, 'createDiscussion', 'name', ['bo'], '$cb'), { error: [21408] });
  assert.deepEqual(await ask(page, 'joinGroup', 'g', 'name', '$cb'), { error: [22406] });
  assert.deepEqual(await ask(page, 'joinChatRoom', 'r', 10, '$cb'), { error: [36002] });
  assert.deepEqual(await ask(page, 'getFileToken', 1, '$cb'), { error: [41002] });
  assert.deepEqual(await ask(page, 'setUserStatus', 1, '$cb'), { error: [39002] });
  page.run('RongIMClient.getInstance().quitGroup("g")');
  assert.match(page.warnings[0], /quitGroup/);
});

describe('names and numbers', () => {
  const page = new FakePage().load('RongIMLib.js');

  test('enumerations map both ways', () => {
    assert.equal(page.run('RongIMLib.ConnectionStatus[0]'), 'CONNECTED');
    assert.equal(page.run('RongIMLib.ConversationType.PRIVATE'), 1);
    assert.equal(page.run('RongIMLib.ErrorCode[405]'), 'REJECTED_BY_BLACKLIST');
    assert.equal(page.run('RongIMLib.ErrorCode.UNKNOWN_ERROR'), undefined);
    assert.equal(page.run('RongIMLib.SentStatus.SENT + RongIMLib.ReceivedStatus.RETRIEVED'), 38);
    assert.equal(page.run('RongIMClient === RongIMLib.RongIMClient'), true);
  });

  test('obtain writes what the old builds wrote', () => {
    const json = (code) => JSON.parse(page.run(`${code}.encode()`));
    assert.equal(page.run("RongIMLib.TextMessage.obtain('hi').encode()"), '{"content":"hi","extra":""}');
    assert.deepEqual(json("RongIMLib.LocationMessage.obtain(1, 2, 'here', 'b64')"), { latitude: 1, longitude: 2, poi: 'here', content: 'b64', extra: '' });
    assert.deepEqual(json("RongIMLib.ContactNotificationMessage.obtain('add', 'a', 'b', 'hello')"), { operation: 'add', sourceUserId: 'a', targetUserId: 'b', message: 'hello', extra: '' });
    assert.deepEqual(json("RongIMLib.TypingStatusMessage.obtain('RC:TxtMsg', '')"), { typingContentType: 'RC:TxtMsg', data: '' });
    assert.equal(page.run("RongIMLib.TextMessage.obtain('hi').messageName"), 'TextMessage');
    assert.equal(page.run("new RongIMLib.TextMessage(JSON.parse('{\"__proto__\":{\"bad\":1},\"content\":\"x\"}')).bad"), undefined);
  });

  test('tags count as they did', () => {
    assert.deepEqual(plain(page.run('[[0,0],[0,1],[1,0],[1,1]].map(function (t) { return new RongIMLib.MessageTag(t[0], t[1]).getMessageTag(); })')), [0, 1, 2, 3]);
  });
});
