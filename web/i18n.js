/**
 * The page's texts: one table per language, same keys in both.
 *
 * `{name}` is replaced by a parameter. `{n|one|many}` chooses by the parameter `n`.
 */

/** @type {Record<string, string>} */
const en = {
  'app': 'Hongyan',
  'tagline': 'Messages that find their way.',
  'language': '中文',
  'language.label': '切换到中文',
  'close': 'Close',
  'cancel': 'Cancel',
  'retry': 'Try again',
  'you': 'you',

  'login.title': 'Sign in to Hongyan',
  'login.name': 'Your name',
  'login.name.hint': 'Others see you under this name.',
  'login.name.empty': 'Please enter a name.',
  'login.start': 'Start chatting',
  'login.token': 'Access token',
  'login.token.hint': 'Your application or its administrator gives you one.',
  'login.token.empty': 'Please paste a token.',
  'login.connect': 'Connect',
  'login.busy': 'Connecting…',
  'login.unreachable': 'The server cannot be reached. Check your network, then try again.',
  'login.waiting': 'The server cannot be reached. Trying again in {n} s…',
  'login.local': 'Local mode: no password. Open a second tab to be a second person.',
  'logout': 'Sign out',

  'error.bad_token': 'The server refused this token: it is forged, garbled or for another server.',
  'error.token_expired': 'This token has expired or was revoked. Please get a new one.',
  'error.user_blocked': 'This account is blocked by the administrator.',
  'error.unsupported_version': 'This page is too old or too new for the server. Please reload it.',
  'error.rejected_by_blacklist': 'Not delivered: you are blocked by this person.',
  'error.too_large': 'Not sent: the message is too large.',
  'error.rate_limited': 'Not sent: too many messages in a short time. Try again in a moment.',
  'error.busy': 'The server is busy. Try again in a moment.',
  'error.not_allowed': 'The server does not allow this.',
  'error.not_found': 'The server no longer has this message.',
  'error.not_supported': 'The server does not take messages for this kind of conversation.',
  'error.bad_frame': 'The server did not understand the message.',
  'error.network': 'There is no connection to the server.',
  'error.timeout': 'The server did not answer in time.',
  'error.closed': 'You are not connected.',
  'error.internal': 'The server had a fault. Try again.',
  'error.unknown': 'Something went wrong ({code}).',

  'state.offline': 'You are offline. Messages are sent when the network is back.',
  'state.connecting': 'Connecting…',
  'state.waiting': 'Connection lost. Trying again in {n} s…',
  'state.back': 'Connected again.',
  'kick.replaced.title': 'Open in another window',
  'kick.replaced.text': 'This chat was opened somewhere else with the same device name, so it paused here.',
  'kick.replaced.use': 'Use it here',

  'list.title': 'Chats',
  'list.label': 'Conversations',
  'list.search': 'Search chats',
  'list.new': 'New chat',
  'list.empty.title': 'No chats yet',
  'list.empty.text': 'Start one, and it will stand here.',
  'list.nothing': 'No chat matches.',
  'list.draft': '[Draft]',
  'list.options': 'Options for {name}',
  'list.remove': 'Remove from list',
  'list.remove.confirm': 'Remove the chat with {name} from the list? It comes back with the next message.',
  'unread': '{n} unread {n|message|messages}',
  'online': 'online',
  'offline': 'offline',
  'blocked': 'blocked',
  'typing': 'typing…',
  'typing.voice': 'recording…',
  'system': 'System notice',

  'new.title': 'New chat',
  'new.people': 'People here',
  'new.id': 'User id',
  'new.id.empty': 'Please enter a user id.',
  'new.id.self': 'That is you. Enter somebody else’s id.',
  'new.id.unknown': 'The server knows nobody with the id “{id}”.',
  'new.id.anyway': 'Write anyway',
  'new.start': 'Start',
  'new.nobody': 'Nobody else is here yet. Open this page in a second tab and sign in under another name.',
  'new.failed': 'The list of people could not be loaded.',

  'thread.none.title': 'Your chats, calm and at hand',
  'thread.none.text': 'Choose a chat on the left, or start a new one.',
  'thread.label': 'Messages with {name}',
  'thread.back': 'Back to the list',
  'thread.options': 'Chat options',
  'thread.block': 'Block {name}',
  'thread.unblock': 'Unblock',
  'thread.blocked': 'You blocked {name}, who cannot write to you.',
  'thread.block.confirm': 'Block {name}? Messages from this person will no longer reach you.',
  'thread.empty': 'Say hello to {name}.',
  'thread.beginning': 'This is the beginning of the chat.',
  'thread.loading': 'Loading messages…',
  'thread.failed': 'Messages could not be loaded.',
  'thread.new': 'New messages',
  'thread.pill': '{n} new {n|message|messages}',
  'thread.down': 'Go to the newest message',
  'thread.readonly': 'This conversation cannot be answered.',
  'today': 'Today',
  'yesterday': 'Yesterday',

  'message.actions': 'Message actions',
  'message.copy': 'Copy text',
  'message.copied': 'Copied.',
  'message.recall': 'Take back',
  'message.delete': 'Delete',
  'message.again': 'Edit again',
  'progress.sending': 'Sending',
  'progress.sent': 'Sent',
  'progress.delivered': 'Delivered',
  'progress.read': 'Read',
  'progress.failed': 'Not sent',
  'recalled.mine': 'You took back a message',
  'recalled.other': '{name} took back a message',
  'unsupported': '[unsupported message]',
  'arrived': 'New message from {name}: {text}',

  'preview.image': '[Photo]',
  'preview.voice': '[Voice] {n}″',
  'preview.card': '[Link] {title}',
  'preview.file': '[File] {name}',
  'preview.video': '[Video]',
  'preview.place': '[Place] {name}',
  'preview.bundle': '[Forwarded messages]',
  'preview.notice': '[Notice]',

  'image.alt': 'Photo',
  'image.open': 'Open the photo',
  'image.broken': 'This photo cannot be shown.',
  'image.original': 'Open the original',
  'voice.play': 'Play voice message, {n} seconds',
  'voice.pause': 'Pause voice message',
  'voice.amr': 'Recorded as AMR, which browsers cannot play. Listen to it on the phone.',
  'voice.broken': 'This recording cannot be played.',
  'voice.remote': 'Open the recording',
  'file.open': 'Open',
  'file.none': 'no address',
  'file.name': 'File',
  'video.open': 'Open the video',
  'place.open': 'Show on a map',
  'place.name': 'A place',
  'bundle.title': 'Forwarded messages',

  'compose.label': 'Message to {name}',
  'compose.hint': 'Write a message',
  'compose.send': 'Send',
  'compose.emoji': 'Emoji',
  'compose.photo': 'Send a photo',
  'compose.voice': 'Record a voice message',
  'compose.long': 'The text is too long: {size} of at most {limit}.',
  'compose.drop': 'Drop the photo here',

  'emoji.title': 'Emoji',
  'emoji.recent': 'Recent',
  'emoji.faces': 'Faces',
  'emoji.hands': 'Hands and people',
  'emoji.nature': 'Nature',
  'emoji.food': 'Food',
  'emoji.things': 'Activities and things',
  'emoji.signs': 'Hearts and signs',

  'photo.title': 'Send this photo?',
  'photo.busy': 'Preparing the photo…',
  'photo.size': '{width} × {height}, {size}',
  'photo.smaller': 'Made smaller to fit into a message ({limit} at most).',
  'photo.still': 'Only the first picture of an animation is sent.',
  'photo.unreadable': 'This file cannot be opened as a picture. JPEG, PNG, WebP and GIF work in every browser.',
  'photo.toolarge': 'This photo does not fit into a message: {limit} is the limit, even made small it needs {size}.',

  'record.title': 'Recording a voice message',
  'record.stop': 'Stop',
  'record.discard': 'Discard',
  'record.send': 'Send recording',
  'record.full': 'The recording is as long as a message can carry.',
  'record.short': 'The recording was too short.',
  'record.denied': 'The microphone may not be used. Allow it in the browser’s settings for this page.',
  'record.missing': 'No microphone was found.',
  'record.insecure': 'Recording needs a secure page (https, or localhost).',
  'record.unsupported': 'This browser cannot record sound.',
  'record.failed': 'The recording failed.',
};

