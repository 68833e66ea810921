//! Frames to a node and back, over either transport, with nothing added.

use super::http::{Answer, http};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

/// How a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// With a close frame, or the HTTP status of a poll.
    Code(u16, String),
    /// Without a word.
    Broken,
}

impl Closed {
    pub fn code(&self) -> u16 {
        match self {
            Self::Code(code, _) => *code,
            Self::Broken => 0,
        }
    }
}

enum Way {
    Ws(Box<WebSocketStream<TcpStream>>),
    Poll { address: SocketAddr, sid: String, seq: u64 },
}

/// A connection that carries frames.
pub struct Line {
    way: Way,
    waiting: VecDeque<Value>,
    /// Bytes of what came.
    pub received: usize,
}

/// The request of a WebSocket, with these headers more.
pub async fn upgrade(
    address: SocketAddr,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, Error> {
    upgrade_over(TcpStream::connect(address).await?, address, headers).await
}

async fn upgrade_over(
    stream: TcpStream,
    address: SocketAddr,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{address}/v1/ws").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    stream.set_nodelay(true)?;
    Ok(client_async(request, stream).await?.0)
}

impl Line {
    /// A WebSocket on which nothing was said yet.
    pub async fn ws(address: SocketAddr) -> Result<Self, Error> {
        Ok(Self::of(upgrade(address, &[]).await?))
    }

    /// The same over a connection that was made in another network.
    pub async fn ws_over(stream: TcpStream, address: SocketAddr) -> Result<Self, Error> {
        Ok(Self::of(upgrade_over(stream, address, &[]).await?))
    }

    fn of(socket: WebSocketStream<TcpStream>) -> Self {
        Self { way: Way::Ws(Box::new(socket)), waiting: VecDeque::new(), received: 0 }
    }

    /// A polling session, begun with `hello`; refused, the HTTP answer. `None`: nobody answered.
    pub async fn poll(address: SocketAddr, hello: &Value) -> Option<Result<Self, Answer>> {
        let answer = http(address, "POST /v1/poll", &[], hello.to_string()).await?;
        if answer.status != 200 {
            return Some(Err(answer));
        }
        let body = answer.json();
        let sid = body["sid"].as_str().unwrap().to_owned();
        let waiting = body["frames"].as_array().unwrap().iter().cloned().collect();
        let way = Way::Poll { address, sid, seq: body["seq"].as_u64().unwrap() };
        Some(Ok(Self { way, waiting, received: answer.body.len() }))
    }

    /// The secret of a polling session.
    pub fn sid(&self) -> &str {
        match &self.way {
            Way::Poll { sid, .. } => sid,
            Way::Ws(_) => panic!("not a polling session"),
        }
    }

    /// Number of the last answer of a polling session.
    pub fn seq(&self) -> u64 {
        match &self.way {
            Way::Poll { seq, .. } => *seq,
            Way::Ws(_) => panic!("not a polling session"),
        }
    }

    /// Sends a frame, or an array of frames.
    pub async fn send(&mut self, frame: &Value) -> Result<(), Closed> {
        self.send_text(frame.to_string()).await
    }

    pub async fn send_text(&mut self, text: String) -> Result<(), Closed> {
        match &mut self.way {
            Way::Ws(socket) => socket.send(Message::text(text)).await.map_err(|_| Closed::Broken),
            Way::Poll { address, sid, .. } => {
                let path = format!("POST /v1/poll/{sid}");
                let answer = http(*address, &path, &[], text).await.ok_or(Closed::Broken)?;
                if answer.status == 200 { Ok(()) } else { Err(refused(&answer)) }
            }
        }
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let Way::Ws(socket) = &mut self.way else { panic!("polling has no binary messages") };
        socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next frame. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            match &mut self.way {
                Way::Ws(socket) => match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        self.received += text.len();
                        self.waiting.extend(frames(serde_json::from_str(&text).unwrap()));
                    }
                    Some(Ok(Message::Close(Some(close)))) => {
                        let closed = Closed::Code(close.code.into(), close.reason.to_string());
                        // Answers the close frame, as the node waits for that.
                        while let Some(Ok(_)) = socket.next().await {}
                        return Err(closed);
                    }
                    Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Closed::Broken),
                    Some(Ok(_)) => {}
                },
                Way::Poll { address, sid, seq } => {
                    let path = format!("GET /v1/poll/{sid}?wait=10&seq={seq}");
                    let answer = http(*address, &path, &[], "").await.ok_or(Closed::Broken)?;
                    if answer.status != 200 {
                        return Err(refused(&answer));
                    }
                    let body = answer.json();
                    self.received += answer.body.len();
                    *seq = body["seq"].as_u64().unwrap();
                    self.waiting.extend(frames(body["frames"].clone()));
                }
            }
        }
    }

    /// How the line ends; frames before that are passed over.
    pub async fn closed(&mut self) -> Closed {
        super::soon("the end of a line", async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        })
        .await
    }
}

fn frames(message: Value) -> Vec<Value> {
    match message {
        Value::Array(frames) => frames,
        frame => vec![frame],
    }
}

fn refused(answer: &Answer) -> Closed {
    Closed::Code(answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// A `hello`.
pub fn hello(token: &str, device: &str, cursor: Option<u64>, more: &Value) -> Value {
    let mut hello = json!({ "t": "hello", "v": 1, "token": token, "device": device });
    if let Some(cursor) = cursor {
        hello["cursor"] = cursor.into();
    }
    if let Some(fields) = more.as_object() {
        hello.as_object_mut().unwrap().extend(fields.clone());
    }
    hello
}
