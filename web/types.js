/**
 * Shapes that several files share. Types only: nothing here runs.
 */

/**
 * A message as the SDK hands it over (docs/protocol.md "M", docs/sdk.md "Message").
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {number} kind conversation kind: 1 private … 6 system
 * @property {string} from
 * @property {string} to
 * @property {string} target the conversation's other end
 * @property {string} type message class, `RC:TxtMsg` …
 * @property {number} at server time in microseconds; orders the conversation
 * @property {number} time milliseconds, to show
 * @property {boolean} mine
 * @property {any} content
 * @property {number} [pos] mailbox position, for pushed messages
 * @property {string} [cid] the id the sender's client gave, own messages only
 * @property {boolean} [counted]
 * @property {boolean} [stored]
 * @property {boolean} [status]
 * @property {boolean} [recalled]
 */

/**
 * A message in a thread: one of the server's, or an own one that has no answer yet.
 *
 * @typedef {Message & {state: 'sending' | 'sent' | 'failed', error?: string, seq: number, again?: any}} Item
 * `error` is an error code; `seq` orders what has no server time; `again` is the text
 * of an own message that was taken back, offered for editing.
 */

/**
 * @typedef {object} Conversation
 * @property {string} key `kind:target`
 * @property {number} kind
 * @property {string} target
 * @property {number} pos position of the newest stored message; 0 before the first
 * @property {number} read own watermark
 * @property {number} unread
 * @property {Message | null} last
 * @property {number} peerRead time (µs) up to which the peer has read us
 * @property {number} peerDelivered likewise, delivered
 * @property {string} draft
 * @property {number} touched ms; orders conversations that have no message yet
 * @property {number} base unread count as the server gave it …
 * @property {number} basePos … and the position it was true for
 * @property {number[]} recent positions of counted messages pushed to this page
 */

/**
 * @typedef {object} Thread
 * @property {string} key
 * @property {Item[]} items oldest first; what has no answer yet at the end
 * @property {boolean} loaded the newest page has been fetched
 * @property {boolean} more the server has older ones
 * @property {'' | 'busy' | 'failed'} loading
 * @property {string} divider id of the first message that is new to the reader, or ''
 */

/** @typedef {{id: string, name: string, portrait: string}} Person */

/**
 * What this page uses of the SDK's client (docs/sdk.md).
 *
 * @typedef {EventTarget & {
 *   state: string,
 *   connect(token: string): Promise<{user: string, name: string, portrait: string}>,
 *   disconnect(): Promise<void> | void,
 *   send(m: {kind: number, target: string, type: string, content: any, id?: string, status?: boolean}): Promise<Message>,
 *   read(kind: number, target: string, upto?: number): Promise<number>,
 *   recall(message: Message): Promise<unknown>,
 *   history(kind: number, target: string, options?: {before?: number, after?: number, limit?: number}): Promise<{messages: Message[], more: boolean}>,
 *   conversations(options?: {limit?: number, before?: number}): Promise<{conversations: any[], more: boolean}>,
 *   conversation(kind: number, target: string): Promise<any>,
 *   removeConversation(kind: number, target: string): Promise<unknown>,
 *   block(user: string): Promise<unknown>,
 *   unblock(user: string): Promise<unknown>,
 *   blocks(): Promise<string[]>,
 *   users(ids: string[]): Promise<Map<string, Person>>,
 *   watch(users: string[]): Promise<Set<string>>,
 * }} Client
 */

export {};