/** @type {Record<string, string>} */
const zh = {
  'app': '鸿雁',
  'tagline': '鸿雁传书，音讯自来。',
  'language': 'English',
  'language.label': 'Switch to English',
  'close': '关闭',
  'cancel': '取消',
  'retry': '重试',
  'you': '我',

  'login.title': '登录鸿雁',
  'login.name': '你的名字',
  'login.name.hint': '别人会看到这个名字。',
  'login.name.empty': '请输入名字。',
  'login.start': '开始聊天',
  'login.token': '访问令牌',
  'login.token.hint': '由你使用的应用或其管理员提供。',
  'login.token.empty': '请粘贴令牌。',
  'login.connect': '连接',
  'login.busy': '正在连接…',
  'login.unreachable': '无法连接服务器。请检查网络后重试。',
  'login.waiting': '无法连接服务器，{n} 秒后重试…',
  'login.local': '本地模式：无需密码。再开一个标签页，就能以另一个人的身份登录。',
  'logout': '退出登录',

  'error.bad_token': '服务器拒绝了此令牌：令牌有误，或不属于这台服务器。',
  'error.token_expired': '令牌已过期或被撤销，请重新获取。',
  'error.user_blocked': '此账号已被管理员封禁。',
  'error.unsupported_version': '页面与服务器版本不符，请刷新页面。',
  'error.rejected_by_blacklist': '未送达：你已被对方拉黑。',
  'error.too_large': '未发送：消息过大。',
  'error.rate_limited': '未发送：发送过于频繁，请稍后重试。',
  'error.busy': '服务器繁忙，请稍后重试。',
  'error.not_allowed': '服务器不允许此操作。',
  'error.not_found': '服务器上已没有这条消息。',
  'error.not_supported': '服务器暂不支持此类会话的消息。',
  'error.bad_frame': '服务器无法识别这条消息。',
  'error.network': '未连接到服务器。',
  'error.timeout': '服务器未及时响应。',
  'error.closed': '尚未连接。',
  'error.internal': '服务器出错，请重试。',
  'error.unknown': '出错了（{code}）。',

  'state.offline': '网络已断开。恢复后会自动发送消息。',
  'state.connecting': '正在连接…',
  'state.waiting': '连接已断开，{n} 秒后重试…',
  'state.back': '已重新连接。',
  'kick.replaced.title': '已在其他窗口打开',
  'kick.replaced.text': '同一设备名在别处打开了聊天，此处已暂停。',
  'kick.replaced.use': '在此处使用',

  'list.title': '聊天',
  'list.label': '会话列表',
  'list.search': '搜索会话',
  'list.new': '发起聊天',
  'list.empty.title': '还没有会话',
  'list.empty.text': '发起聊天后，会显示在这里。',
  'list.nothing': '没有匹配的会话。',
  'list.draft': '[草稿]',
  'list.options': '{name} 的选项',
  'list.remove': '从列表移除',
  'list.remove.confirm': '将与 {name} 的会话从列表移除？收到新消息时会再次出现。',
  'unread': '{n} 条未读消息',
  'online': '在线',
  'offline': '离线',
  'blocked': '已拉黑',
  'typing': '正在输入…',
  'typing.voice': '正在录音…',
  'system': '系统通知',

  'new.title': '发起聊天',
  'new.people': '这里的人',
  'new.id': '用户 ID',
  'new.id.empty': '请输入用户 ID。',
  'new.id.self': '这是你自己，请输入别人的 ID。',
  'new.id.unknown': '服务器上没有 ID 为“{id}”的用户。',
  'new.id.anyway': '仍要发送',
  'new.start': '开始',
  'new.nobody': '这里还没有别人。再开一个标签页，用另一个名字登录试试。',
  'new.failed': '无法加载用户列表。',

  'thread.none.title': '见字如面',
  'thread.none.text': '从左侧选择会话，或发起新的聊天。',
  'thread.label': '与 {name} 的消息',
  'thread.back': '返回列表',
  'thread.options': '会话选项',
  'thread.block': '拉黑 {name}',
  'thread.unblock': '解除拉黑',
  'thread.blocked': '你已拉黑 {name}，对方无法给你发消息。',
  'thread.block.confirm': '拉黑 {name}？你将不再收到对方的消息。',
  'thread.empty': '和 {name} 打个招呼吧。',
  'thread.beginning': '聊天从这里开始。',
  'thread.loading': '正在加载消息…',
  'thread.failed': '消息加载失败。',
  'thread.new': '以下是新消息',
  'thread.pill': '{n} 条新消息',
  'thread.down': '回到最新消息',
  'thread.readonly': '此会话无法回复。',
  'today': '今天',
  'yesterday': '昨天',

  'message.actions': '消息操作',
  'message.copy': '复制',
  'message.copied': '已复制。',
  'message.recall': '撤回',
  'message.delete': '删除',
  'message.again': '重新编辑',
  'progress.sending': '发送中',
  'progress.sent': '已发送',
  'progress.delivered': '已送达',
  'progress.read': '已读',
  'progress.failed': '未发送',
  'recalled.mine': '你撤回了一条消息',
  'recalled.other': '{name} 撤回了一条消息',
  'unsupported': '[不支持的消息类型]',
  'arrived': '{name} 发来新消息：{text}',

  'preview.image': '[图片]',
  'preview.voice': '[语音] {n}″',
  'preview.card': '[链接] {title}',
  'preview.file': '[文件] {name}',
  'preview.video': '[视频]',
  'preview.place': '[位置] {name}',
  'preview.bundle': '[聊天记录]',
  'preview.notice': '[通知]',

  'image.alt': '图片',
  'image.open': '查看图片',
  'image.broken': '图片无法显示。',
  'image.original': '打开原图',
  'voice.play': '播放语音，{n} 秒',
  'voice.pause': '暂停语音',
  'voice.amr': '这段语音是 AMR 格式，浏览器无法播放，请在手机上收听。',
  'voice.broken': '这段语音无法播放。',
  'voice.remote': '打开语音',
  'file.open': '打开',
  'file.none': '无地址',
  'file.name': '文件',
  'video.open': '打开视频',
  'place.open': '在地图上查看',
  'place.name': '位置',
  'bundle.title': '聊天记录',

  'compose.label': '给 {name} 的消息',
  'compose.hint': '输入消息',
  'compose.send': '发送',
  'compose.emoji': '表情',
  'compose.photo': '发送图片',
  'compose.voice': '录制语音',
  'compose.long': '文字过长：{size}，上限 {limit}。',
  'compose.drop': '将图片拖到这里',

  'emoji.title': '表情',
  'emoji.recent': '最近使用',
  'emoji.faces': '表情',
  'emoji.hands': '手势与人物',
  'emoji.nature': '自然',
  'emoji.food': '食物',
  'emoji.things': '活动与物品',
  'emoji.signs': '爱心与符号',

  'photo.title': '发送这张图片？',
  'photo.busy': '正在处理图片…',
  'photo.size': '{width} × {height}，{size}',
  'photo.smaller': '已缩小以适应消息大小（上限 {limit}）。',
  'photo.still': '动图只发送第一帧。',
  'photo.unreadable': '无法作为图片打开此文件。所有浏览器都支持 JPEG、PNG、WebP 和 GIF。',
  'photo.toolarge': '图片放不进一条消息：上限 {limit}，缩小后仍需 {size}。',

  'record.title': '正在录制语音',
  'record.stop': '停止',
  'record.discard': '丢弃',
  'record.send': '发送语音',
  'record.full': '录音已达一条消息的上限。',
  'record.short': '录音时间太短。',
  'record.denied': '无法使用麦克风。请在浏览器设置中允许本页面使用。',
  'record.missing': '没有找到麦克风。',
  'record.insecure': '录音需要安全页面（https 或 localhost）。',
  'record.unsupported': '此浏览器不支持录音。',
  'record.failed': '录音失败。',
};

