/**
 * RongIMLib 2.x for pages written for that SDK: the globals `RongIMLib` and `RongIMClient`
 * over hongyan.js. Change the script's address and nothing else:
 *
 *     <script src="https://im.example/sdk/RongIMLib.js"></script>
 *
 * A classic script: the globals are there when it has run, for the page's next script uses them.
 * So all of it is one file: what a module would bring comes later than that. The engine (hongyan.js
 * beside it) is loaded by a dynamic import, from `init` on.
 *
 * Where the builds of 2.x differ, this one is the union that suits pages of all of them:
 * values and callbacks as delivered by 2.0.6, classes and calls up to 2.9.2, arguments never
 * checked so strictly that a page of a later build would fail. See README.md for what a
 * node does not do (groups, rooms, uploads): such calls exist and call `onError`.
 *
 * Sections: enumerations · error codes · message classes · objects · engine · client.
 */
(function define() {
  'use strict';

  /** @type {any} */
  const root = globalThis;

  /** Where this script came from; to be asked now, while it runs. */
  const scriptUrl = typeof document === 'undefined' ? '' : /** @type {any} */ (document.currentScript)?.src || '';

  /** Milliseconds after which a call without an answer ends with TIMEOUT, as in 2.x. */
  const ANSWER_TIMEOUT = 30_000;

  /** @typedef {any} Callbacks an object with `onSuccess`, `onError` and sometimes more, all optional */

  // ── Enumerations ────────────────────────────────────────────────────────────

  /**
   * An enumeration as TypeScript makes them: names to numbers, and numbers back to names.
   *
   * @param {Record<string, number>} values
   * @returns {any}
   */
  function enumeration(values) {
    /** @type {any} */
    const result = {};
    for (const [name, value] of Object.entries(values)) {
      result[name] = value;
      result[value] = name;
    }
    return result;
  }

  const ConversationType = enumeration({
    NONE: 0, PRIVATE: 1, DISCUSSION: 2, GROUP: 3, CHATROOM: 4, CUSTOMER_SERVICE: 5, SYSTEM: 6,
    APP_PUBLIC_SERVICE: 7, PUBLIC_SERVICE: 8, RTC_ROOM: 12,
  });

  // 2.0.6 named -1 NETWORK_UNAVAILABLE and delivered 3; later builds name what they deliver.
  const ConnectionStatus = enumeration({
    CONNECTED: 0, CONNECTING: 1, DISCONNECTED: 2, NETWORK_UNAVAILABLE: 3, CONNECTION_CLOSED: 4,
    KICKED_OFFLINE_BY_OTHER_CLIENT: 6, WEBSOCKET_UNAVAILABLE: 7, WEBSOCKET_ERROR: 8, BLOCKED: 9,
    DOMAIN_INCORRECT: 12, DISCONNECT_BY_SERVER: 13, REDIRECT: 14, APPKEY_IS_FAKE: 20, REQUEST_NAVI: 201,
    RESPONSE_NAVI: 202, RESPONSE_NAVI_ERROR: 203, RESPONSE_NAVI_TIMEOUT: 204, ULTRALIMIT: 1101,
  });

  const ConnectionState = enumeration({
    ACCEPTED: 0, UNACCEPTABLE_PROTOCOL_VERSION: 1, IDENTIFIER_REJECTED: 2, SERVER_UNAVAILABLE: 3,
    TOKEN_INCORRECT: 4, NOT_AUTHORIZED: 5, REDIRECT: 6, PACKAGE_ERROR: 7, APP_BLOCK_OR_DELETE: 8, BLOCK: 9,
    TOKEN_EXPIRE: 10, DEVICE_ERROR: 11, HOSTNAME_ERROR: 12, HASOHTERSAMECLIENTONLINE: 13,
  });

  const SentStatus = enumeration({ SENDING: 10, FAILED: 20, SENT: 30, RECEIVED: 40, READ: 50, DESTROYED: 60 });
  const ReceivedStatus = enumeration({ UNREAD: 0, READ: 1, LISTENED: 2, DOWNLOADED: 4, RETRIEVED: 8 });
  const MessageDirection = enumeration({ SEND: 1, RECEIVE: 2 });

  const enumerations = {
    ConversationType,
    ConnectionStatus,
    ConnectionState,
    SentStatus,
    ReceivedStatus,
    MessageDirection,
    ConnectionChannel: enumeration({ XHR_POLLING: 0, WEBSOCKET: 1, HTTP: 0, HTTPS: 1 }),
    MentionedType: enumeration({ ALL: 1, PART: 2 }),
    BlacklistStatus: enumeration({ IN_BLACK_LIST: 0, NOT_IN_BLACK_LIST: 1 }),
    DiscussionInviteStatus: enumeration({ OPENED: 0, CLOSED: 1 }),
    ConversationNotificationStatus: enumeration({ DO_NOT_DISTURB: 0, NOTIFY: 1 }),
    NotificationStatus: enumeration({ OPEN: 1, CLOSE: 2 }),
    GetChatRoomType: enumeration({ NONE: 0, SQQUENCE: 1, REVERSE: 2 }),
    ChatroomEntityOpt: enumeration({ UPDATE: 1, DELETE: 2 }),
    FileType: enumeration({ IMAGE: 1, AUDIO: 2, VIDEO: 3, FILE: 4, SIGHT: 5, COMBINE_HTML: 6 }),
    MediaType: enumeration({ IMAGE: 1, AUDIO: 2, VIDEO: 3, FILE: 100 }),
    MethodType: enumeration({ CUSTOMER_SERVICE: 1, RECALL: 2 }),
    CustomerType: enumeration({ ONLY_ROBOT: 1, ONLY_HUMAN: 2, ROBOT_FIRST: 3, HUMAN_FIRST: 4 }),
    SearchType: enumeration({ EXACT: 0, FUZZY: 1 }),
    VoIPMediaType: enumeration({ MEDIA_AUDIO: 1, MEDIA_VEDIO: 2, MEDIA_VIDEO: 2 }),
  };

  // ── Error codes ─────────────────────────────────────────────────────────────

  // No UNKNOWN_ERROR: that was 1.x. Pages of 2.x compare with what is undefined there.
  const ErrorCode = enumeration({
    MAIN_PROCESS_ERROR: -5, EXTRA_METHOD_UNDEFINED: -4, PARAMETER_ERROR: -3, UNKNOWN: -2, TIMEOUT: -1, SUCCESS: 0,
    CANCEL: 1, REJECT: 2, HANGUP: 3, BUSYLINE: 4, NO_RESPONSE: 5, ENGINE_UN_SUPPORTED: 6, NETWORK_ERROR: 7,
    REMOTE_CANCEL: 11, REMOTE_REJECT: 12, REMOTE_HANGUP: 13, REMOTE_BUSYLINE: 14, REMOTE_NO_RESPONSE: 15,
    REMOTE_ENGINE_UN_SUPPORTED: 16, REMOTE_NETWORK_ERROR: 17, VOIP_NOT_AVALIABLE: 18,
    REJECTED_BY_BLACKLIST: 405,
    RC_MSG_UNAUTHORIZED: 20406, RC_DISCUSSION_GROUP_ID_INVALID: 20407, SEND_FREQUENCY_TOO_FAST: 20604,
    NOT_IN_DISCUSSION: 21406, JOIN_IN_DISCUSSION: 21407, CREATE_DISCUSSION: 21408, INVITE_DICUSSION: 21409,
    SENSITIVE_SHIELD: 21501, SENSITIVE_REPLACE: 21502, NOT_IN_GROUP: 22406, FORBIDDEN_IN_GROUP: 22408,
    NOT_IN_CHATROOM: 23406, GET_USERINFO_ERROR: 23407, FORBIDDEN_IN_CHATROOM: 23408, RC_CHATROOM_USER_KICKED: 23409,
    RC_CHATROOM_NOT_EXIST: 23410, RC_CHATROOM_IS_FULL: 23411, RC_CHATROOM_PATAMETER_INVALID: 23412,
    CHATROOM_GET_HISTORYMSG_ERROR: 23413, CHATROOM_NOT_OPEN_HISTORYMSG_STORE: 23414, CHATROOM_KV_EXCEED: 23423,
    CHATROOM_KV_OVERWRITE_INVALID: 23424, CHATROOM_KV_STORE_NOT_OPEN: 23426, CHATROOM_KEY_NOT_EXIST: 23427,
    HAVNODEVICEID: 24001, DEVICEIDISHAVE: 24002, FEILD: 24009, NOENGINETYPE: 24010, NULLCHANNELNAME: 24011,
    VOIPDYANMICERROR: 24012, VOIPISNULL: 24013, NOVOIP: 24014, INTERNALERRROR: 24015, VOIPCLOSE: 24016,
    RECALL_MESSAGE: 25101,
    RC_NET_CHANNEL_INVALID: 30001, RC_NET_UNAVAILABLE: 30002, RC_MSG_RESP_TIMEOUT: 30003, RC_HTTP_SEND_FAIL: 30004,
    RC_HTTP_REQ_TIMEOUT: 30005, RC_HTTP_RECV_FAIL: 30006, RC_NAVI_RESOURCE_ERROR: 30007, RC_NODE_NOT_FOUND: 30008,
    RC_DOMAIN_NOT_RESOLVE: 30009, RC_SOCKET_NOT_CREATED: 30010, RC_SOCKET_DISCONNECTED: 30011, RC_PING_SEND_FAIL: 30012,
    RC_PONG_RECV_FAIL: 30013, RC_MSG_SEND_FAIL: 30014, RC_MSG_CONTENT_EXCEED_LIMIT: 30016,
    RC_CONN_ACK_TIMEOUT: 31000, RC_CONN_PROTO_VERSION_ERROR: 31001, RC_CONN_ID_REJECT: 31002,
    RC_CONN_SERVER_UNAVAILABLE: 31003, RC_CONN_USER_OR_PASSWD_ERROR: 31004, RC_CONN_NOT_AUTHRORIZED: 31005,
    RC_CONN_REDIRECTED: 31006, RC_CONN_PACKAGE_NAME_INVALID: 31007, RC_CONN_APP_BLOCKED_OR_DELETED: 31008,
    RC_CONN_USER_BLOCKED: 31009, RC_DISCONN_KICK: 31010, RC_DISCONN_EXCEPTION: 31011,
    RC_QUERY_ACK_NO_DATA: 32001, RC_MSG_DATA_INCOMPLETE: 32002,
    BIZ_ERROR_CLIENT_NOT_INIT: 33001, BIZ_ERROR_DATABASE_ERROR: 33002, BIZ_ERROR_INVALID_PARAMETER: 33003,
    BIZ_ERROR_NO_CHANNEL: 33004, BIZ_ERROR_RECONNECT_SUCCESS: 33005, BIZ_ERROR_CONNECTING: 33006,
    MSG_ROAMING_SERVICE_UNAVAILABLE: 33007, MSG_INSERT_ERROR: 33008, MSG_DEL_ERROR: 33009,
    TAG_NOT_EXIST: 33101, NO_TAG_IN_CONVER: 33102,
    CONVER_REMOVE_ERROR: 34001, CONVER_GETLIST_ERROR: 34002, CONVER_SETOP_ERROR: 34003, CONVER_TOTAL_UNREAD_ERROR: 34004,
    CONVER_TYPE_UNREAD_ERROR: 34005, CONVER_ID_TYPE_UNREAD_ERROR: 34006, CONVER_CLEAR_ERROR: 34007,
    CLEAR_HIS_TYPE_ERROR: 34008, MESSAGE_KV_NOT_SUPPORT: 34008, CONVER_GET_ERROR: 34009, CLEAR_HIS_ERROR: 34010,
    EXPANSION_LIMIT_EXCEET: 34010, CLEAR_HIS_TIME_ERROR: 34011, CONVER_OUT_LIMIT_ERROR: 34013,
    GROUP_SYNC_ERROR: 35001, GROUP_MATCH_ERROR: 35002, READ_RECEIPT_ERROR: 35003, PACKAGE_ENVIRONMENT_ERROR: 35006,
    CHATROOM_ID_ISNULL: 36001, CHARTOOM_JOIN_ERROR: 36002, CHATROOM_HISMESSAGE_ERROR: 36003, CHATROOM_KV_NOT_FOUND: 36004,
    BLACK_ADD_ERROR: 37001, BLACK_GETSTATUS_ERROR: 37002, BLACK_REMOVE_ERROR: 37003,
    DRAF_GET_ERROR: 38001, DRAF_SAVE_ERROR: 38002, DRAF_REMOVE_ERROR: 38003,
    SUBSCRIBE_ERROR: 39001, NOT_SUPPORT: 39002, QNTKN_FILETYPE_ERROR: 41001, QNTKN_GET_ERROR: 41002,
    COOKIE_ENABLE: 51001, CLOSE_BEFORE_OPEN: 51001, ALREADY_IN_USE: 51002, INVALID_CHANNEL_NAME: 51003,
    VIDEO_CONTAINER_IS_NULL: 51004, GET_MESSAGE_BY_ID_ERROR: 61001, DELETE_MESSAGE_ID_IS_NULL: 61001,
  });

  /** Codes of the protocol and the engine, as numbers of 2.x. Others are UNKNOWN. */
  const CODES = new Map([
    ['timeout', ErrorCode.TIMEOUT],
    ['rejected_by_blacklist', ErrorCode.REJECTED_BY_BLACKLIST],
    ['rate_limited', ErrorCode.SEND_FREQUENCY_TOO_FAST],
    ['busy', ErrorCode.RC_MSG_SEND_FAIL],
    ['not_allowed', ErrorCode.RC_MSG_UNAUTHORIZED],
    ['not_supported', ErrorCode.NOT_SUPPORT],
    ['too_large', ErrorCode.RC_MSG_CONTENT_EXCEED_LIMIT],
    ['bad_frame', ErrorCode.BIZ_ERROR_INVALID_PARAMETER],
    ['closed', ErrorCode.RC_NET_CHANNEL_INVALID],
    ['network', ErrorCode.RC_NET_UNAVAILABLE],
    ['bad_token', ErrorCode.RC_CONN_USER_OR_PASSWD_ERROR],
    ['token_expired', ErrorCode.RC_CONN_USER_OR_PASSWD_ERROR],
    ['user_blocked', ErrorCode.RC_CONN_USER_BLOCKED],
    ['replaced', ErrorCode.RC_DISCONN_KICK],
    ['unsupported_version', ErrorCode.RC_CONN_PROTO_VERSION_ERROR],
  ]);

  /** What a send to a conversation kind that the server does not take ends with: what 2.x pages look for. */
  const NOT_MEMBER = new Map([
    [ConversationType.DISCUSSION, ErrorCode.NOT_IN_DISCUSSION],
    [ConversationType.GROUP, ErrorCode.NOT_IN_GROUP],
    [ConversationType.CHATROOM, ErrorCode.NOT_IN_CHATROOM],
  ]);

  /**
   * @param {any} error of the engine
   * @param {number} [kind] conversation kind
   * @returns {number}
   */
  function errorNumber(error, kind) {
    if (error?.code === 'not_supported' && NOT_MEMBER.has(kind)) return NOT_MEMBER.get(kind) ?? 0;
    return CODES.get(error?.code) ?? ErrorCode.UNKNOWN;
  }

  // ── Message classes ─────────────────────────────────────────────────────────

  class MessageTag {
    /** @param {boolean} isCounted @param {boolean} isPersited the original's spelling */
    constructor(isCounted, isPersited) {
      this.isCounted = Boolean(isCounted);
      this.isPersited = Boolean(isPersited);
    }

    /** 0 to 3: stored 1 + counted 2. */
    getMessageTag() {
      return (this.isPersited ? 1 : 0) + (this.isCounted ? 2 : 0);
    }
  }

  const STORED_COUNTED = new MessageTag(true, true);
  const STORED = new MessageTag(false, true);
  const NEITHER = new MessageTag(false, false);

  /**
   * Class name → object name, flags, and the parameters of `obtain` (null: it has none).
   * `obtain` of a class with `extra` sets that to ''.
   *
   * @type {Record<string, [string, MessageTag, string[] | null, boolean?]>}
   */
  const CLASSES = {
    TextMessage: ['RC:TxtMsg', STORED_COUNTED, ['content'], true],
    ImageMessage: ['RC:ImgMsg', STORED_COUNTED, ['content', 'imageUri'], true],
    VoiceMessage: ['RC:VcMsg', STORED_COUNTED, ['content', 'duration'], true],
    HQVoiceMessage: ['RC:HQVCMsg', STORED_COUNTED, null],
    RichContentMessage: ['RC:ImgTextMsg', STORED_COUNTED, ['title', 'content', 'imageUri', 'url'], true],
    LocationMessage: ['RC:LBSMsg', STORED_COUNTED, ['latitude', 'longitude', 'poi', 'content'], true],
    FileMessage: ['RC:FileMsg', STORED_COUNTED, null],
    GIFMessage: ['RC:GIFMsg', STORED_COUNTED, null],
    SightMessage: ['RC:SightMsg', STORED_COUNTED, null],
    ReferenceMessage: ['RC:ReferenceMsg', STORED_COUNTED, null],
    RCCombineMessage: ['RC:CombineMsg', STORED_COUNTED, ['remoteUrl', 'nameList', 'summaryList']],
    InformationNotificationMessage: ['RC:InfoNtf', STORED, ['message'], true],
    ContactNotificationMessage: ['RC:ContactNtf', STORED, ['operation', 'sourceUserId', 'targetUserId', 'message'], true],
    ProfileNotificationMessage: ['RC:ProfileNtf', STORED, ['operation', 'data'], true],
    CommandNotificationMessage: ['RC:CmdNtf', STORED, ['name', 'data'], true],
    DiscussionNotificationMessage: ['RC:DizNtf', STORED, null],
    GroupNotificationMessage: ['RC:GrpNtf', STORED, null],
    RecallCommandMessage: ['RC:RcCmd', STORED, null],
    CommandMessage: ['RC:CmdMsg', NEITHER, ['data'], true],
    TypingStatusMessage: ['RC:TypSts', NEITHER, ['typingContentType', 'data']],
    ReadReceiptMessage: ['RC:ReadNtf', NEITHER, ['messageUId', 'lastMessageSendTime', 'type']],
    ReadReceiptRequestMessage: ['RC:RRReqMsg', NEITHER, null],
    ReadReceiptResponseMessage: ['RC:RRRspMsg', NEITHER, null],
    GroupReadReceiptResponseMessage: ['RC:RRMsg', NEITHER, null],
    SyncReadStatusMessage: ['RC:SRSMsg', NEITHER, null],
    ChrmKVNotificationMessage: ['RC:chrmKVNotiMsg', NEITHER, null],
    ExpansionCommandMessage: ['RC:MsgExMsg', NEITHER, null],
    LogCommandMessage: ['RC:LogCmdMsg', NEITHER, null],
    PublicServiceRichContentMessage: ['RC:PSImgTxtMsg', STORED_COUNTED, null],
    PublicServiceMultiRichContentMessage: ['RC:PSMultiImgTxtMsg', STORED_COUNTED, null],
    PublicServiceCommandMessage: ['RC:PSCmd', NEITHER, null],
    JrmfRedPacketMessage: ['RCJrmf:RpMsg', STORED_COUNTED, null],
    JrmfRedPacketOpenedMessage: ['RCJrmf:RpOpendMsg', STORED_COUNTED, null],
    HandShakeMessage: ['RC:CsHs', NEITHER, null],
    HandShakeResponseMessage: ['RC:CsHsR', NEITHER, null],
    ChangeModeMessage: ['RC:CSCha', NEITHER, null],
    ChangeModeResponseMessage: ['RC:CsChaR', NEITHER, null],
    SuspendMessage: ['RC:CsSp', NEITHER, null],
    TerminateMessage: ['RC:CsEnd', NEITHER, null],
    EvaluateMessage: ['RC:CsEva', NEITHER, null],
    CustomerStatusUpdateMessage: ['RC:CsUpdate', NEITHER, null],
    CustomerContact: ['RC:CsContact', NEITHER, null],
    InviteMessage: ['RC:VCInvite', NEITHER, null],
    RingingMessage: ['RC:VCRinging', NEITHER, null],
    AcceptMessage: ['RC:VCAccept', NEITHER, null],
    HungupMessage: ['RC:VCHangup', NEITHER, null],
    MediaModifyMessage: ['RC:VCModifyMedia', NEITHER, null],
    MemberModifyMessage: ['RC:VCModifyMem', NEITHER, null],
    SummaryMessage: ['RC:VCSummary', NEITHER, null],
  };

  /**
   * Own fields of `source` that belong into a message's content.
   *
   * @param {any} source
   * @returns {any}
   */
  function contentFields(source) {
    /** @type {any} */
    const fields = {};
    if (typeof source !== 'object' || source === null) return fields;
    for (const [name, value] of Object.entries(source)) {
      if (name !== 'messageName' && name !== '__proto__' && typeof value !== 'function') fields[name] = value;
    }
    return fields;
  }

  /**
   * @param {string} name class name
   * @returns {any} a class whose objects carry the content's fields and `messageName`
   */
  function messageClass(name) {
    return class {
      /** @param {any} [fields] */
      constructor(fields) {
        Object.assign(this, contentFields(fields), { messageName: name });
      }

      /** The content as JSON: every own field but `messageName`. */
      encode() {
        return JSON.stringify(contentFields(this));
      }
    };
  }

  /** @type {Record<string, any>} class name → class */
  const messageClasses = {};
  /** @type {Map<string, string>} object name → class name */
  const classNames = new Map();
  /** @type {Record<string, {objectName: string, msgTag: MessageTag}>} */
  const MessageParams = {};
  /** @type {Record<string, string>} class name → itself, for `switch (message.messageType)` */
  const MessageType = { UnknownMessage: 'UnknownMessage', HandshakeMessage: 'HandshakeMessage' };
  /** @type {Record<string, any>} classes that the page has registered */
  const RegisterMessage = {};

  for (const [name, [objectName, msgTag, parameters, extra]] of Object.entries(CLASSES)) {
    const Class = messageClass(name);
    if (parameters) {
      Class.obtain = (/** @type {any[]} */ ...values) => {
        /** @type {any} */
        const fields = {};
        parameters.forEach((parameter, i) => (fields[parameter] = values[i]));
        if (extra) fields.extra = '';
        return new Class(fields);
      };
    }
    messageClasses[name] = Class;
    classNames.set(objectName, name);
    MessageParams[name] = { objectName, msgTag };
    MessageType[name] = name;
  }
  messageClasses.FileMessage.obtain = (/** @type {any} */ file) => new messageClasses.FileMessage({ extra: '', ...file });

  /** Something of a class that this page does not know: `message` = `{content, objectName}`. */
  const UnknownMessage = messageClass('UnknownMessage');

  /**
   * @param {string} objectName
   * @param {any} content as it came: object, array or text
   * @returns {{messageType: string, content: any}}
   */
  function decodeContent(objectName, content) {
    const messageType = classNames.get(objectName);
    if (messageType === undefined) {
      return { messageType: 'UnknownMessage', content: new UnknownMessage({ message: { content, objectName } }) };
    }
    const Class = RegisterMessage[messageType] ?? messageClasses[messageType];
    const fields = typeof content === 'object' && content !== null ? { ...content } : { content };
    if (messageType === 'CommandMessage' && typeof fields.data === 'string') {
      try {
        fields.data = JSON.parse(fields.data);
      } catch {
        // plain text: it stays what it is
      }
    }
    return { messageType, content: new Class(fields) };
  }

  // ── Objects ─────────────────────────────────────────────────────────────────

  class Message {
    /** @param {any} fields */
    constructor(fields = {}) {
      /** @type {any} an object of a message class */
      this.content = undefined;
      this.conversationType = 0;
      this.targetId = '';
      this.senderUserId = '';
      this.messageDirection = MessageDirection.SEND;
      this.messageType = '';
      this.objectName = '';
      /** @type {any} local */
      this.messageId = '';
      this.messageUId = '';
      this.sentTime = 0;
      this.receivedTime = 0;
      this.receivedStatus = ReceivedStatus.UNREAD;
      this.sentStatus = SentStatus.SENDING;
      this.extra = '';
      this.offLineMessage = false;
      this.hasReceivedByOtherClient = false;
      Object.assign(this, fields);
    }
  }

  class Conversation {
    /** @param {any} fields */
    constructor(fields = {}) {
      this.conversationType = 0;
      this.targetId = '';
      this.conversationTitle = '';
      /** @type {any} */
      this.latestMessage = null;
      this.latestMessageId = '';
      this.objectName = '';
      this.unreadMessageCount = 0;
      this.sentTime = 0;
      this.receivedTime = 0;
      this.receivedStatus = ReceivedStatus.UNREAD;
      this.sentStatus = 0;
      this.senderUserId = '';
      this.senderUserName = '';
      this.senderPortraitUri = '';
      this.isTop = false;
      this.draft = '';
      this.notificationStatus = enumerations.ConversationNotificationStatus.NOTIFY;
      /** @type {any} */
      this.mentionedMsg = null;
      Object.assign(this, fields);
    }
  }

  class UserInfo {
    /** @param {string} id @param {string} name @param {string} portraitUri */
    constructor(id, name, portraitUri) {
      this.id = id;
      this.name = name;
      this.portraitUri = portraitUri;
    }
  }

  class MentionedInfo {
    /** @param {number} [type] @param {string[]} [userIdList] @param {string} [mentionedContent] */
    constructor(type, userIdList, mentionedContent) {
      this.type = type;
      this.userIdList = userIdList;
      this.mentionedContent = mentionedContent;
    }
  }

  let nextMessageId = 1;

  /**
   * @param {any} m the engine's message
   * @param {boolean} [offLineMessage] it was sent while this page was not connected
   * @returns {Message}
   */
  function toMessage(m, offLineMessage = false) {
    const recalled = m.recalled === true;
    const objectName = recalled ? 'RC:RcCmd' : m.type;
    const raw = recalled ? { conversationType: m.kind, targetId: m.target, messageUId: m.id, sentTime: m.time } : m.content;
    const { messageType, content } = decodeContent(objectName, raw);
    return new Message({
      content,
      conversationType: m.kind,
      targetId: m.target,
      senderUserId: m.from,
      messageDirection: m.mine ? MessageDirection.SEND : MessageDirection.RECEIVE,
      messageType,
      objectName,
      messageId: `${m.kind}_${Math.floor(Math.random() * 1e9)}`,
      messageUId: m.id,
      sentTime: m.time,
      receivedTime: Date.now(),
      sentStatus: m.mine ? SentStatus.SENT : SentStatus.RECEIVED,
      extra: typeof content.extra === 'string' ? content.extra : '',
      offLineMessage,
      isStatusMessage: m.status === true,
    });
  }

  /**
   * Calls what the page gave. Its mistakes are its own: they surface as an uncaught error,
   * and stop nothing here.
   *
   * @param {any} target a callbacks or listener object
   * @param {string} name
   * @param {...any} values
   */
  function call(target, name, ...values) {
    if (typeof target?.[name] !== 'function') return;
    try {
      target[name](...values);
    } catch (error) {
      setTimeout(() => {
        throw error;
      });
    }
  }

  /** @param {any} value */
  function isCallbacks(value) {
    return typeof value?.onSuccess === 'function' || typeof value?.onError === 'function';
  }

  /**
   * @template T
   * @param {Promise<T>} promise
   * @returns {Promise<T>} rejects with `timeout` when there is no answer for too long
   */
  function inTime(promise) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject({ code: 'timeout' }), ANSWER_TIMEOUT);
      promise.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  // ── Local notes: drafts and top conversations ───────────────────────────────

  /** @type {Map<string, string>} where there is no localStorage */
  const memory = new Map();

  /** @param {string} key @returns {string | null} */
  function note(key) {
    try {
      return root.localStorage.getItem(`rongimlib:${key}`);
    } catch {
      return memory.get(key) ?? null;
    }
  }

  /** @param {string} key @param {string | null} value null: forget */
  function setNote(key, value) {
    try {
      if (value === null) root.localStorage.removeItem(`rongimlib:${key}`);
      else root.localStorage.setItem(`rongimlib:${key}`, value);
    } catch {
      if (value === null) memory.delete(key);
      else memory.set(key, value);
    }
  }

  // ── Engine ──────────────────────────────────────────────────────────────────

  /** @type {Promise<any> | null} */
  let engineModule = null;

  /**
   * @param {string} [address] of hongyan.js, when it is not beside this script
   * @returns {Promise<any>} the module
   */
  function loadEngine(address) {
    if (!engineModule) {
      const url = address ?? (scriptUrl ? new URL('hongyan.js', scriptUrl).href : './hongyan.js');
      engineModule = import(/* webpackIgnore: true */ url);
      engineModule.catch(() => (engineModule = null)); // the next `connect` tries again
    }
    return engineModule;
  }

  /**
   * Addresses of nodes from init's options, as the engine wants them.
   *
   * @param {any} navi address, or several
   * @returns {string[]} empty: the host that this script came from
   */
  function nodeUrls(navi) {
    const scheme = typeof location !== 'undefined' && location.protocol === 'https:' ? 'https:' : 'http:';
    return [navi].flat().filter((one) => typeof one === 'string' && one !== '').map((one) => {
      if (/^https?:\/\//.test(one)) return new URL(one).origin;
      return new URL(`${scheme}//${one.replace(/^\/\//, '')}`).origin;
    });
  }

  // ── Client ──────────────────────────────────────────────────────────────────

  /** Messages whose exact time is remembered: 2.x names a message by id and milliseconds, the server wants microseconds. */
  const REMEMBERED_TIMES = 5000;

  /** Messages or conversations of one question to the server. */
  const HISTORY_PAGE = 100;
  const CONVERSATION_PAGE = 200;
  const MOST_CONVERSATIONS = 1000;
  const MOST_NAMES = 100;

  /** Engine codes after which `connect` ends with onTokenIncorrect. */
  const TOKEN_CODES = new Set(['bad_token', 'token_expired']);

  /** @type {RongIMClient | null} */
  let instance = null;
  /** @type {any} */
  let statusListener = null;
  /** @type {any} */
  let messageListener = null;
  /** @type {any[]} */
  const watchers = [];

  class RongIMClient {
    static MessageType = MessageType;
    static MessageParams = MessageParams;
    static RegisterMessage = RegisterMessage;
    static schemeType = enumerations.ConnectionChannel.HTTP; // taken, and without meaning: the node's address says it

    // ── Static calls ──

    /**
     * @param {string} appKey
     * @param {any} [_dataAccessProvider] without meaning here
     * @param {any} [options] `navi`: address of a node, or several; `isPolling` or `connectionType: 'comet'`: no
     *   WebSocket; `engine`: address of hongyan.js
     * @param {(error: null, client: RongIMClient) => void} [callback]
     */
    static init(appKey, _dataAccessProvider, options, callback) {
      instance ??= new RongIMClient();
      instance.#configure(appKey, options ?? {});
      if (typeof callback === 'function') callback(null, instance);
      return instance;
    }

    /** @param {any} config @param {(error: any, client?: RongIMClient, userId?: string) => void} [callback] */
    static initApp({ appkey, appKey, token, dataAccessProvider, opts } = {}, callback) {
      const client = RongIMClient.init(appkey ?? appKey, dataAccessProvider, opts);
      client.#connect(token, {
        onSuccess: (/** @type {string} */ userId) => callback?.(null, client, userId),
        onTokenIncorrect: () => callback?.(ConnectionState.TOKEN_INCORRECT),
        onError: (/** @type {number} */ code) => callback?.(code),
      });
    }

    /** @returns {RongIMClient} */
    static getInstance() {
      if (!instance) throw new Error('RongIMClient is not initialized: call RongIMClient.init first');
      return instance;
    }

    /** @param {any} listener `{onChanged(status)}`; the last one counts */
    static setConnectionStatusListener(listener) {
      statusListener = listener;
    }

    /** @param {any} listener `{onReceived(message, left, hasMore)}`; the last one counts */
    static setOnReceiveMessageListener(listener) {
      messageListener = listener;
    }

    /** @param {(status: number) => void} watcher */
    static statusWatch(watcher) {
      watchers.push({ onChanged: watcher });
    }

    /** @param {(message: any) => void} watcher */
    static messageWatch(watcher) {
      watchers.push({ onReceived: watcher });
    }

    /** @param {string} token @param {Callbacks} [callbacks] `onSuccess(userId)`, `onTokenIncorrect()`, `onError(code)` */
    static connect(token, callbacks) {
      const client = RongIMClient.getInstance();
      if (!statusListener) throw new Error('call RongIMClient.setConnectionStatusListener before connect');
      if (!messageListener) throw new Error('call RongIMClient.setOnReceiveMessageListener before connect');
      client.#connect(token, callbacks);
    }

    /** @param {Callbacks} [callbacks] */
    static reconnect(callbacks) {
      const client = RongIMClient.getInstance();
      client.#connect(client.#token, callbacks);
    }

    /**
     * @param {string} name class name, and `messageType` of such messages
     * @param {string} objectName such as `app:card`
     * @param {any} tag a MessageTag, or `{isCounted, isPersited}`
     * @param {any} [_fields] names of the content's fields; all are carried, named or not
     */
    static registerMessageType(name, objectName, tag, _fields) {
      const Class = messageClass(name);
      RegisterMessage[name] = Class;
      classNames.set(objectName, name);
      MessageType[name] = name;
      MessageParams[name] = { objectName, msgTag: new MessageTag(tag?.isCounted ?? true, tag?.isPersited ?? true) };
      return Class;
    }

    // ── State ──

    #appKey = '';
    /** @type {any} */
    #options = {};
    /** @type {string[]} */
    #nodes = [];
    #node = 0; // index into #nodes
    /** @type {any} Hongyan */
    #engine = null;
    #engineKey = '';
    /** @type {Promise<any> | null} the engine, once `connect` was called on it; null while disconnected */
    #opening = null;
    #token = '';
    /** @type {Callbacks} of the newest connect: told when the token is refused, also later */
    #callbacks = null;
    /** @type {Callbacks[]} waiting for onSuccess */
    #waiting = [];
    #everConnected = false;
    #live = false;
    #status = ConnectionStatus.DISCONNECTED;
    #userId = '';
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #connectTimer;
    /** @type {Map<string, number>} message id → server time, microseconds; oldest first */
    #times = new Map();
    /** @type {Map<string, {at: number, time: number}>} conversation → oldest message given by history */
    #pages = new Map();
    /** @type {Map<string, Conversation>} made by createConversation */
    #created = new Map();

    /** @param {string} appKey @param {any} options */
    #configure(appKey, options) {
      this.#appKey = appKey;
      this.#options = options;
      this.#nodes = nodeUrls(options.navi);
      this.#node = 0;
      void loadEngine(options.engine).catch(() => {}); // early; `connect` says so when it fails
    }

    // ── Session ──

    /** @param {string} token @param {Callbacks} callbacks */
    #connect(token, callbacks) {
      if (typeof token !== 'string' || token === '') {
        queueMicrotask(() => call(callbacks, 'onTokenIncorrect'));
        return;
      }
      if (this.#opening && token !== this.#token) this.disconnect();
      this.#callbacks = callbacks;
      this.#waiting.push(callbacks);
      if (this.#opening) {
        if (this.#status === ConnectionStatus.CONNECTED) queueMicrotask(() => this.#succeed());
        return; // under way: the engine tries for as long as it takes
      }
      this.#token = token;
      this.#everConnected = false;
      this.#open();
    }

    #open() {
      const opening = loadEngine(this.#options.engine).then((module) => {
        if (this.#opening !== opening) throw { code: 'closed' };
        const engine = this.#prepare(module.Hongyan);
        engine.connect(this.#token).catch(() => {}); // its `state` events say all
        return engine;
      });
      this.#opening = opening;
      this.#setStatus(ConnectionStatus.CONNECTING);
      clearTimeout(this.#connectTimer);
      this.#connectTimer = setTimeout(() => call(this.#callbacks, 'onError', ErrorCode.TIMEOUT), ANSWER_TIMEOUT);
      opening.catch((error) => {
        if (this.#opening !== opening || error?.code === 'closed') return;
        this.#opening = null;
        this.#fail(ConnectionStatus.NETWORK_UNAVAILABLE, ErrorCode.RC_NET_UNAVAILABLE);
      });
    }

    /** @param {any} Hongyan @returns {any} the engine for the present node */
    #prepare(Hongyan) {
      const { isPolling, connectionType } = this.#options;
      const polling = root.WEB_XHR_POLLING === true || isPolling === true || connectionType === 'comet';
      const url = this.#nodes[this.#node];
      const key = `${url} ${polling}`;
      if (this.#engine && key === this.#engineKey) return this.#engine;
      this.#engine?.disconnect();
      const engine = new Hongyan({ url, transports: polling ? ['poll'] : ['ws', 'poll'], sendTimeout: ANSWER_TIMEOUT });
      this.#engine = engine;
      this.#engineKey = key;
      /** @param {string} name @param {(detail: any) => void} handle */
      const on = (name, handle) => engine.addEventListener(name, (/** @type {any} */ event) => {
        if (this.#engine === engine) handle(event.detail);
      });
      on('state', (detail) => this.#changed(detail));
      on('live', () => (this.#live = true));
      on('message', (m) => this.#received(m));
      on('sent', (m) => this.#received(m));
      on('recall', (recall) => this.#recalled(recall));
      return engine;
    }

    /** @param {{state: string, error?: any}} detail */
    #changed({ state, error }) {
      if (state === 'connecting') this.#setStatus(ConnectionStatus.CONNECTING);
      if (state === 'connected') {
        this.#live = false;
        this.#everConnected = true;
        this.#userId = this.#engine.user;
        clearTimeout(this.#connectTimer);
        this.#setStatus(ConnectionStatus.CONNECTED);
        this.#succeed();
      }
      if (state === 'waiting') {
        if (!this.#everConnected && this.#nodes.length > 1) return this.#nextNode();
        this.#setStatus(ConnectionStatus.NETWORK_UNAVAILABLE);
      }
      if (state === 'closed' && error) this.#refused(error);
    }

    /** No answer from this node: the next one of the list. */
    #nextNode() {
      this.#node = (this.#node + 1) % this.#nodes.length;
      const opening = this.#opening;
      setTimeout(() => {
        if (this.#opening === opening && !this.#everConnected) this.#open();
      }, 500 * Math.random());
    }

    #succeed() {
      for (const callbacks of this.#waiting.splice(0)) call(callbacks, 'onSuccess', this.#userId);
    }

    /** The engine has given up for good. @param {any} error */
    #refused(error) {
      this.#opening = null;
      const began = !this.#everConnected;
      if (TOKEN_CODES.has(error.code)) {
        // No status at first: pages that connect again whenever they are disconnected would do so for ever.
        if (began) this.#status = ConnectionStatus.DISCONNECTED;
        else this.#setStatus(ConnectionStatus.DISCONNECTED);
        clearTimeout(this.#connectTimer);
        this.#waiting = [];
        call(this.#callbacks, 'onTokenIncorrect');
        return;
      }
      if (error.code === 'user_blocked') return this.#fail(ConnectionStatus.BLOCKED, ConnectionState.BLOCK);
      if (error.code === 'replaced') return this.#fail(ConnectionStatus.KICKED_OFFLINE_BY_OTHER_CLIENT, ErrorCode.RC_DISCONN_KICK);
      if (error.code === 'unsupported_version') return this.#fail(ConnectionStatus.DISCONNECTED, ConnectionState.UNACCEPTABLE_PROTOCOL_VERSION);
      this.#fail(ConnectionStatus.DISCONNECTED, errorNumber(error));
    }

    /** @param {number} status @param {number} code for those who wait for onSuccess */
    #fail(status, code) {
      clearTimeout(this.#connectTimer);
      this.#setStatus(status);
      for (const callbacks of this.#waiting.splice(0)) call(callbacks, 'onError', code);
    }

    /** @param {number} status */
    #setStatus(status) {
      if (status === this.#status) return;
      this.#status = status;
      for (const listener of [statusListener, ...watchers]) call(listener, 'onChanged', status);
    }

    disconnect() {
      this.#opening = null;
      this.#waiting = [];
      clearTimeout(this.#connectTimer);
      this.#engine?.disconnect();
      this.#setStatus(ConnectionStatus.DISCONNECTED);
    }

    logout() {
      this.disconnect();
    }

    /** @param {Callbacks} [callbacks] */
    reconnect(callbacks) {
      RongIMClient.reconnect(callbacks);
    }

    getCurrentUserId() {
      return this.#userId;
    }

    getCurrentConnectionStatus() {
      return this.#status;
    }

    /** 0 polling, 1 WebSocket. */
    getConnectionChannel() {
      return this.#engine?.transport === 'ws' ? 1 : 0;
    }

    /** Local minus server time, ms. */
    getDeltaTime() {
      return -(this.#engine?.clockOffset ?? 0);
    }

    getNavi() {
      return {};
    }

    getSDKInfo() {
      return { version: '2.9.2' };
    }

    getAppInfo() {
      return { appKey: this.#appKey };
    }

    /**
     * @param {Callbacks} callbacks
     * @param {(engine: any) => Promise<any>} question
     * @param {number} [kind] conversation kind, for the error code
     */
    #ask(callbacks, question, kind) {
      const opening = this.#opening ?? Promise.reject({ code: 'closed' });
      inTime(opening.then(question)).then(
        (value) => call(callbacks, 'onSuccess', ...(Array.isArray(value) ? value : [value])),
        (error) => call(callbacks, 'onError', errorNumber(error, kind)),
      );
    }

    // ── Messages ──

    /** @param {any} m the engine's message */
    #received(m) {
      this.#remember(m.id, m.at);
      const message = toMessage(m, !this.#live && m.status !== true);
      for (const listener of [messageListener, ...watchers]) call(listener, 'onReceived', message, 0, false);
    }

    /** @param {{kind: number, target: string, id: string, at: number, by: string, extra?: string}} recall */
    #recalled({ kind, target, id, at, by, extra = '' }) {
      const mine = by === this.#userId;
      const content = { conversationType: kind, targetId: target, messageUId: id, sentTime: Math.floor(at / 1000), extra };
      const message = toMessage({ id: '', kind, target, from: by, mine, type: 'RC:RcCmd', time: Date.now() - this.getDeltaTime(), content }, !this.#live);
      for (const listener of [messageListener, ...watchers]) call(listener, 'onReceived', message, 0, false);
    }

    /** @param {string} id @param {number} at */
    #remember(id, at) {
      this.#times.set(id, at);
      if (this.#times.size > REMEMBERED_TIMES) {
        const [oldest] = this.#times.keys();
        this.#times.delete(oldest);
      }
    }

    /**
     * @param {number} conversationType
     * @param {string} targetId
     * @param {any} content an object of a message class
     * @param {Callbacks} [callbacks] `onBefore(messageId)`, `onSuccess(message)`, `onError(code, message)`
     * @param {boolean} [mentioned]
     * @param {string} [pushText]
     * @param {string} [appData]
     * @param {any} [_methodType]
     * @param {any} [options] of 2.9: `isStatusMessage`
     */
    sendMessage(conversationType, targetId, content, callbacks, mentioned, pushText, appData, _methodType, options) {
      const name = content?.messageName;
      const parameters = MessageParams[name];
      const message = new Message({
        content,
        conversationType,
        targetId,
        senderUserId: this.#userId,
        messageType: name ?? '',
        objectName: parameters?.objectName ?? '',
        messageId: nextMessageId++,
        sentTime: Date.now() - this.getDeltaTime(),
      });
      if (name === 'RecallCommandMessage') return this.sendRecallMessage({ senderUserId: this.#userId, ...contentFields(content) }, callbacks);
      call(callbacks, 'onBefore', message.messageId);
      const fail = (/** @type {number} */ code) => {
        message.sentStatus = SentStatus.FAILED;
        call(callbacks, 'onError', code, message);
      };
      if (!parameters) {
        queueMicrotask(() => fail(ErrorCode.BIZ_ERROR_INVALID_PARAMETER));
        return message;
      }
      /** @type {any} */
      const send = { kind: Number(conversationType), target: String(targetId), type: parameters.objectName, content: contentFields(content) };
      const { isCounted, isPersited } = parameters.msgTag;
      if (!isCounted || RegisterMessage[name]) send.counted = isCounted;
      if (!isPersited || RegisterMessage[name]) send.stored = isPersited;
      if (name === 'TypingStatusMessage' || options?.isStatusMessage === true) send.status = true;
      if (mentioned === true) send.mentioned = true;
      if (pushText || appData) send.push = { text: pushText || undefined, data: appData || undefined };
      (this.#opening ?? Promise.reject({ code: 'closed' })).then((engine) => engine.send(send)).then(
        (sent) => {
          this.#remember(sent.id, sent.at);
          Object.assign(message, { messageUId: sent.id, sentTime: sent.time, senderUserId: sent.from, sentStatus: SentStatus.SENT });
          call(callbacks, 'onSuccess', message);
        },
        (error) => fail(errorNumber(error, Number(conversationType))),
      );
      return message;
    }

    /** @param {number} conversationType @param {string} targetId @param {string} text @param {Callbacks} [callbacks] */
    sendTextMessage(conversationType, targetId, text, callbacks) {
      return this.sendMessage(conversationType, targetId, messageClasses.TextMessage.obtain(text), callbacks);
    }

    /**
     * @param {number} conversationType
     * @param {string} targetId
     * @param {string} name what is being typed: class name, or object name
     * @param {Callbacks} [callbacks]
     */
    sendTypingStatusMessage(conversationType, targetId, name, callbacks) {
      const typingContentType = MessageParams[name]?.objectName ?? name;
      return this.sendMessage(conversationType, targetId, messageClasses.TypingStatusMessage.obtain(typingContentType, ''), callbacks);
    }

    /**
     * @param {any} message needs `conversationType`, `targetId`, `messageUId`, `sentTime`, `senderUserId`
     * @param {Callbacks} [callbacks] `onSuccess(message)`: the recall command
     */
    sendRecallMessage(message, callbacks) {
      const { conversationType, targetId, messageUId, sentTime, senderUserId, extra } = message ?? {};
      if (!messageUId || !targetId || (senderUserId !== undefined && senderUserId !== this.#userId)) {
        queueMicrotask(() => call(callbacks, 'onError', ErrorCode.RECALL_MESSAGE));
        return;
      }
      const kind = Number(conversationType);
      const question = async (/** @type {any} */ engine) => {
        const at = this.#times.get(messageUId) ?? (await findTime(engine, kind, targetId, messageUId, sentTime));
        await engine.recall({ kind, target: targetId, id: messageUId, at }, { extra });
        const content = { conversationType: kind, targetId, messageUId, sentTime: Math.floor(at / 1000), extra };
        const time = Date.now() - this.getDeltaTime();
        return toMessage({ id: '', kind, target: targetId, from: this.#userId, mine: true, type: 'RC:RcCmd', time, content });
      };
      this.#ask({
        onSuccess: (/** @type {any} */ sent) => call(callbacks, 'onSuccess', sent),
        // To 2.x there is one way for a recall to be wrong.
        onError: (/** @type {number} */ code) =>
          call(callbacks, 'onError', code === ErrorCode.RC_MSG_UNAUTHORIZED || code === ErrorCode.UNKNOWN ? ErrorCode.RECALL_MESSAGE : code),
      }, question, kind);
    }

    /**
     * @param {number} conversationType
     * @param {string} targetId
     * @param {number | null | undefined} timestamp ms, exclusive; 0: the newest; null: go on where the last page ended
     * @param {number} count
     * @param {Callbacks} callbacks `onSuccess(messages, hasMore)`, oldest first
     * @param {string} [objectName] only such messages
     * @param {number} [order] 1: forwards from `timestamp`
     */
    getHistoryMessages(conversationType, targetId, timestamp, count, callbacks, objectName, order) {
      const question = (/** @type {any} */ engine) => this.#history(engine, Number(conversationType), targetId, timestamp, count, objectName, order);
      this.#ask(callbacks, question, Number(conversationType));
    }

    /**
     * @param {number} conversationType
     * @param {string} targetId
     * @param {number | null | undefined} timestamp
     * @param {number} count
     * @param {Callbacks} callbacks
     * @param {any} [config] `{order}`
     */
    getRemoteHistoryMessages(conversationType, targetId, timestamp, count, callbacks, config) {
      this.getHistoryMessages(conversationType, targetId, timestamp, count, callbacks, undefined, config?.order);
    }

    /**
     * @param {any} engine
     * @param {number} kind
     * @param {string} target
     * @param {number | null | undefined} timestamp
     * @param {number} count
     * @param {string} [objectName]
     * @param {number} [order]
     * @returns {Promise<[Message[], boolean]>}
     */
    async #history(engine, kind, target, timestamp, count, objectName, order) {
      const forwards = order === 1;
      const key = `${kind}/${target}`;
      const page = this.#pages.get(key);
      // A page asks from the time of the oldest message it has, in milliseconds. Several
      // messages fit into one: the exact time of the last page's end loses none of them.
      let edge = timestamp ? (forwards ? timestamp * 1000 + 999 : timestamp * 1000) : undefined;
      if (!forwards && page && (timestamp === null || timestamp === undefined || timestamp === page.time)) edge = page.at;
      if (forwards && edge === undefined) edge = 0;
      const wanted = Math.max(1, Math.floor(count) || 20);
      /** @type {any[]} */
      let found = [];
      let more = true;
      while (found.length < wanted && more) {
        const limit = Math.min(HISTORY_PAGE, wanted - found.length);
        const answer = await engine.history(kind, target, forwards ? { after: edge, limit } : { before: edge, limit });
        more = answer.more && answer.messages.length > 0;
        if (answer.messages.length > 0) edge = answer.messages.at(forwards ? -1 : 0).at;
        const fitting = answer.messages.filter((/** @type {any} */ m) => !objectName || m.type === objectName);
        found = forwards ? [...found, ...fitting] : [...fitting, ...found];
      }
      if (!forwards && edge !== undefined) this.#pages.set(key, { at: edge, time: Math.floor(edge / 1000) });
      for (const m of found) this.#remember(m.id, m.at);
      return [found.map((m) => toMessage(m)), more];
    }

    /** @param {string} _token @param {Callbacks} callbacks */
    hasRemoteUnreadMessages(_token, callbacks) {
      this.#ask(callbacks, async (engine) => (await engine.unread()) > 0);
    }

    // ── Conversations ──

    /**
     * @param {Callbacks} callbacks `onSuccess(conversations)`, newest first, those on top before all
     * @param {number[] | null} [types] null: all
     * @param {number} [count]
     */
    getConversationList(callbacks, types, count) {
      this.#ask(callbacks, async (engine) => [await this.#conversations(engine, types, count)]);
    }

    /** @param {Callbacks} callbacks @param {number[] | null} [types] @param {number} [count] */
    getRemoteConversationList(callbacks, types, count) {
      this.getConversationList(callbacks, types, count);
    }

    /** @param {any} engine @param {number[] | null} [types] @param {number} [count] */
    async #conversations(engine, types, count) {
      const wanted = count && count > 0 ? count : MOST_CONVERSATIONS;
      const fits = (/** @type {number} */ kind) => !types || types.length === 0 || types.includes(kind);
      /** @type {any[]} */
      const found = [];
      /** @type {number | undefined} */
      let before;
      do {
        /** @type {{conversations: any[], more: boolean}} */
        const answer = await engine.conversations({ limit: CONVERSATION_PAGE, before });
        found.push(...answer.conversations.filter((one) => fits(one.kind)));
        before = answer.more ? answer.conversations.at(-1)?.pos : undefined;
      } while (before !== undefined && found.length < wanted);
      const names = await this.#names(engine, found);
      const list = found.slice(0, wanted).map((one) => this.#toConversation(one, names));
      const known = new Set(list.map((one) => `${one.conversationType}/${one.targetId}`));
      for (const [key, one] of this.#created) if (!known.has(key) && fits(one.conversationType)) list.push(one);
      return [...list.filter((one) => one.isTop), ...list.filter((one) => !one.isTop)];
    }

    /** Names of users for titles. @param {any} engine @param {any[]} conversations @returns {Promise<Map<string, any>>} */
    async #names(engine, conversations) {
      const ids = new Set();
      for (const { kind, target, last } of conversations) {
        if (kind === ConversationType.PRIVATE || kind === ConversationType.SYSTEM) ids.add(target);
        if (last) ids.add(last.from);
      }
      if (ids.size === 0) return new Map();
      return engine.users([...ids].slice(0, MOST_NAMES)).catch(() => new Map()); // a list without names is better than none
    }

    /** @param {any} one the engine's conversation @param {Map<string, any>} names */
    #toConversation(one, names) {
      const latestMessage = one.last ? toMessage(one.last) : null;
      if (one.last) this.#remember(one.last.id, one.last.at);
      const key = `${one.kind}/${one.target}`;
      const sender = names.get(one.last?.from);
      return new Conversation({
        conversationType: one.kind,
        targetId: one.target,
        conversationTitle: this.#created.get(key)?.conversationTitle || names.get(one.target)?.name || '',
        latestMessage,
        latestMessageId: latestMessage?.messageId ?? '',
        objectName: latestMessage?.objectName ?? '',
        unreadMessageCount: one.unread,
        sentTime: latestMessage?.sentTime ?? Math.floor(one.pos / 1000),
        receivedTime: latestMessage?.receivedTime ?? 0,
        sentStatus: latestMessage?.sentStatus ?? 0,
        receivedStatus: one.unread > 0 ? ReceivedStatus.UNREAD : ReceivedStatus.READ,
        senderUserId: one.last?.from ?? '',
        senderUserName: sender?.name ?? '',
        senderPortraitUri: sender?.portrait ?? '',
        isTop: note(this.#noteKey('top', one.kind, one.target)) !== null,
        draft: note(this.#noteKey('draft', one.kind, one.target)) ?? '',
      });
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} callbacks `onSuccess(conversation or null)` */
    getConversation(conversationType, targetId, callbacks) {
      const kind = Number(conversationType);
      this.#ask(callbacks, async (engine) => {
        const one = await engine.conversation(kind, targetId);
        if (!one) return this.#created.get(`${kind}/${targetId}`) ?? null;
        return this.#toConversation(one, await this.#names(engine, [one]));
      }, kind);
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} [callbacks] */
    removeConversation(conversationType, targetId, callbacks) {
      const kind = Number(conversationType);
      this.#ask(callbacks, async (engine) => {
        await engine.removeConversation(kind, targetId);
        this.#created.delete(`${kind}/${targetId}`);
        return true;
      }, kind);
    }

    /** @param {number[] | null} types @param {Callbacks} [callbacks] */
    clearConversations(types, callbacks) {
      this.#ask(callbacks, async (engine) => {
        for (const one of await this.#conversations(engine, types)) await engine.removeConversation(one.conversationType, one.targetId);
        this.#created.clear();
        return true;
      });
    }

    /**
     * A conversation of this page only, in its lists until the server has one.
     *
     * @param {number} conversationType
     * @param {string} targetId
     * @param {string} conversationTitle
     */
    createConversation(conversationType, targetId, conversationTitle) {
      const conversation = new Conversation({ conversationType, targetId, conversationTitle });
      this.#created.set(`${conversationType}/${targetId}`, conversation);
      return conversation;
    }

    /**
     * Kept in this browser.
     *
     * @param {number} conversationType
     * @param {string} targetId
     * @param {any} isTop left out by 2.0.6: true
     * @param {Callbacks} [callbacks]
     */
    setConversationToTop(conversationType, targetId, isTop, callbacks) {
      const given = isCallbacks(isTop) ? isTop : callbacks;
      setNote(this.#noteKey('top', conversationType, targetId), isTop === false ? null : '1');
      queueMicrotask(() => call(given, 'onSuccess', true));
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} callbacks */
    getUnreadCount(conversationType, targetId, callbacks) {
      const kind = Number(conversationType);
      this.#ask(callbacks, async (engine) => (await engine.conversation(kind, targetId))?.unread ?? 0, kind);
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} [callbacks] */
    clearUnreadCount(conversationType, targetId, callbacks) {
      const kind = Number(conversationType);
      this.#ask(callbacks, async (engine) => {
        await engine.read(kind, targetId);
        return true;
      }, kind);
    }

    /** @param {Callbacks} callbacks @param {number[] | null} [types] */
    getTotalUnreadCount(callbacks, types) {
      this.#ask(callbacks, async (engine) => {
        if (!types || types.length === 0) return engine.unread();
        const list = await this.#conversations(engine, types);
        return list.reduce((sum, one) => sum + one.unreadMessageCount, 0);
      });
    }

    /** @param {string} what @param {number} conversationType @param {string} targetId */
    #noteKey(what, conversationType, targetId) {
      return `${what}:${[this.#userId, conversationType, targetId].map(encodeURIComponent).join(':')}`;
    }

    /** @param {number} conversationType @param {string} targetId @param {string} value @param {Callbacks} [callbacks] */
    saveTextMessageDraft(conversationType, targetId, value, callbacks) {
      setNote(this.#noteKey('draft', conversationType, targetId), String(value));
      call(callbacks, 'onSuccess', true);
      return true;
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} [callbacks] */
    getTextMessageDraft(conversationType, targetId, callbacks) {
      const value = note(this.#noteKey('draft', conversationType, targetId)) ?? '';
      call(callbacks, 'onSuccess', value);
      return value;
    }

    /** @param {number} conversationType @param {string} targetId @param {Callbacks} [callbacks] */
    clearTextMessageDraft(conversationType, targetId, callbacks) {
      setNote(this.#noteKey('draft', conversationType, targetId), null);
      call(callbacks, 'onSuccess', true);
      return true;
    }

    /** There is no silence to be set: everybody is notified. @param {number} _type @param {string} _id @param {Callbacks} callbacks */
    getConversationNotificationStatus(_type, _id, callbacks) {
      queueMicrotask(() => call(callbacks, 'onSuccess', enumerations.ConversationNotificationStatus.NOTIFY));
    }

    // ── Blacklist ──

    /** @param {string} userId @param {Callbacks} [callbacks] */
    addToBlacklist(userId, callbacks) {
      this.#ask(callbacks, (engine) => engine.block(userId));
    }

    /** @param {string} userId @param {Callbacks} [callbacks] */
    removeFromBlacklist(userId, callbacks) {
      this.#ask(callbacks, (engine) => engine.unblock(userId));
    }

    /** @param {Callbacks} callbacks `onSuccess(ids)` */
    getBlacklist(callbacks) {
      this.#ask(callbacks, async (engine) => [await engine.blocks()]);
    }

    /** As 2.x: 'IN_BLACK_LIST', or an error when the user is not in it. @param {string} userId @param {Callbacks} callbacks */
    getBlacklistStatus(userId, callbacks) {
      this.#ask({
        onSuccess: (/** @type {boolean} */ blocked) => {
          if (blocked) call(callbacks, 'onSuccess', 'IN_BLACK_LIST');
          else call(callbacks, 'onError', NOT_IN_BLACKLIST);
        },
        onError: (/** @type {number} */ code) => call(callbacks, 'onError', code),
      }, (engine) => engine.isBlocked(userId));
    }
  }

  /** The code that servers of 2.x answered a blacklist question with for a user who is not in it. */
  const NOT_IN_BLACKLIST = 101;

  /**
   * The exact time of a message that this page has not seen itself.
   *
   * @param {any} engine
   * @param {number} kind
   * @param {string} target
   * @param {string} id
   * @param {number} sentTime ms
   * @returns {Promise<number>} microseconds
   */
  async function findTime(engine, kind, target, id, sentTime) {
    const { messages } = await engine.history(kind, target, { after: sentTime * 1000 - 1, limit: HISTORY_PAGE });
    const found = messages.find((/** @type {any} */ m) => m.id === id);
    if (!found) throw { code: 'not_found' };
    return found.at;
  }

  // ── What a node does not do ─────────────────────────────────────────────────

  /** Method → the code that its `onError` is called with. */
  const UNSUPPORTED = {
    createDiscussion: ErrorCode.CREATE_DISCUSSION,
    addMemberToDiscussion: ErrorCode.INVITE_DICUSSION,
    removeMemberFromDiscussion: ErrorCode.NOT_IN_DISCUSSION,
    quitDiscussion: ErrorCode.NOT_IN_DISCUSSION,
    setDiscussionName: ErrorCode.NOT_IN_DISCUSSION,
    setDiscussionInviteStatus: ErrorCode.NOT_IN_DISCUSSION,
    getDiscussion: ErrorCode.NOT_IN_DISCUSSION,
    joinGroup: ErrorCode.NOT_IN_GROUP,
    quitGroup: ErrorCode.NOT_IN_GROUP,
    syncGroup: ErrorCode.GROUP_SYNC_ERROR,
    joinChatRoom: ErrorCode.CHARTOOM_JOIN_ERROR,
    quitChatRoom: ErrorCode.NOT_IN_CHATROOM,
    getChatRoomInfo: ErrorCode.RC_CHATROOM_NOT_EXIST,
    getChatRoomHistoryMessages: ErrorCode.CHATROOM_HISMESSAGE_ERROR,
    setChatroomEntry: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    forceSetChatroomEntry: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    removeChatroomEntry: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    forceRemoveChatroomEntry: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    getChatroomEntry: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    getAllChatroomEntries: ErrorCode.CHATROOM_KV_STORE_NOT_OPEN,
    deleteMessages: ErrorCode.MSG_DEL_ERROR,
    clearMessages: ErrorCode.MSG_DEL_ERROR,
    deleteRemoteMessages: ErrorCode.MSG_DEL_ERROR,
    clearRemoteHistoryMessages: ErrorCode.CLEAR_HIS_ERROR,
    getFileToken: ErrorCode.QNTKN_GET_ERROR,
    getFileUrl: ErrorCode.QNTKN_GET_ERROR,
  };

  for (const name of [
    'setConversationStatus', 'setConversationNotificationStatus', 'sendReceiptResponse', 'sendReadReceiptMessage', 'getMessageReader',
    'updateMessageExpansion', 'removeMessageExpansionForKey', 'setUserStatus', 'getUserStatus', 'setUserStatusListener',
    'startCustomService', 'stopCustomeService', 'switchToHumanMode', 'evaluateRebotCustomService', 'evaluateHumanCustomService',
    'createTag', 'removeTag', 'updateTag', 'getTagList', 'addTagForConversations', 'removeTagForConversations',
    'removeTagsForConversation', 'getConversationListByTag', 'getUnreadCountByTag', 'setConversationStatusInTag', 'getTagsForConversation',
    'getRemotePublicServiceList', 'getPublicServiceList', 'getPublicServiceProfile', 'searchPublicService',
    'searchPublicServiceByType', 'subscribePublicService', 'unsubscribePublicService',
  ]) /** @type {any} */ (UNSUPPORTED)[name] = ErrorCode.NOT_SUPPORT;

  for (const [name, code] of Object.entries(UNSUPPORTED)) {
    Object.defineProperty(RongIMClient.prototype, name, {
      configurable: true,
      writable: true,
      value: (/** @type {any[]} */ ...values) => {
        const callbacks = values.find(isCallbacks);
        if (callbacks) queueMicrotask(() => call(callbacks, 'onError', code));
        else console.warn(`RongIMClient: ${name} is not supported by this server`);
      },
    });
  }

  // ── Globals ─────────────────────────────────────────────────────────────────

  // Another script of the family (RongEmoji.js) may have been first.
  root.RongIMLib = Object.assign(root.RongIMLib ?? {}, enumerations, messageClasses, {
    ErrorCode,
    UnknownMessage,
    MessageTag,
    Message,
    Conversation,
    UserInfo,
    MentionedInfo,
    RongIMClient,
  });
  root.RongIMClient = RongIMClient;
})();
