//! A plain HTTP/1.1 client: one connection a request.

use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        let whole = answer.header("content-length").is_none_or(|len| len.parse() == Ok(answer.body.len()));
        whole.then_some(answer)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// Sends one request; `headers` are whole lines. `None` when the connection broke before the answer was whole.
pub async fn http(
    address: SocketAddr,
    request: &str,
    headers: &[String],
    body: impl AsRef<[u8]>,
) -> Option<Answer> {
    http_over(TcpStream::connect(address).await.ok()?, address, request, headers, body).await
}

/// The same over a connection that was made in another network.
pub async fn http_over(
    mut stream: TcpStream,
    address: SocketAddr,
    request: &str,
    headers: &[String],
    body: impl AsRef<[u8]>,
) -> Option<Answer> {
    let body = body.as_ref();
    let mut head = format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for line in headers {
        head += &format!("{line}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.set_nodelay(true).ok()?;
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    let mut bytes = Vec::new();
    // An error after the answer (a body that nobody wanted to read) takes nothing from the answer.
    let read = stream.read_to_end(&mut bytes).await;
    Answer::parse(&bytes).or_else(|| {
        assert!(read.is_err() || bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        None
    })
}