export const tables = { en, zh };

/** @typedef {keyof typeof tables} Language */

/**
 * @param {Language} lang
 * @param {string} key
 * @param {Record<string, string | number>} [params]
 */
export function translate(lang, key, params = {}) {
  const text = tables[lang][key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/gu, (_, name, one, many) => {
    if (one !== undefined) return Number(params[name]) === 1 ? one : many;
    return String(params[name] ?? '');
  });
}

/** @param {string | null} stored @param {readonly string[]} wanted @returns {Language} */
export function chooseLanguage(stored, wanted) {
  if (stored === 'en' || stored === 'zh') return stored;
  const first = wanted.find((w) => /^(?:en|zh)\b/iu.test(w));
  return first?.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

const STORED = 'hongyan.language';

/** The language in use; `change` is told when it becomes another. */
class Texts extends EventTarget {
  /** @type {Language} */
  lang = 'en';

  /** Reads the remembered choice or the browser's wish, and marks the document. */
  start() {
    this.#use(chooseLanguage(localStorage.getItem(STORED), navigator.languages ?? [navigator.language]));
  }

  toggle() {
    this.#use(this.lang === 'en' ? 'zh' : 'en');
    localStorage.setItem(STORED, this.lang);
    this.dispatchEvent(new Event('change'));
  }

  /** @param {Language} lang */
  #use(lang) {
    this.lang = lang;
    document.documentElement.lang = lang === 'zh' ? 'zh-CN' : 'en';
  }

  /** For Intl. */
  get locale() {
    return this.lang === 'zh' ? 'zh-CN' : 'en-GB';
  }
}

export const texts = new Texts();

/** The text of `key` in the language in use. @param {string} key @param {Record<string, string | number>} [params] */
export const t = (key, params) => translate(texts.lang, key, params);

/** What to tell the reader about an error with this code. @param {string} code @param {string} [detail] */
export function errorText(code, detail) {
  return tables.en[`error.${code}`] ? t(`error.${code}`) : t('error.unknown', { code: detail || code });
}
